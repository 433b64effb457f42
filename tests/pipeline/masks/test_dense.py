"""Pixels to runs on the CPU, against the oracle and against a paste by the rule's formula."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import MaskError
from pipeline.masks import dense
from pipeline.masks.batch import MaskBatch
from tests import oracle, strategies


def assert_same(found: MaskBatch, expected: MaskBatch) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


@pytest.mark.usefixtures("each_backend")
def test_worked_example() -> None:
    bitmap = np.array([[0, 1, 1], [0, 1, 0], [0, 0, 0]], bool)
    for batch in (
        dense.from_bitmaps(bitmap[None]),
        dense.from_packed(np.packbits(bitmap[None], axis=-1), 3),
    ):
        assert strategies.list_runs(batch) == [[3, 2, 1, 1, 2]]
        assert [array.dtype for array in batch] == [np.int32, np.uint32, np.int64]


@pytest.mark.usefixtures("each_backend")
@given(stack=strategies.bitmap_stacks(max_side=90))
@settings(max_examples=80)
def test_bitmaps_parity(stack: Any) -> None:
    expected = strategies.to_batch(stack)
    if len(stack) == 0:
        expected = dense.from_bitmaps(np.zeros((0, 1, 1), bool))
        assert expected.offsets_N1.tolist() == [0]
    assert_same(dense.from_bitmaps(stack), expected)
    # Any value but 0 is foreground, and two such pixels are no change.
    grey = np.where(stack, np.arange(1, stack.size + 1).reshape(stack.shape) % 255 + 1, 0)
    assert_same(dense.from_bitmaps(grey.astype(np.uint8)), expected)
    columns_first = np.ascontiguousarray(stack.transpose(0, 2, 1)).transpose(0, 2, 1)
    assert_same(dense.from_bitmaps(columns_first), expected)
    bits = np.packbits(stack, axis=-1)
    assert_same(dense.from_packed(bits, stack.shape[2]), expected)
    if stack.shape[2] % 8:
        bits[:, :, -1] |= 2 ** (-stack.shape[2] % 8) - 1
        assert_same(dense.from_packed(bits, stack.shape[2]), expected)


@pytest.mark.usefixtures("each_backend")
def test_more_runs_than_there_was_room_for() -> None:
    stack = np.indices((5, 70, 70)).sum(axis=0) % 2 == 0
    stack[1] = False
    assert_same(dense.from_bitmaps(stack), strategies.to_batch(stack))


@pytest.mark.usefixtures("each_backend")
@pytest.mark.parametrize(
    ("bitmaps", "message"),
    [
        (np.zeros((2, 2), bool), "shape"),
        (np.zeros((1, 2, 2), np.int64), "int64"),
        (np.zeros((1, 0, 2), bool), "h\\*w"),
    ],
)
def test_broken_bitmaps_are_refused(bitmaps: Any, message: str) -> None:
    with pytest.raises(MaskError, match=message):
        dense.from_bitmaps(bitmaps)


@pytest.mark.usefixtures("each_backend")
def test_broken_bits_are_refused() -> None:
    for bits, width in ((np.zeros((1, 2, 2), np.uint8), 8), (np.zeros((1, 2, 1), bool), 8)):
        with pytest.raises(MaskError, match="expected uint8"):
            dense.from_packed(bits, width)


# --- Soft masks ----------------------------------------------------------------------------------


def paste(soft: Any, box: Any, size_hw: tuple[int, int]) -> Any:
    """Sample a soft mask at all pixel centres, in float64, zeros around it."""
    sides: list[Any] = []
    for side, start, end, n_cells in (
        (size_hw[0], box[1], box[3], soft.shape[0]),
        (size_hw[1], box[0], box[2], soft.shape[1]),
    ):
        cell = (np.arange(side) + 0.5 - start) / (end - start) * n_cells - 0.5
        # Weight of each cell at each pixel: a hat one cell wide on either side.
        sides.append(np.maximum(0, 1 - np.abs(cell[:, None] - np.arange(n_cells))))
    return sides[0] @ soft.astype(np.float64) @ sides[1].T


@st.composite
def soft_masks(draw: st.DrawFn) -> tuple[Any, Any, Any]:
    """Draw soft masks, boxes (some beyond the image, some none at all) and image sizes."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_masks = draw(st.integers(0, 4))
    shape = (n_masks, draw(st.sampled_from([1, 5, 28])), draw(st.sampled_from([1, 4, 28])))
    soft = random.random(shape, np.float32)
    if draw(st.booleans()):
        soft = np.round(soft)
    corner = random.uniform(-30, 50, (n_masks, 2))
    side = random.uniform(0.1, draw(st.sampled_from([2.0, 30.0, 300.0])), (n_masks, 2))
    boxes = np.concatenate([corner, corner + side], axis=1).astype(np.float32)
    if draw(st.booleans()):
        boxes = np.round(boxes)
    return soft, boxes, random.integers(1, 50, (n_masks, 2)).astype(np.int32)


