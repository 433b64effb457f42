"""Exact intersections from column profiles, on a device (public names: `torch_backend`).

A mask has one run in most of its columns. Its *profile* holds the top and the bottom of
the last run of each column of its box; the runs before it, if there are any, are
*extras*. Two masks share in a column what lies between the lower top and the higher
bottom, so a pair costs two reads and a minimum per column that both have; extras are
held against the other's profile and against its extras in the same column.

Worked example, ``#`` is foreground::

    A  column 0 1     B  column 0 1       profile A  0: (0, 3)  1: (2, 3)
         row0 # #       row0 . #                  B  0: (1, 3)  1: (0, 3)
         row1 # .       row1 # #          extras  A  1: (0, 1)
         row2 # #       row2 # #
    profiles share 2 + 1, the extra of A shares 1 with B's profile: 4.

Tops are kept negative beside the bottoms, in one int64 a column, so that one minimum
does both: the sum of its two halves is what is shared, where it is not negative.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.masks._torch_arrays import (
    ROW_BITS,
    cut_lengths,
    pick,
    sums_of,
    to_offsets,
    where_set,
)
from pipeline.masks._torch_overlap import Boxes, Keys, Spans, divide, pixels_before

NO_RUN = -(2**31 - 1)
"""The negative top in a column without a run: nothing is shared with any."""


class Profile(NamedTuple):
    """Columns of N masks, W in all, and E extras, both in the order of the masks.

    Attributes
    ----------
    run_W : int64 (W + 1,)
        Negative top and bottom of the last run, an int32 each; the last entry is scratch.
    base_N : int64 (N,)
        Column x of mask n is entry ``base_N[n] + x``.
    boxes : Boxes
        The first and the last column.
    extra_E : int64 (E + 1,)
        Runs before the last one, as ``run_W``; the last entry shares nothing.
    entry_E : int32 (E,)
        Entry of each extra's column.
    offsets_W : int32 (W + 1,)
        Entry w has the extras ``offsets_W[w]`` to ``offsets_W[w + 1]``.
    keys : Keys
        Extras as keys ``entry << 32 | y``.
    """

    run_W: Tensor
    base_N: Tensor
    boxes: Boxes
    extra_E: Tensor
    entry_E: Tensor
    offsets_W: Tensor
    keys: Keys


def build_profile(spans: Spans, boxes: Boxes, height_N: Tensor, limit: int) -> Profile | None:
    """Make the profile; None where it would have more than ``limit`` entries."""
    width_N = boxes.x1_N - boxes.x0_N
    height_F = pick(height_N, spans.row_F)
    n_columns_F = divide(spans.end_F - 1, height_F) - spans.column_F + 1
    n_entries, n_pieces = torch.stack([width_N.sum(), n_columns_F.sum()]).tolist()
    if max(n_entries, n_pieces) > limit:
        return None
    base_N = to_offsets(width_N)[:-1] - boxes.x0_N
    entry_C, run_C = _cut_at_columns(spans, height_N, base_N, n_columns_F, n_pieces)
    is_last_C = torch.ones_like(entry_C, dtype=torch.bool)
    is_last_C[:-1] = entry_C[1:] != entry_C[:-1]
    halves_W2 = torch.zeros((n_entries + 1, 2), dtype=torch.int32, device=entry_C.device)
    halves_W2[:, 0] = NO_RUN
    run_W = halves_W2.view(torch.int64).view(-1)
    run_W.scatter_(0, torch.where(is_last_C, entry_C, n_entries).long(), run_C)
    extra_E = where_set(~is_last_C)
    entry_E = pick(entry_C, extra_E)
    extra_E = pick(run_C, extra_E)
    n_extras_W = torch.zeros(n_entries + 1, dtype=torch.int32, device=entry_E.device)
    n_extras_W.scatter_add_(0, entry_E.long() + 1, torch.ones_like(entry_E))
    offsets_W = torch.cumsum(n_extras_W, 0, dtype=torch.int32)
    keys = _to_keys(entry_E, extra_E)
    extra_E = torch.cat([extra_E, extra_E.new_zeros(1)])
    return Profile(run_W, base_N, boxes, extra_E, entry_E, offsets_W, keys)


def _cut_at_columns(
    spans: Spans, height_N: Tensor, base_N: Tensor, n_columns_F: Tensor, n_pieces: int
) -> tuple[Tensor, Tensor]:
    """Entry of each run's piece in each of its columns, and the piece as in `Profile.run_W`."""
    span_C = torch.repeat_interleave(n_columns_F, output_size=n_pieces)
    shift_F = spans.column_F - to_offsets(n_columns_F)[:-1].int()
    column_C = torch.arange(n_pieces, dtype=torch.int32, device=span_C.device)
    column_C += pick(shift_F, span_C)
    row_C = pick(spans.row_F, span_C)
    height_C = pick(height_N, row_C)
    before_C = column_C * height_C
    top_C = torch.clamp(pick(spans.start_F, span_C) - before_C, min=0)
    bottom_C = torch.minimum(pick(spans.end_F, span_C) - before_C, height_C)
    run_C = torch.stack([-top_C, bottom_C], 1).view(torch.int64).view(-1)
    return column_C + pick(base_N.int(), row_C), run_C


