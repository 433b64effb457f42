"""Pixels to runs: dense bitmaps, packed bits, and the soft masks of a detector's mask head.

Worked example, a bitmap as it lies in memory and its runs::

    . X X        rows below each other differ at (y=1, x=2) and at (y=2, x=1);
    . X .        the top of a column differs from the bottom of the column before
    . . .        it at x=1 and x=2: changes at 3, 5, 6, 7, counts [3, 2, 1, 1, 2]

A mask head gives a small square of probabilities for each box. By detectron2's
rule (`paste_masks_in_image`) a pixel's centre is mapped into the box, the square
is sampled there bilinearly with zeros around it, and what reaches the threshold is
foreground. Here that is done in float32, each product and sum rounded for itself,
in one order, on every backend; detectron2's own sums may be fused, so that a value
within a few units in the last place of the threshold can fall on the other side.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.errors import MaskError
from pipeline.masks import _numba_dense, _numba_rle
from pipeline.masks._checks import frozen, frozen_sizes
from pipeline.masks.batch import MaskBatch

RUNS_TO_START_WITH = 256
"""Room for runs of each mask; doubled whenever it does not do."""


def from_bitmaps(bitmaps_NHW: NDArray[np.bool_] | NDArray[np.uint8]) -> MaskBatch:
    """Run-length encode dense masks of one size, as they lie in memory.

    Parameters
    ----------
    bitmaps_NHW : bool or uint8 (N, H, W)
        Foreground where not 0; copied only where it is not C-contiguous.

    Returns
    -------
    MaskBatch
        Canonical runs. No masks in, none out. Cost: a word for 8 pixels, and the changes.

    Raises
    ------
    MaskError
        Where dtype or shape are others, or H x W is no image size.
    """
    if bitmaps_NHW.ndim != 3 or bitmaps_NHW.dtype not in (np.dtype(bool), np.dtype(np.uint8)):
        raise MaskError(
            f"expected bool or uint8 of shape (N, H, W), got {bitmaps_NHW.dtype} of shape "
            f"{bitmaps_NHW.shape}"
        )
    n_masks, height, width = bitmaps_NHW.shape
    flat_B = np.ascontiguousarray(bitmaps_NHW).view(np.uint8).reshape(-1)
    return _read(flat_B, n_masks, height, width, width, is_packed=False)


def from_packed(bits_NHB: NDArray[np.uint8], width: int) -> MaskBatch:
    """Run-length encode masks of one size that hold eight pixels a byte.

    Parameters
    ----------
    bits_NHB : uint8 (N, H, ceil(width / 8))
        As ``np.packbits(bitmaps, axis=-1)`` gives: the highest bit is the leftmost
        pixel; what lies beyond ``width`` is ignored.
    width : int
        Width in pixels.

    Returns
    -------
    MaskBatch
        Canonical runs. No masks in, none out. Cost: a word for 64 pixels, and the changes.

    Raises
    ------
    MaskError
        Where dtype or shape are others, or H x width is no image size.
    """
    if bits_NHB.ndim != 3 or bits_NHB.dtype != np.uint8 or bits_NHB.shape[2] != -(-width // 8):
        raise MaskError(
            f"expected uint8 of shape (N, H, {-(-width // 8)}) for a width of {width}, got "
            f"{bits_NHB.dtype} of shape {bits_NHB.shape}"
        )
    n_masks, height, stride = bits_NHB.shape
    flat_B = np.ascontiguousarray(bits_NHB).reshape(-1)
    return _read(flat_B, n_masks, height, width, stride, is_packed=True)


def from_roi(
    probability_NHW: ArrayLike,
    box_xyxy_N4: ArrayLike,
    size_hw_N2: ArrayLike,
    *,
    threshold: float = 0.5,
) -> MaskBatch:
    """Paste the soft masks of boxes into their images by detectron2's rule, as runs.

    Parameters
    ----------
    probability_NHW : float32 (N, h, w)
        Soft masks in the frames of their boxes, 28x28 as a rule; NaN is background.
    box_xyxy_N4 : float32 (N, 4)
        Boxes in pixels, x1 and y1 exclusive; may reach beyond the image. One
        without a finite, positive width and height gives an empty mask.
    size_hw_N2 : int32 (N, 2)
        Height and width of each mask's image.
    threshold : float
        In (0, 1]: what reaches it is foreground. From 0.5 on nothing outside of
        the box can, as long as probabilities are at most 1.

    Returns
    -------
    MaskBatch
        Canonical runs. No masks in, none out. Cost: linear in the boxes' pixels.

    Raises
    ------
    MaskError
        Where an array breaks its contract or the threshold is another.
    """
    values_NHW, boxes_N4, sizes_N2 = checked_roi(
        probability_NHW, box_xyxy_N4, size_hw_N2, threshold
    )
    area_N4 = frozen(touched(boxes_N4, sizes_N2, values_NHW.shape[1:]), np.int64, n_dims=2)
    n_masks = len(values_NHW)
    tallest = int(np.max(sizes_N2[:, 0], initial=1))
    cell_Y, share_Y = np.empty(tallest, np.int64), np.empty(tallest, np.float32)
    counts_R = np.empty(RUNS_TO_START_WITH * n_masks, np.uint32)
    offsets_N1 = np.zeros(n_masks + 1, np.int64)
    row = 0
    while True:
        row = _numba_dense.paste(
            values_NHW,
            boxes_N4,
            area_N4,
            sizes_N2,
            np.float32(threshold),
            row,
            cell_Y,
            share_Y,
            counts_R,
            offsets_N1,
        )
        if row == n_masks:
            return MaskBatch(sizes_N2.copy(), counts_R[: offsets_N1[-1]].copy(), offsets_N1)
        counts_R = _grown(counts_R, int(offsets_N1[row]))


def checked_roi(
    probability_NHW: ArrayLike, box_xyxy_N4: ArrayLike, size_hw_N2: ArrayLike, threshold: float
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32]]:
    """Prove the arguments of `from_roi`, for every backend.

    Returns
    -------
    tuple
        The three arrays, contiguous and read-only.

    Raises
    ------
    MaskError
        As `from_roi`.
    """
    values_NHW = frozen(probability_NHW, np.float32, n_dims=3)
    boxes_N4 = frozen(box_xyxy_N4, np.float32, n_dims=2)
    sizes_N2 = frozen_sizes(size_hw_N2, len(values_NHW))
    if boxes_N4.shape != (len(values_NHW), 4) or 0 in values_NHW.shape[1:]:
        raise MaskError(
            f"expected soft masks (N, h, w) and boxes (N, 4), got {values_NHW.shape} and "
            f"{boxes_N4.shape}"
        )
    if not 0.0 < threshold <= 1.0:
        raise MaskError(f"expected a threshold in (0, 1], got {threshold}")
    return values_NHW, boxes_N4, sizes_N2


def touched(
    boxes_N4: NDArray[np.float32], sizes_N2: NDArray[np.int32], n_cells_hw: tuple[int, ...]
) -> NDArray[np.int64]:
    """Find the pixels of each image that its soft mask can touch, and a few more.

    A value reaches half a cell beyond its box.

    Parameters
    ----------
    boxes_N4 : float32 (N, 4)
        x0, y0, x1, y1 in pixels, any values.
    sizes_N2 : int32 (N, 2)
        Height and width of each image.
    n_cells_hw : (int, int)
        Rows and columns of a soft mask.

    Returns
    -------
    int64 (N, 4)
        First x, first y, end x, end y; zeros where a box has no finite, positive
        width and height.
    """
    with np.errstate(all="ignore"):
        low_N2, high_N2 = boxes_N4[:, :2].astype(np.float64), boxes_N4[:, 2:].astype(np.float64)
        side_N2 = boxes_N4[:, 2:] - boxes_N4[:, :2]
        is_box_N = np.all((side_N2 > 0) & np.isfinite(side_N2), axis=1)
        margin_N2 = (high_N2 - low_N2) / (2 * np.array(n_cells_hw[::-1])) + 2
        most_N2 = sizes_N2[:, ::-1].astype(np.float64)
        first_N2 = np.clip(np.floor(low_N2 - margin_N2), 0, most_N2)
        stop_N2 = np.clip(np.ceil(high_N2 + margin_N2), first_N2, most_N2)
        area_N4 = np.concatenate([first_N2, stop_N2], axis=1)
        return np.where(is_box_N[:, None], area_N4, 0).astype(np.int64)


def check_image(height: int, width: int) -> None:
    """Raise where height and width are not those of an image.

    Raises
    ------
    MaskError
        Unless 1 <= h, w and h*w < 2**31.
    """
    if min(height, width) < 1 or int(height) * int(width) > _numba_rle.MAX_PIXELS:
        raise MaskError(f"expected 1 <= h, w and h*w < 2**31, got {height} x {width}")


def _read(
    bytes_B: NDArray[np.uint8],
    n_masks: int,
    height: int,
    width: int,
    stride: int,
    *,
    is_packed: bool,
) -> MaskBatch:
    """Read masks whose rows lie ``stride`` bytes apart."""
    check_image(height, width)
    bytes_B = frozen(bytes_B, np.uint8)
    column_W = np.empty(width, np.int64)
    chunk_K = np.empty(height * (stride // _numba_dense.CHUNK_BYTES + 1), np.int64)
    counts_R = np.empty(RUNS_TO_START_WITH * n_masks, np.uint32)
    offsets_N1 = np.zeros(n_masks + 1, np.int64)
    row = 0
    while True:
        row_C = np.empty(len(counts_R), np.int32)
        row = _numba_dense.read_bitmaps(
            bytes_B,
            n_masks,
            height,
            width,
            stride,
            is_packed,
            row,
            chunk_K,
            column_W,
            row_C,
            counts_R,
            offsets_N1,
        )
        if row == n_masks:
            size_hw_N2 = np.full((n_masks, 2), (height, width), np.int32)
            return MaskBatch(size_hw_N2, counts_R[: offsets_N1[-1]].copy(), offsets_N1)
        counts_R = _grown(counts_R, int(offsets_N1[row]))


def _grown(counts_R: NDArray[np.uint32], used: int) -> NDArray[np.uint32]:
    """Twice the room, and what was written so far."""
    wider_R = np.empty(2 * len(counts_R), np.uint32)
    wider_R[:used] = counts_R[:used]
    return wider_R
