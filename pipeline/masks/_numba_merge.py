"""Compiled merging of groups of masks (public names: `pipeline.masks.merge`).

Callers have proven offsets, row numbers and sizes; runs that do not sum to h*w
give masks without meaning but no access out of bounds, since every array is
sized by the number of runs and never indexed by a position in the image.
"""

# Numba infers the parameters' types; the public functions state them.
# pyright: reportMissingParameterType=false

from __future__ import annotations

import numpy as np

from pipeline.masks._jit import kernel, part

# Sentinels around each sorted stretch of keys: the merge never asks where it ends.
LOWEST = -1
HIGHEST = 2**62
KEYS_AROUND = 2
# Beyond every image; keeps keys below HIGHEST whatever the counts are.
FARTHEST = 2**31


@part
def load_keys(counts_R, start, end, keys_E, out):
    """Write one mask's colour changes as sorted keys between sentinels; new end.

    A key is twice the position, plus 1 where foreground ends. The end of the last
    background run is no change.
    """
    keys_E[out] = LOWEST
    out += 1
    position = 0
    last = end - 1 if (end - start) % 2 == 1 else end
    for place in range(start, last):
        position = min(position + np.int64(counts_R[place]), FARTHEST)
        keys_E[out] = 2 * position + (place - start) % 2
        out += 1
    keys_E[out] = HIGHEST
    return out + 1


@part
def merge_keys(from_E, a, a_end, b, b_end, to_E):
    """Merge the stretches ``from_E[a:a_end]`` and ``from_E[b:b_end]`` into ``to_E[a:]``; its end.

    From both ends at once and without a branch: two chains of loads that do not
    wait for each other, and no guess about which mask changes next.
    """
    n_keys = (a_end - a) + (b_end - b) - 4
    left = a + 1
    right = b + 1
    out = a + 1
    left_back = a_end - 2
    right_back = b_end - 2
    out_back = a + n_keys
    for _ in range(n_keys // 2):
        low = from_E[left]
        high = from_E[right]
        takes_left = low <= high
        to_E[out] = low if takes_left else high
        left += takes_left
        right += not takes_left
        out += 1
        low = from_E[left_back]
        high = from_E[right_back]
        takes_right = high >= low
        to_E[out_back] = high if takes_right else low
        right_back -= takes_right
        left_back -= not takes_right
        out_back -= 1
    if n_keys % 2:
        # One key is left; the other pointer stands on one already taken, or on HIGHEST.
        to_E[out] = min(from_E[left], from_E[right])
    to_E[a] = LOWEST
    to_E[a + n_keys + 1] = HIGHEST
    return a + n_keys + 2


@part
def sort_stretches(keys_E, spare_E, starts_K, ends_K, n_stretches):
    """Merge neighbouring stretches, round by round, into one; the array it ended up in."""
    while n_stretches > 1:
        for pair in range(n_stretches // 2):
            a = starts_K[2 * pair]
            ends_K[pair] = merge_keys(
                keys_E, a, ends_K[2 * pair], starts_K[2 * pair + 1], ends_K[2 * pair + 1], spare_E
            )
            starts_K[pair] = a
        if n_stretches % 2:
            last = n_stretches - 1
            for e in range(starts_K[last], ends_K[last]):
                spare_E[e] = keys_E[e]
            starts_K[n_stretches // 2] = starts_K[last]
            ends_K[n_stretches // 2] = ends_K[last]
        n_stretches = (n_stretches + 1) // 2
        keys_E, spare_E = spare_E, keys_E
    return keys_E


@part
def cancel_pairs(counts_R, start, end):
    """Drop changes there and back at one position from sorted positions; new end."""
    out = start
    for place in range(start, end):
        if out > start and counts_R[out - 1] == counts_R[place]:
            out -= 1
        else:
            counts_R[out] = counts_R[place]
            out += 1
    return out


@part
def sweep(keys_E, first, end, min_votes, n_pixels, counts_R, out):
    """Write the runs of pixels that ``min_votes`` masks have at least; new end.

    Changes of colour are written as positions: always, while the index moves on
    only where the colour changed. Then positions become run lengths. Where masks
    start and end at one position, the colour may change there and back (never in
    a union, as starts sort before ends).
    """
    start = out
    votes = 0
    was_inside = False
    for e in range(first, end):
        votes += 1 - 2 * (keys_E[e] & 1)
        counts_R[out] = keys_E[e] >> 1
        is_inside = votes >= min_votes
        out += is_inside != was_inside
        was_inside = is_inside
    if min_votes > 1:
        out = cancel_pairs(counts_R, start, out)
    before = 0
    for place in range(start, out):
        position = np.int64(counts_R[place])
        counts_R[place] = position - before
        before = position
    if before < n_pixels or out == start:
        counts_R[out] = n_pixels - before
        out += 1
    return out


@part
def copy_mask(counts_R, start, end, out_R, out):
    """Copy one mask's runs; new end."""
    for place in range(start, end):
        out_R[out] = counts_R[place]
        out += 1
    return out


@kernel
def vote(
    size_hw_N2,
    counts_R,
    offsets_N1,
    group_offsets_G1,
    member_M,
    min_votes_G,
    n_scratch_keys,
    n_scratch_masks,
    out_R,
    out_offsets_G1,
):
    """Write each group's vote to ``out_R``, which has room for all its runs and one per group."""
    keys_E = np.empty(n_scratch_keys, np.int64)
    spare_E = np.empty(n_scratch_keys, np.int64)
    starts_K = np.empty(n_scratch_masks, np.int64)
    ends_K = np.empty(n_scratch_masks, np.int64)
    out = 0
    for g in range(len(group_offsets_G1) - 1):
        first = group_offsets_G1[g]
        n_members = group_offsets_G1[g + 1] - first
        leader = member_M[first]
        if n_members == 1 and min_votes_G[g] == 1:
            out = copy_mask(counts_R, offsets_N1[leader], offsets_N1[leader + 1], out_R, out)
        else:
            n_keys = 0
            for k in range(n_members):
                member = member_M[first + k]
                starts_K[k] = n_keys
                n_keys = load_keys(
                    counts_R, offsets_N1[member], offsets_N1[member + 1], keys_E, n_keys
                )
                ends_K[k] = n_keys
            sorted_E = sort_stretches(keys_E, spare_E, starts_K, ends_K, n_members)
            n_pixels = np.int64(size_hw_N2[leader, 0]) * np.int64(size_hw_N2[leader, 1])
            out = sweep(sorted_E, 1, ends_K[0] - 1, min_votes_G[g], n_pixels, out_R, out)
        out_offsets_G1[g + 1] = out
    return out
