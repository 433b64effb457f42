"""Candidate pairs of masks on a device (public names: `pipeline.masks.torch_backend`).

Rows that may be compared (one image, one category) form a *class*. Within a class
rows are sorted by the left side of their box, or by area, whichever leaves
fewer pairs: a row then meets a stretch of the rows behind it, found by one search.
The stretches of all rows are expanded at once and thinned by the bounds that area
and box give, in the arithmetic of the threshold test itself, so that no pair that
would reach it is lost.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.masks._torch_arrays import (
    ROW_BITS,
    cut_lengths,
    expand,
    number,
    pick,
    to_offsets,
    where_set,
)
from pipeline.masks._torch_overlap import Boxes, reaches


class Rules(NamedTuple):
    """Which pairs count: the threshold, its denominator, and the source of each row or None."""

    threshold: float
    is_ios: bool
    source_N: Tensor | None


class _Sweep(NamedTuple):
    """Rows of classes in an order, and how many rows behind it each row meets."""

    row_A: Tensor
    class_A: Tensor
    length_A: Tensor


def list_pairs(
    boxes: Boxes,
    image_N: Tensor,
    category_N: Tensor,
    is_alone_N: Tensor,
    rules: Rules,
    limit: int,
) -> tuple[Tensor, Tensor]:
    """List the pairs (i, j), i < j, that area and box do not rule out, in no order.

    At most ``limit`` pairs are looked at at once, but all of one row.
    """
    row_A = where_set(~is_alone_N & (boxes.area_N > 0))
    class_A = _classes(pick(image_N, row_A), pick(category_N, row_A))
    sweep = _sweep_columns(boxes, row_A, class_A)
    sweeps = [sweep]
    if not rules.is_ios:
        by_area = _sweep_areas(boxes, row_A, class_A, rules.threshold)
        n_x_A, n_area_A = _class_total(sweep), _class_total(by_area)
        sweeps = [_only(sweep, n_x_A <= n_area_A), _only(by_area, n_area_A < n_x_A)]
    found = [
        _thin(boxes, rules, one, a, b, total)
        for one in sweeps
        for a, b, total in cut_lengths(one.length_A, limit)
    ]
    none = row_A[:0]
    return (
        torch.cat([none, *(i_P for i_P, _ in found)]),
        torch.cat([none, *(j_P for _, j_P in found)]),
    )


def _classes(image_A: Tensor, category_A: Tensor) -> Tensor:
    """Dense numbers that are equal where image and category are."""
    return number(image_A * (len(category_A) + 1) + number(category_A))


def _sweep_columns(boxes: Boxes, row_A: Tensor, class_A: Tensor) -> _Sweep:
    """By the left side: a row meets those that start left of its right side."""
    base_A = class_A << ROW_BITS
    key_A, order_A = torch.sort(base_A + pick(boxes.x0_N, row_A), stable=True)
    row_A, base_A = pick(row_A, order_A), pick(base_A, order_A)
    stop_A = torch.searchsorted(key_A, base_A + pick(boxes.x1_N, row_A))
    return _Sweep(row_A, base_A >> ROW_BITS, _behind(stop_A))


def _sweep_areas(boxes: Boxes, row_A: Tensor, class_A: Tensor, threshold: float) -> _Sweep:
    """By area: a row meets those that are larger, but not too large to reach the threshold."""
    base_A = class_A << ROW_BITS
    key_A, order_A = torch.sort(base_A + pick(boxes.area_N, row_A), stable=True)
    row_A, base_A = pick(row_A, order_A), pick(base_A, order_A)
    # One pixel more than the quotient: rounding never loses a pair, `_thin` is exact.
    most_A = (pick(boxes.area_N, row_A).double() / threshold).clamp(max=2**31 - 1).long() + 1
    stop_A = torch.searchsorted(key_A, base_A + most_A, right=True)
    return _Sweep(row_A, base_A >> ROW_BITS, _behind(stop_A))


def _behind(stop_A: Tensor) -> Tensor:
    """Rows from behind each row to ``stop_A``."""
    return stop_A - torch.arange(1, len(stop_A) + 1, device=stop_A.device)


def _class_total(sweep: _Sweep) -> Tensor:
    """Pairs of each class, int64 (classes,) with room for as many as there are rows."""
    return torch.zeros_like(sweep.length_A).scatter_add_(0, sweep.class_A, sweep.length_A)


def _only(sweep: _Sweep, is_used_A: Tensor) -> _Sweep:
    """Keep the pairs of the classes that are used."""
    length_A = torch.where(pick(is_used_A, sweep.class_A), sweep.length_A, 0)
    return sweep._replace(length_A=length_A)


def _thin(
    boxes: Boxes, rules: Rules, sweep: _Sweep, a: int, b: int, total: int
) -> tuple[Tensor, Tensor]:
    """Expand the stretches of some rows and keep the pairs that may reach the threshold."""
    length_A = sweep.length_A[a:b]
    left_M, place_M = expand(length_A, to_offsets(length_A), total)
    left_M += a
    u_M = pick(sweep.row_A, left_M)
    v_M = pick(sweep.row_A, left_M + 1 + place_M)
    area_u_M, area_v_M = pick(boxes.area_N, u_M), pick(boxes.area_N, v_M)
    least_M = torch.minimum(area_u_M, area_v_M)
    wide_M = _common(boxes.x0_N, boxes.x1_N, u_M, v_M)
    high_M = _common(boxes.y0_N, boxes.y1_N, u_M, v_M)
    most_M = torch.minimum(wide_M * high_M, least_M)
    keep_M = (most_M > 0) & reaches(
        most_M, area_u_M, area_v_M, rules.threshold, is_ios=rules.is_ios
    )
    if rules.source_N is not None:
        keep_M &= pick(rules.source_N, u_M) != pick(rules.source_N, v_M)
    kept_P = where_set(keep_M)
    u_P, v_P = pick(u_M, kept_P), pick(v_M, kept_P)
    return torch.minimum(u_P, v_P), torch.maximum(u_P, v_P)


def _common(low_N: Tensor, high_N: Tensor, u_M: Tensor, v_M: Tensor) -> Tensor:
    """Length of what two intervals share, 0 where they do not meet."""
    low_M = torch.maximum(pick(low_N, u_M), pick(low_N, v_M))
    high_M = torch.minimum(pick(high_N, u_M), pick(high_N, v_M))
    return torch.clamp(high_M - low_M, min=0)
