"""Rows of the slow model as INSTANCES, so that steps can be tested without files."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from schemas.instances import instances_schema
from tests import model, oracle


def to_instances(rows: Sequence[model.Row], origin: str | None = None) -> pa.Table:
    """Return the rows as a table; `origin` names an extra column for `Row.origin`."""
    is_text = any(isinstance(row.image_id, str) for row in rows)
    extras = [pa.field(origin, pa.large_string())] if origin else []
    schema = instances_schema("string" if is_text else "int", extras)
    return pa.Table.from_pylist([_instance(row, origin) for row in rows], schema=schema)


def _instance(row: model.Row, origin: str | None) -> dict[str, object]:
    dense = row.dense()
    bbox = model.bbox_of(dense) if dense.any() else (0, 0, 0, 0)
    input_bbox = row.bbox or (None, None, None, None)
    area = oracle.area((row.height, row.width), row.mask)
    return {
        "image_id": row.image_id,
        "input_id": row.input_id,
        "category_id": row.category_id,
        "score": row.score,
        "iscrowd": row.iscrowd,
        "height": row.height,
        "width": row.width,
        **{f"bbox_{name}": value for name, value in zip("xywh", bbox, strict=True)},
        "area": area,
        **{f"input_bbox_{name}": value for name, value in zip("xywh", input_bbox, strict=True)},
        "input_area": row.area,
        "counts": row.mask,
        "source": row.source,
        "source_row": row.source_row,
        **({origin: row.origin} if origin else {}),
    }
