"""Every pair of rows that some setting may match, compared once."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline import dedup
from pipeline.columns import size_hw, to_strings
from pipeline.config import DedupConfig
from pipeline.dedup import Deduplicated
from pipeline.masks import overlap, rle
from pipeline.masks.decide import leaders_of_pairs
from pipeline.masks.group import Grouping

ROWS_AT_ONCE = 20_000
"""Rows of whole images whose pairs are listed at a time; what stays is what can match."""


class Overlaps(NamedTuple):
    """Pairs of rows of one image, i before j, sorted by i.

    Attributes
    ----------
    i_P, j_P : int64 (P,)
        Row numbers.
    overlap_P : float64 (P,)
        By ``--dedup.overlap``, at least the lowest threshold that is asked for.
    is_same_category_P : bool (P,)
        Whether ``--dedup.per_category true`` compares them.
    """

    i_P: NDArray[np.int64]
    j_P: NDArray[np.int64]
    overlap_P: NDArray[np.float64]
    is_same_category_P: NDArray[np.bool_]


def find_overlaps(base: Deduplicated, config: DedupConfig, threshold: float) -> Overlaps:
    """Compare every pair whose overlap may reach a threshold, in whatever category.

    Parameters
    ----------
    base : Deduplicated
        Rows of whole images and which of them are filtered.
    config : DedupConfig
        `overlap` is the measure; with `across`, only rows of different sources pair.
    threshold : float
        The lowest that will be asked for, in (0, 1].
    """
    table = base.rows.table
    offsets_G1 = base.rows.image_offsets_G1
    is_out_N = (base.filter_N > 0) | table["iscrowd"].to_numpy(zero_copy_only=False)
    category_N = dedup.category_codes(table["category_id"], is_on=True)
    source_N = dedup.source_codes(table, config) if config.across else None
    bbox_N4 = np.stack([table[f"bbox_{axis}"].to_numpy() for axis in "xywh"], axis=1)
    area_N = table["area"].to_numpy()
    parts: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]] = []
    for first, last in _stretches(offsets_G1):
        start, stop = int(offsets_G1[first]), int(offsets_G1[last])
        rows = slice(start, stop)
        images = offsets_G1[first : last + 1] - start
        i_P, j_P = overlap.candidate_pairs(
            bbox_N4[rows],
            area_N[rows],
            images,
            None,
            is_out_N[rows],
            threshold=threshold,
            overlap=config.overlap,
        )
        if source_N is not None:
            is_pair_P = source_N[start + i_P] != source_N[start + j_P]
            i_P, j_P = i_P[is_pair_P], j_P[is_pair_P]
        part = table.slice(start, stop - start)
        batch = rle.from_coco(to_strings(part["counts"]), size_hw(part))
        shared_P = overlap.matched_intersection(batch, i_P, j_P)
        i_P, j_P = i_P + start, j_P + start
        ratio = overlap.matched_iou if config.overlap == "iou" else overlap.matched_ios
        overlap_P = ratio(shared_P, area_N[i_P], area_N[j_P])
        is_found_P = (overlap_P >= threshold) & (shared_P > 0)
        parts.append((i_P[is_found_P], j_P[is_found_P], overlap_P[is_found_P]))
    none = np.zeros(0, np.int64)
    i_P, j_P, overlap_P = (
        np.concatenate(found) for found in zip((none, none, none * 1.0), *parts, strict=True)
    )
    return Overlaps(i_P, j_P, overlap_P, category_N[i_P] == category_N[j_P])


def decide(base: Deduplicated, found: Overlaps, config: DedupConfig) -> Deduplicated:
    """Return what becomes of every row with one setting, from the pairs that were compared.

    Parameters
    ----------
    base : Deduplicated
        Rows and filters.
    found : Overlaps
        Down to this setting's threshold or lower.
    config : DedupConfig
        The setting.

    Returns
    -------
    Deduplicated
        Its grouping knows leaders and areas only: links, overlaps and counters are blank.
    """
    n_rows = len(base.filter_N)
    own_N = np.arange(n_rows)
    is_match_P = found.overlap_P >= config.threshold
    if config.per_category:
        is_match_P &= found.is_same_category_P
    leader_N = own_N
    if config.group != "none":
        leader_N = leaders_of_pairs(n_rows, found.i_P, found.j_P, is_match_P, config.group)
    area_N = base.grouping.area_N
    blank = np.zeros(n_rows, bool)
    grouping = Grouping(leader_N, leader_N, area_N, blank, area_N, 0, 0)
    return dataclasses.replace(base, grouping=grouping, merged=None)


def _stretches(offsets_G1: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return (first, last) of runs of whole images of about `ROWS_AT_ONCE` rows."""
    found: list[tuple[int, int]] = []
    first = 0
    while first < len(offsets_G1) - 1:
        most = offsets_G1[first] + ROWS_AT_ONCE
        last = max(first + 1, int(np.searchsorted(offsets_G1, most, side="right")) - 1)
        found.append((first, last))
        first = last
    return found
