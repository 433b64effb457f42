"""Grouping equals a dense, pairwise model, under every policy and without any pruning."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.errors import ConfigError, MaskError
from pipeline.masks import _numba_group_numbers as numbers
from pipeline.masks import _numba_group_work as work
from pipeline.masks import group
from pipeline.masks._numba_group_pairs import least_shared
from pipeline.masks.group import Grouping
from tests import oracle, strategies
from tests.grouping import Bitmap, Image, case_of, model, run, strings_case, unpruned

THRESHOLDS = (0.05, 0.25, 1 / 3, 0.5, 2 / 3, 0.75, 0.8, 0.95, 1.0)


@st.composite
def crowded_stacks(draw: st.DrawFn, max_masks: int, max_side: int) -> Bitmap:
    """Masks of which many are copies of earlier ones, as they are or with a part changed."""
    masks = list(draw(strategies.bitmap_stacks(0, 4, max_side)))
    while masks and len(masks) < max_masks and draw(st.booleans()):
        mask = masks[draw(st.integers(0, len(masks) - 1))].copy()
        if draw(st.integers(0, 2)):
            y = draw(st.integers(0, mask.shape[0] - 1))
            x = draw(st.integers(0, mask.shape[1] - 1))
            mask[y : y + draw(st.integers(1, 3)), x : x + draw(st.integers(1, 3))] = draw(
                st.booleans()
            )
        masks.append(mask)
    return np.array(masks, bool).reshape(len(masks), *(masks[0].shape if masks else (1, 1)))


@st.composite
def images(draw: st.DrawFn, max_images: int = 3, max_masks: int = 12, max_side: int = 24) -> Any:
    """Images whose rows mostly compare."""
    drawn: list[Image] = []
    for masks in draw(st.lists(crowded_stacks(max_masks, max_side), max_size=max_images)):
        n = len(masks)

        def each(values: Sequence[Any], n: int = n) -> Any:
            return draw(st.lists(st.sampled_from(values), min_size=n, max_size=n))

        drawn.append(Image(masks, each([0, 0, 0, 3]), each([False] * 9 + [True]), each([7, 7, 8])))
    return drawn


policies = st.fixed_dictionaries(
    {
        "across": st.booleans(),
        "threshold": st.sampled_from(THRESHOLDS),
        "overlap": st.sampled_from(["iou", "ios"]),
        "group": st.sampled_from(["leader", "component"]),
    }
)


def row(*masks: str) -> Bitmap:
    """Masks of one row, drawn as in the docstrings."""
    return np.array([[[pixel == "X" for pixel in mask.split()]] for mask in masks])


def alone(masks_NHW: Bitmap) -> list[Image]:
    """One image of one category and source."""
    n = len(masks_NHW)
    return [Image(masks_NHW, [0] * n, [False] * n, [0] * n)]


def check(drawn: Sequence[Image], grouping: Grouping, policy: dict[str, Any]) -> None:
    expected = model(drawn, **policy)
    for name, column, values in zip(Grouping._fields, grouping, expected, strict=False):
        assert column.tolist() == values, name
    assert grouping.n_walked_pairs <= grouping.n_candidate_pairs


@pytest.mark.usefixtures("each_backend")
def test_worked_example_of_the_docstring() -> None:
    lines = [line for line in (group.__doc__ or "").splitlines() if line.startswith("    row ")]
    masks = row(*(" ".join(line.split()[2:8]) for line in lines))
    case = case_of(alone(masks))
    by_leader = run(case, group="leader")
    assert by_leader.leader_N.tolist() == by_leader.linked_N.tolist() == [0, 0, 2, 0]
    assert by_leader.intersection_N.tolist() == [4, 3, 4, 4]
    by_component = run(case, group="component")
    assert by_component.leader_N.tolist() == [0, 0, 0, 0]
    assert by_component.linked_N.tolist() == [0, 0, 1, 0]
    assert by_component.intersection_N.tolist() == [4, 3, 2, 4]
    for grouping in (by_leader, by_component):
        assert grouping.is_exact_duplicate_N.tolist() == [False, False, False, True]
        assert grouping.area_N.tolist() == [4, 4, 4, 4]


def test_worked_example_of_the_number_table() -> None:
    text = (numbers.__doc__ or "").split("``")
    chars = text[1].encode()
    table, steps = numbers.number_table()
    bits = sum((char > ord("O")) << n for n, char in enumerate(chars))
    assert bits == 0b1000
    n_numbers, n_chars = divmod(int(steps[bits]), 256)
    assert (n_numbers, n_chars) == (6, 7)
    entry = table[bits * numbers.ENTRY_BYTES :][: numbers.ENTRY_BYTES]
    values: list[int] = []
    for k in range(n_numbers):
        places = [int(place) for place in (*entry[2 * k : 2 * k + 2], entry[16 + 2 * k])]
        groups = [chars[place] - 48 & 31 for place in places if place < 128]
        value = sum(group << 5 * n for n, group in enumerate(groups))
        sign = int(entry[32:].view(np.int16)[k])
        values.append((value ^ sign) - sign)
    assert values == [0, -1, 1, 28, -16, 7]


@pytest.mark.usefixtures("each_backend")
@settings(max_examples=120)
@given(images(), policies)
def test_equals_the_model(drawn: list[Image], policy: dict[str, Any]) -> None:
    check(drawn, run(case_of(drawn), **policy), policy)


@pytest.mark.usefixtures("each_backend")
@settings(max_examples=40)
@given(crowded_stacks(10, 70), policies)
def test_equals_the_model_on_larger_masks(masks: Bitmap, policy: dict[str, Any]) -> None:
    # Long enough strings for the reading of eight characters at once.
    drawn = [
        Image(masks, [0] * len(masks), [False] * len(masks), [k % 2 for k in range(len(masks))])
    ]
    check(drawn, run(case_of(drawn), **policy), policy)


@pytest.mark.parametrize(
    ("flags", "grid_from"),
    [
        (work.NO_AREA_BOUND, 1024),
        (work.NO_BOX_BOUND, 1024),
        (work.NO_AREA_BOUND | work.NO_BOX_BOUND, 1024),
        (work.NO_EARLY_STOP, 1024),
        (work.NO_DIGESTS, 1024),
        (work.NO_CLOSING, 1024),
        (work.NO_VECTORS, 1024),
        (0, 2),
        (work.NO_AREA_BOUND, 2),
        (work.NO_CLOSING | work.NO_DIGESTS, 2),
        (63, 1024),
    ],
)
def test_no_pruning_changes_a_result(flags: int, grid_from: int) -> None:
    @settings(max_examples=25)
    @given(images(), policies)
    def compare(drawn: list[Image], policy: dict[str, Any]) -> None:
        case = case_of(drawn)
        with_all = run(case, **policy)
        without = unpruned(case, policy, flags, grid_from)
        for name, a, b in zip(Grouping._fields[:5], with_all, without, strict=False):
            assert a.tolist() == b.tolist(), name
        assert without.n_candidate_pairs >= with_all.n_candidate_pairs

    compare()


def pile(n: int, height: int, width: int, seed: int = 0, noise: float = 0.02) -> Bitmap:
    """Jittered, noisy rectangles and ellipses."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    masks = np.zeros((n, height, width), bool)
    centre = rng.random((max(1, n // 3), 4)) * [height, width, height / 3, width / 3] + [0, 0, 2, 2]
    for k in range(n):
        cy, cx, ry, rx = centre[k % len(centre)] + rng.normal(0, 0.4, 4)
        masks[k] = ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 < 1
        masks[k] ^= rng.random((height, width)) < noise
    return masks


@pytest.mark.usefixtures("each_backend")
@pytest.mark.parametrize("group_by", ["leader", "component"])
@pytest.mark.parametrize("overlap", ["iou", "ios"])
@pytest.mark.parametrize("noise", [0.0, 0.03])
def test_piles_of_noisy_masks(group_by: str, overlap: str, noise: float) -> None:
    drawn = alone(pile(40, 90, 130, noise=noise))
    policy = {"across": False, "threshold": 0.7, "overlap": overlap, "group": group_by}
    grouping = run(case_of(drawn), **policy)
    check(drawn, grouping, policy)
    assert 1 < len(set(grouping.leader_N.tolist())) < 40
    by_grid = unpruned(case_of(drawn), policy, 0, 2)
    assert by_grid.n_candidate_pairs < 40 * 39 // 2
    assert all((a == b).all() for a, b in zip(grouping[:5], by_grid[:5], strict=True))


@pytest.mark.usefixtures("each_backend")
@pytest.mark.parametrize("overlap", ["iou", "ios"])
def test_thresholds_that_are_hit_exactly(overlap: str) -> None:
    # a = n pixels, b = its first m and others: every ratio of small numbers.
    for n in range(1, 12):
        for m in range(1, n + 1):
            for more in range(3):
                masks = np.zeros((2, 1, 40), bool)
                masks[0, 0, :n] = True
                masks[1, 0, n - m : n + more] = True
                whole = n + more if overlap == "iou" else min(n, m + more)
                at = float(Fraction(m, whole))
                case = case_of(alone(masks))
                hit = run(case, threshold=at, overlap=overlap)
                assert hit.leader_N.tolist() == [0, 0]
                if at < 1:
                    missed = run(case, threshold=float(np.nextafter(at, 2)), overlap=overlap)
                    assert missed.leader_N.tolist() == [0, 1]


@given(st.integers(1, 2**31 - 1), st.floats(0, 1, exclude_min=True))
@example(2**31 - 1, 1.0)
@example(2**31 - 1, 5e-324)
@example(1, 0.8)
def test_the_least_overlap_of_an_area_is_where_the_quotient_turns(
    area: int, threshold: float
) -> None:
    least = least_shared.py_func(area, threshold)
    assert 1 <= least <= area
    assert float(least) / float(area) >= threshold
    assert least == 1 or float(least - 1) / float(area) < threshold


@pytest.mark.usefixtures("each_backend")
def test_no_rows() -> None:
    grouping = run(case_of([]))
    assert all(len(column) == 0 for column in grouping[:5])
    assert grouping.n_candidate_pairs == grouping.n_walked_pairs == 0


@pytest.mark.usefixtures("each_backend")
def test_images_without_rows() -> None:
    case = case_of(alone(row("X X .", "X X .")))._replace(image_offsets_G1=np.array([0, 0, 2, 2]))
    assert run(case).leader_N.tolist() == [0, 0]


@pytest.mark.usefixtures("each_backend")
def test_empty_masks_overlap_nothing_and_lead() -> None:
    grouping = run(case_of(alone(row(". . .", ". . .", "X . ."))))
    assert grouping.leader_N.tolist() == [0, 1, 2]
    assert grouping.area_N.tolist() == [0, 0, 1]
    assert grouping.intersection_N.tolist() == [0, 0, 1]
    assert not grouping.is_exact_duplicate_N.any()


@pytest.mark.usefixtures("each_backend")
@pytest.mark.parametrize("n", [1, 2, 3, 50, 1000])
def test_identical_masks_are_found(n: int) -> None:
    grouping = run(strings_case([b"44"] * n, (4, 2)), threshold=1.0)
    assert not grouping.leader_N.any()
    assert grouping.is_exact_duplicate_N.tolist() == [False] + [True] * (n - 1)


def test_identical_masks_are_not_walked() -> None:
    n = 3000
    grouping = run(strings_case([b"44"] * n, (4, 2)), threshold=1.0)
    assert not grouping.leader_N.any()
    assert grouping.n_walked_pairs == 0
    assert grouping.n_candidate_pairs == n - 1


@pytest.mark.usefixtures("each_backend")
@pytest.mark.parametrize("group_by", ["leader", "component"])
def test_twins_across_sources(group_by: str) -> None:
    # Rows 0, 1, 2 are equal, of sources 0, 0, 1; row 3 reaches them, of source 1.
    masks = row("X X X .", "X X X .", "X X X .", "X X X X")
    images_ = [Image(masks, [0] * 4, [False] * 4, [0, 0, 1, 1])]
    policy = {"across": True, "threshold": 0.75, "overlap": "iou", "group": group_by}
    grouping = run(case_of(images_), **policy)
    check(images_, grouping, policy)
    expected = [0, 1, 0, 0] if group_by == "leader" else [0, 0, 0, 0]
    assert grouping.leader_N.tolist() == expected


@pytest.mark.usefixtures("each_backend")
def test_a_sparse_image_of_one_pixel_masks() -> None:
    size = (20_000, 20_000)
    strings = [
        oracle.to_string([k * 40_007, 1, size[0] * size[1] - k * 40_007 - 1]) for k in range(9)
    ]
    grouping = run(strings_case(strings + strings[:3], size))
    assert grouping.leader_N.tolist() == [*range(9), 0, 1, 2]
    assert grouping.area_N.tolist() == [1] * 12


@pytest.mark.usefixtures("each_backend")
@pytest.mark.parametrize(
    "size_hw",
    [
        (46_340, 46_340),
        (32_767, 65_536),
        (8_191, 262_000),
        (2**31 - 1, 1),
        (1, 2**31 - 1),
        (2, 2**30 - 1),
        (2**30 - 1, 2),
    ],
)
def test_images_of_nearly_2_to_the_31_pixels(size_hw: tuple[int, int]) -> None:
    n = size_hw[0] * size_hw[1]
    runs = [
        [0, n],
        [0, n - 1, 1],
        [1, n - 1],
        [n // 2, n // 4, n - n // 2 - n // 4],
        [n // 2 - 1, n // 4, n - n // 2 - n // 4 + 1],
        [n - 1, 1],
    ]
    grouping = run(strings_case([oracle.to_string(r) for r in runs], size_hw), threshold=0.8)
    assert grouping.area_N.tolist() == [n, n - 1, n - 1, n // 4, n // 4, 1]
    assert grouping.leader_N.tolist() == [0, 0, 0, 3, 3, 5]
    assert grouping.intersection_N.tolist() == [n, n - 1, n - 1, n // 4, n // 4 - 1, 1]


@pytest.mark.usefixtures("each_backend")
@pytest.mark.parametrize("shape", [(300, 300), (9_000, 40), (130, 500), (2, 4_000)])
def test_masks_of_half_as_many_runs_as_pixels(shape: tuple[int, int]) -> None:
    board = np.indices(shape).sum(axis=0) % 2 == 0
    if shape[0] % 2 == 0:
        # Equal colours would meet at the ends of even columns.
        board[:, 1::2] = board[:, ::2]
    changed = board.copy()
    changed[: shape[0] // 20 + 1] ^= True
    grouping = run(case_of(alone(np.stack([board, changed, ~board, board]))), threshold=0.8)
    assert grouping.leader_N.tolist()[::3] == [0, 0]
    assert grouping.area_N[0] == board.sum()
    shared = int((board & changed).sum())
    is_reached = shared / (board | changed).sum() >= 0.8
    assert grouping.leader_N[1] == (0 if is_reached else 1)
    if is_reached:
        assert grouping.intersection_N[1] == shared


@pytest.mark.usefixtures("each_backend")
def test_runs_over_many_columns() -> None:
    rng = np.random.default_rng(3)
    masks = np.zeros((30, 7, 3000), bool)
    for mask in masks:
        flat = mask.T.reshape(-1)
        for _ in range(rng.integers(1, 5)):
            start = rng.integers(0, flat.size)
            flat[start : start + rng.integers(1, 9000)] = True
        mask[:] = flat.reshape(3000, 7).T
    for overlap in ("iou", "ios"):
        policy = {"across": False, "threshold": 0.4, "overlap": overlap, "group": "leader"}
        check(alone(masks), run(case_of(alone(masks)), **policy), policy)


@pytest.mark.usefixtures("each_backend")
def test_no_two_masks_overlap() -> None:
    masks = np.zeros((60, 60, 60), bool)
    for k in range(60):
        masks[k, k, :] = True
    grouping = run(case_of(alone(masks)), threshold=0.01)
    assert grouping.leader_N.tolist() == list(range(60))
    assert grouping.n_candidate_pairs == 0


def test_an_arena_that_is_too_small_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = alone(pile(30, 60, 90, noise=0.01)) + alone(pile(20, 70, 50, seed=1))
    expected = run(case_of(drawn), threshold=0.7)
    monkeypatch.setattr(group, "_arena_words", lambda offsets, images_: 1)
    grouping = run(case_of(drawn), threshold=0.7)
    assert all((a == b).all() for a, b in zip(expected[:5], grouping[:5], strict=True))


@pytest.mark.usefixtures("each_backend")
def test_categories_need_not_be_dense() -> None:
    case = case_of(alone(row("X X .", "X X .", "X X .")))
    case = case._replace(category_N=np.array([2**62, -5, 2**62]))
    assert run(case).leader_N.tolist() == [0, 1, 0]


@pytest.mark.usefixtures("each_backend")
def test_what_breaks_the_contract_is_refused() -> None:
    case = case_of(alone(row("X X .", "X X .")))
    sizes = np.array([[1, 3], [3, 1]], np.int32)
    with pytest.raises(MaskError, match="row 1"):
        run(case._replace(size_hw_N2=sizes))
    with pytest.raises(MaskError, match="image offsets"):
        run(case._replace(image_offsets_G1=np.array([0, 1])))
    with pytest.raises(MaskError, match="category, is_crowd and source"):
        run(case._replace(category_N=np.zeros(1, np.int64)))
    with pytest.raises(MaskError, match="category, is_crowd and source"):
        run(case._replace(source_N=np.zeros(1, np.int32)), across=True)
    for threshold in (0.0, -1.0, 1.5, float("nan")):
        with pytest.raises(ConfigError, match="threshold"):
            run(case, threshold=threshold)
    with pytest.raises(ConfigError, match="overlap"):
        run(case, overlap="iuo")
    with pytest.raises(ConfigError, match="group"):
        run(case, group="none")
