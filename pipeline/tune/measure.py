"""Bytes and quality of every setting on the sample."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline import clean, dedup, encode, evaluate, sink, stored, unit
from pipeline.columns import size_hw, to_strings
from pipeline.config import CompactConfig, EncodeConfig
from pipeline.dedup import Deduplicated
from pipeline.masks import measure, overlap, rle
from pipeline.order import order_rows
from pipeline.stored import StoredMasks
from pipeline.tune.groups import MaskPool, Merged, merge_all
from pipeline.tune.overlaps import find_overlaps
from pipeline.tune.sample import Sample
from pipeline.tune.settings import Setting

RUN_ID = "0" * 16
"""Stands for a run's name, which is as long, in the tables that are measured."""


class Point(NamedTuple):
    """What one setting gives on the sample.

    Attributes
    ----------
    setting : Setting
        The setting.
    n_kept : int
        Rows that are kept.
    file_bytes : int
        Size of the table COMPACTED as one Parquet file, all columns.
    mean_iou : float
        Mean IoU of every row that is not filtered with the mask that is stored for it.
    merged_iou : float or None
        The same of the merged rows alone; None without any.
    ap : float or None
        COCO mask AP; None without a ground truth, or where it is undefined.
    """

    setting: Setting
    n_kept: int
    file_bytes: int
    mean_iou: float
    merged_iou: float | None
    ap: float | None


class Swept(NamedTuple):
    """All points, and what they are compared with.

    Attributes
    ----------
    points : list of Point
        In the order of the settings.
    n_rows : int
        Rows of the sample that are not filtered.
    n_pairs : int
        Pairs that were compared and may match, once for all settings.
    ap_before : float or None
        AP of all valid rows that came.
    stage_s : dict of str to float
        Seconds by stage.
    """

    points: list[Point]
    n_rows: int
    n_pairs: int
    ap_before: float | None
    stage_s: dict[str, float]


def sweep(sample: Sample, settings: Sequence[Setting], config: CompactConfig) -> Swept:
    """Try all settings on the sample.

    Parameters
    ----------
    sample : Sample
        Valid rows of whole images.
    settings : sequence of Setting
        What is tried, at least one.
    config : CompactConfig
        Everything else, as the main job would have it.
    """
    clock = [time.perf_counter()]
    base = _prepare(sample, config)
    lowest = min(one.dedup.threshold for one in settings)
    found = find_overlaps(base, config.dedup, lowest)
    clock.append(time.perf_counter())
    ways = list(dict.fromkeys(one.dedup for one in settings))
    merged, pool = merge_all(base, found, ways, config)
    clock.append(time.perf_counter())
    forms = list(dict.fromkeys(one.encode for one in settings))
    shown_U = np.unique(np.concatenate([one.mask_N[one.kept_M] for one in merged]))
    coded = {form: _encode(pool, shown_U, form) for form in forms}
    clock.append(time.perf_counter())
    iou = _mean_ious(base, merged, pool, shown_U, coded)
    clock.append(time.perf_counter())
    ap, ap_before = _precisions(sample, merged, shown_U, coded)
    clock.append(time.perf_counter())
    points = [
        Point(
            Setting(way.dedup, form),
            len(way.kept_M),
            _table_bytes(way, form, coded[form].stored, shown_U, config),
            *iou[n, form],
            ap.get((n, form)),
        )
        for n, way in enumerate(merged)
        for form in forms
    ]
    clock.append(time.perf_counter())
    names = ("overlaps", "group", "encode", "iou", "ap", "write")
    place_of = {setting: n for n, setting in enumerate(settings)}
    return Swept(
        sorted(points, key=lambda point: place_of[point.setting]),
        int((base.filter_N == 0).sum()),
        len(found.i_P),
        ap_before,
        dict(zip(names, np.diff(clock).tolist(), strict=True)),
    )


class _Coded(NamedTuple):
    """The shown masks in one encoding, and what they decode to; None where that is lossless."""

    stored: StoredMasks
    counts: pa.Array
    is_lossless: bool


Ious = dict[tuple[int, EncodeConfig], tuple[float, float | None]]
Precisions = dict[tuple[int, EncodeConfig], float | None]


def _prepare(sample: Sample, config: CompactConfig) -> Deduplicated:
    """Clean, order and filter the rows as the main job does."""
    rows = order_rows(clean.clean_rows(sample.instances, config.clean), config.dedup)
    rows, _ = unit.split_sizes(rows, lambda uri, numbers: [(None, b"") for _ in numbers])
    alone = dataclasses.replace(config.dedup, group="none")
    return dedup.deduplicate(rows, dataclasses.replace(config, dedup=alone))


