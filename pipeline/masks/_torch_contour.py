"""Runs to crack bytes on a device (public names: `pipeline.masks.torch_contour`).

As in `_numba_contour` each run of a column has two nodes, its top and its bottom, and
the contour is a permutation of them. Here no ring is walked: the nodes of all grid
lines are sorted and paired at once, rings are found by following twice as far in
each round, and a sum over their nodes, found the same way, says where in its ring
each stretch writes its symbols. Which phrase would begin at a symbol is looked up for
every symbol; those that do begin are what the first one of a ring leads to, again by
jumps that double.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pipeline.masks._contour_tables import (
    CONTEXT_SYMBOLS,
    MAX_PHRASE_SYMBOLS,
    N_PHRASES,
    OTHER,
    SAME,
    trees,
)
from pipeline.masks._torch_arrays import expand, pick, tally, to_offsets, upload, where_set

PAD = MAX_PHRASE_SYMBOLS
"""Straights behind each ring, which the last phrase may run into."""

MAX_VARINT_BYTES = 5
LEFT, RIGHT = 1, 2


class Rings(NamedTuple):
    """K rings in the order in which they are written.

    Attributes
    ----------
    mask_K, column_K, row_K : int64 (K,)
        Mask, and the left end of the first crack.
    length_K : int64 (K,)
        Symbols.
    """

    mask_K: Tensor
    column_K: Tensor
    row_K: Tensor
    length_K: Tensor


def encode(counts_R: Tensor, offsets_N1: Tensor, height_N: Tensor) -> tuple[Tensor, Tensor]:
    """Crack bytes uint8 (B,) and offsets (N + 1,) of canonical runs."""
    mask_C, column_C, top_C, bottom_C = _split(counts_R, offsets_N1, height_N)
    n_masks = len(height_N)
    if len(mask_C) == 0:
        return counts_R.new_zeros(0, dtype=torch.uint8), torch.zeros_like(offsets_N1)
    row_D = torch.stack([top_C, bottom_C], 1).view(-1)
    next_D = _link(mask_C, column_C, row_D)
    side_Y, rings = _symbols(mask_C, column_C, row_D, next_D)
    byte_P, ring_P = _phrases(side_Y, rings)
    return _write(byte_P, ring_P, rings, n_masks)


def _split(
    counts_R: Tensor, offsets_N1: Tensor, height_N: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mask, column, top and bottom of the foreground runs of each column, in order."""
    n_runs_N = torch.diff(offsets_N1)
    mask_R, place_R = expand(n_runs_N, offsets_N1, len(counts_R))
    ends_R1 = to_offsets(counts_R)
    start_N = pick(ends_R1, offsets_N1[:-1])
    odd_F = where_set(place_R & 1)
    mask_F = pick(mask_R, odd_F)
    before_F = pick(start_N, mask_F)
    first_F, end_F = pick(ends_R1, odd_F) - before_F, pick(ends_R1, odd_F + 1) - before_F
    height_F = pick(height_N, mask_F)
    left_F, right_F = first_F // height_F, (end_F - 1) // height_F
    n_columns_F = right_F - left_F + 1
    offsets_F1 = to_offsets(n_columns_F)
    run_C, step_C = expand(n_columns_F, offsets_F1, int(offsets_F1[-1]))
    column_C = pick(left_F, run_C) + step_C
    height_C = pick(height_F, run_C)
    base_C = column_C * height_C
    top_C = torch.clamp(pick(first_F, run_C) - base_C, min=0)
    bottom_C = torch.minimum(pick(end_F, run_C) - base_C, height_C)
    return pick(mask_F, run_C), column_C, top_C, bottom_C


