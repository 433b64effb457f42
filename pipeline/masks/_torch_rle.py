"""COCO strings to runs and back, on a device (public names: `pipeline.masks.torch_backend`).

All strings are read at once: a character without the continuation bit ends a
number, so numbers are found without knowing where strings start; only then are
they counted per string. Differences become run lengths, and run lengths positions,
by sums over all rows from which the sum before the row is taken away.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.masks._torch_arrays import expand, first_faulty, pick, to_offsets, where_set

MAX_CHARS = 7
EXTRA_RUNS = 64


class Runs(NamedTuple):
    """Runs of N masks as positions.

    Attributes
    ----------
    ends_R : int64 (R,)
        Where each run ends, counted in its own mask.
    row_R : int64 (R,)
        Mask of each run.
    place_R : int64 (R,)
        Place of each run in its mask; odd places are foreground.
    offsets_N1 : int64 (N + 1,)
        Mask n has the runs ``offsets_N1[n]`` to ``offsets_N1[n + 1]``.
    """

    ends_R: Tensor
    row_R: Tensor
    place_R: Tensor
    offsets_N1: Tensor


def read_strings(
    bytes_B: Tensor, offsets_N1: Tensor, n_pixels_N: Tensor, *, is_strict: bool
) -> tuple[Runs, int]:
    """Read strings into runs: (runs, first row that is refused or -1).

    Strict means that a row must be canonical. Otherwise it must be valid, and its
    runs may be 0. Nothing is asserted of the runs where a row is refused.
    """
    n_rows = len(n_pixels_N)
    chars_B = bytes_B - 48
    last_R = where_set(chars_B < 32)
    value_R, length_fault, multi_M = _read_numbers(chars_B, last_R, is_strict=is_strict)
    run_offsets_N1 = torch.searchsorted(last_R, offsets_N1)
    n_runs_N = torch.diff(run_offsets_N1)
    row_R, place_R = expand(n_runs_N, run_offsets_N1, len(last_R))
    counts_R = _undo_differences(value_R, place_R)
    ends_R = _sums_in_rows(counts_R, row_R, run_offsets_N1)
    # Below 0, or 0 where that is no background in front, or beyond every image:
    # runs that are none of it cannot wrap, so the last end tells of all.
    least_R = counts_R - (place_R > 0).long() if is_strict else counts_R
    faults = [
        _row_of_byte(chars_B > 63, offsets_N1, n_rows),
        first_faulty(least_R >> 31 != 0, row_R, n_rows),
        first_faulty(length_fault, pick(row_R, multi_M), n_rows),
        _row_faults(chars_B, offsets_N1, ends_R, run_offsets_N1, n_pixels_N),
    ]
    refused = int(torch.cat(faults).min())
    runs = Runs(ends_R, row_R, place_R, run_offsets_N1)
    return runs, -1 if refused == n_rows else refused


def _read_numbers(
    chars_B: Tensor, last_R: Tensor, *, is_strict: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Read the numbers that end at ``last_R``: values, and of the long ones faults and places.

    Most numbers are one character; the others are read apart, seven characters each.
    """
    first_R = torch.cat([last_R.new_zeros(1), last_R[:-1] + 1])[: len(last_R)]
    tail_R = pick(chars_B, last_R).long()
    value_R = (tail_R ^ 16) - 16
    multi_M = where_set(first_R != last_R)
    first_M, last_M = pick(first_R, multi_M), pick(last_R, multi_M)
    length_M = last_M - first_M + 1
    value_M = torch.zeros_like(first_M)
    for place in range(MAX_CHARS):
        at_M = torch.minimum(first_M + place, last_M)
        group_M = (pick(chars_B, at_M).long() & 31) << 5 * place
        value_M += torch.where(length_M > place, group_M, 0)
    tail_M = pick(tail_R, multi_M)
    value_M -= (tail_M >> 4 & 1) << torch.clamp(length_M, max=MAX_CHARS) * 5
    value_R.index_copy_(0, multi_M, value_M)
    fault_M = length_M > MAX_CHARS
    if is_strict:
        # The last character says nothing that the sign of the one before does not.
        idle_M = (pick(chars_B, torch.clamp(last_M - 1, min=0)).long() >> 4 & 1) * 31
        fault_M |= tail_M == idle_M
    return value_R, fault_M, multi_M


def _undo_differences(value_R: Tensor, place_R: Tensor) -> Tensor:
    """Run lengths: from the fourth run on, a number is the difference to the run two before.

    Every other number is summed up over all rows; then the sum before a row's first
    number of that kind is taken away. First of the even kind is the third number,
    since it is no difference to the first.
    """
    n_runs = len(value_R)
    sums_R2 = value_R.new_zeros(n_runs + 2)
    for parity in (0, 1):
        sums_R2[2 + parity :: 2] = torch.cumsum(value_R[parity::2], 0)
    run_R = torch.arange(2, n_runs + 2, device=value_R.device)
    before_R = run_R - place_R - (place_R & 1) - 2 * (place_R == 0)
    return sums_R2[2:] - pick(sums_R2, before_R)


