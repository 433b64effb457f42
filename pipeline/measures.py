"""What the report needs of a unit, summed up from its rows: exact, whatever was sampled."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.arrow import pc
from pipeline.columns import is_valid, one_chunk, to_strings
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
    length_N = _lengths(result.rows.table["counts"])
    found = by_category(result, length_N, compacted, lineage, drifts)
    is_filtered_L = result.filter_N[result.gone_L] > 0
    gone_bytes_L = length_N[result.gone_L]
    filtered_bytes = int(gone_bytes_L[is_filtered_L].sum())
    every = found.values()
    record.numbers |= {
        "images": len(result.rows.image_offsets_G1) - 1,
        "input_mask_bytes": sum(counts.input_bytes for counts in every),
        "filtered_mask_bytes": filtered_bytes,
        "merged_mask_bytes": int(gone_bytes_L.sum()) - filtered_bytes,
        "stored_mask_bytes": sum(sum(counts.stored_bytes.values()) for counts in every),
        "candidate_pairs": result.grouping.n_candidate_pairs,
        "walked_pairs": result.grouping.n_walked_pairs,
        "iou_sum": sum(counts.iou_sum for counts in every),
        "fidelity_sum": sum(counts.fidelity_sum for counts in every),
        "mask_area": sum(counts.mask_area for counts in every),
        "stored_area": sum(counts.stored_area for counts in every),
    }
    boundary_S = drifts.boundary_M[~np.isnan(drifts.boundary_M)]
    record.histograms |= {
        "merged_iou": unit_histogram(pc.drop_null(lineage["iou"]).to_numpy()),
        "fidelity": unit_histogram(compacted["fidelity"].to_numpy()),
        "boundary": unit_histogram(boundary_S),
        "group_size": group_histogram(compacted["n_merged"].to_numpy()),
    }
    record.categories = bounded(found, CATEGORIES)


def unit_histogram(values_V: NDArray[np.float64]) -> list[int]:
    """Return how many values fall in each bin: ``min(floor(value * IOU_BINS), IOU_BINS - 1)``."""
    bin_V = (values_V * IOU_BINS).astype(np.int64)  # cut off, which is the floor: none is below 0
    return np.bincount(np.minimum(bin_V, IOU_BINS - 1), minlength=IOU_BINS).tolist()


def group_histogram(n_merged_M: NDArray[np.integer]) -> list[int]:
    """Return how many groups fall in each bin of sizes, from the rows that each has merged."""
    n_of_size = np.bincount(n_merged_M + 1)
    size_S = np.flatnonzero(n_of_size)
    bin_S = np.minimum(np.log2(size_S).astype(np.int64), GROUP_BINS - 1)
    return total(bin_S, n_of_size[size_S], GROUP_BINS).tolist()


def stored_lengths(compacted: pa.Table) -> NDArray[np.int64]:
    """Return the bytes of every stored mask, whichever column it is in, int64 (M,)."""
    total_M = np.zeros(len(compacted), np.int64)
    for name in MASK_COLUMNS:
        if compacted[name].null_count < len(compacted):
            total_M += _lengths(compacted[name])
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
    code_N = encoded.indices.to_numpy().astype(np.int64)
    code_M = code_N[result.kept_M]
    sums = {"input_bytes": total(code_N, length_N, len(names))}
    sums |= _gone(code_N[result.gone_L], lineage, len(names))
    sums |= _fidelity(code_M, compacted, len(names))
    sums |= _drifts(code_M, compacted, drifts, len(names))
    fields = zip(*(sum_K.tolist() for sum_K in sums.values()), strict=True)
    found = [CategoryCounts(**dict(zip(sums, row, strict=True))) for row in fields]
    _add_stored(found, code_M, compacted)
    return dict(zip(names, found, strict=True))


def _gone(code_L: NDArray[np.int64], lineage: pa.Table, n_codes: int) -> dict[str, NDArray[Any]]:
    """Count merged and filtered rows; LINEAGE has the rows that are not kept, in their order."""
    iou, code_R, code_F = lineage["iou"], code_L, code_L[:0]
    if iou.null_count:
        is_merged_L = pc.is_valid(iou).to_numpy(zero_copy_only=False)
        code_R, code_F, iou = code_L[is_merged_L], code_L[~is_merged_L], iou.drop_null()
    return {
        "filtered": np.bincount(code_F, minlength=n_codes),
        "merged": np.bincount(code_R, minlength=n_codes),
        "iou_sum": total(code_R, iou.to_numpy(), n_codes),
    }


def _add_stored(
    found: list[CategoryCounts], code_M: NDArray[np.int64], compacted: pa.Table
) -> None:
    """Count kept masks and their bytes, by encoding."""
    for name, column in MASK_COLUMN_OF.items():
        masks = one_chunk(compacted[column])
        if masks.null_count == len(masks):
            continue
        code_E, bytes_E = code_M, _lengths(masks)
        if masks.null_count:
            place_E = np.flatnonzero(is_valid(masks))
            code_E, bytes_E = code_M[place_E], bytes_E[place_E]
        n_K = np.bincount(code_E, minlength=len(found))
        bytes_K = total(code_E, bytes_E, len(found))
        for code in np.flatnonzero(n_K).tolist():
            found[code].masks[name] = int(n_K[code])
            found[code].stored_bytes[name] = int(bytes_K[code])


def _fidelity(
    code_M: NDArray[np.int64], compacted: pa.Table, n_codes: int
) -> dict[str, NDArray[np.float64]]:
    """Sum up the IoU of what is stored with what it stands for; most often all is 1."""
    fidelity_M = compacted["fidelity"].to_numpy()
    lossy_L = np.flatnonzero(fidelity_M < 1)
    lowest_K = np.ones(n_codes)
    np.minimum.at(lowest_K, code_M[lossy_L], fidelity_M[lossy_L])
    values_M = fidelity_M if len(lossy_L) else None
    sum_K = np.bincount(code_M, values_M, n_codes).astype(np.float64)
    return {"fidelity_sum": sum_K, "min_fidelity": lowest_K}


def _drifts(
    code_M: NDArray[np.int64], compacted: pa.Table, drifts: Drifts, n_codes: int
) -> dict[str, NDArray[Any]]:
    """Sum up pixels, and what was measured of boundaries."""
    moved_L = np.flatnonzero(drifts.drift_M)
    change_L = compacted["area"].to_numpy()[moved_L] - drifts.mask_area_M[moved_L]
    mask_area_K = total(code_M, drifts.mask_area_M, n_codes)
    largest_K = np.zeros(n_codes)
    np.maximum.at(largest_K, code_M[moved_L], np.abs(drifts.drift_M[moved_L]))
    measured_S = np.flatnonzero(~np.isnan(drifts.boundary_M))
    code_S, boundary_S = code_M[measured_S], drifts.boundary_M[measured_S]
    lowest_K = np.ones(n_codes)
    np.minimum.at(lowest_K, code_S, boundary_S)
    return {
        "mask_area": mask_area_K,
        "stored_area": mask_area_K + total(code_M[moved_L], change_L, n_codes),
        "max_drift": largest_K,
        "boundary_masks": np.bincount(code_S, minlength=n_codes),
        "boundary_sum": total(code_S, boundary_S, n_codes),
        "min_boundary": lowest_K,
    }


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


def _lengths(column: pa.Array | pa.ChunkedArray) -> NDArray[np.int64]:
    """Return the bytes of every value of a string or binary column, int64; 0 where it is null."""
    array = one_chunk(column)
    length_N = np.diff(to_strings(array).offsets_N1)
    return np.where(is_valid(array), length_N, 0) if array.null_count else length_N
