"""COCO strings to runs and back, on a device (public names: `pipeline.masks.torch_backend`).

All strings are read at once: a character without the continuation bit ends a
number, so numbers are found without knowing where strings start; only then are
they counted per string. Differences become run lengths, and run lengths positions,
by sums over all rows from which the sum before the row is taken away.

Those sums do not fit into int32 and need not: they wrap, and so does the difference
of two of them, which is the sum within one row and does fit. Half the bytes are
half the time.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.masks._torch_arrays import expand, first_faulty, pick, to_offsets, where_set

MAX_CHARS = 7
EXTRA_RUNS = 64

SHORT = 3
"""Characters of a number that are looked at everywhere; their bits fit into int16."""


class Runs(NamedTuple):
    """Runs of N masks as positions; odd places in a mask are foreground.

    Attributes
    ----------
    ends_R : int32 (R,)
        Where each run ends, counted in its own mask.
    row_R : int32 (R,)
        Mask of each run.
    offsets_N1 : int64 (N + 1,)
        Mask n has the runs ``offsets_N1[n]`` to ``offsets_N1[n + 1]``.
    n_foreground : int
        Foreground runs of all masks.
    """

    ends_R: Tensor
    row_R: Tensor
    offsets_N1: Tensor
    n_foreground: int


def read_strings(
    bytes_B: Tensor, offsets_N1: Tensor, n_pixels_N: Tensor, *, is_strict: bool
) -> tuple[Runs, int]:
    """Read strings into runs: (runs, first row that is refused or -1).

    Strict means that a row must be canonical. Otherwise it must be valid, and its
    runs may be 0. Nothing is asserted of the runs where a row is refused. The host
    waits for the number of runs, that of long numbers, and once for what is returned.
    """
    n_rows = len(n_pixels_N)
    value_R, last_R, fault_B = _read_numbers(bytes_B, is_strict=is_strict)
    n_runs = len(last_R)
    if n_runs == 0:
        return Runs(value_R, value_R, torch.zeros_like(offsets_N1), 0), 0 if n_rows else -1
    run_offsets_N1 = torch.searchsorted(last_R, offsets_N1)
    n_runs_N = torch.diff(run_offsets_N1).int()
    # A row without a number has no first run: that of all rows stands in, which is right as it is.
    first_N = torch.where(n_runs_N > 0, run_offsets_N1[:-1], 0)
    row_R = torch.repeat_interleave(n_runs_N, output_size=n_runs)
    counts_R = _undo_differences(value_R, row_R, run_offsets_N1[:-1], first_N)
    ends_R = _sums_in_rows(counts_R, row_R, run_offsets_N1)
    # Below 0, or 0 where that is no background in front. The first sum of a row that
    # passes 2**31 is below 0 as well, so the last end tells of all.
    least_R = counts_R - 1 if is_strict else counts_R
    least_R = least_R.index_copy(0, first_N, pick(counts_R, first_N))
    fault_N = _row_faults(bytes_B, offsets_N1, ends_R, run_offsets_N1, n_pixels_N)
    is_bad = (least_R.min() < 0) | (ends_R.min() < 0) | (fault_B.max() > 0) | fault_N.any()
    refused, n_foreground = torch.stack([is_bad.long(), (n_runs_N >> 1).sum()]).tolist()
    runs = Runs(ends_R, row_R, run_offsets_N1, n_foreground)
    if not refused:
        return runs, -1
    faults = (
        _row_of_byte(fault_B > 0, offsets_N1, n_rows),
        first_faulty((least_R | ends_R) < 0, row_R.long(), n_rows),
        first_faulty(fault_N, torch.arange(n_rows, device=fault_N.device), n_rows),
    )
    return runs, int(torch.cat(faults).min())


def _read_numbers(bytes_B: Tensor, *, is_strict: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Read all numbers: values int32, their last characters, and a fault uint8 per character.

    The first `SHORT` characters of a number, from its end, are looked at everywhere,
    though most numbers have one: that is cheaper than to find the others.
    """
    n_bytes = len(bytes_B)
    padded_B3 = torch.cat([bytes_B.new_zeros(SHORT), bytes_B - 48])
    chars_B = padded_B3[SHORT:]
    is_last_B = chars_B < 32
    last_R = where_set(is_last_B)
    value_B = ((chars_B & 31 ^ 16) - 16).view(torch.int8).to(torch.int16)
    more_B = torch.ones_like(chars_B)
    for place in range(1, SHORT):
        before_B = padded_B3[SHORT - place : n_bytes + SHORT - place]
        more_B = more_B & before_B >> 5
        value_B = value_B * (1 + 31 * more_B.to(torch.int16)) + (before_B & 31) * more_B
    fault_B = (chars_B > 63).to(torch.uint8)
    if is_strict:
        # The last character must say what the sign of the one before does not.
        before_B = padded_B3[SHORT - 1 : -1]
        fault_B |= (chars_B == (before_B >> 4 & 1) * 31) & before_B >> 5
    value_B = value_B.int()
    is_long_B = more_B & padded_B3[:n_bytes] >> 5 & is_last_B
    _read_long(chars_B, where_set(is_long_B), value_B, fault_B)
    return pick(value_B, last_R), last_R, fault_B


