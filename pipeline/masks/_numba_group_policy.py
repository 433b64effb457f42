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
from pipeline.masks._numba_group_grid import build_grid, scan_members, search_grid, sort_found
from pipeline.masks._numba_group_pairs import (
    MISSED,
    least_shared,
    shared_if_reached,
    shared_pixels,
)
from pipeline.masks._numba_group_strings import is_same_string
from pipeline.masks._numba_group_work import (
    NO_AREA_BOUND,
    NO_BOX_BOUND,
    NO_CLOSING,
    NO_DIGESTS,
    NO_EARLY_STOP,
)

_MIX = uint64(0xD6E8FEB86659FD93)


@inlined
def has_same_string(strings, rows, first, i, j):
    """Say whether two rows of an image have one string."""
    if rows.digest[i] != rows.digest[j]:
        return False
    i_start = strings.offsets_N1[first + i]
    j_start = strings.offsets_N1[first + j]
    n_bytes = strings.offsets_N1[first + i + 1] - i_start
    if n_bytes != strings.offsets_N1[first + j + 1] - j_start:
        return False
    return is_same_string(strings.bytes_B, i_start, j_start, n_bytes)


@part
def find_twin(strings, rows, first, k, source_N, policy, work, serial):
    """Return the earlier row of the category whose twin row k is, or -1 and remember k."""
    key = uint64(rows.digest[k])
    if policy.has_source:
        key ^= uint64(source_N[first + k]) * _MIX
    slot = int64(key >> uint64(32)) & work.slot_mask
    while work.slot_serials[slot] == serial:
        i = work.slots[slot]
        is_other_source = policy.has_source and source_N[first + i] != source_N[first + k]
        if not is_other_source and has_same_string(strings, rows, first, i, k):
            return int64(i)
        slot = (slot + 1) & work.slot_mask
    work.slot_serials[slot] = serial
    work.slots[slot] = k
    return int64(-1)


@part
def gather_members(strings, rows, first, head, source_N, policy, work, serial):
    """Fill ``work.members`` with a category's rows, twins aside; their number."""
    members = work.members
    n_members = 0
    may_have_twins = work.following[head] >= 0 and not policy.flags & NO_DIGESTS
    k = head
    while k >= 0:
        work.twin[k] = -1
        if may_have_twins:
            work.twin[k] = find_twin(strings, rows, first, k, source_N, policy, work, serial)
        if work.twin[k] < 0:
            members.row[n_members] = k
            n_members += 1
        k = work.following[k]
    return n_members


@part
def measure_members(rows, members, n_members, size_h, size_w, policy):
    """Fill in boxes and areas of the members, or what tests nothing where a flag says so."""
    for v in range(n_members):
        k = members.row[v]
        area = int64(rows.area[k])
        members.x0[v] = rows.x0[k]
        members.x1[v] = rows.x1[k]
        members.y0[v] = rows.y0[k]
        members.y1[v] = rows.y1[k]
        members.area[v] = area
        members.least[v] = least_shared(area, policy.threshold)
        if policy.flags & NO_AREA_BOUND:
            members.area[v] = 2**31 - 1
        if policy.flags & NO_BOX_BOUND:
            members.x0[v] = 0
            members.x1[v] = size_w
            members.y0[v] = 0
            members.y1[v] = size_h
    for v in range(n_members, (n_members + 7) & ~7):
        members.area[v] = 0
        members.least[v] = 1


@inlined
def list_candidates(rows, work, n_members, leader, u, policy, has_grid):
    """List the open members that may reach the threshold with member u, in order."""
    members = work.members
    area = int64(rows.area[members.row[u]])
    if policy.flags & NO_AREA_BOUND:
        area = int64(2**31 - 1)
    if not has_grid:
        return scan_members(members, n_members, leader + 1, u, area, policy.is_ios, work.found)
    n_found = search_grid(members, work.grid, u, area, policy.is_ios, work.found)
    if policy.is_component:
        sort_found(work.found, n_found, work.grid)
    return n_found


@inlined
def compare(strings, first, size_h, rows, arena, source_N, policy, outcome, i, j):
    """Return what rows i and j share if they reach the threshold, else MISSED."""
    if policy.has_source:
        if source_N[first + i] == source_N[first + j]:
            return int64(MISSED)
        if not policy.flags & NO_DIGESTS and has_same_string(strings, rows, first, i, j):
            outcome.counters[0] += 1
            return int64(rows.area[i])
    outcome.counters[0] += 1
    outcome.counters[1] += 1
    may_stop = not policy.flags & NO_EARLY_STOP
    return shared_if_reached(
        strings, first, size_h, rows, arena, i, j, policy.threshold, policy.is_ios, may_stop
    )


