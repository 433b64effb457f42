"""Compiled measures of runs (public names: `pipeline.masks.measure`).

Callers have proven offsets and sizes; runs that do not sum to h*w give numbers
without meaning but no access out of bounds. Unsigned elements are made np.int64
first, since Numba's differences of unsigned numbers wrap.
"""

# Numba infers the parameters' types; the public functions state them.
# pyright: reportMissingParameterType=false

from __future__ import annotations

import numpy as np

from pipeline.masks._jit import kernel


@kernel
def area_and_bbox(size_hw_N2, counts_R, offsets_N1, area_N, bbox_xywh_N4):
    """Area and tight box of each mask; arrays come zeroed."""
    for n in range(len(area_N)):
        height = np.int64(size_hw_N2[n, 0])
        x = 0
        y = 0
        area = 0
        first_x = 0
        last_x = 0
        top = height
        bottom = 0
        for place in range(offsets_N1[n], offsets_N1[n + 1]):
            run = np.int64(counts_R[place])
            if (place - offsets_N1[n]) % 2 == 1 and run > 0:
                first_x = x if area == 0 else first_x
                last_x = x
                area += run
                top = min(top, y)
                bottom = max(bottom, min(y + run, height))
                if y + run > height:
                    top = 0
                    last_x = x + (y + run - 1) // height
            y += run
            if y >= height:
                x += y // height
                y %= height
        area_N[n] = area
        if area > 0:
            bbox_xywh_N4[n, 0] = first_x
            bbox_xywh_N4[n, 1] = top
            bbox_xywh_N4[n, 2] = last_x + 1 - first_x
            bbox_xywh_N4[n, 3] = bottom - top


@kernel
def boundary_length(size_hw_N2, counts_R, offsets_N1, length_N):
    """Cracks around each mask.

    Two horizontal ones per column that a run touches, and two vertical ones per
    pixel, less two for each pair of pixels side by side: those are the overlap of
    the mask with itself moved on by one column, found by a walk with two pointers.
    """
    for n in range(len(length_N)):
        height = np.int64(size_hw_N2[n, 0])
        end = offsets_N1[n + 1]
        area = 0
        columns = 0
        shared = 0
        moved = offsets_N1[n] + 1
        moved_start = height + np.int64(counts_R[moved - 1]) if moved < end else 0
        start = 0
        for place in range(offsets_N1[n], end):
            run = np.int64(counts_R[place])
            if (place - offsets_N1[n]) % 2 == 0 or run == 0:
                start += run
                continue
            stop = start + run
            area += run
            columns += (stop - 1) // height - start // height + 1
            while moved < end:
                moved_stop = moved_start + np.int64(counts_R[moved])
                shared += max(0, min(stop, moved_stop) - max(start, moved_start))
                if moved_stop > stop:
                    break
                moved_start = moved_stop
                if moved + 1 < end:
                    moved_start += np.int64(counts_R[moved + 1])
                moved += 2
            start = stop
        length_N[n] = 2 * columns + 2 * area - 2 * shared
