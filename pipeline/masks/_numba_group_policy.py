"""Who takes whom in, among the rows of one category of an image.

Twins, rows with the very string of an earlier row (and of one source, where
sources matter), take no part: whatever their original meets, they would meet.
They follow it afterwards.
"""

# Numba infers the types of parameters from the call, and intrinsics take one less than written.
# pyright: reportMissingParameterType=false, reportCallIssue=false

from __future__ import annotations

from numba import int32, int64, uint64

from pipeline.masks._jit import inlined, part
from pipeline.masks._numba_group_grid import (
    build_grid,
    close_entry,
    drop_closed,
    search_grid,
    sort_found,
)
from pipeline.masks._numba_group_pairs import (
    MISSED,
    least_shared,
    shared_if_reached,
    shared_pixels,
)
from pipeline.masks._numba_group_rows import ROW, ROW_64
from pipeline.masks._numba_group_scan import NO_LIMIT, fill_scan, ignore_bounds, search_scan
from pipeline.masks._numba_group_strings import is_same_string
from pipeline.masks._numba_group_vector import prefetch
from pipeline.masks._numba_group_work import (
    NO_AREA_BOUND,
    NO_BOX_BOUND,
    NO_CLOSING,
    NO_DIGESTS,
    NO_EARLY_STOP,
)

_MIX = uint64(0xD6E8FEB86659FD93)
_AHEAD = 8


@inlined
def has_same_string(image, i, j):
    """Say whether two rows of an image have one string."""
    if image.rows.digest[ROW_64 * i] != image.rows.digest[ROW_64 * j]:
        return False
    offsets_N1 = image.strings.offsets_N1
    i_start = offsets_N1[image.first + i]
    j_start = offsets_N1[image.first + j]
    n_bytes = offsets_N1[image.first + i + 1] - i_start
    if n_bytes != offsets_N1[image.first + j + 1] - j_start:
        return False
    return is_same_string(image.strings.bytes_B, i_start, j_start, n_bytes)


@inlined
def is_of_other_source(image, policy, i, j):
    """Say whether two rows of an image come from two sources, where that matters."""
    return policy.has_source and (
        image.source_N[image.first + i] != image.source_N[image.first + j]
    )


@inlined
def slot_of(image, policy, work, k):
    """Return where in the hash table a row belongs."""
    key = uint64(image.rows.digest[ROW_64 * k])
    if policy.has_source:
        key ^= uint64(image.source_N[image.first + k]) * _MIX
    return int64(key >> uint64(32)) & work.slot_mask


@part
def find_twin(image, policy, work, serial, k):
    """Return the earlier row of the category whose twin row k is, or -1 and remember k."""
    slot = slot_of(image, policy, work, k)
    while work.slots[slot] >> 32 == serial:
        i = work.slots[slot] & 0xFFFFFFFF
        if not is_of_other_source(image, policy, i, k) and has_same_string(image, i, k):
            return i
        slot = (slot + 1) & work.slot_mask
    work.slots[slot] = (serial << 32) | k
    return int64(-1)


@part
def gather_members(image, policy, work, serial, head):
    """List the rows of a category, twins aside; return their number."""
    n_rows = 0
    k = int64(head)
    while k >= 0:
        work.twin[k] = -1
        work.members[n_rows] = k
        n_rows += 1
        area = int64(image.rows.area[ROW * k])
        image.rows.least[ROW * k] = least_shared(area, policy.threshold)
        k = int64(work.following[k])
    if n_rows == 1 or policy.flags & NO_DIGESTS:
        return n_rows
    n_members = 0
    for v in range(n_rows):
        k = int64(work.members[v])
        if v + _AHEAD < n_rows:
            prefetch(work.slots, slot_of(image, policy, work, work.members[v + _AHEAD]))
        work.twin[k] = find_twin(image, policy, work, serial, k)
        if work.twin[k] < 0:
            work.members[n_members] = k
            n_members += 1
    return n_members


@inlined
def list_candidates(image, policy, work, n_members, leader, i, n_bits):
    """List the open rows that may reach the threshold with row i, in order.

    ``n_bits`` is that of the grid, or -1 without one.
    """
    area = int64(NO_LIMIT)
    if not policy.flags & NO_AREA_BOUND:
        area = int64(image.rows.area[ROW * i])
    if n_bits < 0:
        return search_scan(
            image.rows, work.members, n_members, leader + 1, work.scan, i, area, policy.is_ios,
            work.found,
        )  # fmt: skip
    n_found = search_grid(
        image.rows, image.arena, work.grid, n_bits, i, area, policy.is_ios, work.found
    )
    if policy.is_component:
        sort_found(work.found, n_found, work.grid.spare, work.grid.starts)
    return n_found


@inlined
def close(work, n_bits, row):
    """Let no list hold a row any more."""
    if n_bits < 0:
        work.scan.area[work.scan.member_of[row]] = 0
    else:
        close_entry(work.grid, row)


@inlined
def compare(image, policy, outcome, i, j):
    """Return what rows i and j share if they reach the threshold, else MISSED."""
    if policy.has_source:
        if not is_of_other_source(image, policy, i, j):
            return int64(MISSED)
        if not policy.flags & NO_DIGESTS and has_same_string(image, i, j):
            outcome.counters[0] += 1
            return int64(image.rows.area[ROW * i])
    outcome.counters[0] += 1
    outcome.counters[1] += 1
    may_stop = not policy.flags & NO_EARLY_STOP
    return shared_if_reached(
        image.strings, image.first, image.h, image.rows, image.arena, i, j, policy.threshold,
        policy.is_ios, may_stop,
    )  # fmt: skip


