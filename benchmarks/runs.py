"""Runs and COCO strings in plain NumPy, for the workload alone.

Independent of the product's codec on purpose: a benchmark whose input was made
by the code that it measures would hide that code's mistakes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_CELLS = 28


def paste_counts(
    soft: NDArray[np.float64], box_xyxy: list[float], height: int, width: int
) -> NDArray[np.int64]:
    """Paste one soft mask into its box and return the canonical counts.

    Bilinear sampling at pixel centres with zeros outside, kept from 0.5 on
    (detectron2: `layers/mask_ops.py`, `_do_paste_mask`).

    Parameters
    ----------
    soft : float64 (28, 28)
        Probabilities in the box's frame, multiples of 2**-8.
    box_xyxy : list of float
        Where the box lies in the image, in pixels.
    height, width
        Size of the image in pixels.
    """
    x0, y0, x1, y1 = box_xyxy
    left, right = _span(x0, x1, width)
    top, bottom = _span(y0, y1, height)
    if left >= right or top >= bottom:
        return np.array([height * width])
    framed = np.zeros((_CELLS + 2, _CELLS + 2))
    framed[1:-1, 1:-1] = soft.T  # transposed: column-major, as runs go
    at_columns = _blend(framed, np.arange(left, right), x0, x1)
    at_pixels = _blend(at_columns.T, np.arange(top, bottom), y0, y1).T
    return crop_counts(at_pixels >= 0.5, left, top, height, width)


def _span(low: float, high: float, size: int) -> tuple[int, int]:
    """Return the pixels that a box can touch, as a half-open range."""
    return max(0, int(np.floor(low)) - 1), min(size, int(np.ceil(high)) + 1)


def _blend(
    cells: NDArray[np.float64], pixels: NDArray[np.int64], low: float, high: float
) -> NDArray[np.float64]:
    """Sample the first axis, framed by zeros, at pixel centres; weights in steps of 2**-12."""
    position = (pixels + 0.5 - low) / (high - low) * _CELLS + 0.5
    position = np.rint(np.clip(position, 0, _CELLS + 0.999) * 4096) / 4096
    cell = np.minimum(position.astype(np.int64), _CELLS)
    share = (position - cell)[:, None]
    return cells[cell] * (1 - share) + cells[cell + 1] * share


def crop_counts(
    columns: NDArray[np.bool_], left: int, top: int, height: int, width: int
) -> NDArray[np.int64]:
    """Return the counts of an image that is background but for a crop (columns, rows)."""
    n_columns, n_rows = columns.shape
    padded = np.zeros((n_columns, n_rows + 1), np.int8)
    padded[:, :-1] = columns
    edges = np.flatnonzero(np.diff(padded.ravel(), prepend=np.int8(0)))
    column, row = np.divmod(edges, n_rows + 1)
    position = (left + column) * height + top + row
    # A run that reaches the image's bottom goes on where one starts at the next top.
    meets = np.flatnonzero(position[1:-1:2] == position[2::2])
    position = np.delete(position, np.concatenate([2 * meets + 1, 2 * meets + 2]))
    counts = np.diff(np.concatenate([[0], position, [height * width]]))
    return counts if counts[-1] or len(counts) == 1 else counts[:-1]


def counts_to_strings(
    counts_R: NDArray[np.int64], lengths_N: NDArray[np.int64]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the COCO strings of ragged counts as (bytes_B, offsets_N1).

    From a mask's fourth count on, the difference to the last but one is
    written, five bits a character, least first (`maskApi.c: rleToString`).
    """
    starts = np.concatenate([[0], np.cumsum(lengths_N)])
    place_R = np.arange(len(counts_R)) - np.repeat(starts[:-1], lengths_N)
    values_R = counts_R.copy()
    later = np.flatnonzero(place_R > 2)
    values_R[later] -= counts_R[later - 2]
    # A value of c characters is in [-2**(5c-1), 2**(5c-1)).
    magnitude_R = np.where(values_R < 0, ~values_R, values_R)
    characters_R = np.ones(len(values_R), np.int64)
    for n in range(1, 7):
        characters_R += magnitude_R >= 1 << (5 * n - 1)
    ends_R = np.cumsum(characters_R)
    bytes_B = np.empty(int(ends_R[-1]) if len(ends_R) else 0, np.uint8)
    for n in range(7):
        has = np.flatnonzero(characters_R > n)
        bits = (values_R[has] >> (5 * n)) & 31
        more = np.where(characters_R[has] > n + 1, 32, 0)
        bytes_B[ends_R[has] - characters_R[has] + n] = bits + more + 48
    return bytes_B, np.concatenate([[0], ends_R])[starts]
