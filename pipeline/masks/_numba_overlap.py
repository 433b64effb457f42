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
    LEVELS,
    build_grid,
    scan_members,
    search_grid,
    sort_found,
)
from pipeline.masks._numba_group_pairs import least_shared, reaches
from pipeline.masks._numba_group_vector import pointer_to
from pipeline.masks._numba_group_work import Grid, Members


class PairRoom(NamedTuple):
    """What `list_pairs` works in.

    Attributes
    ----------
    int32_KM : int32 (13, M), int64_KM : int64 (3, M)
        For the rows of the largest image, and 8 more; contents undefined.
    level_start : int32, starts : int64
        For the grid; contents undefined.
    head : int32 (number of categories)
        All -1.
    """

    int32_KM: NDArray[np.int32]
    int64_KM: NDArray[np.int64]
    level_start: NDArray[np.int32]
    starts: NDArray[np.int64]
    head: NDArray[np.int32]


def make_pair_room(n_rows_of_largest: int, n_categories: int) -> PairRoom:
    """Allocate what `list_pairs` works in."""
    return PairRoom(
        np.empty((13, n_rows_of_largest + 8), np.int32),
        np.empty((3, n_rows_of_largest + 8), np.int64),
        np.empty(LEVELS + 1, np.int32),
        np.empty(257, np.int64),
        np.full(n_categories, -1, np.int32),
    )


@inlined
def fill_member(members, v, row, first, box_xyxy_N4, area_N, threshold):
    """Make a row of an image that starts at row ``first`` a member."""
    n = first + row
    members.row[v] = row
    members.x0[v] = box_xyxy_N4[n, 0]
    members.y0[v] = box_xyxy_N4[n, 1]
    members.x1[v] = box_xyxy_N4[n, 2]
    members.y1[v] = box_xyxy_N4[n, 3]
    members.area[v] = area_N[n]
    members.least[v] = least_shared(area_N[n], threshold) if threshold > 0 else 1


@inlined
def most_shared(members, u, area_u, v):
    """Return the most pixels that two members can share, by areas and boxes."""
    wide = int64(min(members.x1[u], members.x1[v])) - max(members.x0[u], members.x0[v])
    high = int64(min(members.y1[u], members.y1[v])) - max(members.y0[u], members.y0[v])
    return min(wide * high, area_u, int64(members.area[v]))


@part
def list_pairs_of_members(
    members, grid, found, n_members, first, n_before, threshold, is_ios, grid_from, i_P, j_P
):
    """Write the candidate pairs of one category as far as they fit; the number so far."""
    n_pairs = n_before
    for v in range(n_members, (n_members + 7) & ~7):
        members.area[v] = 0
        members.least[v] = 1
    has_grid = n_members >= grid_from
    if has_grid:
        build_grid(members, n_members, grid)
    for u in range(n_members):
        area = int64(members.area[u])
        members.area[u] = 0
        if has_grid:
            n_found = search_grid(members, grid, u, area, is_ios, found)
            sort_found(found, n_found, grid)
        else:
            n_found = scan_members(members, n_members, u + 1, u, area, is_ios, found)
        for f in range(n_found):
            v = found[f]
            most = most_shared(members, u, area, v)
            if threshold > 0 and not reaches(most, area, int64(members.area[v]), threshold, is_ios):
                continue
            if n_pairs < len(i_P):
                i_P[n_pairs] = first + members.row[u]
                j_P[n_pairs] = first + members.row[v]
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
    a = room.int32_KM
    b = room.int64_KM
    members = Members(
        pointer_to(a[0]), pointer_to(a[1]), pointer_to(a[2]), pointer_to(a[3]),
        pointer_to(a[4]), pointer_to(a[5]), pointer_to(a[6]),
    )  # fmt: skip
    grid = Grid(
        pointer_to(b[0]), pointer_to(b[1]), pointer_to(room.starts), pointer_to(a[7]),
        pointer_to(a[8]), pointer_to(b[2]), pointer_to(a[9]), pointer_to(a[10]),
        pointer_to(room.level_start),
    )  # fmt: skip
    following = pointer_to(a[11])
    found = pointer_to(a[12])
    head = pointer_to(room.head)
    n_pairs = 0
    for g in range(len(image_offsets_G1) - 1):
        first = image_offsets_G1[g]
        n_rows = image_offsets_G1[g + 1] - first
        for k in range(n_rows - 1, -1, -1):
            following[k] = -2
            if category_N[first + k] >= 0 and area_N[first + k] > 0:
                following[k] = head[category_N[first + k]]
                head[category_N[first + k]] = k
        for k in range(n_rows):
            if following[k] == -2 or head[category_N[first + k]] != k:
                continue
            head[category_N[first + k]] = -1
            n_members = 0
            row = int64(k)
            while row >= 0:
                fill_member(members, n_members, row, first, box_xyxy_N4, area_N, threshold)
                n_members += 1
                row = int64(following[row])
            n_pairs = list_pairs_of_members(
                members, grid, found, n_members, first, n_pairs, threshold, is_ios, grid_from,
                i_P, j_P,
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
