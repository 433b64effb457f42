"""Compiled passes over pairs of masks (public names: `pipeline.masks.overlap`)."""

# Numba infers the types of parameters from the call, and intrinsics take one less than written.
# pyright: reportMissingParameterType=false, reportCallIssue=false

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import int64
from numpy.typing import NDArray

from pipeline.masks._jit import inlined, kernel, part
from pipeline.masks._numba_group_grid import (
    ENTRY,
    N_LEVELS,
    build_grid,
    close_entry,
    drop_closed,
    search_grid,
    sort_found,
)
from pipeline.masks._numba_group_pairs import least_shared, reaches
from pipeline.masks._numba_group_room import lists_in, rows_in
from pipeline.masks._numba_group_rows import ROW, ROW_64
from pipeline.masks._numba_group_scan import fill_scan, search_scan
from pipeline.masks._numba_group_vector import pointer_to


class PairRoom(NamedTuple):
    """What `list_pairs` works in; contents are undefined unless something is said.

    Attributes
    ----------
    records_32 : int32 (16 * M,), records_64 : int64 (8 * M,)
        One array seen in two ways: a record for each row of the largest image.
    int32_KM : int32 (12, M), int64_KM : int64 (2, M), entries : int32 (8 * M,),
    cells : int32 (2 * M,)
        For its rows, the first two with room for 8 more.
    levels : int32, starts : int64
        For the grid.
    head : int32 (number of categories)
        All -1.
    """

    records_32: NDArray[np.int32]
    records_64: NDArray[np.int64]
    int32_KM: NDArray[np.int32]
    int64_KM: NDArray[np.int64]
    entries: NDArray[np.int32]
    cells: NDArray[np.int32]
    levels: NDArray[np.int32]
    starts: NDArray[np.int64]
    head: NDArray[np.int32]


def make_pair_room(n_rows_of_largest: int, n_categories: int) -> PairRoom:
    """Allocate what `list_pairs` works in."""
    records = np.empty(ROW_64 * n_rows_of_largest, np.int64)
    return PairRoom(
        records.view(np.int32),
        records,
        np.empty((12, n_rows_of_largest + 8), np.int32),
        np.empty((2, n_rows_of_largest + 8), np.int64),
        np.empty(ENTRY * n_rows_of_largest, np.int32),
        np.empty(2 * n_rows_of_largest, np.int32),
        np.empty((3, N_LEVELS + 1), np.int32),
        np.empty(257, np.int64),
        np.full(n_categories, -1, np.int32),
    )


@inlined
def fill_row(rows, k, n, box_xyxy_N4, area_N, threshold):
    """Note row n of the call as row k of the image."""
    rows.x0[ROW * k] = box_xyxy_N4[n, 0]
    rows.y0[ROW * k] = box_xyxy_N4[n, 1]
    rows.x1[ROW * k] = box_xyxy_N4[n, 2]
    rows.y1[ROW * k] = box_xyxy_N4[n, 3]
    rows.area[ROW * k] = area_N[n]
    rows.least[ROW * k] = least_shared(area_N[n], threshold) if threshold > 0 else 1
    rows.at[ROW_64 * k] = 0


@inlined
def most_shared(rows, i, j):
    """Return the most pixels that two rows can share, by areas and boxes."""
    i *= ROW
    j *= ROW
    wide = int64(min(rows.x1[i], rows.x1[j])) - max(rows.x0[i], rows.x0[j])
    high = int64(min(rows.y1[i], rows.y1[j])) - max(rows.y0[i], rows.y0[j])
    return min(wide * high, int64(min(rows.area[i], rows.area[j])))


@part
def list_pairs_of_members(
    rows, members, scan, grid, found, n_members, first, n_before, threshold, is_ios, grid_from,
    i_P, j_P,
):  # fmt: skip
    """Write the candidate pairs of one category as far as they fit; the number so far."""
    n_pairs = n_before
    n_entries = n_members
    extent, n_bits = int64(-1), -1
    if n_members >= grid_from:
        extent, n_bits = build_grid(rows, members, n_members, grid)
    else:
        fill_scan(rows, members, n_members, scan)
    for u in range(n_members):
        i = int64(members[u])
        area = int64(rows.area[ROW * i])
        if n_bits >= 0:
            if 2 * (n_members - u) < n_entries:
                n_entries = drop_closed(n_entries, n_members, grid, extent, n_bits)
            close_entry(grid, i)
            n_found = search_grid(rows, rows.x0, grid, n_bits, i, area, is_ios, found)
            sort_found(found, n_found, grid.spare, grid.starts)
        else:
            scan.area[u] = 0
            n_found = search_scan(rows, members, n_members, u + 1, scan, i, area, is_ios, found)
        for f in range(n_found):
            j = int64(found[f])
            area_j = int64(rows.area[ROW * j])
            most = most_shared(rows, i, j)
            if threshold > 0 and not reaches(most, area, area_j, threshold, is_ios):
                continue
            if n_pairs < len(i_P):
                i_P[n_pairs] = first + i
                j_P[n_pairs] = first + j
            n_pairs += 1
    return n_pairs


