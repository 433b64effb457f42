"""Reading a slice of a JSON file whose rows have COCO's form: decode, validate, or say why not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.config import ReadConfig
from pipeline.errors import InputError
from pipeline.read.box_mode import check_box_mode
from pipeline.read.finish import RawGroup, finish_slice
from pipeline.read.json_rows import DecodedRows, decode_rows, to_raw_rows
from pipeline.read.json_stream import JsonWindow
from pipeline.read.limits import MAX_VALUE_BYTES
from pipeline.read.raw_rows import Fault
from pipeline.read.row_scan import RowScan
from pipeline.read.slices import ReadResult, Slice, SourceContext
from pipeline.read.text import read_range, source_text
from pipeline.read.validate import FileFacts

LINES = "coco_lines"
"""The format whose rows have no commas between them."""

HEAD_ROWS = 1_000
"""Rows from which it is judged whether boxes are corners."""


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
    text = _read_text(part, source)
    found: list[tuple[int, int]] = []

    def spans() -> list[tuple[int, int]]:
        if not found:
            found.extend(_find_rows(text, part))
        return found

    decoded = decode_rows(
        text,
        spans,
        part.uri,
        part.start - 1,
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

    def row_bytes(place: int) -> tuple[int | None, bytes | None]:
        begin, end = spans()[place]
        return part.start - 1 + begin, text[begin:end]

    group = RawGroup(to_raw_rows(decoded, part.first_row, id_type), decoded.place_N)
    return finish_slice(
        part, [group], decoded.faults, decoded.repairs, config, id_type, facts, row_bytes
    )


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
    spans = zip(
        (head.start_N[:n_rows] - begin + 1).tolist(),
        (head.stop_N[:n_rows] - begin + 1).tolist(),
        strict=True,
    )
    is_lines = rows.format == LINES
    text = b" %b " if is_lines else b"[%b]"
    text = text % head.text[begin:end]
    start = head.base + begin - 1
    decoded = decode_rows(text, lambda: spans, rows.uri, start, id_type, config.id_mode, is_lines)
    raw = to_raw_rows(decoded, 0, id_type)
    size_hw_N2 = raw.size_hw_N2
    if facts.images is not None:
        size_hw_N2 = facts.images.sizes_of(raw.image_id)[0]
    check_box_mode(rows.uri, raw.bbox_xywh_N4, size_hw_N2)


def json_payloads(
    part: Slice, source: SourceContext, source_rows: Sequence[int]
) -> list[tuple[int | None, bytes]]:
    """Return the byte offset and the original bytes of rows of a slice."""
    text = _read_text(part, source)
    spans = _find_rows(text, part)
    out: list[tuple[int | None, bytes]] = []
    for row in source_rows:
        begin, end = spans[row - part.first_row]
        out.append((part.start - 1 + begin, text[begin:end]))
    return out


def _read_text(part: Slice, source: SourceContext) -> bytes:
    """Return the rows of a slice between brackets; lines between spaces, just as long."""
    data = read_range(source_text(part.uri, source), part.start, part.stop)
    return b" " + data + b" " if part.format == LINES else b"[" + data + b"]"


def is_too_large(part: Slice) -> bool:
    """Return whether the slice is one row that is longer than a row may be."""
    return part.n_rows == 1 and part.stop - part.start > MAX_VALUE_BYTES


def _refuse_whole(part: Slice, config: ReadConfig, id_type: str, facts: FileFacts) -> ReadResult:
    message = f"expected a row of at most {MAX_VALUE_BYTES} bytes, got {part.stop - part.start}"
    fault = Fault("VALUE_TOO_LARGE", "", message + "; its bytes are not repeated here")
    nothing = DecodedRows([], np.empty(0, np.int64), {})
    group = RawGroup(to_raw_rows(nothing, part.first_row, id_type), nothing.place_N)
    return finish_slice(
        part, [group], {0: fault}, {}, config, id_type, facts, lambda _: (part.start, None)
    )


def _find_rows(text: bytes, part: Slice) -> list[tuple[int, int]]:
    """Return where in the text each row of a slice starts and ends."""
    pieces = [text]
    window = JsonWindow(part.uri, lambda _: pieces.pop() if pieces else b"")
    window.extend()
    spans: list[tuple[int, int]] = []
    elements = window.take_lines() if part.format == LINES else window.take_array()
    for found in elements:
        begin_N, end_N = found.start_N + found.base, found.stop_N + found.base
        spans.extend(zip(begin_N.tolist(), end_N.tolist(), strict=True))
    return spans
