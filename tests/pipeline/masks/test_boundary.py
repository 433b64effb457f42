"""Boundary IoU by hand, and against the plain definition on pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import MaskError
from pipeline.masks import boundary
from pipeline.masks.batch import MaskBatch
from pipeline.report.outline import read_masks
from tests import oracle
from tests.strategies import bitmaps_of


def batch(*bitmaps: np.ndarray) -> MaskBatch:
    return read_masks([oracle.encode(one).decode() for one in bitmaps], *bitmaps[0].shape)


def slow_boundary(mask: np.ndarray, d: int) -> np.ndarray:
    """Pixels of the mask with background, or the outside, within d in any direction."""
    padded = np.pad(mask, d)
    eroded = np.ones_like(mask)
    for dy in range(2 * d + 1):
        for dx in range(2 * d + 1):
            eroded &= padded[dy : dy + mask.shape[0], dx : dx + mask.shape[1]]
    return mask & ~eroded


def slow(first: np.ndarray, second: np.ndarray, d: int) -> float:
    a, b = slow_boundary(first, d), slow_boundary(second, d)
    return (a & b).sum() / (a | b).sum() if (a | b).any() else 1.0


def test_worked_example() -> None:
    first, second = np.zeros((9, 9), bool), np.zeros((9, 9), bool)
    first[2:7, 1:6] = True
    second[2:7, 1:7] = True
    assert boundary.boundary_iou(batch(first), batch(second)).tolist() == [13 / 21]


def test_width_is_that_of_its_authors() -> None:
    sizes = np.array([[480, 640], [9, 9], [1080, 1920], [60, 80]], np.int32)
    assert boundary.boundary_width(sizes).tolist() == [16, 1, 44, 2]


@settings(max_examples=150, deadline=None)
@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    data=st.data(),
)
def test_same_as_pixels_at_one_pixel(size: tuple[int, int], data: st.DataObject) -> None:
    first, second = data.draw(bitmaps_of(size)), data.draw(bitmaps_of(size))
    found = boundary.boundary_iou(batch(first), batch(second))
    assert found[0] == pytest.approx(slow(first, second, 1))


def test_same_as_pixels_at_more() -> None:
    rng = np.random.default_rng(0)
    size = (70, 110)  # d = 3
    masks: list[np.ndarray] = []
    for _ in range(20):
        mask = np.zeros(size, bool)
        for _ in range(3):
            y, x, h, w = *rng.integers(0, 60, 2), *rng.integers(1, 60, 2)
            mask[y : y + h, x : x + w] = True
        masks.append(mask ^ (rng.random(size) < 0.002))
    firsts, seconds = masks[:10], masks[10:]
    found = boundary.boundary_iou(batch(*firsts), batch(*seconds))
    expected = [slow(a, b, 3) for a, b in zip(firsts, seconds, strict=True)]
    assert found.tolist() == pytest.approx(expected)
    assert boundary.boundary_iou(batch(*firsts), batch(*firsts)).tolist() == [1.0] * 10


def test_empty_masks() -> None:
    none, some = np.zeros((3, 4), bool), np.ones((3, 4), bool)
    found = boundary.boundary_iou(batch(none, none, some), batch(none, some, none))
    assert found.tolist() == [1.0, 0.0, 0.0]
    nothing = MaskBatch(np.zeros((0, 2), np.int32), np.zeros(0, np.uint32), np.zeros(1, np.int64))
    assert boundary.boundary_iou(nothing, nothing).tolist() == []


def test_pairs_of_other_sizes_are_refused() -> None:
    with pytest.raises(MaskError, match="expected pairs of masks of one size"):
        boundary.boundary_iou(batch(np.ones((2, 3), bool)), batch(np.ones((3, 2), bool)))
