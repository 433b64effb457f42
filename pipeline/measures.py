"""What the report needs of a unit, summed up from its rows: exact, whatever was sampled."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.arrow import pc
from pipeline.columns import one_chunk
from pipeline.dedup import Deduplicated
from pipeline.quality import Drifts
from pipeline.records import CategoryCounts, UnitRecord
from schemas.compacted import MASK_COLUMNS

IOU_BINS = 100
"""Bins of the histograms of IoU and of fidelity, over [0, 1]."""

GROUP_BINS = 16
"""Bins of the histogram of group sizes: bin k counts groups of 2**k to 2**(k+1) - 1 rows."""

MASK_COLUMN_OF = {"rle": "counts", "crack": "crack", "polygon": "polygon"}
"""The column of COMPACTED that holds the masks of an encoding."""

CATEGORIES = 2000
"""Categories that a record tells apart; the ones with fewest rows beyond it are one, `OTHER`."""

OTHER = "other"
"""Name of the sum of the categories that are not told apart."""


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
    found = by_category(result, length_N, compacted, lineage, drifts)
    record.categories = bounded(found, CATEGORIES)


def unit_histogram(values: pa.ChunkedArray) -> list[int]:
    """Return how many values fall in each bin: ``min(floor(value * IOU_BINS), IOU_BINS - 1)``."""
    bin_V = np.minimum(np.floor(values.to_numpy() * IOU_BINS), IOU_BINS - 1).astype(np.int64)
    return np.bincount(bin_V, minlength=IOU_BINS).tolist()


def stored_lengths(compacted: pa.Table) -> pa.ChunkedArray:
    """Return the bytes of every stored mask, whichever column it is in, int64."""
    columns = [compacted[name] for name in MASK_COLUMNS]
    lengths = [_lengths(column) for column in columns if column.null_count < len(column)]
    if not lengths:
        return pa.chunked_array([pa.repeat(pa.scalar(0, pa.int64()), len(compacted))])
    total_M = lengths[0]
    for more in lengths[1:]:
        total_M = pc.add(total_M, more)
    return total_M


def by_category(
    result: Deduplicated,
    length_N: NDArray[np.int64],
    compacted: pa.Table,
    lineage: pa.Table,
    drifts: Drifts,
) -> dict[str, CategoryCounts]:
    """Return what became of the rows of every category; rows without one are ``"null"``.

    Sums are taken over K dense codes of the categories, row after row: a pass over an
    array each, where grouping tables costs several times as much.
    """
    category = one_chunk(result.rows.table["category_id"])
    encoded = pc.dictionary_encode(category, null_encoding="encode")
    names = ["null" if value is None else str(value) for value in encoded.dictionary.to_pylist()]
    found = [CategoryCounts() for _ in names]
    code_N = encoded.indices.to_numpy().astype(np.int64)
    is_kept_N = result.is_kept_N
    _set(found, "input_bytes", code_N, length_N)
    _add_gone(found, code_N[np.flatnonzero(~is_kept_N)], lineage)
    code_M = code_N[np.flatnonzero(is_kept_N)]
    _add_stored(found, code_M, compacted)
    _add_drifts(found, code_M, compacted, drifts)
    return dict(zip(names, found, strict=True))


def _add_gone(found: list[CategoryCounts], code_L: NDArray[np.int64], lineage: pa.Table) -> None:
    """Count merged and filtered rows; LINEAGE has the rows that are not kept, in their order."""
    iou, code_R = lineage["iou"], code_L
    if iou.null_count:
        is_merged_L = pc.is_valid(iou).to_numpy(zero_copy_only=False)
        _set(found, "filtered", code_L[~is_merged_L])
        code_R, iou = code_L[is_merged_L], iou.drop_null()
    _set(found, "merged", code_R)
    _set(found, "iou_sum", code_R, iou.to_numpy())


def _add_stored(
    found: list[CategoryCounts], code_M: NDArray[np.int64], compacted: pa.Table
) -> None:
    """Count kept masks, their bytes and their fidelity."""
    n_codes = len(found)
    for name, column in MASK_COLUMN_OF.items():
        masks = compacted[column]
        if masks.null_count == len(masks):
            continue
        code_E, bytes_E = code_M, _lengths(masks).to_numpy()
        if masks.null_count:
            place_E = np.flatnonzero(pc.is_valid(masks).to_numpy(zero_copy_only=False))
            code_E, bytes_E = code_M[place_E], bytes_E[place_E]
        n_K = np.bincount(code_E, minlength=n_codes)
        bytes_K = total(code_E, bytes_E, n_codes)
        for code in np.flatnonzero(n_K).tolist():
            found[code].masks[name] = int(n_K[code])
            found[code].stored_bytes[name] = int(bytes_K[code])
    fidelity_M = compacted["fidelity"].to_numpy()
    lossy_L = np.flatnonzero(fidelity_M < 1)
    _set(found, "fidelity_sum", code_M, fidelity_M if len(lossy_L) else None)
    lowest_K = np.ones(n_codes)
    np.minimum.at(lowest_K, code_M[lossy_L], fidelity_M[lossy_L])
    for code in np.unique(code_M[lossy_L]).tolist():
        found[code].min_fidelity = float(lowest_K[code])


def _add_drifts(
    found: list[CategoryCounts], code_M: NDArray[np.int64], compacted: pa.Table, drifts: Drifts
) -> None:
    """Sum up pixels, and what was measured of boundaries."""
    moved_L = np.flatnonzero(drifts.drift_M)
    change_L = compacted["area"].to_numpy()[moved_L] - drifts.mask_area_M[moved_L]
    mask_area_K = total(code_M, drifts.mask_area_M, len(found))
    stored_area_K = mask_area_K + total(code_M[moved_L], change_L, len(found))
    largest_K = np.zeros(len(found))
    np.maximum.at(largest_K, code_M[moved_L], np.abs(drifts.drift_M[moved_L]))
    measured_S = np.flatnonzero(~np.isnan(drifts.boundary_M))
    code_S, boundary_S = code_M[measured_S], drifts.boundary_M[measured_S]
    lowest_K = np.ones(len(found))
    np.minimum.at(lowest_K, code_S, boundary_S)
    _set(found, "boundary_masks", code_S)
    _set(found, "boundary_sum", code_S, boundary_S)
    for name, values_K in (
        ("max_drift", largest_K),
        ("min_boundary", lowest_K),
        ("mask_area", mask_area_K),
        ("stored_area", stored_area_K),
    ):
        for counts, value in zip(found, values_K.tolist(), strict=True):
            setattr(counts, name, value)


def _set(found: list[CategoryCounts], name: str, code_V: Any, values_V: Any = None) -> None:
    """Set a field to the sum of the values of each category, or to the number of its rows."""
    n_codes = len(found)
    sum_K = np.bincount(code_V, minlength=n_codes)
    if values_V is not None:
        sum_K = total(code_V, values_V, n_codes)
    for counts, value in zip(found, sum_K.tolist(), strict=True):
        setattr(counts, name, value)


def total(code_V: NDArray[np.int64], values_V: NDArray[Any], n_codes: int) -> NDArray[Any]:
    """Return the sum of the values of every code, (n_codes,) of their type: integers exactly."""
    if values_V.dtype.kind == "f":
        return np.bincount(code_V, values_V, minlength=n_codes)
    largest = int(np.abs(values_V).max(initial=0))
    if largest * len(values_V) < 2**53:  # then sums in float64 are exact, and several times faster
        return np.bincount(code_V, values_V, minlength=n_codes).astype(values_V.dtype)
    sum_K = np.zeros(n_codes, values_V.dtype)
    np.add.at(sum_K, code_V, values_V)
    return sum_K


def bounded(found: dict[str, CategoryCounts], limit: int) -> dict[str, CategoryCounts]:
    """Return at most `limit` categories, most kept rows first, and the sum of all others."""
    names = sorted(found, key=lambda name: (-sum(found[name].masks.values()), name))
    names = [name for name in names if name != OTHER]
    kept = {name: found[name] for name in names[:limit]}
    for name in [*names[limit:], OTHER]:
        if name in found:
            kept.setdefault(OTHER, CategoryCounts()).add(found[name])
    return kept


def _lengths(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.fill_null(pc.binary_length(column).cast(pa.int64()), 0)
