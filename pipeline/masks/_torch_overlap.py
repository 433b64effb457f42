"""Areas, boxes, candidate pairs and exact intersections, on a device.

Public names: `pipeline.masks.torch_backend`. Foreground runs of all masks lie in
one array, sorted by ``row << 32 | start``, so one search finds a position in any
mask. The pixels that two masks share are a sum over the runs of one of them, of
how many pixels the other one has before the run's end, less before its start.
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
    to_offsets,
    where_set,
)
from pipeline.masks._torch_rle import Runs


class Foreground(NamedTuple):
    """Foreground runs of N masks.

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


def foreground(runs: Runs) -> tuple[Foreground, Tensor]:
    """Foreground runs, and the row of each."""
    odd_F = where_set(runs.place_R & 1)
    row_F = pick(runs.row_R, odd_F)
    base_F = row_F << ROW_BITS
    start_F, end_F = pick(runs.ends_R, odd_F - 1), pick(runs.ends_R, odd_F)
    offsets_N1 = to_offsets(torch.diff(runs.offsets_N1) // 2)
    before_F1 = to_offsets(end_F - start_F)
    return Foreground(start_F + base_F, end_F + base_F, before_F1, offsets_N1), row_F


def measure(fore: Foreground, row_F: Tensor, height_N: Tensor) -> Boxes:
    """Area and box; source: ``maskApi.c: rleArea, rleToBbox``."""
    first_N, end_N = fore.offsets_N1[:-1], fore.offsets_N1[1:]
    area_N = pick(fore.before_F1, end_N) - pick(fore.before_F1, first_N)
    height_F = pick(height_N, row_F)
    start_F, end_F = position(fore.start_F), position(fore.end_F)
    x_F = divide(start_F, height_F)
    y_F = start_F - x_F * height_F
    bottom_F = end_F - x_F * height_F
    is_over_F = bottom_F > height_F
    y0_N, y1_N = height_N.clone(), torch.zeros_like(height_N)
    y0_N.scatter_reduce_(0, row_F, torch.where(is_over_F, 0, y_F), "amin")
    y1_N.scatter_reduce_(0, row_F, torch.minimum(bottom_F, height_F), "amax")
    has_N = area_N > 0
    x_F1 = torch.cat([x_F, x_F.new_zeros(1)])
    last_F1 = torch.cat([end_F.new_ones(1), end_F])
    x0_N = torch.where(has_N, pick(x_F1, first_N), 0)
    x1_N = torch.where(has_N, divide(pick(last_F1, end_N) - 1, height_N) + 1, 0)
    return Boxes(area_N, x0_N, x1_N, torch.where(has_N, y0_N, 0), y1_N)


def position(key_F: Tensor) -> Tensor:
    """Position of a key in its mask."""
    return key_F & ((1 << ROW_BITS) - 1)


def divide(position_F: Tensor, height_F: Tensor) -> Tensor:
    """Column of each position: a quotient in float64 is exact enough below 2**31."""
    return (position_F.double() / height_F.double()).long()


def reaches(
    shared_P: Tensor, area_i_P: Tensor, area_j_P: Tensor, threshold: float, *, is_ios: bool
) -> Tensor:
    """Whether pairs reach the threshold: the normative test, in float64."""
    whole_P = torch.minimum(area_i_P, area_j_P) if is_ios else area_i_P + area_j_P - shared_P
    return shared_P.double() / whole_P.double() >= threshold


def intersections(fore: Foreground, i_P: Tensor, j_P: Tensor, limit: int) -> Tensor:
    """Pixels that the two masks of each pair share, int64 (P,); no mask may be empty.

    Of each pair the mask with fewer runs between the first and the last pixel
    that both can share is expanded, at most ``limit`` runs at once.
    """
    i_start_P, j_start_P = _first_pixel(fore, i_P), _first_pixel(fore, j_P)
    i_end_P, j_end_P = _last_pixel(fore, i_P), _last_pixel(fore, j_P)
    low_P = torch.maximum(i_start_P, j_start_P)
    high_P = torch.minimum(i_end_P, j_end_P)
    i_first_P, i_runs_P = _runs_between(fore, i_P, low_P, high_P)
    j_first_P, j_runs_P = _runs_between(fore, j_P, low_P, high_P)
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
        seen_M = _pixels_before(fore, pick(fore.end_F, run_M) + move_M)
        seen_M -= _pixels_before(fore, pick(fore.start_F, run_M) + move_M)
        shared_P[a:b].scatter_add_(0, pair_M, seen_M)
    return shared_P


def _first_pixel(fore: Foreground, row_P: Tensor) -> Tensor:
    return position(pick(fore.start_F, pick(fore.offsets_N1, row_P)))


def _last_pixel(fore: Foreground, row_P: Tensor) -> Tensor:
    return position(pick(fore.end_F, pick(fore.offsets_N1, row_P + 1) - 1))


def _runs_between(
    fore: Foreground, row_P: Tensor, low_P: Tensor, high_P: Tensor
) -> tuple[Tensor, Tensor]:
    """First run that ends behind ``low_P``, and how many from there start before ``high_P``."""
    base_P = row_P << ROW_BITS
    first_P = torch.searchsorted(fore.end_F, base_P + low_P, right=True)
    stop_P = torch.searchsorted(fore.start_F, base_P + high_P)
    return first_P, torch.clamp(stop_P - first_P, min=0)


def _pixels_before(fore: Foreground, key_M: Tensor) -> Tensor:
    """Foreground pixels before a position, plus those of all masks before its own."""
    run_M = torch.clamp(torch.searchsorted(fore.start_F, key_M, right=True) - 1, min=0)
    inside_M = torch.minimum(key_M, pick(fore.end_F, run_M)) - pick(fore.start_F, run_M)
    return pick(fore.before_F1, run_M) + torch.clamp(inside_M, min=0)