def _sums_in_rows(values_R: Tensor, row_R: Tensor, offsets_N1: Tensor) -> Tensor:
    """Sum up row by row: each entry with all before it in its row."""
    sums_R1 = to_offsets(values_R)
    return sums_R1[1:] - pick(pick(sums_R1, offsets_N1), row_R)


def _row_of_byte(fault_B: Tensor, offsets_N1: Tensor, n_rows: int) -> Tensor:
    """Row (1,) of the first faulty byte; ``n_rows`` where none is."""
    n_bytes = len(fault_B)
    place_B = torch.arange(n_bytes, device=fault_B.device)
    first = first_faulty(fault_B, place_B, n_bytes)
    row = torch.searchsorted(offsets_N1, first, right=True) - 1
    return torch.where(first == n_bytes, n_rows, row)


def _row_faults(
    chars_B: Tensor,
    offsets_N1: Tensor,
    ends_R: Tensor,
    run_offsets_N1: Tensor,
    n_pixels_N: Tensor,
) -> Tensor:
    """First row (1,) that ends inside a number, short of its image, or with far too many runs."""
    n_rows = len(n_pixels_N)
    n_runs_N = torch.diff(run_offsets_N1)
    ends_R1 = torch.cat([ends_R.new_full((1,), -1), ends_R])
    end_N = torch.where(n_runs_N > 0, pick(ends_R1, run_offsets_N1[1:]), -1)
    padded_B1 = torch.cat([chars_B.new_zeros(1), chars_B])
    is_open_N = pick(padded_B1, offsets_N1[1:]) >= 32
    fault_N = (end_N != n_pixels_N) | is_open_N | (n_runs_N > n_pixels_N + EXTRA_RUNS)
    return first_faulty(fault_N, torch.arange(n_rows, device=fault_N.device), n_rows)


def merge_zero_runs(runs: Runs, n_pixels_N: Tensor) -> tuple[Tensor, Tensor]:
    """Canonical run lengths and offsets of valid runs, some of which may be 0.

    An end stays where the next run that is not 0 has the other colour; one end at
    0 comes before a mask that starts with foreground.
    """
    ends_R, row_R, place_R = runs[:3]
    before_R = torch.cat([ends_R.new_zeros(1), ends_R[:-1]])[: len(ends_R)]
    before_R = torch.where(place_R == 0, 0, before_R)
    solid_S = where_set(ends_R > before_R)
    row_S, end_S, colour_S = pick(row_R, solid_S), pick(ends_R, solid_S), pick(place_R, solid_S) & 1
    is_same_S = torch.zeros_like(row_S, dtype=torch.bool)
    is_same_S[:-1] = (row_S[1:] == row_S[:-1]) & (colour_S[1:] == colour_S[:-1])
    is_first_S = torch.ones_like(is_same_S)
    is_first_S[1:] = row_S[1:] != row_S[:-1]
    width_S = (~is_same_S).long() + (is_first_S & (colour_S == 1)).long()
    out_S1 = to_offsets(width_S)
    ends_out_K = ends_R.new_zeros(int(out_S1[-1]))
    kept_T = where_set(~is_same_S)
    ends_out_K.index_copy_(0, pick(out_S1[1:], kept_T) - 1, pick(end_S, kept_T))
    n_rows = len(n_pixels_N)
    per_row_N = torch.zeros(n_rows, dtype=torch.int64, device=ends_R.device)
    per_row_N.scatter_add_(0, row_S, width_S)
    return counts_of(ends_out_K, to_offsets(per_row_N))


def counts_of(ends_R: Tensor, offsets_N1: Tensor) -> tuple[Tensor, Tensor]:
    """Run lengths from where runs end in their own mask; offsets pass through."""
    before_R = torch.cat([ends_R.new_zeros(1), ends_R[:-1]])[: len(ends_R)]
    starts_N = offsets_N1[:-1]
    # A mask without runs starts where the next one does, or behind the last run.
    spare_R1 = torch.cat([before_R, before_R.new_zeros(1)])
    spare_R1.index_fill_(0, starts_N, 0)
    return ends_R - spare_R1[:-1], offsets_N1


def write_strings(counts_R: Tensor, offsets_N1: Tensor) -> tuple[Tensor, Tensor]:
    """Write run lengths (int64) as characters: (bytes uint8 (B,), offsets (N + 1,))."""
    n_runs = len(counts_R)
    _, place_R = expand(torch.diff(offsets_N1), offsets_N1, n_runs)
    two_before_R = torch.cat([counts_R.new_zeros(2), counts_R[:-2]])[:n_runs]
    value_R = torch.where(place_R > 2, counts_R - two_before_R, counts_R)
    size_R = value_R ^ (value_R >> 63)
    n_chars_R = torch.ones_like(value_R)
    for place in range(1, MAX_CHARS):
        n_chars_R += size_R >= 16 << 5 * (place - 1)
    char_offsets_R1 = to_offsets(n_chars_R)
    run_B, place_B = expand(n_chars_R, char_offsets_R1, int(char_offsets_R1[-1]))
    more_B = (place_B + 1 < pick(n_chars_R, run_B)).long() << 5
    chars_B = (pick(value_R, run_B) >> 5 * place_B & 31) + more_B + 48
    return chars_B.to(torch.uint8), pick(char_offsets_R1, offsets_N1)
