"""What the report needs of a unit, summed up from its rows: exact, whatever was sampled."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from pipeline.arrow import pc
from pipeline.dedup import Deduplicated
from pipeline.quality import Drifts
from pipeline.records import CategoryCounts, UnitRecord
from schemas.compacted import MASK_COLUMNS

IOU_BINS = 100
"""Bins of the histograms of IoU and of fidelity, over [0, 1]."""

GROUP_BINS = 16
"""Bins of the histogram of group sizes: bin k counts groups of 2**k to 2**(k+1) - 1 rows."""

CATEGORIES = 2000
"""Categories that a record tells apart; the ones with fewest rows beyond it are one: other."""


def measure(
    record: UnitRecord,
    result: Deduplicated,
    compacted: pa.Table,
    lineage: pa.Table,
    drifts: Drifts,
) -> None:
    """Sum up a unit: bytes by fate, pairs, fidelity, histograms, and the same by category.

    Parameters
    ----------
    record : UnitRecord
        Gets `numbers`, `histograms` and `categories`.
    result : Deduplicated
        The unit's rows and what became of them.
    compacted, lineage : pa.Table
        What the unit writes.
    drifts : Drifts
        What storing the kept rows changed.
    """
    table = result.rows.table
    length_N = _lengths(table["counts"]).to_numpy().astype(np.int64)
    is_filtered_N = result.filter_N > 0
    stored = stored_lengths(compacted)
    record.numbers |= {
        "images": len(result.rows.image_offsets_G1) - 1,
        "input_mask_bytes": int(length_N.sum()),
        "filtered_mask_bytes": int(length_N[is_filtered_N].sum()),
        "merged_mask_bytes": int(length_N[~is_filtered_N & ~result.is_kept_N].sum()),
        "stored_mask_bytes": int(pc.sum(stored).as_py() or 0),
        "candidate_pairs": result.grouping.n_candidate_pairs,
        "walked_pairs": result.grouping.n_walked_pairs,
        "iou_sum": float(pc.sum(lineage["iou"]).as_py() or 0.0),
        "fidelity_sum": float(pc.sum(compacted["fidelity"]).as_py() or 0.0),
        "mask_area": int(drifts.mask_area_M.sum()),
        "stored_area": int(pc.sum(compacted["area"]).as_py() or 0),
    }
    boundary_S = drifts.boundary_M[~np.isnan(drifts.boundary_M)]
    size_M = compacted["n_merged"].to_numpy().astype(np.int64) + 1
    bin_M = np.minimum(np.log2(np.maximum(size_M, 1)).astype(np.int64), GROUP_BINS - 1)
    record.histograms |= {
        "merged_iou": unit_histogram(pc.drop_null(lineage["iou"])),
        "fidelity": unit_histogram(compacted["fidelity"]),
        "boundary": unit_histogram(pa.chunked_array([boundary_S])),
        "group_size": np.bincount(bin_M, minlength=GROUP_BINS).tolist(),
    }
    found = by_category(table, compacted, lineage, drifts)
    record.categories = bounded(found, CATEGORIES)


def unit_histogram(values: pa.ChunkedArray) -> list[int]:
    """Return how many values fall in each bin: ``min(floor(value * IOU_BINS), IOU_BINS - 1)``."""
    bin_V = np.minimum(np.floor(values.to_numpy() * IOU_BINS), IOU_BINS - 1).astype(np.int64)
    return np.bincount(bin_V, minlength=IOU_BINS).tolist()


def stored_lengths(compacted: pa.Table) -> pa.ChunkedArray:
    """Return the bytes of every stored mask, whichever column it is in, int64."""
    lengths = [_lengths(compacted[name]) for name in MASK_COLUMNS]
    return pc.add(pc.add(lengths[0], lengths[1]), lengths[2])


def by_category(
    table: pa.Table, compacted: pa.Table, lineage: pa.Table, drifts: Drifts
) -> dict[str, CategoryCounts]:
    """Return what became of the rows of every category; rows without one are ``"null"``."""
    found: dict[str, CategoryCounts] = {}

    def of(row: dict[str, object]) -> CategoryCounts:
        category_id = row["category_id"]
        name = "null" if category_id is None else str(category_id)
        return found.setdefault(name, CategoryCounts())

    rows = table.select(["category_id"]).append_column("bytes", _lengths(table["counts"]))
    for row in _grouped(rows, ["category_id"], [("bytes", "sum")]):
        of(row).input_bytes = row["bytes_sum"]
    rows = lineage.select(["category_id", "iou"])
    rows = rows.append_column("is_merged", pc.is_valid(lineage["kept_instance_id"]))
    for row in _grouped(rows, ["category_id", "is_merged"], [("iou", "sum"), ([], "count_all")]):
        counts = of(row)
        if row["is_merged"]:
            counts.merged, counts.iou_sum = row["count_all"], row["iou_sum"] or 0.0
        else:
            counts.filtered = row["count_all"]
    rows = compacted.select(["category_id", "encoding", "fidelity"])
    rows = rows.append_column("bytes", stored_lengths(compacted))
    sums = [("bytes", "sum"), ("fidelity", "sum"), ("fidelity", "min"), ([], "count_all")]
    for row in _grouped(rows, ["category_id", "encoding"], sums):
        counts = of(row)
        counts.masks[row["encoding"]] = row["count_all"]
        counts.stored_bytes[row["encoding"]] = row["bytes_sum"]
        counts.fidelity_sum += row["fidelity_sum"]
        counts.min_fidelity = min(counts.min_fidelity, row["fidelity_min"])
    rows = compacted.select(["category_id", "area"])
    rows = rows.append_column("mask_area", pa.array(drifts.mask_area_M))
    rows = rows.append_column("drift", pa.array(np.abs(drifts.drift_M)))
    is_measured = ~np.isnan(drifts.boundary_M)
    rows = rows.append_column("boundary", pa.array(drifts.boundary_M, mask=~is_measured))
    sums = [("area", "sum"), ("mask_area", "sum"), ("drift", "max")]
    sums += [("boundary", how) for how in ("sum", "min", "count")]
    for row in _grouped(rows, ["category_id"], sums):
        counts = of(row)
        counts.stored_area, counts.mask_area = row["area_sum"], row["mask_area_sum"]
        counts.max_drift, counts.boundary_masks = row["drift_max"], row["boundary_count"]
        if counts.boundary_masks:
            counts.boundary_sum, counts.min_boundary = row["boundary_sum"], row["boundary_min"]
    return found


def bounded(found: dict[str, CategoryCounts], limit: int) -> dict[str, CategoryCounts]:
    """Return at most `limit` categories, most kept rows first, and the sum of all others."""
    names = sorted(found, key=lambda name: (-sum(found[name].masks.values()), name))
    kept = {name: found[name] for name in names[:limit]}
    for name in names[limit:]:
        kept.setdefault("other", CategoryCounts()).add(found[name])
    return kept


def _grouped(rows: pa.Table, keys: list[str], sums: list) -> list[dict]:
    return rows.group_by(keys, use_threads=False).aggregate(sums).to_pylist()


def _lengths(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.fill_null(pc.binary_length(column).cast(pa.int64()), 0)
