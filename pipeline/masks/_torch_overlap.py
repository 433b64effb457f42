"""Areas, boxes, and exact intersections by search, on a device.

Public names: `pipeline.masks.torch_backend`. Foreground runs of all masks lie in
one array, sorted by ``row << 32 | start``, so one search finds a position in any
mask. The pixels that two masks share are a sum over the runs of one of them, of
how many pixels the other one has before the run's end, less before its start.
`_torch_profile` does the same faster where masks are not too wide.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.masks._torch_arrays import (
    ROW_BITS,
    cut_lengths,
    expand,
    pick,
    sums_of,
    to_offsets,
)
from pipeline.masks._torch_rle import Runs


class Spans(NamedTuple):
    """Foreground runs of N masks.

    Attributes
    ----------
    start_F, end_F : int32 (F,)
        Each run's first pixel, and the one behind its last, counted in its own mask.
    column_F : int32 (F,)
        Column of the first pixel.
    row_F : int32 (F,)
        Mask of each run.
    offsets_N1 : int64 (N + 1,)
        Mask n has the runs ``offsets_N1[n]`` to ``offsets_N1[n + 1]``.
    """

    start_F: Tensor
    end_F: Tensor
    column_F: Tensor
    row_F: Tensor
    offsets_N1: Tensor


class Keys(NamedTuple):
    """Foreground runs of N masks as keys that can be searched.

    Attributes
    ----------
    start_F, end_F : int64 (F,)
        ``row << ROW_BITS | position`` of each run's first pixel, and behind its last.
    before_F1 : int64 (F + 1,)
        Foreground pixels of all runs before each run, over all masks.
    offsets_N1 : int64 (N + 1,)
        Mask n has the runs ``offsets_N1[n]`` to ``offsets_N1[n + 1]``.
    """

    start_F: Tensor
    end_F: Tensor
    before_F1: Tensor
    offsets_N1: Tensor


class Boxes(NamedTuple):
    """Area and tight box of N masks, int64 (N,) each, x1 and y1 exclusive; zeros where empty."""

    area_N: Tensor
    x0_N: Tensor
    x1_N: Tensor
    y0_N: Tensor
    y1_N: Tensor


def foreground(runs: Runs, height_N: Tensor) -> Spans:
    """Foreground runs: every other run of each mask, from its second on."""
    n_runs_N = torch.diff(runs.offsets_N1)
    offsets_N1 = to_offsets(n_runs_N >> 1)
    total = runs.n_foreground
    row_F = torch.repeat_interleave((n_runs_N >> 1).int(), output_size=total)
    shift_N = (runs.offsets_N1[:-1] - 2 * offsets_N1[:-1]).int()
    twice_F = torch.arange(0, 2 * total, 2, dtype=torch.int32, device=row_F.device)
    before_F = twice_F + pick(shift_N, row_F)
    start_F, end_F = pick(runs.ends_R, before_F), pick(runs.ends_R[1:], before_F)
    return Spans(start_F, end_F, divide(start_F, pick(height_N, row_F)), row_F, offsets_N1)


def measure(spans: Spans, height_N: Tensor) -> Boxes:
    """Area and box; heights int32. Source: ``maskApi.c: rleArea, rleToBbox``."""
    start_F, end_F, column_F, row_F, offsets_N1 = spans
    area_N = sums_of(end_F - start_F, offsets_N1)
    height_F = pick(height_N, row_F)
    before_F = column_F * height_F
    bottom_F = end_F - before_F
    top_F = torch.where(bottom_F > height_F, 0, start_F - before_F)
    y0_N, y1_N = height_N.clone(), torch.zeros_like(height_N)
    row_F = row_F.long()
    y0_N.scatter_reduce_(0, row_F, top_F, "amin")
    y1_N.scatter_reduce_(0, row_F, torch.minimum(bottom_F, height_F), "amax")
    has_N = area_N > 0
    column_F1 = torch.cat([column_F, column_F.new_zeros(1)])
    last_F1 = torch.cat([end_F.new_ones(1), end_F])
    x0_N = torch.where(has_N, pick(column_F1, offsets_N1[:-1]), 0)
    right_N = divide(pick(last_F1, offsets_N1[1:]) - 1, height_N) + 1
    x1_N = torch.where(has_N, right_N, 0)
    y0_N = torch.where(has_N, y0_N, 0)
    return Boxes(area_N, x0_N.long(), x1_N.long(), y0_N.long(), y1_N.long())


def divide(position_F: Tensor, height_F: Tensor) -> Tensor:
    """Column of each position, int32: a quotient in float64 is exact enough below 2**31."""
    return (position_F.double() / height_F.double()).int()


def reaches(
    shared_P: Tensor, area_i_P: Tensor, area_j_P: Tensor, threshold: float, *, is_ios: bool
) -> Tensor:
    """Whether pairs reach the threshold: the normative test, in float64."""
    whole_P = torch.minimum(area_i_P, area_j_P) if is_ios else area_i_P + area_j_P - shared_P
    return shared_P.double() / whole_P.double() >= threshold


def to_keys(spans: Spans) -> Keys:
    """Make runs that can be searched."""
    base_F = spans.row_F.long() << ROW_BITS
    before_F1 = to_offsets(spans.end_F - spans.start_F)
    return Keys(spans.start_F + base_F, spans.end_F + base_F, before_F1, spans.offsets_N1)


def intersections(keys: Keys, i_P: Tensor, j_P: Tensor, limit: int) -> Tensor:
    """Pixels that the two masks of each pair share, int64 (P,); no mask may be empty.

    Of each pair the mask with fewer runs between the first and the last pixel
    that both can share is expanded, at most ``limit`` runs at once.
    """
    i_start_P, j_start_P = _first_pixel(keys, i_P), _first_pixel(keys, j_P)
    i_end_P, j_end_P = _last_pixel(keys, i_P), _last_pixel(keys, j_P)
    low_P = torch.maximum(i_start_P, j_start_P)
    high_P = torch.minimum(i_end_P, j_end_P)
    i_first_P, i_runs_P = _runs_between(keys, i_P, low_P, high_P)
    j_first_P, j_runs_P = _runs_between(keys, j_P, low_P, high_P)
    is_i_P = i_runs_P <= j_runs_P
    first_P = torch.where(is_i_P, i_first_P, j_first_P)
    runs_P = torch.where(is_i_P, i_runs_P, j_runs_P)
    # Adding this to a run's key gives the same position in the other mask.
    move_P = torch.where(is_i_P, j_P - i_P, i_P - j_P) << ROW_BITS
    shared_P = torch.zeros_like(i_P)
    for a, b, total in cut_lengths(runs_P, limit):
        length_K = runs_P[a:b]
        pair_M, place_M = expand(length_K, to_offsets(length_K), total)
        run_M = pick(first_P[a:b], pair_M) + place_M
        move_M = pick(move_P[a:b], pair_M)
        seen_M = pixels_before(keys, pick(keys.end_F, run_M) + move_M)
        seen_M -= pixels_before(keys, pick(keys.start_F, run_M) + move_M)
        shared_P[a:b].scatter_add_(0, pair_M, seen_M)
    return shared_P


def position(key_F: Tensor) -> Tensor:
    """Position of a key in its mask."""
    return key_F & ((1 << ROW_BITS) - 1)


def _first_pixel(keys: Keys, row_P: Tensor) -> Tensor:
    return position(pick(keys.start_F, pick(keys.offsets_N1, row_P)))


def _last_pixel(keys: Keys, row_P: Tensor) -> Tensor:
    return position(pick(keys.end_F, pick(keys.offsets_N1, row_P + 1) - 1))


def _runs_between(
    keys: Keys, row_P: Tensor, low_P: Tensor, high_P: Tensor
) -> tuple[Tensor, Tensor]:
    """First run that ends behind ``low_P``, and how many from there start before ``high_P``."""
    base_P = row_P << ROW_BITS
    first_P = torch.searchsorted(keys.end_F, base_P + low_P, right=True)
    stop_P = torch.searchsorted(keys.start_F, base_P + high_P)
    return first_P, torch.clamp(stop_P - first_P, min=0)


def pixels_before(keys: Keys, key_M: Tensor) -> Tensor:
    """Foreground pixels before a position, plus those of all masks before its own."""
    run_M = torch.clamp(torch.searchsorted(keys.start_F, key_M, right=True) - 1, min=0)
    inside_M = torch.minimum(key_M, pick(keys.end_F, run_M)) - pick(keys.start_F, run_M)
    return pick(keys.before_F1, run_M) + torch.clamp(inside_M, min=0)
