"""The stored masks of a row group: the right column set, decoded, and equal to their numbers."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.arrow import pc
from pipeline.columns import is_valid, one_chunk, size_hw, to_strings
from pipeline.config import EncodeConfig
from pipeline.errors import MaskError
from pipeline.masks import rle
from pipeline.stored import coco_counts
from pipeline.verify.findings import Findings
from schemas.compacted import MASK_COLUMNS

_COLUMN_OF = {"rle": "counts", "crack": "crack", "polygon": "polygon"}
_NUMBERS = ("bbox_x", "bbox_y", "bbox_w", "bbox_h", "area")


def check_masks(
    where: str, first_row: int, rows: pa.Table, config: EncodeConfig, findings: Findings
) -> pa.Array | None:
    """Check the masks of one row group.

    Parameters
    ----------
    where : str
        Its file.
    first_row : int
        Row of the file that it starts with.
    rows : pa.Table
        All columns of COMPACTED.
    config : EncodeConfig
        Of the run: the floor of polygons.
    findings : Findings
        Takes what is wrong.

    Returns
    -------
    pa.Array or None
        The masks as COCO strings, large_binary; None where one cannot be decoded.
    """
    row_N = first_row + np.arange(len(rows))
    findings.count("masks", len(rows))
    n_before = len(findings.problems)
    _check_columns(where, rows, row_N, findings)
    if len(findings.problems) > n_before:
        return None
    try:
        counts = coco_counts(rows)
    except MaskError as error:
        row, message = _first_damaged(rows, str(error))
        found = f"a damaged one; the other rows of its row group were not decoded: {message}"
        findings.add(f"{where} row {row_N[row]}", "a mask that decodes", found)
        return None
    facts = rle.inspect_coco(to_strings(counts), size_hw(rows))
    codes = [rle.RleCode(code).name for code in facts.code_N]
    findings.add_rows(where, facts.code_N > 0, "a valid mask", lambda row: codes[row], row_N)
    is_loose_N = (facts.code_N == 0) & ~facts.is_canonical_N
    expected = "the canonical COCO string of the mask"
    findings.add_rows(where, is_loose_N, expected, lambda row: str(counts[row])[:80], row_N)
    if (facts.code_N > 0).any():
        return None
    measured_N5 = np.concatenate([facts.bbox_xywh_N4, facts.area_N[:, None]], axis=1)
    stated_N5 = np.stack([rows[name].to_numpy() for name in _NUMBERS], axis=1)
    findings.add_rows(
        where,
        (measured_N5 != stated_N5).any(axis=1),
        "the box and area of the stored mask in bbox_x, bbox_y, bbox_w, bbox_h, area",
        lambda row: f"{stated_N5[row].tolist()}, its mask has {measured_N5[row].tolist()}",
        row_N,
    )
    _check_fidelity(where, rows, row_N, config, findings)
    return counts


def _check_columns(
    where: str, rows: pa.Table, row_N: NDArray[np.int64], findings: Findings
) -> None:
    """Check that each row has exactly the mask column that its encoding names."""
    encoding = one_chunk(rows["encoding"])
    is_named = {
        column: pc.equal(encoding, name).to_numpy(zero_copy_only=False)
        for name, column in _COLUMN_OF.items()
    }
    is_set = {column: is_valid(one_chunk(rows[column])) for column in MASK_COLUMNS}
    is_bad_N = ~np.logical_or.reduce([is_named[column] for column in MASK_COLUMNS])
    for column in MASK_COLUMNS:
        is_bad_N |= is_named[column] != is_set[column]

    def describe(row: int) -> str:
        present = [column for column in MASK_COLUMNS if is_set[column][row]]
        return f"encoding {encoding[row].as_py()!r} and {' and '.join(present) or 'none'} set"

    expected = "exactly the mask column set that its encoding names"
    findings.add_rows(where, is_bad_N, expected, describe, row_N)


def _check_fidelity(
    where: str,
    rows: pa.Table,
    row_N: NDArray[np.int64],
    config: EncodeConfig,
    findings: Findings,
) -> None:
    fidelity_N = rows["fidelity"].to_numpy()
    is_lossy_N = pc.equal(one_chunk(rows["encoding"]), "polygon").to_numpy(zero_copy_only=False)
    exact = "fidelity 1.0 of a lossless encoding"
    floor = f"fidelity from {config.fidelity}, the floor of the run, to 1"
    is_low_N = ~((fidelity_N >= config.fidelity) & (fidelity_N <= 1))
    findings.add_rows(
        where, ~is_lossy_N & (fidelity_N != 1), exact, lambda row: str(fidelity_N[row]), row_N
    )
    findings.add_rows(where, is_lossy_N & is_low_N, floor, lambda row: str(fidelity_N[row]), row_N)


def _first_damaged(rows: pa.Table, message: str) -> tuple[int, str]:
    """Return the first row that does not decode and why, by halving: log2(N) decodes."""
    low, high = 0, len(rows)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            coco_counts(rows.slice(low, middle - low).combine_chunks())
            low = middle
        except MaskError as error:
            high, message = middle, str(error)
    return low, message
