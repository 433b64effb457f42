"""One stretch of images, from characters to leaders (public names: `torch_backend`)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.masks._torch_arrays import pick, where_set
from pipeline.masks._torch_group import label_components, resolve_leaders, search_parents
from pipeline.masks._torch_overlap import (
    Boxes,
    Spans,
    foreground,
    intersections,
    measure,
    reaches,
    to_keys,
)
from pipeline.masks._torch_pairs import Rules, list_pairs
from pipeline.masks._torch_profile import build_profile, shared_pixels
from pipeline.masks._torch_rle import read_strings

Share = Callable[[Tensor, Tensor], Tensor]
"""Pairs (i, j) to the pixels that they share."""


class Stretch(NamedTuple):
    """Rows of whole images on the device, int64 but for bytes (uint8), crowd and source.

    Attributes
    ----------
    bytes_B, offsets_N1
        Their COCO strings; offsets start at 0.
    height_N, n_pixels_N
        Of each row's image.
    image_N, category_N, is_crowd_N
        What must be equal, and what is left alone.
    """

    bytes_B: Tensor
    offsets_N1: Tensor
    height_N: Tensor
    n_pixels_N: Tensor
    image_N: Tensor
    category_N: Tensor
    is_crowd_N: Tensor


def group_stretch(
    rows: Stretch, rules: Rules, limit: int, *, is_component: bool
) -> tuple[int, Tensor, tuple[int, int]]:
    """Group the rows: (refused row or -1, int64 (5, N), (candidate, walked) pairs).

    The five are leader, link, intersection with the leader, area, exact duplicate.
    """
    runs, refused = read_strings(rows.bytes_B, rows.offsets_N1, rows.n_pixels_N, is_strict=True)
    if refused >= 0:
        return refused, rows.image_N.new_zeros(5, len(rows.image_N)), (0, 0)
    height_N = rows.height_N.int()
    spans = foreground(runs, height_N)
    boxes = measure(spans, height_N)
    share = _compared(spans, boxes, height_N, limit)
    i_P, j_P = list_pairs(boxes, rows.image_N, rows.category_N, rows.is_crowd_N, rules, limit)
    n_candidates, n_walked = len(i_P), 0

    def compare(i_Q: Tensor, j_Q: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        nonlocal n_walked
        n_walked += len(i_Q)
        shared_Q = share(i_Q, j_Q)
        areas = pick(boxes.area_N, i_Q), pick(boxes.area_N, j_Q)
        kept_Q = where_set(reaches(shared_Q, *areas, rules.threshold, is_ios=rules.is_ios))
        return pick(i_Q, kept_Q), pick(j_Q, kept_Q), pick(shared_Q, kept_Q)

    n_rows = len(rows.image_N)
    if is_component:
        i_P, j_P, _ = compare(i_P, j_P)
        leader_N = label_components(i_P, j_P, n_rows)
        linked_N = search_parents(i_P, j_P, leader_N)
        shared_N = _shared_with_leader(share, boxes, leader_N)
    else:
        leader_N, i_P, j_P, shared_P = resolve_leaders(i_P, j_P, n_rows, compare)
        linked_N = leader_N
        shared_N = _chosen(shared_P, i_P, j_P, leader_N, boxes.area_N)
    own_N = torch.arange(n_rows, device=leader_N.device)
    is_duplicate_N = (leader_N != own_N) & (shared_N == boxes.area_N)
    is_duplicate_N &= shared_N == pick(boxes.area_N, leader_N)
    columns = (leader_N, linked_N, shared_N, boxes.area_N, is_duplicate_N.long())
    return -1, torch.stack(columns), (n_candidates, n_walked)


def _chosen(shared_P: Tensor, i_P: Tensor, j_P: Tensor, leader_N: Tensor, area_N: Tensor) -> Tensor:
    """Intersection of each row with its leader, from the pairs; its area where it leads."""
    spare = len(area_N)
    to_P = torch.where(i_P == pick(leader_N, j_P), j_P, spare)
    shared_N1 = torch.cat([area_N, area_N.new_zeros(1)])
    return shared_N1.index_copy_(0, to_P, shared_P)[:-1]


def _shared_with_leader(share: Share, boxes: Boxes, leader_N: Tensor) -> Tensor:
    """Intersection of each row with its leader, which it need not have been paired with."""
    own_N = torch.arange(len(leader_N), device=leader_N.device)
    member_M = where_set(leader_N != own_N)
    return boxes.area_N.index_copy(0, member_M, share(pick(leader_N, member_M), member_M))


def _compared(spans: Spans, boxes: Boxes, height_N: Tensor, limit: int) -> Share:
    """Choose how intersections are found: from profiles, or by search where masks are too wide."""
    profile = build_profile(spans, boxes, height_N, max(limit, len(spans.start_F)))
    if profile is None:
        share = partial(intersections, to_keys(spans), limit=limit)
    else:
        share = partial(shared_pixels, profile, limit=limit)

    def in_parts(i_P: Tensor, j_P: Tensor) -> Tensor:
        parts = zip(i_P.split(limit), j_P.split(limit), strict=True)
        return torch.cat([share(i_Q, j_Q) for i_Q, j_Q in parts])

    return in_parts
