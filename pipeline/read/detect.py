"""What a file is, by its content; its name says nothing."""

from __future__ import annotations

import json
from itertools import islice
from typing import Any

import msgspec

from pipeline import storage
from pipeline.config import ReadConfig
from pipeline.errors import InputError, SchemaError
from pipeline.read.coco_annotations import take_key
from pipeline.read.compacted import is_compacted
from pipeline.read.json_faults import show
from pipeline.read.json_stream import JsonWindow
from pipeline.read.parquet_file import open_parquet
from pipeline.read.parquet_footer import read_footer
from pipeline.read.parquet_images import is_row_per_image
from pipeline.read.text import open_window, text_file
from pipeline.storage import InputFile

_PARQUET_MAGIC = (b"PAR1", b"PARE")
_SNIFF_BYTES = 1 << 16
_SNIFF_ROWS = 100
_ROW_KEYS = ("image_id", "category_id", "segmentation", "score", "bbox")
_COCO_KEYS = ("annotations", "images", "categories", "info", "licenses")


def sniff(file: InputFile, config: ReadConfig) -> str:
    """Return the format of a file: a name of `pipeline.read.FORMATS`.

    Parameters
    ----------
    file : InputFile
        Of Parquet the footer, of JSON the first row or the keys are read.
    config : ReadConfig
        Names of columns.

    Raises
    ------
    InputError
        If it is empty, or neither Parquet nor JSON.
    SchemaError
        If it is JSON of another shape.
    """
    if storage.read_bytes(file.uri, 0, 4) in _PARQUET_MAGIC:
        return _sniff_parquet(file, config)
    with open_window(text_file(file), _SNIFF_BYTES) as window:
        first = window.peek()
        if first == b"[":
            return _sniff_array(window)
        if first == b"{":
            return _sniff_object(window)
        if first == b'"' or first in b"-0123456789tfn":
            raise SchemaError(f"{file.uri}: {_expected()}, got {show(window.text[:24])}")
        raise InputError(
            f"{file.uri}: byte {window.offset}: expected Parquet or JSON, got "
            f"{show(window.text[window.place : window.place + 24])}; give predictions or "
            "annotations with masks"
        )


def _sniff_parquet(file: InputFile, config: ReadConfig) -> str:
    read_footer(file.uri, file.file_bytes)
    with open_parquet(file.uri) as parquet:
        schema = parquet.schema_arrow
    if is_compacted(schema):
        return "compacted"
    return "parquet_images" if is_row_per_image(schema, config.columns) else "parquet"


def _sniff_array(window: JsonWindow) -> str:
    """Let the first row that looks like one decide; a few bad ones before it do no harm."""
    first: Any = None
    for found in window.take_array():
        spans = zip(found.start_N.tolist(), found.stop_N.tolist(), strict=True)
        for n, (start, stop) in enumerate(islice(spans, _SNIFF_ROWS)):
            try:
                row = _decode(found.text[start:stop])
            except (ValueError, RecursionError):  # no JSON: the reader says it better
                return "coco_results"
            if isinstance(row, dict) and isinstance(row.get("instances"), list):
                return "detectron2_predictions"
            if isinstance(row, dict) and isinstance(row.get("annotations"), list):
                return "detectron2_dicts"
            if isinstance(row, dict) and ("image_id" in row or "segmentation" in row):
                return "coco_results"
            first = row if n == 0 else first
        raise SchemaError(
            f"{window.uri}: {_expected()}, got a list whose first row is {show(first)}"
        )
    return "coco_results"


def _decode(data: bytes) -> Any:
    """Return a row, one with bytes that are no UTF-8 or numbers beyond a float's range too."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return json.loads(data.decode("utf-8", "replace"))


def _sniff_object(window: JsonWindow) -> str:
    keys: list[str] = []
    window.take(b"{", "an object")
    while window.peek() not in (b"}", b""):
        if keys:
            window.take(b",", "',' or '}' after a value")
        keys.append(take_key(window))
        if keys[-1] in _COCO_KEYS:
            return "coco_annotations"
        if keys[-1] == "image" and window.peek() == b"{":
            return "sa1b"
        if keys[-1] in _ROW_KEYS:
            return "coco_lines"
        if window.peek() == b"[":
            for _ in window.take_array():
                pass
        else:
            window.take_value()
    got = ", ".join(map(show, keys[:10])) or "no key"
    raise SchemaError(f"{window.uri}: {_expected()}, got an object with {got}")


def _expected() -> str:
    return (
        "expected COCO results (a list, or lines, of objects with image_id and segmentation) or "
        "COCO annotations (an object with 'images' and 'annotations')"
    )
