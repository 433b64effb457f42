"""Pairs and their overlap equal what dense masks and all pairs give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.errors import ConfigError, MaskError
from pipeline.masks import overlap
from pipeline.masks.batch import MaskBatch
from tests import oracle, strategies

Bitmap = NDArray[np.bool_]


def boxes_of(masks: list[Bitmap]) -> NDArray[np.int64]:
    boxes = [oracle.to_bbox(mask.shape, oracle.encode(mask)) for mask in masks]
    return np.array(boxes, np.int64).reshape(-1, 4)


def areas_of(masks: list[Bitmap]) -> NDArray[np.int64]:
    return np.array([mask.sum() for mask in masks], np.int64)


def all_pairs(n: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    i, j = np.indices((n, n)).reshape(2, -1)
    return i.astype(np.int64), j.astype(np.int64)


def test_worked_example_of_the_docstring() -> None:
    lines = (overlap.__doc__ or "").split("``")
    drawings = [line for line in lines if set(line) <= {"X", ".", " "} and "X" in line]
    masks = np.array([[[pixel == "X" for pixel in drawing.split()]] for drawing in drawings])
    assert masks.shape == (2, 1, 6)
    batch = strategies.to_batch(masks)
    shared = overlap.matched_intersection(batch, np.array([0]), np.array([1]))
    four = np.array([4])
    assert shared.tolist() == [3]
    assert overlap.matched_iou(shared, four, four).tolist() == [0.6]
    assert overlap.matched_ios(shared, four, four).tolist() == [0.75]


@settings(max_examples=80)
@given(strategies.bitmap_stacks(max_masks=7))
def test_intersections_equal_those_of_pixels(masks: Bitmap) -> None:
    batch = strategies.to_batch(masks)
    i_P, j_P = all_pairs(len(masks))
    shared_P = overlap.matched_intersection(batch, i_P, j_P)
    assert shared_P.dtype == np.int64
    expected = [int((masks[i] & masks[j]).sum()) for i, j in zip(i_P, j_P, strict=True)]
    assert shared_P.tolist() == expected


@settings(max_examples=40)
@given(strategies.bitmap_stacks(min_masks=1, max_masks=5))
def test_ratios_equal_pycocotools(masks: Bitmap) -> None:
    batch = strategies.to_batch(masks)
    strings = [oracle.encode(mask) for mask in masks]
    i_P, j_P = all_pairs(len(masks))
    shared_P = overlap.matched_intersection(batch, i_P, j_P)
    area_N = areas_of(list(masks))
    iou_P = overlap.matched_iou(shared_P, area_N[i_P], area_N[j_P])
    iou_NN = oracle.iou(masks[0].shape, strings, strings)
    # pycocotools divides two empty masks' 0 by 0.
    expected = np.where(area_N[i_P] + area_N[j_P] > 0, iou_NN[i_P, j_P], 0.0)
    np.testing.assert_array_equal(iou_P, expected)
    smaller_P = np.minimum(area_N[i_P], area_N[j_P])
    ios_P = overlap.matched_ios(shared_P, area_N[i_P], area_N[j_P])
    expected_ios = [a / b if b else 0.0 for a, b in zip(shared_P, smaller_P, strict=True)]
    assert ios_P.tolist() == expected_ios


def test_intersections_of_no_pairs_and_no_masks() -> None:
    none = np.zeros(0, np.int64)
    assert overlap.matched_intersection(strategies.to_batch([]), none, none).tolist() == []
    assert overlap.matched_iou(none, none, none).tolist() == []


def test_intersections_in_the_largest_image() -> None:
    size_hw = (46_340, 46_340)
    n = size_hw[0] * size_hw[1]
    batch = strategies.batch_of_runs([size_hw] * 3, [[0, n], [n - 5, 5], [5, n - 5]])
    shared_P = overlap.matched_intersection(batch, np.array([0, 0, 1]), np.array([1, 2, 2]))
    assert shared_P.tolist() == [5, n - 5, 5]


def test_masks_that_break_the_contract_are_refused() -> None:
    one = np.array([0])
    short = MaskBatch(np.array([[2, 2]], np.int32), np.array([3], np.uint32), np.array([0, 1]))
    with pytest.raises(MaskError, match="mask 0"):
        overlap.matched_intersection(short, one, one)
    two = strategies.to_batch([np.ones((2, 3), bool), np.ones((3, 2), bool)])
    with pytest.raises(MaskError, match="same height and width"):
        overlap.matched_intersection(two, one, np.array([1]))
    with pytest.raises(MaskError, match="pairs"):
        overlap.matched_intersection(two, one, np.array([2]))
    with pytest.raises(MaskError, match="pairs"):
        overlap.matched_intersection(two, one, np.array([-1]))
    with pytest.raises(MaskError, match="pairs"):
        overlap.matched_intersection(two, one, np.zeros(2, np.int64))


def expected_pairs(
    masks: list[Bitmap],
    image_N: list[int],
    category_N: list[int],
    is_crowd_N: list[bool],
    threshold: float | None,
    kind: str,
) -> list[tuple[int, int]]:
    """All pairs that boxes and areas leave, one by one."""
    box, area = boxes_of(masks).tolist(), areas_of(masks).tolist()
    pairs: list[tuple[int, int]] = []
    for i in range(len(masks)):
        for j in range(i + 1, len(masks)):
            if image_N[i] != image_N[j] or category_N[i] != category_N[j]:
                continue
            if is_crowd_N[i] or is_crowd_N[j] or not area[i] or not area[j]:
                continue
            wide = min(box[i][0] + box[i][2], box[j][0] + box[j][2]) - max(box[i][0], box[j][0])
            high = min(box[i][1] + box[i][3], box[j][1] + box[j][3]) - max(box[i][1], box[j][1])
            most = min(area[i], area[j], max(wide, 0) * max(high, 0))
            whole = min(area[i], area[j]) if kind == "ios" else area[i] + area[j] - most
            if most > 0 and (threshold is None or most / whole >= threshold):
                pairs.append((i, j))
    return pairs


@pytest.mark.parametrize("grid_from", [1024, 2])
def test_candidates_are_all_pairs_that_boxes_and_areas_leave(
    grid_from: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overlap, "GRID_FROM", grid_from)

    @settings(max_examples=80)
    @given(
        st.lists(strategies.bitmap_stacks(max_masks=8), max_size=3),
        st.sampled_from([None, 0.1, 0.5, 0.8, 1.0]),
        st.sampled_from(["iou", "ios"]),
        st.data(),
    )
    def compare(stacks: list[Bitmap], threshold: float | None, kind: Any, data: st.DataObject):
        masks = strategies.flat(stacks)
        n = len(masks)
        image_N = [g for g, stack in enumerate(stacks) for _ in stack]
        offsets = np.concatenate([[0], np.cumsum([len(stack) for stack in stacks])])
        category = data.draw(st.lists(st.sampled_from([4, 4, 9]), min_size=n, max_size=n))
        crowd = data.draw(st.lists(st.sampled_from([False] * 6 + [True]), min_size=n, max_size=n))
        i_P, j_P = overlap.candidate_pairs(
            boxes_of(masks),
            areas_of(masks),
            offsets.astype(np.int64),
            np.array(category, np.int64),
            np.array(crowd, bool),
            threshold=threshold,
            overlap=kind,
        )
        assert i_P.dtype == j_P.dtype == np.int64
        expected = expected_pairs(masks, image_N, category, crowd, threshold, kind)
        assert list(zip(i_P.tolist(), j_P.tolist(), strict=True)) == expected

    compare()


@settings(max_examples=40)
@given(strategies.bitmap_stacks(min_masks=2, max_masks=7), st.sampled_from([0.3, 0.5, 1.0]))
def test_no_pair_that_reaches_the_threshold_is_left_out(masks: Bitmap, threshold: float) -> None:
    area_N = areas_of(list(masks))
    i_P, j_P = all_pairs(len(masks))
    shared_P = overlap.matched_intersection(strategies.to_batch(masks), i_P, j_P)
    for kind, ratio in (("iou", overlap.matched_iou), ("ios", overlap.matched_ios)):
        ratio_P = ratio(shared_P, area_N[i_P], area_N[j_P])
        reached = {
            (i, j)
            for i, j in zip(i_P[ratio_P >= threshold], j_P[ratio_P >= threshold], strict=True)
            if i < j
        }
        listed = overlap.candidate_pairs(
            boxes_of(list(masks)),
            area_N,
            np.array([0, len(masks)]),
            threshold=threshold,
            overlap=kind,
        )
        assert reached <= set(zip(*(column.tolist() for column in listed), strict=True))


def test_a_crowd_needs_no_square_of_pairs() -> None:
    rng = np.random.default_rng(0)
    n, side = 20_000, 9_000
    sizes = np.concatenate([rng.integers(1, 60, (n - 20, 2)), rng.integers(1, side, (20, 2))])
    boxes = np.concatenate([(rng.random((n, 2)) * (side - sizes)).astype(np.int64), sizes], axis=1)
    i_P, j_P = overlap.candidate_pairs(boxes, sizes.prod(axis=1), np.array([0, n]), threshold=0.6)
    assert (i_P < j_P).all()
    assert 0 < len(i_P) < n
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    some = np.arange(0, n, 997)
    size_S2 = np.minimum(high[some, None], high) - np.maximum(low[some, None], low)
    shared = np.clip(size_S2, 0, None).prod(axis=2)
    area = boxes[:, 2] * boxes[:, 3]
    is_near = shared / (area[some, None] + area - shared) >= 0.6
    expected = {
        (min(i, j), max(i, j))
        for s, j in zip(*np.nonzero(is_near), strict=True)
        if (i := some[s]) != j
    }
    listed = set(zip(i_P.tolist(), j_P.tolist(), strict=True))
    assert {pair for pair in listed if set(pair) & set(some.tolist())} == expected


def test_candidates_that_break_the_contract_are_refused() -> None:
    boxes, areas, images = np.array([[0, 0, 2, 2]] * 2), np.array([4, 4]), np.array([0, 2])
    assert [column.tolist() for column in overlap.candidate_pairs(boxes, areas, images)] == [
        [0],
        [1],
    ]
    with pytest.raises(MaskError, match="hold the areas"):
        overlap.candidate_pairs(boxes, areas + 1, images)
    with pytest.raises(MaskError, match="boxes"):
        overlap.candidate_pairs(boxes - 1, areas, images)
    with pytest.raises(MaskError, match="boxes"):
        overlap.candidate_pairs(boxes[:1], areas, images)
    with pytest.raises(MaskError, match="image offsets"):
        overlap.candidate_pairs(boxes, areas, np.array([0, 1]))
    with pytest.raises(MaskError, match="category"):
        overlap.candidate_pairs(boxes, areas, images, np.zeros(1, np.int64))
    with pytest.raises(MaskError, match="category"):
        overlap.candidate_pairs(boxes, areas, images, None, np.zeros(3, bool))
    with pytest.raises(ConfigError, match="threshold"):
        overlap.candidate_pairs(boxes, areas, images, threshold=0.0)
    with pytest.raises(ConfigError, match="overlap"):
        overlap.candidate_pairs(boxes, areas, images, overlap="giou")  # pyright: ignore
