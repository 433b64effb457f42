"""Pixels to runs on a device (public names: `pipeline.masks.torch_dense`).

A run ends where a pixel differs from the one before it, down the columns. All masks of
a stretch are one set of launches.
"""

from __future__ import annotations

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

    ``area_xyxy_N4`` holds the pixels of each image that its soft mask can touch;
    they are expanded, column by column.
    """
    first_x_N, first_y_N, stop_x_N, stop_y_N = area_xyxy_N4.unbind(1)
    high_N = stop_y_N - first_y_N
    n_pixels_N = (stop_x_N - first_x_N) * high_N
    offsets_N1 = to_offsets(n_pixels_N)
    row_P, place_P = expand(n_pixels_N, offsets_N1, int(offsets_N1[-1]))
    high_P = pick(high_N, row_P)
    column_P = place_P // high_P
    x_P = pick(first_x_N, row_P) + column_P
    y_P = pick(first_y_N, row_P) + place_P - column_P * high_P
    is_set_P = _sample(value_NHW, box_N4, row_P, x_P, y_P) >= threshold
    y_in_P = place_P - column_P * high_P
    starts_P = is_set_P.clone()
    starts_P[1:] &= ~is_set_P[:-1] | (y_in_P[1:] == 0)
    stops_P = is_set_P.clone()
    stops_P[:-1] &= ~is_set_P[1:] | (y_in_P[1:] == 0)
    height_N = size_hw_N2[:, 0]
    position_P = (row_P << ROW_BITS) + x_P * pick(height_N, row_P) + y_P
    start_F, stop_F = (
        pick(position_P, where_set(starts_P)),
        pick(position_P, where_set(stops_P)) + 1,
    )
    # A run that ends with its column and goes on in the next one is one run.
    key_C = torch.stack([start_F, stop_F], 1).view(-1)
    is_kept_C = torch.ones_like(key_C, dtype=torch.bool)
    is_kept_C[1:] &= key_C[1:] != key_C[:-1]
    is_kept_C[:-1] &= key_C[1:] != key_C[:-1]
    return close_runs(pick(key_C, where_set(is_kept_C)), height_N * size_hw_N2[:, 1])


def _sample(value_NHW: Tensor, box_N4: Tensor, row_P: Tensor, x_P: Tensor, y_P: Tensor) -> Tensor:
    """Value at each pixel's centre, in the very float32 operations of `_numba_dense`."""
    n_high, n_wide = value_NHW.shape[1:]
    cell_x_P, east_P = _cells(x_P, box_N4[:, 0], box_N4[:, 2], row_P, n_wide)
    cell_y_P, south_P = _cells(y_P, box_N4[:, 1], box_N4[:, 3], row_P, n_high)
    west_P, north_P = 1 - east_P, 1 - south_P
    # A border of zeros around each soft mask; cells beyond it have no weight either.
    framed_NHW = torch.nn.functional.pad(value_NHW, (1, 1, 1, 1)).view(-1)
    wide = n_wide + 2
    base_P = row_P * ((n_high + 2) * wide)
    left_P = torch.clamp(cell_x_P + 1, 0, n_wide + 1)
    right_P = torch.clamp(cell_x_P + 2, 0, n_wide + 1)
    top_P = base_P + torch.clamp(cell_y_P + 1, 0, n_high + 1) * wide
    bottom_P = base_P + torch.clamp(cell_y_P + 2, 0, n_high + 1) * wide
    value_P = pick(framed_NHW, top_P + left_P) * (west_P * north_P)
    value_P = value_P + pick(framed_NHW, top_P + right_P) * (east_P * north_P)
    value_P = value_P + pick(framed_NHW, bottom_P + left_P) * (west_P * south_P)
    return value_P + pick(framed_NHW, bottom_P + right_P) * (east_P * south_P)


def _cells(
    at_P: Tensor, start_N: Tensor, end_N: Tensor, row_P: Tensor, n_cells: int
) -> tuple[Tensor, Tensor]:
    """Cell in front of each pixel's centre, and the share of the next one."""
    start_P, wide_P = pick(start_N, row_P), pick(end_N - start_N, row_P)
    place_P = (at_P.float() + 0.5 - start_P) / wide_P * 2 - 1
    cell_P = ((place_P + 1) * n_cells - 1) / 2
    floor_P = torch.floor(cell_P)
    # What lies beyond the border counts as on it; an integer would hold not all of it, and
    # devices disagree on what comes then. NaN stays: no pixel of such a cell reaches anything.
    return torch.clamp(floor_P, -2, n_cells).long(), cell_P - floor_P