@inlined
def take_in(image, outcome, leader, linked, j, shared):
    """Note that row j of an image was taken in."""
    n = image.first + j
    outcome.leader_N[n] = image.first + leader
    outcome.linked_N[n] = image.first + linked
    outcome.intersection_N[n] = shared
    area = image.rows.area[ROW * leader]
    is_equal = shared == area and shared == image.rows.area[ROW * j]
    outcome.is_exact_duplicate_N[n] = is_equal


@inlined
def lead(image, outcome, k):
    """Note that row k of an image leads."""
    n = image.first + k
    outcome.leader_N[n] = n
    outcome.linked_N[n] = n
    outcome.intersection_N[n] = image.rows.area[ROW * k]
    outcome.is_exact_duplicate_N[n] = 0


@part
def prepare_lists(image, policy, work, n_members):
    """Make a grid of many members and return its extent and bits, or a scan of few (-1, -1)."""
    if n_members >= policy.grid_from and not policy.flags & (NO_BOX_BOUND | NO_AREA_BOUND):
        return build_grid(image.rows, work.members, n_members, work.grid)
    fill_scan(image.rows, work.members, n_members, work.scan)
    has_area = not policy.flags & NO_AREA_BOUND
    has_box = not policy.flags & NO_BOX_BOUND
    if not has_area or not has_box:
        ignore_bounds(work.scan, n_members, has_area, has_box, image.h, image.w)
    return int64(-1), -1


@part
def group_members(image, policy, work, outcome, n_members):
    """Let each open member, in order, lead and take in what it reaches."""
    extent, n_bits = prepare_lists(image, policy, work, n_members)
    is_closing = not policy.flags & NO_CLOSING
    n_entries = n_members
    n_open = n_members
    for v in range(n_members):
        leader = int64(work.members[v])
        if outcome.leader_N[image.first + leader] >= 0:
            continue
        lead(image, outcome, leader)
        if is_closing:
            close(work, n_bits, leader)
            n_open -= 1
        work.first_taken[leader] = -1
        work.queue[0] = leader
        head = 0
        tail = 1
        while head < tail:
            i = int64(work.queue[head])
            head += 1
            if n_bits >= 0 and 2 * n_open < n_entries:
                n_entries = drop_closed(n_entries, n_members, work.grid, extent, n_bits)
            n_found = list_candidates(image, policy, work, n_members, v, i, n_bits)
            for f in range(n_found):
                j = int64(work.found[f])
                if j == i:
                    continue
                shared = compare(image, policy, outcome, i, j)
                if shared == MISSED:
                    continue
                if not is_closing and outcome.leader_N[image.first + j] >= 0:
                    continue
                if i != leader:
                    shared = shared_pixels(
                        image.strings, image.first, image.h, image.rows, image.arena, leader, j
                    )
                take_in(image, outcome, leader, i, j, shared)
                if is_closing:
                    close(work, n_bits, j)
                    n_open -= 1
                if work.first_taken[leader] < 0:
                    work.first_taken[leader] = j
                if policy.is_component:
                    work.queue[tail] = j
                    tail += 1


@part
def follow_originals(image, policy, work, outcome, head):
    """Do with the twins of a category as was done with their originals."""
    k = int64(head)
    while k >= 0:
        i = int64(work.twin[k])
        following = int64(work.following[k])
        if i >= 0:
            lead(image, outcome, k)
            leader = outcome.leader_N[image.first + i]
            linked = outcome.linked_N[image.first + i]
            is_original_leading = leader == image.first + i
            if is_original_leading and policy.has_source:
                # An original that leads takes in no twin of its own source, but
                # the first row that it took in does, if those take in others.
                linked = int64(image.first + work.first_taken[i])
                if work.first_taken[i] < 0 or not policy.is_component:
                    k = following
                    continue
            n = image.first + k
            outcome.leader_N[n] = leader
            outcome.linked_N[n] = linked
            outcome.intersection_N[n] = outcome.intersection_N[image.first + i]
            outcome.is_exact_duplicate_N[n] = (
                is_original_leading or outcome.is_exact_duplicate_N[image.first + i]
            )
            outcome.counters[0] += 1
        k = following


@part
def group_category(image, policy, work, outcome, serial, head):
    """Group the rows of one category of an image, chained from its first row on."""
    n_members = gather_members(image, policy, work, serial, head)
    if n_members == 1:
        lead(image, outcome, int64(head))
        work.first_taken[head] = -1
    else:
        group_members(image, policy, work, outcome, n_members)
    if work.following[head] >= 0:
        follow_originals(image, policy, work, outcome, head)


@part
def group_image(image, policy, work, outcome, serial):
    """Group the parsed rows of one image; return the next serial number."""
    for k in range(image.n_rows - 1, -1, -1):
        n = image.first + k
        outcome.area_N[n] = image.rows.area[ROW * k]
        work.following[k] = int32(-2)
        if image.is_crowd_N[n] or image.rows.area[ROW * k] == 0:
            lead(image, outcome, k)
            continue
        outcome.leader_N[n] = -1
        work.following[k] = work.head[image.category_N[n]]
        work.head[image.category_N[n]] = k
    for k in range(image.n_rows):
        category = image.category_N[image.first + k]
        if work.following[k] > -2 and work.head[category] == k:
            work.head[category] = -1
            group_category(image, policy, work, outcome, serial, k)
            serial += 1
    return serial