@pytest.mark.usefixtures("each_backend")
@given(drawn=soft_masks(), threshold=st.sampled_from([0.3, 0.5, 0.9]))
@settings(max_examples=80)
def test_roi_parity(drawn: tuple[Any, Any, Any], threshold: float) -> None:
    soft, boxes, sizes_N2 = drawn
    batch = dense.from_roi(soft, boxes, sizes_N2, threshold=threshold)
    for n, mask in enumerate(strategies.to_bitmaps(batch)):
        x0, y0, x1, y1 = boxes[n].tolist()
        if x1 <= x0 or y1 <= y0:
            assert not mask.any()
            continue
        value = paste(soft[n], (x0, y0, x1, y1), mask.shape)
        differs = mask != (value >= threshold)
        assert np.all(np.abs(value[differs] - threshold) < 1e-4)


FOUR = np.array([[4, 4]], np.int32)


@pytest.mark.usefixtures("each_backend")
def test_roi_by_hand() -> None:
    # One cell over the box (1, 1)-(3, 3): 1 at its centre, falling to 0 one cell further.
    soft = np.ones((1, 1, 1), np.float32)
    box = np.array([[1, 1, 3, 3]], np.float32)
    batch = dense.from_roi(soft, box, FOUR)
    # Pixel centres are a quarter of a cell from the centre: (3/4)**2 = 0.5625.
    assert strategies.list_runs(batch) == [[5, 2, 2, 2, 5]]
    assert strategies.list_runs(dense.from_roi(soft, box, FOUR, threshold=0.5625)) == [
        [5, 2, 2, 2, 5]
    ]
    assert strategies.list_runs(dense.from_roi(soft, box, FOUR, threshold=0.563)) == [[16]]
    # Twice as large as the image: full columns are one run.
    wide = np.array([[-4, -4, 8, 8]], np.float32)
    assert strategies.list_runs(dense.from_roi(soft, wide, FOUR)) == [[0, 16]]


STRANGE = [np.nan, np.inf, -np.inf, 1e38, -1e38, 0.0, 5.0]


@pytest.mark.usefixtures("each_backend")
@given(
    box=st.lists(st.sampled_from(STRANGE), min_size=4, max_size=4),
    value=st.sampled_from([np.nan, np.inf, -np.inf, 1.0]),
)
@settings(max_examples=60)
def test_strange_numbers_give_masks(box: list[float], value: float) -> None:
    soft = np.full((1, 3, 3), value, np.float32)
    batch = dense.from_roi(soft, np.array([box], np.float32), np.array([[6, 7]], np.int32))
    assert sum(strategies.list_runs(batch)[0]) == 42
    strategies.to_bitmaps(batch)


@pytest.mark.usefixtures("each_backend")
def test_broken_rois_are_refused() -> None:
    soft, box, size = np.ones((1, 2, 2), np.float32), np.ones((1, 4), np.float32), FOUR
    for arguments, message in (
        ((soft[0], box, size), "dimension"),
        ((soft, box[:, :3], size), "boxes"),
        ((soft[:, :0], box, size), "soft masks"),
        ((soft, box, FOUR - 4), "sizes"),
        ((soft.astype(np.float64), box, size), "float32"),
    ):
        with pytest.raises(MaskError, match=message):
            dense.from_roi(*arguments)
    for threshold in (0.0, 1.5, float("nan")):
        with pytest.raises(MaskError, match="threshold"):
            dense.from_roi(soft, box, size, threshold=threshold)


@pytest.mark.usefixtures("each_backend")
def test_bitmaps_are_those_of_the_oracle() -> None:
    stack = np.random.default_rng(1).random((3, 33, 65)) < 0.5
    runs = strategies.list_runs(dense.from_bitmaps(stack))
    assert [oracle.to_string(one) for one in runs] == [oracle.encode(mask) for mask in stack]