def _encode(pool: MaskPool, shown_U: NDArray[np.int64], form: EncodeConfig) -> _Coded:
    """Encode the masks that some setting keeps, each once."""
    index = pa.array(shown_U)
    counts, sizes = pool.counts.take(index), pool.sizes.take(index)
    found = stored.store_masks(counts, sizes, form)
    is_lossless = bool((found.fidelity_M == 1).all())
    if not is_lossless:
        boxes = {
            name: found.bbox_xywh_M4[:, n]
            for n, name in enumerate(("bbox_x", "bbox_y", "bbox_w", "bbox_h"))
        }
        both = dict(zip(sizes.column_names, sizes.columns, strict=True))
        counts = stored.coco_counts(pa.table({**found.columns, **boxes, **both}))
    return _Coded(found, counts, is_lossless)


def _mean_ious(
    base: Deduplicated,
    merged: Sequence[Merged],
    pool: MaskPool,
    shown_U: NDArray[np.int64],
    coded: dict[EncodeConfig, _Coded],
) -> Ious:
    """Return for each way and form the mean IoU of all rows, and of the merged ones.

    A pair of a row's own mask and one that stands for it is compared once, whatever
    the number of ways in which it comes up.
    """
    rows_R = np.flatnonzero(base.filter_N == 0)
    own_R = pool.own_N[rows_R]
    n_masks = len(pool.counts)
    keys = [own_R * n_masks + one.mask_N[rows_R] for one in merged]
    key_Q, place_A = np.unique(np.concatenate(keys), return_inverse=True)
    own_Q, stored_Q = np.divmod(key_Q, n_masks)
    place_Q = np.searchsorted(shown_U, stored_Q)
    batch = rle.from_coco(to_strings(pool.counts), size_hw(pool.sizes))
    area_U = measure.area(batch)
    found: Ious = {}
    known: NDArray[np.float64] | None = None
    for form, one in coded.items():
        if one.is_lossless and known is not None:
            iou_Q = known
        else:
            sizes = pool.sizes.take(pa.array(shown_U))
            shown = rle.from_coco(to_strings(one.counts), size_hw(sizes))
            both = rle.concat([batch, shown])
            shared_Q = overlap.matched_intersection(both, own_Q, n_masks + place_Q)
            area_Q = one.stored.area_M[place_Q]
            iou_Q = overlap.matched_iou(shared_Q, area_U[own_Q], area_Q)
            known = iou_Q if one.is_lossless else known
        for n, way in enumerate(merged):
            iou_R = iou_Q[place_A[n * len(rows_R) : (n + 1) * len(rows_R)]]
            is_merged_R = way.result.grouping.leader_N[rows_R] != rows_R
            merged_iou = float(iou_R[is_merged_R].mean()) if is_merged_R.any() else None
            found[n, form] = (float(iou_R.mean()) if len(iou_R) else 1.0, merged_iou)
    return found


def _precisions(
    sample: Sample,
    merged: Sequence[Merged],
    shown_U: NDArray[np.int64],
    coded: dict[EncodeConfig, _Coded],
) -> tuple[Precisions, float | None]:
    """Return AP for each way and form, and of all rows that came; empty without a ground truth."""
    truth = sample.truth
    if truth is None:
        return {}, None

    def ap_of(rows: pa.Table) -> float | None:
        assert truth is not None
        results = list(evaluate.coco_results([rows], truth))
        return evaluate.average_precision(truth, results, "segm")[0]["ap"]

    names = ["image_id", "category_id", "score", "height", "width"]
    found: Precisions = {}
    for n, way in enumerate(merged):
        rows = way.result.rows.table.select(names).take(pa.array(way.kept_M))
        place_M = pa.array(np.searchsorted(shown_U, way.mask_N[way.kept_M]))
        lossless: float | None = None
        is_known = False
        for form, one in coded.items():
            if not (one.is_lossless and is_known):
                value = ap_of(rows.append_column("counts", one.counts.take(place_M)))
                if one.is_lossless:
                    lossless, is_known = value, True
                found[n, form] = value
            else:
                found[n, form] = lossless
    return found, ap_of(sample.instances.select([*names, "counts"]))


def _table_bytes(
    way: Merged,
    form: EncodeConfig,
    masks: StoredMasks,
    shown_U: NDArray[np.int64],
    config: CompactConfig,
) -> int:
    """Return the size of the table as the sink would write it."""
    place_M = np.searchsorted(shown_U, way.mask_N[way.kept_M])
    own = StoredMasks(
        {name: column.take(pa.array(place_M)) for name, column in masks.columns.items()},
        masks.bbox_xywh_M4[place_M],
        masks.area_M[place_M],
        masks.fidelity_M[place_M],
        masks.mask_area_M[place_M],
    )
    table = encode.assemble(way.result, own, RUN_ID)
    changed = dataclasses.replace(config, dedup=way.dedup, encode=form)
    return sink.parquet_bytes(table, changed).size