def _read_long(chars_B: Tensor, last_L: Tensor, value_B: Tensor, fault_B: Tensor) -> None:
    """Read the numbers that end at ``last_L`` once more, up to `MAX_CHARS` characters of them."""
    value_L = (pick(chars_B, last_L).long() ^ 16) - 16
    more_L = torch.ones_like(last_L, dtype=torch.bool)
    for place in range(1, MAX_CHARS + 1):
        char_L = pick(chars_B, torch.clamp(last_L - place, min=0)).long()
        more_L = more_L & (char_L >= 32) & (last_L >= place)
        if place < MAX_CHARS:
            value_L = torch.where(more_L, value_L * 32 + (char_L & 31), value_L)
    wrong_L = more_L | (value_L != value_L.int())
    value_B.index_copy_(0, last_L, value_L.int())
    fault_B.index_copy_(0, last_L, pick(fault_B, last_L) | wrong_L)


def _undo_differences(value_R: Tensor, row_R: Tensor, start_N: Tensor, first_N: Tensor) -> Tensor:
    """Run lengths: from the fourth run on, a number is the difference to the run two before.

    Every other number is summed up over all rows; then the sum before a row's first
    number of that kind is taken away. First of the even kind is the third number,
    since it is no difference to the first.
    """
    n_runs = len(value_R)
    sums_R2 = value_R.new_zeros(n_runs + 2)
    for parity in (0, 1):
        torch.cumsum(value_R[parity::2], 0, dtype=torch.int32, out=sums_R2[2 + parity :: 2])
    # Parity counts over all rows: in a row that starts at an odd run the kinds change places.
    parity_2 = torch.arange(2, device=value_R.device)
    kind_N2 = start_N.unsqueeze(1) & 1 ^ parity_2
    at_N2 = torch.clamp(start_N.unsqueeze(1) + 2 - kind_N2, max=n_runs + 1)
    before_N2 = pick(sums_R2, at_N2.view(-1))
    entry_R = row_R * 2 + (torch.arange(n_runs, dtype=torch.int32, device=row_R.device) & 1)
    counts_R = sums_R2[2:] - pick(before_N2, entry_R)
    return counts_R.index_copy_(0, first_N, pick(value_R, first_N))


def _sums_in_rows(values_R: Tensor, row_R: Tensor, offsets_N1: Tensor) -> Tensor:
    """Sum up row by row: each entry with all before it in its row."""
    sums_R1 = values_R.new_zeros(len(values_R) + 1)
    torch.cumsum(values_R, 0, dtype=torch.int32, out=sums_R1[1:])
    return sums_R1[1:] - pick(pick(sums_R1, offsets_N1[:-1]), row_R)


def _row_of_byte(fault_B: Tensor, offsets_N1: Tensor, n_rows: int) -> Tensor:
    """Row (1,) of the first faulty byte; ``n_rows`` where none is."""
    n_bytes = len(fault_B)
    place_B = torch.arange(n_bytes, device=fault_B.device)
    first = first_faulty(fault_B, place_B, n_bytes)
    row = torch.searchsorted(offsets_N1, first, right=True) - 1
    return torch.where(first == n_bytes, n_rows, row)


def _row_faults(
    bytes_B: Tensor,
    offsets_N1: Tensor,
    ends_R: Tensor,
    run_offsets_N1: Tensor,
    n_pixels_N: Tensor,
) -> Tensor:
    """Whether a row, bool (N,), ends inside a number, short of its image, or has too many runs."""
    n_runs_N = torch.diff(run_offsets_N1)
    end_N = pick(ends_R, torch.clamp(run_offsets_N1[1:] - 1, min=0))
    last_N = pick(bytes_B, torch.clamp(offsets_N1[1:] - 1, min=0)) - 48
    is_empty_N = (n_runs_N == 0) | (torch.diff(offsets_N1) == 0)
    fault_N = is_empty_N | (end_N != n_pixels_N) | (last_N >= 32)
    return fault_N | (n_runs_N > n_pixels_N + EXTRA_RUNS)


def merge_zero_runs(runs: Runs, n_pixels_N: Tensor) -> tuple[Tensor, Tensor]:
    """Canonical run lengths and offsets of valid runs, some of which may be 0.

    An end stays where the next run that is not 0 has the other colour; one end at
    0 comes before a mask that starts with foreground.
    """
    ends_R, row_R = runs.ends_R.long(), runs.row_R.long()
    place_R = torch.arange(len(ends_R), device=ends_R.device) - pick(runs.offsets_N1, row_R)
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
