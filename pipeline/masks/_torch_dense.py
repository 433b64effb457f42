"""Pixels to runs on a device (public names: `pipeline.masks.torch_dense`).

A run ends where a pixel differs from the one before it, down the columns. All masks of
a stretch are one set of launches.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.masks._torch_arrays import ROW_BITS, expand, pick, to_offsets, where_set
from pipeline.masks._torch_merge import close_runs

WORD_BYTES = 8


def read_bitmaps(bitmaps_NHW: Tensor) -> tuple[Tensor, Tensor]:
    """Run lengths and offsets of bool masks; fewer than 2**31 pixels in all.

    Pixels are compared with those above them as they lie in memory, the top of a
    column with the bottom of the one before. Most words of eight pixels have no
    change; only the others are looked into, and what is found is sorted by column.
    """
    n_masks, height, width = bitmaps_NHW.shape
    n_pixels = height * width
    n_words = -(-n_masks * n_pixels // WORD_BYTES)
    changes_P = bitmaps_NHW.new_zeros(n_words * WORD_BYTES)
    changes_NHW = changes_P[: n_masks * n_pixels].view(n_masks, height, width)
    torch.bitwise_xor(bitmaps_NHW[:, 1:], bitmaps_NHW[:, :-1], out=changes_NHW[:, 1:])
    changes_NHW[:, 0] = bitmaps_NHW[:, 0]
    changes_NHW[:, 0, 1:] ^= bitmaps_NHW[:, -1, :-1]
    word_K = where_set(changes_P.view(torch.int64))
    changed_K8 = changes_P.view(n_words, WORD_BYTES).index_select(0, word_K)
    place_C = where_set(changed_K8.view(-1))
    pixel_C = pick(word_K, place_C // WORD_BYTES) * WORD_BYTES + place_C % WORD_BYTES
    row_C = pixel_C // n_pixels
    pixel_C -= row_C * n_pixels
    y_C = pixel_C // width
    key_C = (row_C << ROW_BITS) + (pixel_C - y_C * width) * height + y_C
    return close_runs(torch.sort(key_C)[0], key_C.new_full((n_masks,), n_pixels))


def unpack(bits_NHB: Tensor, width: int) -> Tensor:
    """Pixels of packed bits, bool (N, H, width); the highest bit is the leftmost pixel."""
    shift_8 = torch.arange(7, -1, -1, dtype=torch.uint8, device=bits_NHB.device)
    bits_NHB8 = bits_NHB.unsqueeze(-1) >> shift_8 & 1
    return bits_NHB8.flatten(2)[:, :, :width].bool()


def paste(
    value_NHW: Tensor, box_N4: Tensor, size_hw_N2: Tensor, area_xyxy_N4: Tensor, threshold: float
) -> tuple[Tensor, Tensor]:
    """Run lengths and offsets of pasted soft masks.

    ``area_xyxy_N4`` holds the pixels of each image that its soft mask can touch. Cells and
    shares are found once for each column and each line of it, and the pixels expanded, column by
    column.
    """
    first_x_N, first_y_N, stop_x_N, stop_y_N = area_xyxy_N4.unbind(1)
    high_N, wide_N = stop_y_N - first_y_N, stop_x_N - first_x_N
    n_high, n_wide = value_NHW.shape[1:]
    columns = _lines(first_x_N, wide_N, box_N4[:, 0], box_N4[:, 2], n_wide)
    rows = _lines(first_y_N, high_N, box_N4[:, 1], box_N4[:, 3], n_high)
    high_C = pick(high_N, columns.mask_L)
    offsets_C1 = to_offsets(high_C)
    column_P, y_P = expand(high_C, offsets_C1, int(offsets_C1[-1]))
    row_P = pick(pick(rows.offsets_N1, columns.mask_L), column_P) + y_P
    is_set_P = _sample(value_NHW, columns, rows, column_P, row_P) >= threshold
    is_top_P = y_P[1:] == 0
    starts_P = is_set_P.clone()
    starts_P[1:] &= ~is_set_P[:-1] | is_top_P
    stops_P = is_set_P.clone()
    stops_P[:-1] &= ~is_set_P[1:] | is_top_P
    height_N = size_hw_N2[:, 0]
    position_C = (columns.mask_L << ROW_BITS) + columns.at_L * pick(height_N, columns.mask_L)
    position_C += pick(first_y_N, columns.mask_L)
    start_F, stop_F = where_set(starts_P), where_set(stops_P)
    start_F = pick(position_C, pick(column_P, start_F)) + pick(y_P, start_F)
    stop_F = pick(position_C, pick(column_P, stop_F)) + pick(y_P, stop_F) + 1
    # A run that ends with its column and goes on in the next one is one run.
    key_C = torch.stack([start_F, stop_F], 1).view(-1)
    is_kept_C = torch.ones_like(key_C, dtype=torch.bool)
    is_kept_C[1:] &= key_C[1:] != key_C[:-1]
    is_kept_C[:-1] &= key_C[1:] != key_C[:-1]
    return close_runs(pick(key_C, where_set(is_kept_C)), height_N * size_hw_N2[:, 1])


class _Lines(NamedTuple):
    """Columns, or lines, of the areas of N masks.

    Attributes
    ----------
    offsets_N1 : int64 (N + 1,)
        Mask n has the lines ``offsets_N1[n]`` to ``offsets_N1[n + 1]``.
    mask_L, at_L : int64 (L,)
        Mask of each, and where it is in the image.
    before_L, behind_L : int64 (L,)
        Cells around its middle, counted from a border of zeros, in which all others lie.
    share_L : float32 (L,)
        Share of the latter cell.
    """

    offsets_N1: Tensor
    mask_L: Tensor
    at_L: Tensor
    before_L: Tensor
    behind_L: Tensor
    share_L: Tensor


def _lines(
    first_N: Tensor, length_N: Tensor, start_N: Tensor, end_N: Tensor, n_cells: int
) -> _Lines:
    """Find the cells of the columns or lines from ``first_N`` on, of boxes from start to end."""
    offsets_N1 = to_offsets(length_N)
    mask_L, place_L = expand(length_N, offsets_N1, int(offsets_N1[-1]))
    at_L = pick(first_N, mask_L) + place_L
    cell_L, share_L = _cells(at_L, pick(start_N, mask_L), pick(end_N - start_N, mask_L), n_cells)
    before_L = torch.clamp(cell_L + 1, 0, n_cells + 1)
    behind_L = torch.clamp(cell_L + 2, 0, n_cells + 1)
    return _Lines(offsets_N1, mask_L, at_L, before_L, behind_L, share_L)


def _sample(
    value_NHW: Tensor, columns: _Lines, rows: _Lines, column_P: Tensor, row_P: Tensor
) -> Tensor:
    """Value at each pixel's centre, in the very float32 operations of `_numba_dense`."""
    n_high, n_wide = value_NHW.shape[1:]
    framed_NHW = torch.nn.functional.pad(value_NHW, (1, 1, 1, 1)).view(-1)
    wide = n_wide + 2
    base_C = columns.mask_L * ((n_high + 2) * wide)
    left_P = pick(base_C + columns.before_L, column_P)
    right_P = pick(base_C + columns.behind_L, column_P)
    top_P, bottom_P = pick(rows.before_L * wide, row_P), pick(rows.behind_L * wide, row_P)
    east_P, south_P = pick(columns.share_L, column_P), pick(rows.share_L, row_P)
    west_P, north_P = 1 - east_P, 1 - south_P
    value_P = pick(framed_NHW, top_P + left_P) * (west_P * north_P)
    value_P = value_P + pick(framed_NHW, top_P + right_P) * (east_P * north_P)
    value_P = value_P + pick(framed_NHW, bottom_P + left_P) * (west_P * south_P)
    return value_P + pick(framed_NHW, bottom_P + right_P) * (east_P * south_P)


def _cells(at_L: Tensor, start_L: Tensor, wide_L: Tensor, n_cells: int) -> tuple[Tensor, Tensor]:
    """Cell in front of each pixel's centre, and the share of the next one."""
    place_L = (at_L.float() + 0.5 - start_L) / wide_L * 2 - 1
    cell_L = ((place_L + 1) * n_cells - 1) / 2
    floor_L = torch.floor(cell_L)
    # What lies beyond the border counts as on it; an integer would hold not all of it, and
    # devices disagree on what comes then. NaN stays: no pixel of such a cell reaches anything.
    return torch.clamp(floor_L, -2, n_cells).long(), cell_L - floor_L