@kernel
def list_pairs(
    box_xyxy_N4, area_N, image_offsets_G1, category_N, threshold, is_ios, grid_from, room, i_P, j_P
):
    """Write the candidate pairs as far as they fit; return how many there are.

    Rows of a negative category and without area pair with none. A threshold of 0
    leaves boxes alone to decide. Pairs come by image, category, i, j.
    """
    rows = rows_in(room.records_32, room.records_64)
    scan, grid, members, following, found = lists_in(
        room.int32_KM, room.int64_KM, room.entries, room.cells, room.levels, room.starts
    )
    head = pointer_to(room.head)
    n_pairs = 0
    for g in range(len(image_offsets_G1) - 1):
        first = image_offsets_G1[g]
        n_rows = image_offsets_G1[g + 1] - first
        for k in range(n_rows - 1, -1, -1):
            n = first + k
            following[k] = -2
            if category_N[n] >= 0 and area_N[n] > 0:
                fill_row(rows, k, n, box_xyxy_N4, area_N, threshold)
                following[k] = head[category_N[n]]
                head[category_N[n]] = k
        for k in range(n_rows):
            if following[k] == -2 or head[category_N[first + k]] != k:
                continue
            head[category_N[first + k]] = -1
            n_members = 0
            row = int64(k)
            while row >= 0:
                members[n_members] = row
                n_members += 1
                row = int64(following[row])
            n_pairs = list_pairs_of_members(
                rows, members, scan, grid, found, n_members, first, n_pairs, threshold, is_ios,
                grid_from, i_P, j_P,
            )  # fmt: skip
    return n_pairs


@kernel
def end_positions(counts_R, offsets_N1, size_hw_N2, ends_R):
    """Write where each run ends; -1, or the mask whose runs do not sum to h*w."""
    for n in range(len(offsets_N1) - 1):
        position = 0
        for r in range(offsets_N1[n], offsets_N1[n + 1]):
            position += int(counts_R[r])
            ends_R[r] = position
        if position != int(size_hw_N2[n, 0]) * int(size_hw_N2[n, 1]):
            return n
    return -1


@part
def first_run_after(ends_R, low, high, position):
    """First run in low..high that ends after a position."""
    while low < high:
        middle = (low + high) >> 1
        if ends_R[middle] > position:
            high = middle
        else:
            low = middle + 1
    return low


@kernel
def shared_pixels(ends_R, offsets_N1, i_P, j_P, shared_P):
    """Walk the runs of each pair from the first to the last position that both can share."""
    for p in range(len(i_P)):
        a_first = offsets_N1[i_P[p]]
        b_first = offsets_N1[j_P[p]]
        a_end = offsets_N1[i_P[p] + 1]
        b_end = offsets_N1[j_P[p] + 1]
        shared_P[p] = 0
        if a_end - a_first < 2 or b_end - b_first < 2:
            continue
        # The last foreground run of a mask is its last odd one.
        a_stop = ends_R[a_first + ((a_end - a_first) // 2) * 2 - 1]
        b_stop = ends_R[b_first + ((b_end - b_first) // 2) * 2 - 1]
        stop = min(a_stop, b_stop)
        start = max(ends_R[a_first], ends_R[b_first])
        if start >= stop:
            continue
        a = first_run_after(ends_R, a_first, a_end, start)
        b = first_run_after(ends_R, b_first, b_end, start)
        total = 0
        while start < stop:
            end = min(ends_R[a], ends_R[b])
            if (a - a_first) & (b - b_first) & 1:
                total += end - start
            start = end
            a += ends_R[a] == end
            b += ends_R[b] == end
        shared_P[p] = total
