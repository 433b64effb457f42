"""Writing one bad row beside good ones in every format that can hold it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from pipeline import storage
from tests.pipeline.read.files import SQUARE, make_rle, make_row, write_file

RING = [1, 1, 4, 1, 4, 4, 1, 4]
POLYGON_HW = [10, 10]


def good_mask(bad: Any) -> Any:
    """Return a good mask of the same kind, so that a typed column can hold both."""
    if isinstance(bad, list):
        return [RING]
    is_plain = isinstance(bad, dict) and isinstance(bad.get("counts"), list)
    return make_rle([5, 2, 2, 2, 9] if is_plain else SQUARE)


def make_rows(**bad: Any) -> list[dict[str, Any]]:
    """Return three rows of three images; the second has these fields; `...` leaves one out."""
    good = good_mask(bad.get("segmentation"))
    rows = [make_row(image_id=1, segmentation=good), make_row(image_id=2, segmentation=good) | bad]
    rows = [*rows, make_row(image_id=3, segmentation=good)]
    return [{key: value for key, value in row.items() if value is not ...} for row in rows]


def image_size(row: dict[str, Any]) -> list[int]:
    """Return the size of a row's image: that of its mask where it is one, of polygons 10 x 10."""
    mask = row.get("segmentation")
    if isinstance(mask, list) or mask is None:
        return POLYGON_HW
    size = mask.get("size") if isinstance(mask, dict) else None
    is_size = isinstance(size, list) and len(size) == 2 and all(type(n) is int for n in size)
    return size if is_size and min(size) > 0 else [4, 5]


def to_results(rows: list[dict[str, Any]]) -> bytes:
    return json.dumps([with_size(row) for row in rows]).encode()


def to_lines(rows: list[dict[str, Any]]) -> bytes:
    return "\n".join(json.dumps(with_size(row)) for row in rows).encode()


def to_annotations(rows: list[dict[str, Any]]) -> bytes:
    images = [{"id": row["image_id"], **named_size(row)} for row in rows if is_known(row)]
    annotations = [row | {"id": n} for n, row in enumerate(rows)]
    categories = [{"id": 1, "name": "cat"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    return json.dumps(content).encode()


def to_dicts(rows: list[dict[str, Any]]) -> bytes:
    return json.dumps(
        [
            {"image_id": row["image_id"], **named_size(row), "annotations": [without_id(row)]}
            for row in rows
        ]
    ).encode()


def to_predictions(rows: list[dict[str, Any]]) -> bytes:
    stream = io.BytesIO()
    images: list[dict[str, Any]] = []
    for row in rows:
        size = named_size(row) if isinstance(row.get("segmentation"), list) else {}
        images.append({"image_id": row["image_id"], **size, "instances": [row]})
    torch.save(images, stream)
    return stream.getvalue()


def to_parquet(rows: list[dict[str, Any]]) -> bytes:
    return parquet_bytes([{**row, **named_size(row)} for row in rows])


def to_parquet_images(rows: list[dict[str, Any]]) -> bytes:
    return parquet_bytes(
        [
            {"image_id": row["image_id"], **named_size(row), "annotations": [without_id(row)]}
            for row in rows
        ]
    )


def parquet_bytes(rows: list[dict[str, Any]]) -> bytes:
    stream = io.BytesIO()
    names = dict.fromkeys(name for row in rows for name in row)
    table = pa.Table.from_pylist([dict.fromkeys(names) | row for row in rows])
    pq.write_table(table, stream)
    return stream.getvalue()


def with_size(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row that says how large its image is where its mask does not."""
    return row | named_size(row) if isinstance(row.get("segmentation"), list) else row


def named_size(row: dict[str, Any]) -> dict[str, int]:
    return dict(zip(("height", "width"), image_size(row), strict=True))


def without_id(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != "image_id"}


def is_known(row: dict[str, Any]) -> bool:
    return type(row.get("image_id")) is int and abs(row["image_id"]) < 2**63


WRITERS: dict[str, Callable[[list[dict[str, Any]]], bytes]] = {
    "results": to_results,
    "lines": to_lines,
    "annotations": to_annotations,
    "dicts": to_dicts,
    "pth": to_predictions,
    "parquet": to_parquet,
    "parquet_images": to_parquet_images,
}
OF_IMAGES = ("dicts", "pth", "parquet_images")
"""Formats in which an image holds its instances: an image_id cannot be of one row."""


def write_rows(folder: Path, format: str, rows: list[dict[str, Any]]) -> storage.InputFile:
    """Write rows in a format; `pa.ArrowException` or TypeError where it cannot hold them."""
    return write_file(folder, WRITERS[format](rows), f"input.{format}")
