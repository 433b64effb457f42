"""Reading a slice of a JSON file whose rows have COCO's form: decode, validate, or say why not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from pipeline.config import ReadConfig
from pipeline.errors import InputError
from pipeline.read.box_mode import check_box_mode
from pipeline.read.fast_rows import read_fast
from pipeline.read.finish import RawGroup, finish_slice, with_extras
from pipeline.read.json_extras import extras_schema, read_extras
from pipeline.read.json_rows import (
    DecodedRows,
    decode_each,
    decode_rows,
    may_be_corners,
    to_raw_rows,
)
from pipeline.read.json_stream import JsonWindow
from pipeline.read.limits import MAX_VALUE_BYTES
from pipeline.read.raw_rows import Fault
from pipeline.read.repair import Repair
from pipeline.read.row_scan import RowScan
from pipeline.read.slices import ReadResult, Slice, SourceContext
from pipeline.read.text import read_range, source_text
from pipeline.read.validate import FileFacts

LINES = "coco_lines"
"""The format whose rows have no commas between them."""

COMPILED_BYTES = 4 << 20
"""Slices from this size on are read by compiled code."""

HEAD_ROWS = 1_000
"""Rows from which it is judged whether boxes are corners."""


class _Found(NamedTuple):
    """What either way of reading a slice gives, for `finish_slice`."""

    groups: list[RawGroup]
    faults: dict[int, Fault]
    repairs: dict[int, Repair]
    spans: Callable[[], Sequence[Sequence[int]]]


def read_json(
    part: Slice, source: SourceContext, config: ReadConfig, id_type: str, facts: FileFacts
) -> ReadResult:
    """Read the rows of one slice.

    Parameters
    ----------
    part : Slice
        Its bytes are rows with commas between them, or lines.
    source : SourceContext
        Of its file.
    config : ReadConfig
        How to read.
    id_type : str
        ``"int"`` or ``"string"``: image_id in the output.
    facts : FileFacts
        What the rest of the file says.

    Raises
    ------
    InputError
        If the slice is no JSON, or holds other rows than when it was scanned.
    """
    if is_too_large(part):
        return _refuse_whole(part, config, id_type, facts)
    text = read_range(source_text(part.uri, source), part.start, part.stop)
    found = _read_compiled(text, part, config, id_type)
    if found is None:
        found = _read_decoded(text, part, config, id_type)

    groups = found.groups
    if config.extras:
        extras = read_extras(text, found.spans, config, part.format == LINES)
        groups = [with_extras(group, extras) for group in groups]

    def row_bytes(place: int) -> tuple[int | None, bytes | None]:
        begin, end = found.spans()[place]
        return part.start + begin, text[begin:end]

    return finish_slice(
        part, groups, found.faults, found.repairs, config, id_type, facts, row_bytes
    )


def _read_compiled(text: bytes, part: Slice, config: ReadConfig, id_type: str) -> _Found | None:
    """Read a slice without an object for each row, but those of an unusual form.

    None where that does not pay: small slices, which are read before the
    compiled code is loaded, and slices most of whose rows are unusual. Which way
    a row is read makes no difference to what becomes of it.
    """
    if len(text) < COMPILED_BYTES:
        return None
    is_lines = part.format == LINES
    fast = read_fast(text, part.n_rows, part.first_row, id_type, is_lines)
    if fast is None or 2 * len(fast.left_M) > part.n_rows:
        return None
    groups, faults, repairs = [fast.group], {}, {}
    if len(fast.left_M):
        left = fast.span_N2[fast.left_M].tolist()
        decoded = decode_each(
            text, left, part.uri, part.start, id_type, config.id_mode, config.repair
        )
        place_M = fast.left_M[decoded.place_N]
        raw = to_raw_rows(decoded, part.first_row, id_type)
        raw = raw._replace(source_row_N=part.first_row + place_M)
        groups.append(RawGroup(raw, place_M))
        faults = {int(fast.left_M[n]): fault for n, fault in decoded.faults.items()}
        repairs = {int(fast.left_M[n]): repair for n, repair in decoded.repairs.items()}
    return _Found(groups, faults, repairs, lru_cache(fast.span_N2.tolist))


def _read_decoded(text: bytes, part: Slice, config: ReadConfig, id_type: str) -> _Found:
    """Read a slice with an object for each row."""
    spans = lru_cache(lambda: _find_rows(text, part))
    decoded = decode_rows(
        text,
        spans,
        part.uri,
        part.start,
        id_type,
        config.id_mode,
        part.format == LINES,
        config.repair,
    )
    if len(decoded.rows) + len(decoded.faults) != part.n_rows:
        raise InputError(
            f"{part.uri}: expected {part.n_rows} rows from byte {part.start} on, got "
            f"{len(decoded.rows) + len(decoded.faults)}; the file was changed during the run: "
            "start it again"
        )
    group = RawGroup(to_raw_rows(decoded, part.first_row, id_type), decoded.place_N)
    return _Found([group], decoded.faults, decoded.repairs, spans)


def check_head(rows: RowScan, config: ReadConfig, facts: FileFacts) -> None:
    """Look at the first rows of a file for what is wrong with all of them.

    Raises
    ------
    SchemaError
        If most of their boxes are corners.
    InputError
        If they are no JSON.
    """
    head, id_type = rows.head, rows.id_type
    if head is None or id_type is None:
        return
    n_rows = min(len(head.start_N), HEAD_ROWS)
    begin, end = int(head.start_N[0]), int(head.stop_N[n_rows - 1])
    if end - begin > MAX_VALUE_BYTES:
        return
    span_N2 = np.stack([head.start_N[:n_rows], head.stop_N[:n_rows]], axis=1) - begin
    decoded = decode_rows(
        head.text[begin:end],
        span_N2.tolist,
        rows.uri,
        head.base + begin,
        id_type,
        config.id_mode,
        rows.format == LINES,
    )
    if not any(may_be_corners(row, facts.images is None) for row in decoded.rows):
        return
    raw = to_raw_rows(decoded, 0, id_type)
    size_hw_N2 = raw.size_hw_N2
    if facts.images is not None:
        size_hw_N2 = facts.images.sizes_of(raw.image_id)[0]
    check_box_mode(rows.uri, raw.bbox_xywh_N4, size_hw_N2)


def json_payloads(
    part: Slice, source: SourceContext, source_rows: Sequence[int]
) -> list[tuple[int | None, bytes]]:
    """Return the byte offset and the original bytes of rows of a slice."""
    text = read_range(source_text(part.uri, source), part.start, part.stop)
    spans = _find_rows(text, part)
    out: list[tuple[int | None, bytes]] = []
    for row in source_rows:
        begin, end = spans[row - part.first_row]
        out.append((part.start + begin, text[begin:end]))
    return out


def is_too_large(part: Slice) -> bool:
    """Return whether the slice is one row that is longer than a row may be."""
    return part.n_rows == 1 and part.stop - part.start > MAX_VALUE_BYTES


def _refuse_whole(part: Slice, config: ReadConfig, id_type: str, facts: FileFacts) -> ReadResult:
    message = f"expected a row of at most {MAX_VALUE_BYTES} bytes, got {part.stop - part.start}"
    fault = Fault("VALUE_TOO_LARGE", "", message + "; its bytes are not repeated here")
    nothing = DecodedRows([], np.empty(0, np.int64), {})
    group = RawGroup(to_raw_rows(nothing, part.first_row, id_type), nothing.place_N)
    group = with_extras(group, extras_schema(config).empty_table())
    return finish_slice(
        part, [group], {0: fault}, {}, config, id_type, facts, lambda _: (part.start, None)
    )


def _find_rows(text: bytes, part: Slice) -> list[tuple[int, int]]:
    """Return where in the text each row of a slice starts and ends."""
    is_lines = part.format == LINES
    pieces = [text] if is_lines else [b"]", text, b"["]
    window = JsonWindow(part.uri, lambda _: pieces.pop() if pieces else b"")
    window.extend()
    shift = 0 if is_lines else 1
    spans: list[tuple[int, int]] = []
    for found in window.take_lines() if is_lines else window.take_array():
        begin_N, end_N = found.start_N + found.base - shift, found.stop_N + found.base - shift
        spans.extend(zip(begin_N.tolist(), end_N.tolist(), strict=True))
    return spans
