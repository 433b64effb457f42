"""What every reader makes of its rows before anything is validated: columns, one form.

Shape suffixes: N rows, M rows with a mask of one kind, K rings, V values.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.masks.batch import CocoStrings

# Which form a row's mask came in.
NO_MASK = 0
STRING_MASK = 1
COUNTS_MASK = 2
POLYGON_MASK = 3


class Fault(NamedTuple):
    """Why one row cannot be used.

    Attributes
    ----------
    code : str
        One of `schemas.rejects.CODES`.
    field : str
        The field at fault.
    message : str
        What was expected and what came.
    """

    code: str
    field: str
    message: str


class RawCounts(NamedTuple):
    """Uncompressed run lengths of M rows: any int64 values, and offsets (M + 1,)."""

    counts: NDArray[np.int64]
    offsets_M1: NDArray[np.int64]


class RawPolygons(NamedTuple):
    """Rings of M rows: coordinates, offsets of rings, offsets of rows into rings."""

    xy_V: NDArray[np.float64]
    ring_offsets_K1: NDArray[np.int64]
    row_offsets_M1: NDArray[np.int64]


class RawRows(NamedTuple):
    """N rows of one slice whose values have the right types, and nothing more is known.

    Attributes
    ----------
    source_row_N : int64 (N,)
        0-based row of the file, ascending.
    image_id : pa.Array
        int64 or large_string by the table's type, no nulls.
    input_id, category_id : pa.Array
        int64, nullable.
    score : pa.Array
        float64, nullable.
    iscrowd_N : bool (N,)
    has_bbox_N : bool (N,)
        Whether the row has a box.
    bbox_xywh_N4 : float64 (N, 4)
        As it came, pixels.
    area : pa.Array
        float64, nullable: as it came.
    size_hw_N2 : int64 (N, 2)
        As the mask states it; -1, -1 where it states none.
    listed_hw_N2 : int64 (N, 2)
        As the row states it of its image; -1, -1 where it states none.
    mask_kind_N : uint8 (N,)
        Which of the next three holds the mask.
    strings, counts, polygons
        Masks of the rows of each kind, in order of rows.
    extras : pa.Table
        Extra columns, N rows.
    """

    source_row_N: NDArray[np.int64]
    image_id: pa.Array
    input_id: pa.Array
    category_id: pa.Array
    score: pa.Array
    iscrowd_N: NDArray[np.bool_]
    has_bbox_N: NDArray[np.bool_]
    bbox_xywh_N4: NDArray[np.float64]
    area: pa.Array
    size_hw_N2: NDArray[np.int64]
    listed_hw_N2: NDArray[np.int64]
    mask_kind_N: NDArray[np.uint8]
    strings: CocoStrings
    counts: RawCounts
    polygons: RawPolygons
    extras: pa.Table
