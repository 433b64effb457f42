"""Groups merged as they are found: the same masks as by pixels, by the sweep, and in any room."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.errors import ConfigError, MaskError
from pipeline.masks import group, group_merge
from pipeline.masks.group import group_masks
from pipeline.masks.group_merge import Merged, group_and_merge, merge_groups
from tests import oracle, strategies
from tests.grouping import Bitmap, Case, Image, case_of

FRACTIONS = (0.0, 0.3, 0.5, 1.0)


def one_category(stacks: list[Bitmap]) -> Case:
    return case_of(
        [Image(stack, [0] * len(stack), [False] * len(stack), [0] * len(stack)) for stack in stacks]
    )


def merge(case: Case, fraction: float, **options: Any) -> tuple[Any, Merged]:
    return group_and_merge(*case[:5], None, vote_fraction=fraction, **options)


def by_pixels(
    masks: list[Bitmap], leader_N: NDArray[np.int64], fraction: float
) -> dict[int, Bitmap]:
    """Return the mask of every group of two rows or more, by its leader."""
    found: dict[int, Bitmap] = {}
    for leader in np.unique(leader_N):
        members = [masks[n] for n in np.flatnonzero(leader_N == leader)]
        if len(members) > 1:
            votes = max(1, int(np.ceil(fraction * len(members))))
            found[int(leader)] = np.sum(members, axis=0) >= votes
    return found


def assert_right(case: Case, masks: list[Bitmap], fraction: float, **options: Any) -> Merged:
    grouping, merged = merge(case, fraction, **options)
    for one, other in zip(grouping, group_masks(*case[:5], None, **options), strict=True):
        assert np.array_equal(one, other)
    expected = by_pixels(masks, grouping.leader_N, fraction)
    assert merged.leader_K.tolist() == list(expected)
    assert strategies.list_strings(merged.strings) == [oracle.encode(m) for m in expected.values()]
    assert merged.area_K.tolist() == [int(m.sum()) for m in expected.values()]
    return merged


def pictures(*texts: str) -> Bitmap:
    return np.array([[[c == "X" for c in row] for row in text.split()] for text in texts])


@pytest.mark.usefixtures("each_backend")
def test_worked_example() -> None:
    stack = pictures("..XXX....", "....XXXXX", "..XXXXX..").transpose(0, 2, 1)
    case = one_category([stack])
    _, union = merge(case, 0.0, threshold=0.2, group="component")
    assert union.leader_K.tolist() == [0]
    assert strategies.list_strings(union.strings) == [oracle.to_string([2, 7])]
    _, vote = merge(case, 0.5, threshold=0.2, group="component")
    assert strategies.list_strings(vote.strings) == [oracle.to_string([2, 5, 2])]
    assert vote.area_K.tolist() == [5]


@pytest.mark.usefixtures("each_backend")
@settings(max_examples=150)
@given(
    stacks=strategies.images(max_images=3, max_masks=6),
    fraction=st.sampled_from(FRACTIONS),
    overlap=st.sampled_from(["iou", "ios"]),
    kind=st.sampled_from(["leader", "component"]),
    threshold=st.sampled_from([0.05, 0.3, 0.8]),
)
def test_any_masks_are_merged_as_their_pixels(
    stacks: list[Bitmap], fraction: float, overlap: str, kind: str, threshold: float
) -> None:
    options = {"overlap": overlap, "group": kind, "threshold": threshold}
    assert_right(one_category(stacks), strategies.flat(stacks), fraction, **options)


def alike(rng: np.random.Generator, n: int, h: int, w: int) -> Bitmap:
    """Blobs with holes and specks that nearly fill their image: one group."""
    y, x = np.mgrid[:h, :w]
    radius = 1 + rng.normal(0, 0.05, (n, 2))
    blob = ((2 * y / h - 1) / radius[:, :1, None]) ** 2 + (
        (2 * x / w - 1) / radius[:, 1:, None]
    ) ** 2 < 0.9
    return blob ^ (rng.random((n, h, w)) < 0.02)


@pytest.mark.usefixtures("each_backend")
@pytest.mark.parametrize("n_masks", [2, 3, 9, 40])
@pytest.mark.parametrize("fraction", FRACTIONS)
def test_alike_masks_and_many_votes(n_masks: int, fraction: float) -> None:
    rng = np.random.default_rng(n_masks)
    stacks = [alike(rng, n_masks, h, w) for h, w in ((30, 41), (7, 90), (64, 3), (1, 50), (50, 1))]
    case = one_category(stacks)
    merged = assert_right(case, strategies.flat(stacks), fraction, threshold=0.3)
    assert len(merged.leader_K) >= 3


@pytest.mark.usefixtures("each_backend")
def test_columns_that_are_full_run_on() -> None:
    full = np.ones((3, 5, 4), bool)
    full[1, :, 0] = False
    full[2, 4, 3] = False
    merged = assert_right(one_category([full]), list(full), 0.0, threshold=0.3)
    assert strategies.list_strings(merged.strings) == [oracle.to_string([0, 20])]
    assert_right(one_category([full]), list(full), 0.6, threshold=0.3)


@pytest.mark.usefixtures("each_backend")
def test_a_vote_may_leave_nothing() -> None:
    stack = pictures("XX..", ".XX.", "..XX").transpose(0, 2, 1)
    options = {"threshold": 0.3, "group": "component"}
    merged = assert_right(one_category([stack]), list(stack), 1.0, **options)
    assert merged.area_K.tolist() == [0]
    assert strategies.list_strings(merged.strings) == [oracle.to_string([4])]


def test_what_does_not_fit_is_merged_by_the_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    swept: list[int] = []

    def spy(*args: Any, leader_K: NDArray[np.int64]) -> Merged:
        swept.extend(leader_K.tolist())
        return merge_groups(*args, leader_K=leader_K)

    monkeypatch.setattr(group_merge, "merge_groups", spy)
    # Taller than any profile: no mask of this image has one.
    tall = np.zeros((3, 32_768, 2), bool)
    tall[:, 5:900] = True
    tall[1, 7] = tall[2, 700:720] = False
    # A chain across an image: wide for its members.
    chain = np.zeros((40, 3, 400), bool)
    for n in range(40):
        chain[n, :, 8 * n : 8 * n + 20] = True
    rng = np.random.default_rng(0)
    stacks = [tall, alike(rng, 4, 20, 20), chain, tall[:2]]
    options = {"threshold": 0.3, "group": "component"}
    for fraction in FRACTIONS:
        swept.clear()
        merged = assert_right(one_category(stacks), strategies.flat(stacks), fraction, **options)
        assert swept == [0, 7, 47]
        assert merged.leader_K.tolist() == [0, 3, 7, 47]


@pytest.mark.parametrize("fraction", FRACTIONS)
def test_room_grows(fraction: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group, "MIN_TEXT_BYTES", 0)
    monkeypatch.setattr(group, "_arena_words", lambda offsets_N1, images_G1: 40)
    rng = np.random.default_rng(1)
    stacks = [
        np.concatenate([np.roll(alike(rng, 3, 20, 90), 30 * n, axis=2) for n in range(2)])
        for _ in range(4)
    ]
    assert_right(one_category(stacks), strategies.flat(stacks), fraction, threshold=0.5)


def test_the_sweep_gives_the_same() -> None:
    rng = np.random.default_rng(2)
    stacks = [alike(rng, 12, 40, 50), alike(rng, 1, 9, 9), alike(rng, 5, 60, 20)]
    case = one_category(stacks)
    for fraction in FRACTIONS:
        grouping, merged = merge(case, fraction, threshold=0.3)
        swept = merge_groups(case.strings, case.size_hw_N2, grouping.leader_N, fraction)
        for one, other in zip(merged, swept, strict=True):
            for array, expected in zip(one, other, strict=True):
                assert np.array_equal(array, expected)


@pytest.mark.usefixtures("each_backend")
def test_no_rows_and_no_groups() -> None:
    none = one_category([])
    alone = one_category([pictures("X..", "..X")])
    for case in (none, alone):
        _, merged = merge(case, 0.0, threshold=0.5)
        assert merged.leader_K.tolist() == []
        assert merged.strings.offsets_N1.tolist() == [0]


@pytest.mark.usefixtures("each_backend")
def test_crowds_and_other_categories_are_in_no_group() -> None:
    stack = pictures("XXX", "XXX", "XX.", "XXX")
    image = Image(stack, [0, 0, 0, 1], [False, True, False, False], [0] * 4)
    _, merged = merge(case_of([image]), 0.0, threshold=0.5)
    assert merged.leader_K.tolist() == [0]
    assert strategies.list_strings(merged.strings) == [oracle.encode(stack[0])]


@pytest.mark.usefixtures("each_backend")
def test_bad_arguments() -> None:
    case = one_category([pictures("X.", "X.")])
    for fraction in (-0.1, 1.1, float("nan")):
        with pytest.raises(ConfigError, match="vote_fraction"):
            merge(case, fraction, threshold=0.5)
    broken = case._replace(strings=strategies.strings_of([b"~", b"~"]))
    with pytest.raises(MaskError, match="row 0"):
        merge(broken, 0.0, threshold=0.5)