def _link(mask_C: Tensor, column_C: Tensor, row_D: Tensor) -> Tensor:
    """Pair the nodes on each grid line: where each node's ring goes on.

    A node is on the line left of its column and on that right of it. In the order of
    lines, rows, tops before bottoms, and left columns before right ones, the
    1st goes with the 2nd, the 3rd with the 4th.
    """
    n_nodes = len(row_D)
    node_D = torch.arange(n_nodes, device=row_D.device)
    # One line more than columns, and one between masks, so that lines of two never meet.
    is_new_C = torch.ones_like(mask_C, dtype=torch.bool)
    is_new_C[1:] = (mask_C[1:] != mask_C[:-1]) | (column_C[1:] != column_C[:-1])
    is_apart_C = is_new_C.clone()
    is_apart_C[1:] &= (mask_C[1:] != mask_C[:-1]) | (column_C[1:] != column_C[:-1] + 1)
    line_C = torch.cumsum(is_new_C.long() + is_apart_C.long(), 0)
    line_D = torch.repeat_interleave(line_C, 2, output_size=n_nodes)
    key_D = (row_D << 1) + (node_D & 1)
    # Right of its column a node comes first among equals: it is of the left column.
    key_E = torch.cat([(line_D + 1 << 34) + (key_D << 1), (line_D << 34) + (key_D << 1) + 1])
    order_E = torch.sort(key_E)[1]
    is_left_E = order_E < n_nodes
    node_E = torch.where(is_left_E, order_E, order_E - n_nodes)
    first_P, second_P = node_E[0::2], node_E[1::2]
    is_in_P = is_left_E[0::2] == (first_P & 1 == 0)
    next_D = torch.empty_like(node_D)
    from_P = torch.where(is_in_P, first_P, second_P)
    return next_D.index_copy_(0, from_P, torch.where(is_in_P, second_P, first_P))


def _symbols(
    mask_C: Tensor, column_C: Tensor, row_D: Tensor, next_D: Tensor
) -> tuple[Tensor, Rings]:
    """Side of the turn at each symbol (0 straight), ring by ring with `PAD`, and the rings."""
    n_nodes = len(row_D)
    node_D = torch.arange(n_nodes, device=row_D.device)
    down_D = pick(row_D, next_D) - row_D
    rows_D = down_D.abs()
    start_D = _first_tops(next_D, node_D)
    is_last_D = next_D == start_D
    length_D = torch.where(rows_D > 0, rows_D + 1 - is_last_D.long(), 1)
    left_D = _sums_to_end(length_D, next_D, is_last_D)
    first_K = where_set(start_D == node_D)
    length_K = pick(left_D, first_K)
    rings = Rings(
        pick(mask_C, first_K >> 1), pick(column_C, first_K >> 1), pick(row_D, first_K), length_K
    )
    base_K1 = to_offsets(length_K + PAD)
    ring_D = pick(torch.cumsum((start_D == node_D).long(), 0) - 1, start_D)
    place_D = pick(base_K1, ring_D) + pick(length_K, ring_D) - left_D
    side_Y = torch.zeros(int(base_K1[-1]), dtype=torch.int8, device=row_D.device)
    is_up_D, is_top_D = (down_D < 0).long(), 1 - (node_D & 1)
    # Down from a top (eastward) is a right turn, up from a bottom (westward) too.
    opens_D = (LEFT + (is_up_D ^ is_top_D)).to(torch.int8)
    closes_D = (LEFT + (is_up_D ^ (next_D & 1))).to(torch.int8)
    turn_T = where_set(rows_D > 0)
    side_Y.index_copy_(0, pick(place_D, turn_T), pick(opens_D, turn_T))
    turn_T = where_set((rows_D > 0) & ~is_last_D)
    side_Y.index_copy_(0, pick(place_D + rows_D, turn_T), pick(closes_D, turn_T))
    return side_Y, rings


def _first_tops(next_D: Tensor, node_D: Tensor) -> Tensor:
    """First top of each node's ring."""
    least_D = torch.where(node_D & 1 == 0, node_D, len(node_D))
    while True:
        lower_D = torch.minimum(least_D, pick(least_D, next_D))
        if torch.equal(lower_D, least_D):
            return least_D
        least_D, next_D = lower_D, pick(next_D, next_D)


