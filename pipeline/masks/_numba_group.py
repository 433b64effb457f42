"""Compiled grouping of masks, image by image (public name: `pipeline.masks.group`)."""

# Numba infers the types of parameters from the call.
# pyright: reportMissingParameterType=false

from __future__ import annotations

import numpy as np

from pipeline.masks._jit import kernel


@kernel
def _parse(bytes_B, start, end, n_pixels, ends_R, r):
    """Append the run ends of one canonical string; the new length, or -1."""
    at = start
    first = r
    position = 0
    previous = 0
    before = 0
    while at < end:
        value = 0
        shift = 0
        last = 0
        while True:
            if at == end or shift > 30:
                return -1
            char = int(bytes_B[at]) - 48
            at += 1
            if char < 0 or char > 63:
                return -1
            value |= (char & 31) << shift
            shift += 5
            if char < 32:
                if char & 16:
                    value -= 1 << shift
                if shift > 5 and char == (31 if last & 16 else 0):
                    return -1
                break
            last = char
        k = r - first
        if k > 2:
            value += before
        before = previous
        previous = value
        if value < 0 or (value == 0 and k > 0) or position + value > n_pixels:
            return -1
        position += value
        ends_R[r] = position
        r += 1
    if position != n_pixels:
        return -1
    return r


@kernel
def _intersection(ends_R, a, a_end, b, b_end):
    """Walk the runs of two masks; the pixels that both have."""
    total = 0
    start = 0
    a0 = a
    b0 = b
    while a < a_end and b < b_end:
        stop = min(ends_R[a], ends_R[b])
        if (a - a0) & 1 and (b - b0) & 1:
            total += stop - start
        start = stop
        a += ends_R[a] == stop
        b += ends_R[b] == stop
    return total


@kernel
def group_images(
    bytes_B,
    offsets_N1,
    size_hw_N2,
    image_offsets_G1,
    category_N,
    is_crowd_N,
    source_N,
    has_source,
    threshold,
    is_ios,
    is_component,
    leader_N,
    linked_N,
    intersection_N,
    is_exact_duplicate_N,
    area_N,
    counters,
):
    """Group all images; -1, or the row whose string or size is refused."""
    longest = 0
    for g in range(len(image_offsets_G1) - 1):
        longest = max(
            longest, offsets_N1[image_offsets_G1[g + 1]] - offsets_N1[image_offsets_G1[g]]
        )
    ends_R = np.empty(longest, np.int64)
    row_R = np.empty(len(area_N) + 1, np.int64)
    queue = np.empty(len(area_N) + 1, np.int64)
    for g in range(len(image_offsets_G1) - 1):
        first = image_offsets_G1[g]
        last = image_offsets_G1[g + 1]
        r = 0
        for n in range(first, last):
            h = int(size_hw_N2[n, 0])
            w = int(size_hw_N2[n, 1])
            if h != size_hw_N2[first, 0] or w != size_hw_N2[first, 1]:
                return n
            row_R[n] = r
            r = _parse(bytes_B, offsets_N1[n], offsets_N1[n + 1], h * w, ends_R, r)
            if r < 0:
                return n
            area = 0
            for k in range(row_R[n] + 1, r, 2):
                area += ends_R[k] - ends_R[k - 1]
            area_N[n] = area
            leader_N[n] = -1
            row_R[n + 1] = r
        for leader in range(first, last):
            if leader_N[leader] >= 0:
                continue
            leader_N[leader] = leader
            linked_N[leader] = leader
            intersection_N[leader] = area_N[leader]
            is_exact_duplicate_N[leader] = False
            if is_crowd_N[leader] or area_N[leader] == 0:
                continue
            head = 0
            tail = 1
            queue[0] = leader
            while head < tail:
                i = queue[head]
                head += 1
                for j in range(leader + 1, last):
                    if leader_N[j] >= 0 or is_crowd_N[j] or area_N[j] == 0:
                        continue
                    if category_N[i] != category_N[j]:
                        continue
                    if has_source and source_N[i] == source_N[j]:
                        continue
                    counters[0] += 1
                    counters[1] += 1
                    shared = _intersection(ends_R, row_R[i], row_R[i + 1], row_R[j], row_R[j + 1])
                    whole = min(area_N[i], area_N[j]) if is_ios else area_N[i] + area_N[j] - shared
                    if float(shared) / float(whole) < threshold:
                        continue
                    leader_N[j] = leader
                    linked_N[j] = i
                    if i != leader:
                        shared = _intersection(
                            ends_R, row_R[leader], row_R[leader + 1], row_R[j], row_R[j + 1]
                        )
                    intersection_N[j] = shared
                    is_exact_duplicate_N[j] = shared == area_N[leader] and shared == area_N[j]
                    if is_component:
                        queue[tail] = j
                        tail += 1
    return -1