def _to_keys(entry_E: Tensor, extra_E: Tensor) -> Keys:
    """Make extras that can be searched; nobody asks for those of one mask."""
    base_E = entry_E.long() << ROW_BITS
    top_E, bottom_E = _top_and_bottom(extra_E)
    return Keys(base_E + top_E, base_E + bottom_E, to_offsets(bottom_E - top_E), base_E[:0])


def _top_and_bottom(run_X: Tensor) -> tuple[Tensor, Tensor]:
    halves_X2 = run_X.view(torch.int32)
    return -halves_X2[0::2], halves_X2[1::2]


def shared_pixels(profile: Profile, i_P: Tensor, j_P: Tensor, limit: int) -> Tensor:
    """Pixels that the two masks of each pair share, int64 (P,).

    At most ``limit`` columns or extras are looked at at once, or those of one pair.
    """
    boxes = profile.boxes
    first_P = torch.maximum(pick(boxes.x0_N, i_P), pick(boxes.x0_N, j_P))
    stop_P = torch.minimum(pick(boxes.x1_N, i_P), pick(boxes.x1_N, j_P))
    n_columns_P = torch.clamp(stop_P - first_P, min=0)
    # Without a common column, the first one may be none of either mask.
    first_P = torch.where(n_columns_P > 0, first_P, stop_P)
    at_i_P = torch.clamp(pick(profile.base_N, i_P) + first_P, min=0)
    at_j_P = torch.clamp(pick(profile.base_N, j_P) + first_P, min=0)
    shared_P = torch.zeros_like(i_P)
    for a, b, total in cut_lengths(n_columns_P, limit):
        part = slice(a, b)
        pair_M, here_M, offsets_K1 = _stretches(at_i_P[part], n_columns_P[part], total)
        there_M = here_M + pick((at_j_P - at_i_P)[part].int(), pair_M)
        common_M = _common(profile.run_W, here_M, profile.run_W, there_M)
        shared_P[part] = sums_of(common_M, offsets_K1)
    for here_P, there_P in ((at_i_P, at_j_P), (at_j_P, at_i_P)):
        first_P = pick(profile.offsets_W, here_P).long()
        n_extras_P = pick(profile.offsets_W, here_P + n_columns_P).long() - first_P
        for a, b, total in cut_lengths(n_extras_P, limit):
            part = slice(a, b)
            pair_M, extra_M, offsets_K1 = _stretches(first_P[part], n_extras_P[part], total)
            entry_M = pick(profile.entry_E, extra_M)
            entry_M += pick((there_P - here_P)[part].int(), pair_M)
            common_M = _common(profile.extra_E, extra_M, profile.run_W, entry_M)
            if here_P is at_i_P:
                common_M += _extras_with_extras(profile, extra_M, entry_M)
            shared_P[part] += sums_of(common_M, offsets_K1)
    return shared_P


def _stretches(first_P: Tensor, length_P: Tensor, total: int) -> tuple[Tensor, Tensor, Tensor]:
    """Pair of each of ``total`` elements, its place from the pair's first on, and offsets."""
    offsets_P1 = to_offsets(length_P)
    pair_M = torch.repeat_interleave(length_P.int(), output_size=total)
    at_M = torch.arange(total, dtype=torch.int32, device=first_P.device)
    at_M += pick((first_P - offsets_P1[:-1]).int(), pair_M)
    return pair_M, at_M, offsets_P1


def _common(one_X: Tensor, at_one_M: Tensor, other_X: Tensor, at_other_M: Tensor) -> Tensor:
    """Pixels that runs of one column share, int32 (M,)."""
    one_M, other_M = pick(one_X, at_one_M), pick(other_X, at_other_M)
    least_M2 = torch.minimum(one_M.view(torch.int32), other_M.view(torch.int32))
    return torch.clamp(least_M2[0::2] + least_M2[1::2], min=0)


def _extras_with_extras(profile: Profile, extra_M: Tensor, entry_M: Tensor) -> Tensor:
    """Pixels that extras share with those of another column, int32 (M,).

    A column that has extras mostly has one; where there are more they are searched.
    """
    first_M = pick(profile.offsets_W, entry_M)
    n_extras_M = pick(profile.offsets_W, entry_M + 1) - first_M
    common_M = _common(profile.extra_E, extra_M, profile.extra_E, first_M)
    common_M *= n_extras_M > 0
    several_S = where_set(n_extras_M > 1)
    base_S = pick(entry_M, several_S).long() << ROW_BITS
    top_S, bottom_S = _top_and_bottom(pick(profile.extra_E, pick(extra_M, several_S)))
    shared_S = pixels_before(profile.keys, base_S + bottom_S)
    shared_S -= pixels_before(profile.keys, base_S + top_S)
    return common_M.index_copy_(0, several_S, shared_S.int())