def _sums_to_end(length_D: Tensor, next_D: Tensor, is_last_D: Tensor) -> Tensor:
    """Sum of the lengths of each node and of those behind it in its ring."""
    n_nodes = len(length_D)
    sum_D1 = torch.cat([length_D, length_D.new_zeros(1)])
    next_D1 = torch.cat([torch.where(is_last_D, n_nodes, next_D), next_D.new_full((1,), n_nodes)])
    while bool((next_D1 != n_nodes).any()):
        sum_D1 = sum_D1 + pick(sum_D1, next_D1)
        next_D1 = pick(next_D1, next_D1)
    return sum_D1[:-1]


def _phrases(side_Y: Tensor, rings: Rings) -> tuple[Tensor, Tensor]:
    """Byte of each phrase, uint8 (P,), and its ring."""
    base_K1 = to_offsets(rings.length_K + PAD)
    symbol_Y = _turns(side_Y, base_K1)
    byte_Y, jump_Y = _look_up(symbol_Y, _contexts(symbol_Y, base_K1))
    n_symbols = len(side_Y)
    place_Y = torch.arange(n_symbols, device=side_Y.device)
    ring_Y = torch.repeat_interleave(rings.length_K + PAD, output_size=n_symbols)
    is_symbol_Y = place_Y - pick(base_K1, ring_Y) < pick(rings.length_K, ring_Y)
    jump_Y = torch.where(is_symbol_Y, jump_Y, place_Y)
    is_start_Y = torch.zeros(n_symbols, dtype=torch.bool, device=side_Y.device)
    is_start_Y.index_fill_(0, base_K1[:-1], True)
    # After n rounds the first 2**n phrases of each ring are marked.
    for _ in range(int(rings.length_K.max()).bit_length()):
        reached_P = pick(jump_Y, where_set(is_start_Y))
        is_start_Y.index_fill_(0, reached_P, True)
        jump_Y = pick(jump_Y, jump_Y)
    start_P = where_set(is_start_Y & is_symbol_Y)
    return pick(byte_Y, start_P), pick(ring_Y, start_P)


def _turns(side_Y: Tensor, base_K1: Tensor) -> Tensor:
    """Turn the side of each turn into symbols relative to the last one, int8."""
    turn_T = where_set(side_Y)
    side_T = pick(side_Y, turn_T)
    before_T = torch.cat([side_T.new_full((1,), RIGHT), side_T[:-1]])[: len(side_T)]
    # Before the first turn of a ring, the last one counts as right.
    first_K = torch.searchsorted(turn_T, base_K1[:-1])
    before_T.index_fill_(0, first_K, RIGHT)
    symbol_T = torch.where(side_T == before_T, SAME, OTHER).to(torch.int8)
    return torch.zeros_like(side_Y).index_copy_(0, turn_T, symbol_T)


def _contexts(symbol_Y: Tensor, base_K1: Tensor) -> Tensor:
    """Context of each symbol, int32: which of those before it in its ring were turns."""
    n_symbols = len(symbol_Y)
    turned_Z = torch.cat([symbol_Y.new_zeros(CONTEXT_SYMBOLS), symbol_Y.clamp(max=1)]).int()
    # Before a ring there were turns only; no phrase reads the padding that this overwrites.
    for place in range(CONTEXT_SYMBOLS):
        turned_Z.index_fill_(0, base_K1[:-1] + place, 1)
    context_Y = torch.zeros_like(turned_Z[:n_symbols])
    for place in range(CONTEXT_SYMBOLS):
        context_Y = (context_Y << 1) + turned_Z[place : place + n_symbols]
    return context_Y


