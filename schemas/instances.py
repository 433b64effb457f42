"""INSTANCES: what every reader makes of its rows, and all that later steps see.

One row is one valid mask: ``counts`` is the canonical COCO string for height x
width, ``area`` and ``bbox_*`` are exact and tight, measured when it was
validated. Extra columns of the input follow the fixed ones. Large types, so
that no column overflows 32-bit offsets.
"""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from schemas.metadata import IMAGE_ID_TYPES, make_field


def instances_schema(id_type: str, extras: Iterable[pa.Field] = ()) -> pa.Schema:
    """Return the schema of INSTANCES.

    Parameters
    ----------
    id_type : str
        ``"int"`` or ``"string"``: the type of image_id.
    extras : iterable of pa.Field
        Columns of the input that are carried through, in their order.
    """
    dtype = pa.int64() if id_type == "int" else pa.large_string()
    assert id_type in IMAGE_ID_TYPES
    f64 = pa.float64()
    return pa.schema(
        [
            make_field("image_id", dtype, "image the mask belongs to"),
            make_field("input_id", pa.int64(), "the annotation's own id", nullable=True),
            make_field("category_id", pa.int64(), "category; null: one class", nullable=True),
            make_field("score", f64, "confidence; null: none given", nullable=True),
            make_field("iscrowd", pa.bool_(), "a crowd region, never compared"),
            make_field("height", pa.int32(), "image height", unit="px"),
            make_field("width", pa.int32(), "image width", unit="px"),
            make_field("bbox_x", pa.int32(), "tight box of the mask, left", unit="px"),
            make_field("bbox_y", pa.int32(), "tight box of the mask, top", unit="px"),
            make_field("bbox_w", pa.int32(), "tight box of the mask, width", unit="px"),
            make_field("bbox_h", pa.int32(), "tight box of the mask, height", unit="px"),
            make_field("area", pa.int64(), "pixels of the mask", unit="px"),
            *input_fields(),
            make_field("counts", pa.large_binary(), "canonical COCO compressed RLE"),
            make_field("source", pa.large_string(), "URI of the file the row came from"),
            make_field("source_row", pa.int64(), "0-based row of that file"),
            *extras,
        ]
    )


def input_fields() -> list[pa.Field]:
    """Return the fields for the box and area as they came: facts of the detector, not ours."""
    names = ("input_bbox_x", "input_bbox_y", "input_bbox_w", "input_bbox_h")
    boxes = [
        make_field(name, pa.float64(), "box as it came, XYWH", nullable=True, unit="px")
        for name in names
    ]
    area = make_field("input_area", pa.float64(), "area as it came", nullable=True, unit="px")
    return [*boxes, area]


FIXED_COLUMNS = tuple(instances_schema("int").names)
"""Names of the columns that are not extras."""
