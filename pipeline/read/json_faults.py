"""Rows that do not decode as they should: what is wrong with them, or what they still say."""

from __future__ import annotations

import math
from typing import Any

from pipeline import storage
from pipeline.read.image_ids import INT64_MAX, INT64_MIN, convert_id, describe_expected
from pipeline.read.raw_rows import Fault

_EXCERPT = 80


def sanitize_row(row: object, id_type: str, id_mode: str) -> dict[str, Any] | Fault:
    """Judge a row of any shape, field by field.

    Parameters
    ----------
    row : object
        As plain JSON decoding gives it.
    id_type, id_mode : str
        Type of image_id, and ``--read.id_mode``.

    Returns
    -------
    dict or Fault
        The fields of a row that is usable after all (an ``area`` that is no
        number is left out, for nothing depends on it), or why it is not.
    """
    if not isinstance(row, dict):
        return Fault("NO_SEGMENTATION", "", f"expected an object, got {show(row)}")
    image_id = convert_id(row.get("image_id"), id_type, id_mode)
    if image_id is None:
        expected = describe_expected(id_type, id_mode)
        got = show(row["image_id"]) if "image_id" in row else "no such key"
        return Fault("IMAGE_ID", "image_id", f"expected {expected}, got {got}")
    fault = (
        _check_category(row.get("category_id"))
        or _check_score(row.get("score"))
        or _check_bbox(row.get("bbox"))
        or _check_crowd(row.get("iscrowd"))
        or check_segmentation(row.get("segmentation"))
    )
    if fault:
        return fault
    names = ("category_id", "segmentation", "score", "bbox")
    clean: dict[str, Any] = {name: row[name] for name in names if row.get(name) is not None}
    if isinstance(row["segmentation"], list):
        clean["segmentation"] = [
            [_to_float(value) for value in ring] for ring in clean["segmentation"]
        ]
    clean["image_id"] = image_id
    clean["iscrowd"] = bool(row.get("iscrowd"))
    for name in ("id", "height", "width", "bbox_mode"):
        if _is_int64(row.get(name)):
            clean[name] = row[name]
    if _is_number(row.get("area")):
        clean["area"] = row["area"]
    return clean


def show(value: object) -> str:
    """Return an excerpt of a value from outside, escaped for terminals, without credentials."""
    text = storage.redact(ascii(value))
    return text if len(text) <= _EXCERPT else f"{text[:_EXCERPT]}... ({len(text)} characters)"


def check_segmentation(mask: object) -> Fault | None:
    """Return what is wrong with the types in a ``segmentation``, if anything is."""
    if mask is None or mask in ([], [[]]):
        return Fault("NO_SEGMENTATION", "segmentation", f"expected a mask, got {show(mask)}")
    if isinstance(mask, dict):
        return _check_size(mask.get("size")) or _check_counts(mask.get("counts"))
    if isinstance(mask, list):
        return _check_rings(mask)
    return Fault("NO_SEGMENTATION", "segmentation", f"expected RLE or rings, got {show(mask)}")


def _check_category(value: object) -> Fault | None:
    if value is None or _is_int64(value):
        return None
    return Fault("CATEGORY", "category_id", f"expected a 64-bit integer, got {show(value)}")


def _check_score(value: object) -> Fault | None:
    if value is None or _is_number(value):
        return None
    return Fault("SCORE", "score", f"expected a number or null, got {show(value)}")


def _check_bbox(value: object) -> Fault | None:
    if value is None:
        return None
    if isinstance(value, list) and len(value) == 4 and all(map(_is_number, value)):
        return None
    return Fault("BBOX", "bbox", f"expected [x, y, width, height] as numbers, got {show(value)}")


def _check_crowd(value: object) -> Fault | None:
    if value is None or value in (0, 1):
        return None
    return Fault("CATEGORY", "iscrowd", f"expected 0 or 1, got {show(value)}")


def _check_size(value: object) -> Fault | None:
    if isinstance(value, list) and len(value) == 2 and all(map(_is_int64, value)):
        return None
    message = f"expected [height, width] as integers, got {show(value)}"
    return Fault("SIZE_INVALID", "segmentation.size", message)


def _check_counts(value: object) -> Fault | None:
    if isinstance(value, str) or (isinstance(value, list) and all(map(_is_int64, value))):
        return None
    message = f"expected a COCO string or a list of integers, got {show(value)}"
    code = "NO_SEGMENTATION" if value is None else "RLE_COUNTS_TYPE"
    return Fault(code, "segmentation.counts", message)


def _check_rings(rings: list[Any]) -> Fault | None:
    if all(type(value) in (int, float) for value in rings):
        message = "expected a list of rings [[x, y, ...], ...], got one flat list"
        return Fault("POLY_SHAPE", "segmentation", f"{message} {show(rings)}")
    for ring in rings:
        if not isinstance(ring, list):
            return Fault("POLY_SHAPE", "segmentation", f"expected a ring, got {show(ring)}")
        for value in ring:
            if isinstance(value, list | dict):
                message = "expected a ring as one flat list x, y, x, y, ..., got"
                return Fault("POLY_SHAPE", "segmentation", f"{message} {show(ring)}")
            if type(value) not in (int, float):
                message = f"expected coordinates as numbers, got {show(value)}"
                return Fault("POLY_TYPE", "segmentation", message)
    return None


def _to_float(value: float) -> float:
    """Return a number as a float; integers beyond its range as infinity."""
    return float(value) if abs(value) < 1e300 else math.inf


def _is_int64(value: object) -> bool:
    return type(value) is int and INT64_MIN <= value <= INT64_MAX


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < 1e300
