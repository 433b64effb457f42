"""COCO results as JSON Lines: one row a line, nothing around them."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.config import ReadConfig
from pipeline.read.coco_results import to_file_scan
from pipeline.read.json_read import LINES, check_head, json_payloads, read_json
from pipeline.read.row_scan import RowScan
from pipeline.read.slices import FileScan, ReadResult, Slice, SourceContext
from pipeline.read.text import open_window, text_file
from pipeline.read.validate import FileFacts
from pipeline.storage import InputFile

FORMAT = LINES


def scan(file: InputFile, config: ReadConfig, unit_bytes: int) -> FileScan:
    """Find the rows of the file and cut them into slices.

    Raises
    ------
    InputError
        If a line is no JSON, or cut off.
    SchemaError
        If no row has a mask, or the ids are of no usable type.
    """
    rows = RowScan(file.uri, FORMAT, config.id_mode, unit_bytes)
    text = text_file(file)
    with open_window(text) as window:
        for found in window.take_lines():
            rows.add(found)
    rows.finish()
    check_head(rows, config, FileFacts())
    return to_file_scan(rows, text, {}, config)


def read(part: Slice, source: SourceContext, config: ReadConfig, id_type: str) -> ReadResult:
    """Read the rows of one slice."""
    facts = FileFacts(has_category=source.has_category, category_map=source.category_map)
    return read_json(part, source, config, id_type, facts)


def payloads(
    part: Slice, source: SourceContext, source_rows: Sequence[int]
) -> list[tuple[int | None, bytes]]:
    """Return the byte offset and the original bytes of rows of a slice."""
    return json_payloads(part, source, source_rows)
