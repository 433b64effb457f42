"""Rows of a JSON slice as raw rows without a Python object for each; what is left over."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.masks.batch import CocoStrings
from pipeline.read import _numba_json_rows as compiled
from pipeline.read.finish import RawGroup
from pipeline.read.raw_rows import (
    COUNTS_MASK,
    POLYGON_MASK,
    STRING_MASK,
    RawCounts,
    RawPolygons,
    RawRows,
)

assert (STRING_MASK, COUNTS_MASK, POLYGON_MASK) == (
    compiled.STRING_MASK,
    compiled.COUNTS_MASK,
    compiled.POLYGON_MASK,
)


class FastRows(NamedTuple):
    """What the compiled reader made of a slice of N rows.

    Attributes
    ----------
    group : RawGroup
        The rows that it read.
    left_M : int64 (M,)
        Rows of the slice that it left.
    span_N2 : int64 (N, 2)
        Where each row lies in the text.
    """

    group: RawGroup
    left_M: NDArray[np.int64]
    span_N2: NDArray[np.int64]


class _Columns(NamedTuple):
    """Room for N rows, in the order in which the compiled reader takes it."""

    start_N: NDArray[np.int64]
    stop_N: NDArray[np.int64]
    is_left_N: NDArray[np.bool_]
    used_N5: NDArray[np.int64]
    has_N: NDArray[np.uint8]
    image_id_N: NDArray[np.int64]
    category_N: NDArray[np.int64]
    score_N: NDArray[np.float64]
    box_N4: NDArray[np.float64]
    own_id_N: NDArray[np.int64]
    area_N: NDArray[np.float64]
    crowd_N: NDArray[np.bool_]
    size_hw_N2: NDArray[np.int64]
    kind_N: NDArray[np.uint8]
    bytes_B: NDArray[np.uint8]
    counts_R: NDArray[np.int64]
    values_V: NDArray[np.float64]
    ring_ends_K: NDArray[np.int64]
    id_bytes_B: NDArray[np.uint8]


def read_fast(
    text: bytes, n_rows: int, first_row: int, id_type: str, is_lines: bool
) -> FastRows | None:
    """Read the rows of a slice as far as they are of the usual form.

    Parameters
    ----------
    text : bytes
        Rows with commas between them, or lines.
    n_rows : int
        How many there should be.
    first_row : int
        Row of the file of the first.
    id_type : str
        ``"int"`` or ``"string"``.
    is_lines : bool
        Whether nothing but space separates the rows.

    Returns
    -------
    FastRows or None
        None if the text is no JSON, or has another number of rows, which
        slower code then says better. Cost: one pass over the text; memory as
        much as the numbers and strings in it.
    """
    found = _make_columns(n_rows, len(text))
    text_B = np.frombuffer(text, np.uint8)
    n_found = compiled.read_rows(text_B, not is_lines, id_type == "string", *found)
    if n_found != n_rows:
        return None
    rows_M = np.flatnonzero(~found.is_left_N)
    ids = _image_ids(found, rows_M, id_type)
    if ids is None:
        return None
    group = RawGroup(_raw_rows(found, rows_M, ids, first_row), rows_M)
    spans = np.stack([found.start_N, found.stop_N], axis=1)
    return FastRows(group, np.flatnonzero(found.is_left_N), spans)


def _make_columns(n_rows: int, n_bytes: int) -> _Columns:
    # Pages of the ragged buffers that are never written are never touched. A number
    # takes two bytes of text at least, with what separates it; a ring three.
    def empty(shape: Any, dtype: Any) -> NDArray[Any]:
        return np.empty(shape, dtype)

    return _Columns(
        start_N=empty(n_rows, np.int64),
        stop_N=empty(n_rows, np.int64),
        is_left_N=empty(n_rows, np.bool_),
        used_N5=empty((n_rows, compiled.N_BUFFERS), np.int64),
        has_N=empty(n_rows, np.uint8),
        image_id_N=empty(n_rows, np.int64),
        category_N=empty(n_rows, np.int64),
        score_N=empty(n_rows, np.float64),
        box_N4=empty((n_rows, 4), np.float64),
        own_id_N=empty(n_rows, np.int64),
        area_N=empty(n_rows, np.float64),
        crowd_N=empty(n_rows, np.bool_),
        size_hw_N2=empty((n_rows, 2), np.int64),
        kind_N=empty(n_rows, np.uint8),
        bytes_B=empty(n_bytes, np.uint8),
        counts_R=empty(n_bytes // 2 + 2, np.int64),
        values_V=empty(n_bytes // 2 + 2, np.float64),
        ring_ends_K=empty(n_bytes // 3 + 2, np.int64),
        id_bytes_B=empty(n_bytes, np.uint8),
    )


def _image_ids(found: _Columns, rows_M: NDArray[np.int64], id_type: str) -> pa.Array | None:
    """Return the ids; None if a string is no UTF-8."""
    if id_type == "int":
        return pa.array(found.image_id_N[rows_M])
    offsets = _offsets(found.used_N5[rows_M, 4])
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(found.id_bytes_B[: offsets[-1]])]
    ids = pa.Array.from_buffers(pa.large_string(), len(rows_M), buffers)  # pyright: ignore
    try:
        ids.validate(full=True)
    except pa.ArrowInvalid:
        return None
    return ids


def _raw_rows(found: _Columns, rows_M: NDArray[np.int64], ids: pa.Array, first_row: int) -> RawRows:
    has_M = found.has_N[rows_M]
    kind_M = found.kind_N[rows_M]

    def nullable(values_N: NDArray[Any], bit: int) -> pa.Array:
        return pa.array(values_N[rows_M], mask=(has_M & bit) == 0)

    def ends(kind: int, buffer: int) -> NDArray[np.int64]:
        return _offsets(found.used_N5[rows_M[kind_M == kind], buffer])

    has_box_M = (has_M & compiled.HAS_BOX) != 0
    box_M4 = found.box_N4[rows_M]
    box_M4[~has_box_M] = np.nan
    string_ends, count_ends = ends(STRING_MASK, 0), ends(COUNTS_MASK, 1)
    row_ends = ends(POLYGON_MASK, 3)
    ring_ends = _offsets(found.ring_ends_K[: row_ends[-1]])
    return RawRows(
        source_row_N=first_row + rows_M,
        image_id=ids,
        input_id=nullable(found.own_id_N, compiled.HAS_OWN_ID),
        category_id=nullable(found.category_N, compiled.HAS_CATEGORY),
        score=nullable(found.score_N, compiled.HAS_SCORE),
        iscrowd_N=found.crowd_N[rows_M],
        has_bbox_N=has_box_M,
        bbox_xywh_N4=box_M4,
        area=nullable(found.area_N, compiled.HAS_AREA),
        size_hw_N2=found.size_hw_N2[rows_M],
        listed_hw_N2=np.full((len(rows_M), 2), -1, np.int64),
        mask_kind_N=kind_M,
        strings=CocoStrings(found.bytes_B[: string_ends[-1]], string_ends),
        counts=RawCounts(found.counts_R[: count_ends[-1]], count_ends),
        polygons=RawPolygons(found.values_V[: ring_ends[-1]], ring_ends, row_ends),
        extras=pa.table({"row": pa.nulls(len(rows_M))}).select([]),
    )


def _offsets(ends_M: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([np.zeros(1, np.int64), ends_M])
