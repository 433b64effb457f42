"""COCO results: one JSON array of ``{image_id, category_id, segmentation, score, bbox}``.

What detectron2 writes as ``coco_instances_results.json``. Every row states the
size of its image in ``segmentation.size``; nothing else is in the file.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.config import ReadConfig
from pipeline.errors import InputError
from pipeline.read.category_space import resolve_category_space
from pipeline.read.json_extras import extras_schema
from pipeline.read.json_read import check_head, json_payloads, read_json
from pipeline.read.row_scan import RowScan
from pipeline.read.slices import FileScan, ReadResult, Slice, SourceContext
from pipeline.read.text import TextFile, open_window, text_file
from pipeline.read.validate import FileFacts
from pipeline.storage import InputFile

FORMAT = "coco_results"


def scan(file: InputFile, config: ReadConfig, unit_bytes: int) -> FileScan:
    """Find the rows of the file and cut them into slices.

    Raises
    ------
    InputError
        If the file is no JSON, or cut off.
    SchemaError
        If no row has a mask, or the ids are of no usable type.
    """
    rows = RowScan(file.uri, FORMAT, config.id_mode, unit_bytes)
    text = text_file(file)
    with open_window(text) as window:
        for found in window.take_array():
            rows.add(found)
        if window.peek():
            raise window.fault("expected the end of the file")
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


def to_file_scan(
    rows: RowScan, file: TextFile, ranges: dict[str, tuple[int, int]], config: ReadConfig
) -> FileScan:
    """Return what the scan of a JSON file found.

    Raises
    ------
    InputError
        If annotation ids repeat and ``--read.on_invalid`` is ``fail``.
    """
    n_repeated = rows.n_repeated_ids()
    if n_repeated and config.on_invalid == "fail":
        raise InputError(
            f"{file.uri}: expected each annotation id once, got {n_repeated} rows with the id of "
            "an earlier one; number them anew, or keep them with --read.on_invalid reject"
        )
    extras = extras_schema(config).serialize().to_pybytes() if config.extras else b""
    space, category_map = resolve_category_space(file.uri, rows.format, config)
    return FileScan(
        format=rows.format,
        id_type=rows.id_type,
        slices=rows.slices,
        image_id_sample=rows.statistics.sample(),
        n_images=rows.statistics.n_distinct(),
        extras=extras,
        counters={"repeated_input_id": n_repeated} if n_repeated else {},
        context=ranges,
        source=SourceContext(
            extras=extras,
            ranges=ranges,
            has_category=rows.has_category,
            compression=file.compression,
            file_bytes=file.file_bytes,
            tag=file.tag,
            category_map=category_map,
        ),
        category_space=space,
    )
