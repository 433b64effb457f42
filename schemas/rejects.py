"""REJECTS: one row for every input row that could not be used, with its original bytes.

A row that was repaired on request has one too, which says so in ``repaired``: it was
not rejected.
"""

from __future__ import annotations

import pyarrow as pa

from schemas.metadata import make_field

CODES = (
    "RLE_SUM",
    "RLE_NEGATIVE",
    "RLE_TRUNCATED",
    "RLE_VARINT",
    "RLE_ALPHABET",
    "RLE_TOO_MANY_RUNS",
    "RLE_COUNTS_TYPE",
    "SIZE_MISMATCH",
    "SIZE_INVALID",
    "IMAGE_TOO_LARGE",
    "TOO_MANY_MASKS",
    "POLY_TOO_SHORT",
    "POLY_ODD",
    "POLY_SHAPE",
    "POLY_NONFINITE",
    "POLY_RANGE",
    "POLY_TYPE",
    "ZERO_AREA",
    "NO_SEGMENTATION",
    "BBOX",
    "SCORE",
    "CATEGORY",
    "IMAGE_ID",
    "IMAGE_UNKNOWN",
    "VALUE_TOO_LARGE",
    "TIMEOUT",
    "CRASH",
)
"""The closed set of `code`."""


def rejects_schema() -> pa.Schema:
    """Return the schema of REJECTS."""
    return pa.schema(
        [
            make_field("run_id", pa.string(), "run that wrote the row"),
            make_field("source", pa.string(), "URI of the file the row came from"),
            make_field("source_row", pa.int64(), "0-based row of that file"),
            make_field("byte_offset", pa.int64(), "where the row starts", nullable=True),
            make_field("code", pa.string(), "why, from a closed set (docs/inputs.md)"),
            make_field("field", pa.string(), "the field at fault"),
            make_field("message", pa.string(), "what was expected and what came"),
            make_field("payload", pa.binary(), "the row as it came", nullable=True),
            make_field(
                "repaired",
                pa.binary(),
                "segmentation that the row was repaired to, as JSON; null: the row was rejected",
                nullable=True,
            ),
        ]
    )
