"""Exact intersections of two masks of an image, from their profiles or run by run.

The test of a pair is ``float64(shared) / float64(whole) >= threshold``. It is
made with a bound of ``shared`` from above first, in the very same expression:
float64 holds these integers exactly, the quotient grows with ``shared`` (also
where ``whole = a + b - shared``), and rounding keeps order. So where the bound
fails, the true number fails.
"""

# Numba infers the types of parameters from the call, and intrinsics take one less than written.
# pyright: reportMissingParameterType=false, reportCallIssue=false

from __future__ import annotations

from numba import float64, int64

from pipeline.masks._jit import inlined, part
from pipeline.masks._numba_group_rows import PAD, ROW, ROW_64, SPARSE
from pipeline.masks._numba_group_strings import read_number
from pipeline.masks._numba_group_vector import (
    add,
    add_neighbours,
    fill_32x8,
    larger,
    load_16x16,
    smaller,
    total,
)

MISSED = -1
"""In place of an intersection: too small to reach the threshold."""


@inlined
def reaches(shared, a, b, threshold, is_ios):
    """Say whether two areas that share so much reach the threshold."""
    whole = min(a, b) if is_ios else a + b - shared
    return float64(shared) / float64(whole) >= threshold


@part
def least_shared(area, threshold):
    """Return the least number of pixels that reaches the threshold over an area."""
    least = max(int64(threshold * area), int64(1))
    while least > 1 and float64(least - 1) / float64(area) >= threshold:
        least -= 1
    while float64(least) / float64(area) < threshold:
        least += 1
    return least


@inlined
def shared_columns(arena, a, b, n_columns):
    """Sum the overlap of two layers over columns that both have, 8 at a time."""
    zeros = fill_32x8(int64(0))
    pixels = zeros
    for c in range(0, n_columns, 8):
        rows = smaller(load_16x16(arena, a + c), load_16x16(arena, b + c))
        pixels = add(pixels, larger(add_neighbours(rows), zeros))
    return total(pixels)


@part
def shared_layers(arena, rows, i, j):
    """Sum the overlap of all pairs of layers but that of both layers 0."""
    shared = int64(0)
    a_first = int64(rows.x0[ROW * i])
    a_end = int64(rows.x1[ROW * i])
    a = rows.at[ROW_64 * i]
    for p in range(rows.n_layers[ROW * i] + 1):
        b_first = int64(rows.x0[ROW * j])
        b_end = int64(rows.x1[ROW * j])
        b = rows.at[ROW_64 * j]
        for q in range(rows.n_layers[ROW * j] + 1):
            first = max(a_first, b_first)
            end = min(a_end, b_end)
            if p + q > 0 and first < end:
                shared += shared_columns(
                    arena, a + first - a_first, b + first - b_first, end - first
                )
            header = b + b_end - b_first + PAD
            if q < rows.n_layers[ROW * j]:
                b_first = int64(arena[header])
                b_end = int64(arena[header + 1])
                b = header + 2
        header = a + a_end - a_first + PAD
        if p < rows.n_layers[ROW * i]:
            a_first = int64(arena[header])
            a_end = int64(arena[header + 1])
            a = header + 2
    return shared


@inlined
def next_stop(strings, pos, end, stop, n_runs, last, last_but_one):
    """Read one run of a valid string: (position, where it stops, this run, the one before)."""
    run, pos = read_number(strings, pos, end)
    if n_runs > 2:
        run += last_but_one
    return pos, stop + run, run, last


@part
def shared_runs(strings, i, j, end_position):
    """Walk the runs of two valid strings up to a position that both end before."""
    a_pos = strings.offsets_N1[i]
    b_pos = strings.offsets_N1[j]
    a_end = strings.offsets_N1[i + 1]
    b_end = strings.offsets_N1[j + 1]
    a_stop = int64(0)
    b_stop = int64(0)
    a_runs = 0
    b_runs = 0
    a_last = int64(0)
    b_last = int64(0)
    a_before = int64(0)
    b_before = int64(0)
    shared = int64(0)
    start = int64(0)
    while start < end_position:
        if a_stop == start:
            if a_pos == a_end:
                break
            a_pos, a_stop, a_last, a_before = next_stop(
                strings, a_pos, a_end, a_stop, a_runs, a_last, a_before
            )
            a_runs += 1
        elif b_stop == start:
            if b_pos == b_end:
                break
            b_pos, b_stop, b_last, b_before = next_stop(
                strings, b_pos, b_end, b_stop, b_runs, b_last, b_before
            )
            b_runs += 1
        else:
            stop = min(a_stop, b_stop)
            # The n-th run that was read is foreground if n is even.
            if (a_runs | b_runs) & 1 == 0:
                shared += stop - start
            start = stop
    return shared


@part
def shared_pixels(strings, first, h, rows, arena, i, j):
    """Return the exact intersection of two rows of an image."""
    x0 = max(int64(rows.x0[ROW * i]), int64(rows.x0[ROW * j]))
    x1 = min(int64(rows.x1[ROW * i]), int64(rows.x1[ROW * j]))
    if x0 >= x1:
        return int64(0)
    if rows.at[ROW_64 * i] == SPARSE or rows.at[ROW_64 * j] == SPARSE:
        return shared_runs(strings, first + i, first + j, x1 * h)
    a = rows.at[ROW_64 * i] + x0 - rows.x0[ROW * i]
    b = rows.at[ROW_64 * j] + x0 - rows.x0[ROW * j]
    shared = shared_columns(arena, a, b, x1 - x0)
    if rows.rest[ROW * i] + rows.rest[ROW * j] > 0:
        shared += shared_layers(arena, rows, i, j)
    return shared


@part
def shared_if_reached(strings, first, h, rows, arena, i, j, threshold, is_ios, may_stop):
    """Return the exact intersection of two rows if it reaches the threshold, else MISSED.

    Stops after both layers 0 where the pixels in further layers cannot help.
    """
    area_i = int64(rows.area[ROW * i])
    area_j = int64(rows.area[ROW * j])
    x0 = max(int64(rows.x0[ROW * i]), int64(rows.x0[ROW * j]))
    x1 = min(int64(rows.x1[ROW * i]), int64(rows.x1[ROW * j]))
    if rows.at[ROW_64 * i] == SPARSE or rows.at[ROW_64 * j] == SPARSE:
        shared = shared_runs(strings, first + i, first + j, x1 * h)
    else:
        a = rows.at[ROW_64 * i] + x0 - rows.x0[ROW * i]
        b = rows.at[ROW_64 * j] + x0 - rows.x0[ROW * j]
        shared = shared_columns(arena, a, b, x1 - x0)
        rest = int64(rows.rest[ROW * i]) + int64(rows.rest[ROW * j])
        if rest > 0:
            most = min(shared + rest, area_i, area_j)
            if may_stop and not reaches(most, area_i, area_j, threshold, is_ios):
                return int64(MISSED)
            shared += shared_layers(arena, rows, i, j)
    is_reached = reaches(shared, area_i, area_j, threshold, is_ios)
    return shared if is_reached else int64(MISSED)