@inlined
def take_in(strings, first, rows, outcome, leader, linked, j, shared):
    """Note that row j of an image was taken in."""
    n = first + j
    outcome.leader_N[n] = first + leader
    outcome.linked_N[n] = first + linked
    outcome.intersection_N[n] = shared
    is_equal = shared == rows.area[leader] and shared == rows.area[j]
    outcome.is_exact_duplicate_N[n] = is_equal


@inlined
def lead(first, rows, outcome, k):
    """Note that row k of an image leads."""
    n = first + k
    outcome.leader_N[n] = n
    outcome.linked_N[n] = n
    outcome.intersection_N[n] = rows.area[k]
    outcome.is_exact_duplicate_N[n] = 0


@part
def group_members(strings, first, size_h, rows, arena, source_N, policy, work, n_members, outcome):
    """Let each open member, in order, lead and take in what it reaches."""
    members = work.members
    has_grid = n_members >= policy.grid_from and not policy.flags & NO_BOX_BOUND
    if has_grid:
        build_grid(members, n_members, work.grid)
    is_closing = not policy.flags & NO_CLOSING
    for leader in range(n_members):
        leader_row = members.row[leader]
        if outcome.leader_N[first + leader_row] >= 0:
            continue
        lead(first, rows, outcome, leader_row)
        members.area[leader] = 0 if is_closing else members.area[leader]
        work.first_taken[leader_row] = -1
        work.queue[0] = leader
        head = 0
        tail = 1
        while head < tail:
            u = work.queue[head]
            i = int64(members.row[u])
            head += 1
            n_found = list_candidates(rows, work, n_members, leader, u, policy, has_grid)
            for f in range(n_found):
                v = work.found[f]
                j = int64(members.row[v])
                if v == u:
                    continue
                shared = compare(
                    strings, first, size_h, rows, arena, source_N, policy, outcome, i, j
                )
                if shared == MISSED or outcome.leader_N[first + j] >= 0:
                    continue
                if u != leader:
                    shared = shared_pixels(strings, first, size_h, rows, arena, leader_row, j)
                take_in(strings, first, rows, outcome, leader_row, i, j, shared)
                members.area[v] = 0 if is_closing else members.area[v]
                if work.first_taken[leader_row] < 0:
                    work.first_taken[leader_row] = j
                if policy.is_component:
                    work.queue[tail] = v
                    tail += 1


@part
def follow_originals(first, head, rows, policy, work, outcome):
    """Do with the twins of a category as was done with their originals."""
    k = int64(head)
    while k >= 0:
        i = int64(work.twin[k])
        k_next = int64(work.following[k])
        if i >= 0:
            lead(first, rows, outcome, k)
            leader = outcome.leader_N[first + i]
            linked = outcome.linked_N[first + i]
            if leader == first + i and policy.has_source:
                # An original that leads takes in no twin of its own source, but
                # the first row that it took in does, if those take in others.
                linked = int64(first + work.first_taken[i])
                if work.first_taken[i] < 0 or not policy.is_component:
                    k = k_next
                    continue
            outcome.leader_N[first + k] = leader
            outcome.linked_N[first + k] = linked
            outcome.intersection_N[first + k] = outcome.intersection_N[first + i]
            outcome.is_exact_duplicate_N[first + k] = (
                leader == first + i or outcome.is_exact_duplicate_N[first + i]
            )
            outcome.counters[0] += 1
        k = k_next


@part
def group_category(
    strings, first, size_h, size_w, rows, arena, source_N, policy, work, head, serial, outcome
):
    """Group the rows of one category of an image, chained from its first row on."""
    n_members = gather_members(strings, rows, first, head, source_N, policy, work, serial)
    if n_members == 1:
        lead(first, rows, outcome, head)
        work.first_taken[head] = -1
    else:
        measure_members(rows, work.members, n_members, size_h, size_w, policy)
        group_members(
            strings, first, size_h, rows, arena, source_N, policy, work, n_members, outcome
        )
    if work.following[head] >= 0:
        follow_originals(first, head, rows, policy, work, outcome)


@part
def group_image(
    strings, first, n_rows, size_h, size_w, rows, arena, category_N, is_crowd_N, source_N,
    policy, work, serial, outcome,
):  # fmt: skip
    """Group the parsed rows of one image; return the next serial number."""
    for k in range(n_rows - 1, -1, -1):
        n = first + k
        outcome.area_N[n] = rows.area[k]
        work.following[k] = int32(-2)
        if is_crowd_N[n] or rows.area[k] == 0:
            lead(first, rows, outcome, k)
            continue
        outcome.leader_N[n] = -1
        work.following[k] = work.head[category_N[n]]
        work.head[category_N[n]] = k
    for k in range(n_rows):
        category = category_N[first + k]
        if work.following[k] > -2 and work.head[category] == k:
            work.head[category] = -1
            group_category(
                strings,
                first,
                size_h,
                size_w,
                rows,
                arena,
                source_N,
                policy,
                work,
                k,
                serial,
                outcome,
            )
            serial += 1
    return serial
