"""Compiled: dense masks and pasted ROI masks to runs, column by column, without an image."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.masks._jit import kernel, part


@kernel
def count_packed(bits_B: Any, height: Any, width: Any, counts_R: Any) -> Any:
    """Write the runs of a bit-packed mask (row by row, first pixel in the top bit).

    Returns their number, or -1 where ``counts_R`` has no room for more.
    """
    n = 0
    current = 0
    run = 0
    for x in range(width):
        bit = x
        for _ in range(height):
            value = (bits_B[bit >> 3] >> (7 - (bit & 7))) & 1
            if value != current:
                if n + 1 >= counts_R.size:
                    return -1
                counts_R[n] = run
                n += 1
                run = 0
                current = value
            run += 1
            bit += width
    counts_R[n] = run
    return n + 1


@kernel
def unfilter(rows_HS: Any, n_bytes: Any) -> Any:
    """Undo the filters of a PNG in place; return False if a row names none that there is.

    Each row is a byte that names its filter, then the row's bytes; ``n_bytes`` is
    the distance to the same byte of the pixel to the left.
    """
    height, stride = rows_HS.shape
    for y in range(height):
        kind = rows_HS[y, 0]
        if kind > 4:
            return False
        for k in range(1, stride):
            left = np.int64(rows_HS[y, k - n_bytes]) if k > n_bytes else 0
            above = np.int64(rows_HS[y - 1, k]) if y > 0 else 0
            corner = np.int64(rows_HS[y - 1, k - n_bytes]) if y > 0 and k > n_bytes else 0
            guess = 0
            if kind == 1:
                guess = left
            elif kind == 2:
                guess = above
            elif kind == 3:
                guess = (left + above) // 2
            elif kind == 4:
                to_left = abs(above - corner)
                to_above = abs(left - corner)
                to_corner = abs(left + above - 2 * corner)
                if to_left <= to_above and to_left <= to_corner:
                    guess = left
                elif to_above <= to_corner:
                    guess = above
                else:
                    guess = corner
            rows_HS[y, k] = np.uint8((np.int64(rows_HS[y, k]) + guess) & 255)
    return True


@part
def _value(values_SS: Any, column: Any, row: Any) -> Any:
    size = values_SS.shape[0]
    if 0 <= column < size and 0 <= row < size:
        return values_SS[row, column]
    return np.float32(0)


@part
def _sample(values_SS: Any, x: Any, y: Any) -> Any:
    """Interpolate between the four values around a place, in torch's order of operations."""
    one = np.float32(1)
    left, top = np.float32(np.floor(x)), np.float32(np.floor(y))
    column, row = np.int64(left), np.int64(top)
    to_right, to_bottom = x - left, y - top
    to_left, to_top = left + one - x, top + one - y
    return (
        _value(values_SS, column, row) * (to_left * to_top)
        + _value(values_SS, column + 1, row) * (to_right * to_top)
        + _value(values_SS, column, row + 1) * (to_left * to_bottom)
        + _value(values_SS, column + 1, row + 1) * (to_right * to_bottom)
    )


@kernel
def count_pasted(
    values_SS: Any, box_xyxy: Any, height: Any, width: Any, threshold: Any, counts_R: Any
) -> Any:
    """Write the runs of a square of probabilities pasted into its box.

    Returns their number, or -1 where ``counts_R`` has no room for more.
    """
    size = np.float32(values_SS.shape[0])
    one, half, two = np.float32(1), np.float32(0.5), np.float32(2)
    x0, y0, x1, y1 = box_xyxy[0], box_xyxy[1], box_xyxy[2], box_xyxy[3]
    first_x = max(np.int64(np.floor(x0)) - 1, 0)
    last_x = min(np.int64(np.ceil(x1)) + 1, width)
    first_y = max(np.int64(np.floor(y0)) - 1, 0)
    last_y = min(np.int64(np.ceil(y1)) + 1, height)
    n = 0
    current = False
    done = np.int64(0)
    for x in range(first_x, last_x):
        across = (np.float32(x) + half - x0) / (x1 - x0) * two - one
        place_x = ((across + one) * size - one) / two
        for y in range(first_y, last_y):
            down = (np.float32(y) + half - y0) / (y1 - y0) * two - one
            place_y = ((down + one) * size - one) / two
            is_set = _sample(values_SS, place_x, place_y) >= threshold
            if is_set != current:
                if n + 2 > counts_R.size:
                    return -1
                at = np.int64(x) * height + y
                counts_R[n] = at - done
                n += 1
                done = at
                current = is_set
        # Below the last row looked at nothing is set, nor above the first of the next column.
        if current and (last_y < height or first_y > 0):
            if n + 2 > counts_R.size:
                return -1
            at = np.int64(x) * height + last_y
            counts_R[n] = at - done
            n += 1
            done = at
            current = False
    counts_R[n] = np.int64(height) * width - done
    return n + 1