def _look_up(symbol_Y: Tensor, context_Y: Tensor) -> tuple[Tensor, Tensor]:
    """Byte of the phrase that would begin at each symbol, and where the next one would."""
    child_Q3 = trees().child_Q3
    n_prefixes = len(child_Q3) // 3
    n_phrases = int(child_Q3.max()) + 1 - n_prefixes
    # A phrase stays where it is.
    stays = np.repeat(np.arange(n_prefixes, n_prefixes + n_phrases, dtype=np.int32), 3)
    next_S3 = upload(np.concatenate([child_Q3, stays]), symbol_Y.device)
    last = len(symbol_Y) - 1
    at_Y = torch.arange(len(symbol_Y), dtype=torch.int32, device=symbol_Y.device)
    at_Y = at_Y if last < 2**31 - PAD else at_Y.long()
    node_Y = context_Y
    for _ in range(MAX_PHRASE_SYMBOLS):
        entry_Y = node_Y * 3 + pick(symbol_Y, torch.clamp(at_Y, max=last))
        at_Y = at_Y + (node_Y < n_prefixes)
        node_Y = pick(next_S3, entry_Y)
    byte_Y = (node_Y - n_prefixes) % N_PHRASES
    return byte_Y.to(torch.uint8), torch.clamp(at_Y, max=last).long()


def _write(byte_P: Tensor, ring_P: Tensor, rings: Rings, n_masks: int) -> tuple[Tensor, Tensor]:
    """Put starts of rings and phrases one behind the other, without straights at the end."""
    n_rings = len(rings.mask_K)
    header_K2, width_K2 = _headers(rings)
    n_phrases_K = tally(ring_P, n_rings)
    begin_K1 = to_offsets(width_K2.sum(1) + n_phrases_K)
    n_bytes = int(begin_K1[-1])
    bytes_B = byte_P.new_zeros(n_bytes)
    phrase_K1 = to_offsets(n_phrases_K)
    shift_K = begin_K1[:-1] + width_K2.sum(1) - phrase_K1[:-1]
    place_P = torch.arange(len(byte_P), device=byte_P.device) + pick(shift_K, ring_P)
    bytes_B.index_copy_(0, place_P, byte_P)
    at_K2 = torch.stack([begin_K1[:-1], begin_K1[:-1] + width_K2[:, 0]], 1)
    for place in range(MAX_VARINT_BYTES):
        has_H = where_set((width_K2 > place).view(-1))
        value_H = pick(header_K2.view(-1), has_H) >> 7 * place
        more_H = (pick(width_K2.view(-1), has_H) > place + 1).long() << 7
        data_H = ((value_H & 127) + more_H).to(torch.uint8)
        bytes_B.index_copy_(0, pick(at_K2.view(-1), has_H) + place, data_H)
    mask_B = torch.repeat_interleave(rings.mask_K, torch.diff(begin_K1), output_size=n_bytes)
    kept_B = where_set(bytes_B)
    end_N = torch.zeros(n_masks, dtype=torch.int64, device=byte_P.device)
    end_N.scatter_reduce_(0, pick(mask_B, kept_B), kept_B + 1, "amax")
    is_kept_B = torch.arange(n_bytes, device=byte_P.device) < pick(end_N, mask_B)
    n_kept_N = torch.zeros_like(end_N).scatter_add_(0, mask_B, is_kept_B.long())
    return pick(bytes_B, where_set(is_kept_B)), to_offsets(n_kept_N)


def _headers(rings: Rings) -> tuple[Tensor, Tensor]:
    """Columns and rows (zigzag) from the last start of the mask, and bytes of each; 0 for none."""
    change_K2 = torch.zeros((len(rings.mask_K), 2), dtype=torch.int64, device=rings.mask_K.device)
    change_K2[1:, 0] = torch.diff(rings.column_K)
    rows_K = torch.diff(rings.row_K)
    change_K2[1:, 1] = (rows_K << 1) ^ (rows_K >> 63)
    has_K = torch.zeros(len(rings.mask_K), dtype=torch.bool, device=rings.mask_K.device)
    has_K[1:] = rings.mask_K[1:] == rings.mask_K[:-1]
    width_K2 = torch.ones_like(change_K2)
    for place in range(1, MAX_VARINT_BYTES):
        width_K2 += change_K2 >= 1 << 7 * place
    return change_K2, width_K2 * has_K.long().unsqueeze(1)
