"""Union, vote and cleaning of masks, against dense models and the oracle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from pipeline.errors import MaskError
from pipeline.masks import merge
from pipeline.masks.batch import MaskBatch
from pipeline.masks.rle import empty_batch
from tests import oracle, strategies

BIG = 46340


def batch_of(size_hw: tuple[int, int], *runs: list[int]) -> MaskBatch:
    return strategies.batch_of_runs([size_hw] * len(runs), list(runs))


def merge_one(batch: MaskBatch, min_votes: int) -> list[int]:
    """Return the runs of the vote of all masks of a batch."""
    n_masks = len(batch.size_hw_N2)
    voted = merge.vote(batch, np.array([0, n_masks]), np.arange(n_masks), np.array([min_votes]))
    return strategies.list_runs(voted)[0]


def dense_clean(mask: Any, min_part_area: int, max_hole_area: int) -> Any:
    """Model of `merge.clean`: label parts (8), drop the small, label holes (4), fill the small."""
    parts, n_parts = ndimage.label(mask, structure=np.ones((3, 3)))
    kept = np.isin(parts, [p for p in range(1, n_parts + 1) if (parts == p).sum() >= min_part_area])
    holes, n_holes = ndimage.label(~kept)
    border = {*holes[0], *holes[-1], *holes[:, 0], *holes[:, -1]}
    filled = [
        p for p in range(1, n_holes + 1) if p not in border and (holes == p).sum() <= max_hole_area
    ]
    return kept | np.isin(holes, filled)


@pytest.mark.usefixtures("each_backend")
def test_worked_example() -> None:
    batch = batch_of((1, 6), [1, 3, 2], [2, 3, 1], [0, 1, 3, 2])
    assert merge_one(batch, 1) == [0, 6]
    assert merge_one(batch, 2) == [2, 3, 1]
    assert merge_one(batch, 3) == [6]
    assert merge_one(batch, 4) == [6]
    merged = merge.union(batch, [0, 1, 3], [2, 0, 1])
    assert strategies.list_runs(merged) == [[0, 1, 3, 2], [1, 4, 1]]
    assert [array.dtype for array in merged] == [np.int32, np.uint32, np.int64]


@pytest.mark.usefixtures("each_backend")
@pytest.mark.parametrize(
    ("size_hw", "masks", "min_votes", "runs"),
    [
        ((1, 1), [[1], [0, 1]], 1, [0, 1]),
        ((1, 1), [[1], [0, 1]], 2, [1]),
        ((1, 1), [[1], [1]], 1, [1]),
        ((1, 1), [[0, 1]], 2, [1]),
        ((2, 2), [[0, 4], [4], [1, 1, 1, 1]], 2, [1, 1, 1, 1]),
        ((1, 4), [[0, 2, 2], [2, 2]], 1, [0, 4]),
        ((1, 4), [[0, 2, 2], [2, 2]], 2, [4]),
        ((4, 1), [[0, 2, 2], [2, 2], [0, 4]], 2, [0, 4]),
        ((4, 1), [[0, 2, 2], [0, 2, 2], [2, 2], [2, 2], [1, 2, 1]], 3, [1, 2, 1]),
        ((BIG, BIG), [[0, 1, BIG**2 - 1], [BIG**2 - 1, 1]], 1, [0, 1, BIG**2 - 2, 1]),
        ((1, 2**31 - 1), [[0, 2**31 - 1], [5, 2**31 - 6]], 2, [5, 2**31 - 6]),
    ],
)
def test_by_hand(
    size_hw: tuple[int, int], masks: list[list[int]], min_votes: int, runs: list[int]
) -> None:
    assert merge_one(batch_of(size_hw, *masks), min_votes) == runs
    assert merge_one(batch_of(size_hw, *reversed(masks)), min_votes) == runs


@pytest.mark.usefixtures("each_backend")
def test_nothing_to_merge() -> None:
    none = np.zeros(0, np.int64)
    merged = merge.union(empty_batch(), np.zeros(1, np.int64), none)
    assert [array.shape for array in merged] == [(0, 2), (0,), (1,)]
    merged = merge.vote(batch_of((2, 2), [4]), np.zeros(1, np.int64), none, none)
    assert [array.shape for array in merged] == [(0, 2), (0,), (1,)]


@st.composite
def groups(draw: st.DrawFn) -> tuple[list[Any], list[list[int]], list[int]]:
    """Draw masks of several images, groups of masks of one image, and votes."""
    stacks = draw(strategies.images(min_images=1, max_masks=6, max_side=12))
    first = 0
    members: list[list[int]] = []
    for stack in stacks:
        if len(stack):
            rows = st.integers(first, first + len(stack) - 1)
            members += draw(st.lists(st.lists(rows, min_size=1, max_size=9), max_size=3))
        first += len(stack)
    votes = [draw(st.integers(1, len(group) + 1)) for group in members]
    return strategies.flat(stacks), members, votes


@pytest.mark.usefixtures("each_backend")
@given(groups())
@settings(max_examples=120)
def test_parity(drawn: tuple[list[Any], list[list[int]], list[int]]) -> None:
    masks, members, votes = drawn
    batch = strategies.to_batch(masks)
    offsets_G1 = np.concatenate([[0], np.cumsum([len(group) for group in members])]).astype(int)
    member_M = np.array([row for group in members for row in group], np.int64)
    united = merge.union(batch, offsets_G1, member_M)
    counts = strategies.list_strings(strategies.to_strings(masks))
    for runs, group in zip(strategies.list_runs(united), members, strict=True):
        expected = oracle.merge(masks[group[0]].shape, [counts[row] for row in group])
        assert oracle.to_string(runs) == expected
    voted = merge.vote(batch, offsets_G1, member_M, np.array(votes, np.int64))
    assert len(voted.offsets_N1) == len(members) + 1
    for mask, group, n_votes in zip(strategies.to_bitmaps(voted), members, votes, strict=True):
        expected = np.sum([masks[row] for row in group], axis=0) >= n_votes
        np.testing.assert_array_equal(mask, expected)


@pytest.mark.usefixtures("each_backend")
def test_a_crowd() -> None:
    rng = np.random.default_rng(7)
    stack = rng.random((70, 30, 40)) < 0.3
    batch = strategies.to_batch(stack)
    for min_votes in (1, 17, 35, 70):
        runs = merge_one(batch, min_votes)
        expected = stack.sum(axis=0) >= min_votes
        assert oracle.to_string(runs) == oracle.encode(expected)


@pytest.mark.usefixtures("each_backend")
@pytest.mark.parametrize(
    ("group_offsets", "members", "votes", "message"),
    [
        ([0, 2], [0, 2], [1], "one size"),
        ([0, 0, 2], [0, 1], [1, 1], "at least one member"),
        ([0, 2], [0, 1], [0], "votes"),
        ([0, 2], [0, 1], [1, 1], "votes"),
        ([0, 2], [0, 3], [1], "row numbers"),
        ([0, 2], [0, -1], [1], "row numbers"),
        ([0, 3], [0, 1], [1], "offsets"),
        ([1, 2], [0, 1], [1], "offsets"),
        ([], [], [], "offsets"),
    ],
)
def test_broken_groups(
    group_offsets: list[int], members: list[int], votes: list[int], message: str
) -> None:
    batch = strategies.batch_of_runs([(2, 2), (2, 2), (1, 4)], [[4], [4], [4]])
    with pytest.raises(MaskError, match=message):
        merge.vote(batch, group_offsets, members, votes)


def test_any_counts_are_merged_without_harm() -> None:
    wild = [2**32 - 1] * 9
    batch = batch_of((2, 2), wild, [], [0, 0, 0, 0], [1, 2, 1], wild[:4])
    for min_votes in range(1, 7):
        merge_one(batch, min_votes)
    merge.clean(batch, 3, 3)


# --- Cleaning ------------------------------------------------------------------------------------


def clean_text(rows: list[str], min_part_area: int, max_hole_area: int) -> list[str]:
    mask = np.array([[char == "X" for char in row] for row in rows])
    cleaned = merge.clean(strategies.to_batch([mask]), min_part_area, max_hole_area)
    return ["".join(".X"[int(pixel)] for pixel in row) for row in strategies.to_bitmaps(cleaned)[0]]


def test_parts_hang_together_at_corners() -> None:
    rows = ["X...X", ".X...", "..X.."]
    assert clean_text(rows, 3, 0) == ["X....", ".X...", "..X.."]
    assert clean_text(rows, 4, 0) == ["....."] * 3


def test_parts_go_before_holes_are_filled() -> None:
    rows = ["XXXXX", "X...X", "X.X.X", "X...X", "XXXXX"]
    full = ["XXXXX"] * 5
    ring = ["XXXXX", "X...X", "X...X", "X...X", "XXXXX"]
    assert clean_text(rows, 2, 0) == ring
    assert clean_text(rows, 2, 8) == ring
    assert clean_text(rows, 2, 9) == full
    assert clean_text(rows, 1, 8) == full
    assert clean_text(rows, 17, 0) == ["....."] * 5


def test_holes_do_not_hang_together_at_corners_and_never_touch_the_border() -> None:
    rows = ["XXXX", "X.XX", "XX.X", "XXXX"]
    assert clean_text(rows, 0, 1) == ["XXXX"] * 4
    open_rows = ["XXX", "X.X", "X.X"]
    assert clean_text(open_rows, 0, 9) == open_rows


def test_a_run_over_a_column_end_is_two_pieces() -> None:
    # One run holds the last pixel of column 1 and the first of column 2: two parts.
    assert clean_text(["..X.", "....", ".X.."], 2, 0) == ["....", "....", "...."]
    # And as background: the end of one hole and the begin of open ground.
    rows = ["XX.X", "XXXX", "X.XX"]
    assert clean_text(rows, 0, 1) == rows


def test_long_runs_are_cleaned_without_being_cut_by_column() -> None:
    n = BIG**2
    batch = batch_of(
        (BIG, BIG), [0, n], [n], [BIG + 1, 1, n - BIG - 2], [0, BIG + 1, 1, n - BIG - 2]
    )
    cleaned = strategies.list_runs(merge.clean(batch, 2, 1))
    assert cleaned == [[0, n], [n], [n], [0, n]]
    wide = batch_of((1, 2**31 - 1), [0, 2**31 - 1], [3, 2**31 - 4])
    assert strategies.list_runs(merge.clean(wide, 2, 1)) == strategies.list_runs(wide)


def test_nothing_asked_for() -> None:
    batch = batch_of((2, 2), [1, 1, 2])
    assert merge.clean(batch, 0, 0) is batch
    assert merge.clean(batch, 1, 0) is batch
    assert strategies.list_runs(merge.clean(batch, 10**30, 10**30)) == [[4]]
    assert len(merge.clean(empty_batch(), 5, 5).size_hw_N2) == 0
    for limits in ((-1, 0), (0, -1)):
        with pytest.raises(MaskError, match="areas"):
            merge.clean(batch, *limits)


@given(strategies.images(), st.integers(0, 30), st.integers(0, 30))
@example([(np.indices((1, 6, 9)).sum(axis=0) % 2).astype(bool)], 2, 1)
@settings(max_examples=120)
def test_clean_parity(stacks: list[Any], min_part_area: int, max_hole_area: int) -> None:
    masks = strategies.flat(stacks)
    cleaned = merge.clean(strategies.to_batch(masks), min_part_area, max_hole_area)
    for mask, result in zip(masks, strategies.to_bitmaps(cleaned), strict=True):
        np.testing.assert_array_equal(result, dense_clean(mask, min_part_area, max_hole_area))
    again = merge.clean(cleaned, min_part_area, max_hole_area)
    assert strategies.list_runs(again) == strategies.list_runs(cleaned)
