"""COMPACTED: the kept masks, one row each, sorted by image_id and then by the total order."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from schemas.instances import input_fields
from schemas.metadata import IMAGE_ID_TYPES, make_field

MASK_COLUMNS = ("counts", "crack", "polygon")
"""The columns of which exactly one holds a row's mask; `encoding` says which."""


def compacted_schema(id_type: str, extras: Iterable[pa.Field] = ()) -> pa.Schema:
    """Return the schema of COMPACTED.

    Parameters
    ----------
    id_type : str
        ``"int"`` or ``"string"``: the type of image_id.
    extras : iterable of pa.Field
        Columns of the input that are carried through, in their order.
    """
    i32 = pa.int32()
    return pa.schema(
        [
            make_field("image_id", IMAGE_ID_TYPES[id_type], "image the mask belongs to"),
            make_field("instance_id", pa.int64(), "unique in the table; of image and order only"),
            make_field("input_id", pa.int64(), "the annotation's own id", nullable=True),
            make_field("category_id", pa.int64(), "category; null: one class", nullable=True),
            make_field("score", pa.float64(), "confidence; null: none given", nullable=True),
            make_field("iscrowd", pa.bool_(), "a crowd region, never compared"),
            make_field("height", i32, "image height", unit="px"),
            make_field("width", i32, "image width", unit="px"),
            make_field("bbox_x", i32, "tight box of the stored mask, left", unit="px"),
            make_field("bbox_y", i32, "tight box of the stored mask, top", unit="px"),
            make_field("bbox_w", i32, "tight box of the stored mask, width", unit="px"),
            make_field("bbox_h", i32, "tight box of the stored mask, height", unit="px"),
            make_field("area", pa.int64(), "pixels of the stored mask", unit="px"),
            *input_fields(),
            make_field("encoding", pa.string(), "column that holds the mask: rle, crack, polygon"),
            make_field("counts", pa.binary(), "COCO compressed RLE", nullable=True),
            make_field("crack", pa.binary(), "crack code, see docs/format.md", nullable=True),
            make_field("polygon", pa.binary(), "pixel-corner rings, docs/format.md", nullable=True),
            make_field("n_merged", i32, "input rows that this one stands for, itself not counted"),
            make_field("fidelity", pa.float64(), "IoU of what is stored with the merged mask"),
            make_field("source", pa.string(), "URI of the file the row came from"),
            make_field("source_row", pa.int64(), "0-based row of that file"),
            *extras,
            make_field("run_id", pa.string(), "run that wrote the row"),
        ]
    )


COMPACTED_COLUMNS = tuple(compacted_schema("int").names)
"""Names of the columns that are not extras."""
