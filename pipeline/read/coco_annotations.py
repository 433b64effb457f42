"""COCO and LVIS annotations: ``{"images": [...], "annotations": [...], "categories": [...]}``.

The lists may come in any order, other keys beside them. Polygons get their
size from ``images``; runs state their own, which must be the image's.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import msgspec

from pipeline.config import ReadConfig
from pipeline.errors import SchemaError
from pipeline.read.coco_results import to_file_scan
from pipeline.read.image_table import read_category_ids, read_image_table
from pipeline.read.json_read import check_head, json_payloads, read_json
from pipeline.read.json_stream import JsonWindow
from pipeline.read.row_scan import RowScan
from pipeline.read.slices import FileScan, ReadResult, Slice, SourceContext
from pipeline.read.text import TextFile, open_window, source_text, text_file
from pipeline.read.validate import FileFacts
from pipeline.storage import InputFile

FORMAT = "coco_annotations"

_LISTS = ("annotations", "images", "categories")


def scan(file: InputFile, config: ReadConfig, unit_bytes: int) -> FileScan:
    """Find the rows of the file and cut them into slices; check its list of images.

    Raises
    ------
    InputError
        If the file is no JSON, or cut off, or images contradict each other.
    SchemaError
        If it has no annotations, none of them a mask, or ids of no usable type.
    """
    rows = RowScan(file.uri, FORMAT, config.id_mode, unit_bytes)
    ranges: dict[str, tuple[int, int]] = {}
    text = text_file(file)
    with open_window(text) as window:
        keys = _walk(window, rows, ranges)
        if window.peek():
            raise window.fault("expected the end of the file")
    if "annotations" not in ranges:
        raise SchemaError(
            f"{file.uri}: expected an object with 'annotations', got one with "
            f"{', '.join(map(ascii, keys)) or 'no key'}; give COCO or LVIS annotations"
        )
    del ranges["annotations"]
    rows.finish()
    found = to_file_scan(rows, text, ranges, config)
    facts = _file_facts(file.uri, found.source, config.id_mode, rows.id_type or "int")
    check_head(rows, config, facts)
    return found


def read(part: Slice, source: SourceContext, config: ReadConfig, id_type: str) -> ReadResult:
    """Read the rows of one slice."""
    facts = _file_facts(part.uri, source, config.id_mode, id_type)
    return read_json(part, source, config, id_type, facts)


def payloads(
    part: Slice, source: SourceContext, source_rows: Sequence[int]
) -> list[tuple[int | None, bytes]]:
    """Return the byte offset and the original bytes of rows of a slice."""
    return json_payloads(part, source, source_rows)


def _walk(window: JsonWindow, rows: RowScan, ranges: dict[str, tuple[int, int]]) -> list[str]:
    """Go through the keys of the top-level object; note where its lists lie."""
    keys: list[str] = []
    window.take(b"{", "an object")
    while window.peek() != b"}":
        if keys:
            window.take(b",", "',' or '}' after a value")
        key = take_key(window)
        if key in keys:
            raise window.fault(f"expected each key once, got {key!a} for the second time")
        keys.append(key)
        is_array = window.peek() == b"["
        if key in _LISTS and not is_array:
            raise window.fault(f"expected a list under {key!a}")
        start = window.offset
        if not is_array:
            window.take_value()
            continue
        for found in window.take_array():
            if key == "annotations":
                rows.add(found)
        if key in _LISTS:
            ranges[key] = (start, window.offset)
    window.take(b"}", "'}'")
    return keys


def take_key(window: JsonWindow) -> str:
    """Move past a key of an object and its colon; return the key."""
    if window.peek() != b'"':
        raise window.fault("expected a key in double quotes")
    key = window.take_value().decode("utf-8", "replace")
    window.take(b":", "':' after a key")
    try:
        return msgspec.json.decode(key.encode(), type=str)
    except msgspec.DecodeError:
        return key


def _file_facts(uri: str, source: SourceContext, id_mode: str, id_type: str) -> FileFacts:
    text = source_text(uri, source)
    images, categories = source.ranges.get("images"), source.ranges.get("categories")
    return _read_facts(text, images, categories, id_mode, id_type)._replace(
        has_category=source.has_category, category_map=source.category_map
    )


@lru_cache(maxsize=2)
def _read_facts(
    file: TextFile,
    images: tuple[int, int] | None,
    categories: tuple[int, int] | None,
    id_mode: str,
    id_type: str,
) -> FileFacts:
    """Read what every slice of a file needs; kept, since a worker is given several of them."""
    image_table = read_image_table(file, images, id_type, id_mode) if images else None
    return FileFacts(image_table, read_category_ids(file, categories) if categories else None)
