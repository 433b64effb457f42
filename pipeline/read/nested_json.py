"""Formats whose JSON has an object per image: scan by image, read by instance."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.config import ReadConfig
from pipeline.errors import InputError, SchemaError
from pipeline.read import _numba_json as compiled
from pipeline.read.coco_results import to_file_scan
from pipeline.read.finish import RawGroup, finish_slice, with_extras
from pipeline.read.image_ids import INT64_MAX, INT64_MIN
from pipeline.read.json_extras import read_extras
from pipeline.read.json_rows import decode_rows, to_raw_rows
from pipeline.read.json_stream import Elements
from pipeline.read.nested_text import FlatRows, Nesting, flatten
from pipeline.read.raw_rows import RawRows
from pipeline.read.row_scan import RowScan
from pipeline.read.slices import FileScan, ReadResult, Slice, SourceContext
from pipeline.read.text import open_window, read_range, source_text, text_file
from pipeline.read.validate import FileFacts
from pipeline.storage import InputFile

Extend = Callable[[RawRows, FlatRows, list[int]], RawRows]
"""Raw rows, the text of all instances, which of them each is -> raw rows that say more."""


def scan_nested(file: InputFile, config: ReadConfig, unit_bytes: int, nesting: Nesting) -> FileScan:
    """Find the images of a file, count their instances, and cut them into slices.

    Raises
    ------
    InputError
        If the file is no JSON, cut off, or has images of another shape.
    SchemaError
        If no instance has a mask, or the ids are of no usable type.
    """
    rows = RowScan(file.uri, nesting.format, config.id_mode, unit_bytes)
    text = text_file(file)
    with open_window(text) as window:
        for found in window.take_lines() if nesting.is_single else window.take_array():
            rows.add(*_count(found, nesting, file.uri))
        if window.peek():
            raise window.fault("expected the end of the file")
    rows.finish()
    return to_file_scan(rows, text, {}, config)


def read_nested(
    part: Slice,
    source: SourceContext,
    config: ReadConfig,
    id_type: str,
    nesting: Nesting,
    extend: Extend | None = None,
) -> ReadResult:
    """Read the instances of the images of one slice.

    Raises
    ------
    InputError
        If the slice is damaged, or holds others than when it was scanned.
    """
    flat = _flatten(part, source, nesting)
    decoded = decode_rows(
        flat.text, lambda: flat.spans, part.uri, part.start, id_type, config.id_mode, False,
        config.repair,
    )  # fmt: skip
    if len(flat.spans) != part.n_rows:
        raise InputError(
            f"{part.uri}: expected {part.n_rows} instances from byte {part.start} on, got "
            f"{len(flat.spans)}; the file was changed during the run: start it again"
        )
    raw = to_raw_rows(decoded, part.first_row, id_type)
    if extend is not None:
        raw = extend(raw, flat, decoded.place_N.tolist())
    group = RawGroup(raw, decoded.place_N)
    if config.extras:
        extras = read_extras(flat.text, lambda: flat.spans, config, False)
        group = with_extras(group, extras)
    facts = FileFacts(has_category=source.has_category, category_map=source.category_map)
    return finish_slice(
        part, [group], decoded.faults, decoded.repairs, config, id_type, facts,
        lambda place: _row_bytes(flat, place),
    )  # fmt: skip


def nested_payloads(
    part: Slice, source: SourceContext, source_rows: Sequence[int], nesting: Nesting
) -> list[tuple[int | None, bytes]]:
    """Return byte offsets of instances of a slice, and the instances as rows."""
    flat = _flatten(part, source, nesting)
    return [_row_bytes(flat, row - part.first_row) for row in source_rows]


def _row_bytes(flat: FlatRows, place: int) -> tuple[int, bytes]:
    return flat.offsets[place], flat.text[slice(*flat.spans[place])]


def _flatten(part: Slice, source: SourceContext, nesting: Nesting) -> FlatRows:
    text = b"[" + read_range(source_text(part.uri, source), part.start, part.stop) + b"]"
    return flatten(text, nesting, part.uri, part.start - 1)


def _count(found: Elements, nesting: Nesting, uri: str) -> tuple[Elements, NDArray[np.int64]]:
    """Return images as elements whose ids and keys are those of their instances, and counts."""
    first, last = int(found.start_N[0]), int(found.stop_N[-1])
    text = b"[" + found.text[first:last] + b"]"
    flat = flatten(text, nesting, uri, found.base + first - 1)
    if nesting.image_key:
        is_int_N = [
            type(value) is int and INT64_MIN <= value <= INT64_MAX for value in flat.image_ids
        ]
        if not all(is_int_N):
            raise SchemaError(
                f"{uri}: {nesting.image_key}.image_id: expected a 64-bit integer, got "
                f"{flat.image_ids[is_int_N.index(False)]!a}"
            )
        found = found._replace(
            id_kind_N=np.full(len(is_int_N), compiled.ID_INT, np.uint8),
            id_value_N=np.array(flat.image_ids, np.int64),
        )
    flags = 0
    flags |= compiled.HAS_SEGMENTATION if b'"segmentation"' in flat.text else 0
    flags |= compiled.HAS_CATEGORY if b'"category_id"' in flat.text else 0
    flags_N = np.full(len(found.flags_N), flags, np.uint32)
    return found._replace(flags_N=flags_N), np.array(flat.counts, np.int64)
