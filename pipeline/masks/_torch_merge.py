"""Votes of groups of masks by one segmented sweep (public names: `torch_backend`).

The changes of colour of all members of all groups are sorted by (group, position);
running sums of +1 and -1 are the votes. They are back at 0 at the end of each group,
so one sum over everything needs no start of its own per group.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.masks._torch_arrays import expand, pick, to_offsets, where_set
from pipeline.masks._torch_rle import counts_of

KEY_BITS = 33
FARTHEST = 2**31


def vote(
    counts_R: Tensor,
    offsets_N1: Tensor,
    n_pixels_G: Tensor,
    group_offsets_G1: Tensor,
    member_M: Tensor,
    min_votes_G: Tensor,
) -> tuple[Tensor, Tensor]:
    """Run lengths and offsets of the pixels that enough members of each group have."""
    group_M, _ = expand(torch.diff(group_offsets_G1), group_offsets_G1, len(member_M))
    key_E = _changes(counts_R, offsets_N1, member_M, group_M)
    key_E = torch.sort(key_E)[0]
    votes_E = torch.cumsum(1 - 2 * (key_E & 1), 0)
    place_E = key_E >> 1
    is_last_E = torch.ones_like(place_E, dtype=torch.bool)
    is_last_E[:-1] = place_E[1:] != place_E[:-1]
    last_K = where_set(is_last_E)
    place_K = pick(place_E, last_K)
    group_K = place_K >> KEY_BITS - 1
    is_inside_K = pick(votes_E, last_K) >= pick(min_votes_G, group_K)
    changes_K = is_inside_K.clone()
    changes_K[1:] ^= is_inside_K[:-1]
    change_C = where_set(changes_K)
    return close_runs(pick(place_K, change_C), n_pixels_G)


def _changes(counts_R: Tensor, offsets_N1: Tensor, member_M: Tensor, group_M: Tensor) -> Tensor:
    """Keys ``group, position, is an end`` of all members; the end of background is no change."""
    ends_R1 = to_offsets(counts_R)
    n_runs_M = pick(torch.diff(offsets_N1), member_M)
    n_changes_M = n_runs_M - (n_runs_M & 1)
    offsets_M1 = to_offsets(n_changes_M)
    row_E, step_E = expand(n_changes_M, offsets_M1, int(offsets_M1[-1]))
    first_M = pick(offsets_N1, member_M)
    run_E = pick(first_M, row_E) + step_E
    position_E = pick(ends_R1, run_E + 1) - pick(pick(ends_R1, first_M), row_E)
    key_E = (pick(group_M, row_E) << KEY_BITS - 1) + torch.clamp(position_E, max=FARTHEST)
    return key_E * 2 + (step_E & 1)


def close_runs(key_C: Tensor, n_pixels_G: Tensor) -> tuple[Tensor, Tensor]:
    """Run lengths and offsets from changes of colour, one row or group after the other.

    A key is ``row << 32 | position``; they are sorted, and no two of a row are equal.
    """
    n_groups = len(n_pixels_G)
    bounds_G1 = torch.arange(n_groups + 1, device=key_C.device) << KEY_BITS - 1
    first_G1 = torch.searchsorted(key_C, bounds_G1)
    n_changes_G = torch.diff(first_G1)
    position_C = key_C & ((1 << KEY_BITS - 1) - 1)
    last_C1 = torch.cat([position_C.new_full((1,), -1), position_C])
    last_G = torch.where(n_changes_G > 0, pick(last_C1, first_G1[1:]), -1)
    is_open_G = last_G < n_pixels_G
    offsets_G1 = to_offsets(n_changes_G + is_open_G.long())
    ends_R = torch.repeat_interleave(
        n_pixels_G, torch.diff(offsets_G1), output_size=len(key_C) + int(is_open_G.sum())
    )
    row_C, step_C = expand(n_changes_G, first_G1, len(key_C))
    ends_R.index_copy_(0, pick(offsets_G1, row_C) + step_C, position_C)
    return counts_of(ends_R, offsets_G1)
