"""LINEAGE: one row for every valid input row that is not in COMPACTED, and why."""

from __future__ import annotations

import pyarrow as pa

from schemas.metadata import IMAGE_ID_TYPES, make_field

REASONS = ("merged", "exact_duplicate", "min_score", "min_area", "empty")
"""The closed set of `reason`: the first two name the row that took this one in."""


def lineage_schema(id_type: str) -> pa.Schema:
    """Return the schema of LINEAGE; `id_type` is ``"int"`` or ``"string"``."""
    return pa.schema(
        [
            make_field("run_id", pa.string(), "run that wrote the row"),
            make_field("image_id", IMAGE_ID_TYPES[id_type], "image the mask belonged to"),
            make_field("source", pa.string(), "URI of the file the row came from"),
            make_field("source_row", pa.int64(), "0-based row of that file"),
            make_field("input_id", pa.int64(), "the annotation's own id", nullable=True),
            make_field("category_id", pa.int64(), "its category", nullable=True),
            make_field("score", pa.float64(), "its score", nullable=True),
            make_field("reason", pa.string(), "why, from a closed set"),
            make_field("kept_instance_id", pa.int64(), "instance that took it in", nullable=True),
            make_field("iou", pa.float64(), "IoU with the leader's input mask", nullable=True),
            make_field("ios", pa.float64(), "intersection over smaller, likewise", nullable=True),
            make_field("linked_source", pa.string(), "component: came through", nullable=True),
            make_field("linked_source_row", pa.int64(), "component: its source_row", nullable=True),
        ]
    )
