"""Our own compacted tables as input: the kept masks again, to be compacted with others.

A row keeps its ids, score, category, its box and area as they first came, and
its extra columns. What the earlier run said about it (its instance_id, what it
stands for, its source) is in that run's tables, not in this one's.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from pipeline.config import FORMAT_VERSION, ReadConfig
from pipeline.errors import InputError, MaskError, SchemaError
from pipeline.read.parquet_file import ParquetKind, parquet_payloads, read_parquet, scan_parquet
from pipeline.read.parquet_layout import Layout
from pipeline.read.slices import FileScan, ReadResult, Slice, SourceContext
from pipeline.storage import InputFile
from pipeline.stored import coco_counts
from schemas.compacted import COMPACTED_COLUMNS, MASK_COLUMNS
from schemas.metadata import FORMAT_KEY

FORMAT = "compacted"

_COLUMNS = {
    "image_id": "image_id",
    "category_id": "category_id",
    "score": "score",
    "iscrowd": "iscrowd",
    "id": "input_id",
    "area": "input_area",
    "bbox_x": "input_bbox_x",
    "bbox_y": "input_bbox_y",
    "bbox_w": "input_bbox_w",
    "bbox_h": "input_bbox_h",
    "counts": "counts",
    "height": "height",
    "width": "width",
}
_BOX = ("bbox_x", "bbox_y", "bbox_w", "bbox_h")


def scan(file: InputFile, config: ReadConfig, unit_bytes: int) -> FileScan:
    """Cut the file into slices; see `pipeline.read.parquet_file.scan_parquet`."""
    return scan_parquet(file, config, unit_bytes, _KIND)


def read(part: Slice, source: SourceContext, config: ReadConfig, id_type: str) -> ReadResult:
    """Read the rows of one slice; see `pipeline.read.parquet_file.read_parquet`."""
    return read_parquet(part, source, config, id_type, _KIND)


def payloads(
    part: Slice, source: SourceContext, source_rows: Sequence[int]
) -> list[tuple[int | None, bytes]]:
    """Return rows of a slice as JSON; they have no byte offset."""
    return parquet_payloads(part, source, source_rows, _KIND)


def is_compacted(schema: pa.Schema) -> bool:
    """Return whether a schema has all columns of COMPACTED."""
    return set(COMPACTED_COLUMNS) <= set(schema.names)


def _find(uri: str, schema: pa.Schema, config: ReadConfig) -> Layout:
    ours = FORMAT_VERSION.encode()
    written = (schema.metadata or {}).get(FORMAT_KEY.encode(), ours)
    if written != ours:
        raise SchemaError(
            f"{uri}: expected format {FORMAT_VERSION} of Maskpress, got {written.decode()} in the "
            "footer; compact the inputs of that run again"
        )
    id_type = "int" if pa.types.is_integer(schema.field("image_id").type) else "string"
    extras = [f for f in schema if f.name not in (*COMPACTED_COLUMNS, *config.drop)]
    return Layout(
        columns=_COLUMNS,
        mask_form="strings",
        id_type=id_type if config.id_mode == "auto" else config.id_mode,
        extras=pa.schema([pa.field(field.name, field.type) for field in extras]),
        file_columns=[
            *_COLUMNS.values(),
            *_BOX,
            "encoding",
            *MASK_COLUMNS[1:],
            *(field.name for field in extras),
        ],
        category_at=("category_id", ""),
    )


def _prepare(uri: str, table: pa.Table, layout: Layout) -> pa.Table:
    """Return the table with every mask as a COCO string in ``counts``."""
    try:
        column = coco_counts(table)
    except MaskError as error:
        raise InputError(
            f"{uri}: expected masks as they were written, got: {error.message}; the table is "
            "damaged: restore it"
        ) from error
    return table.set_column(table.schema.get_field_index("counts"), "counts", column)


_KIND = ParquetKind(FORMAT, _find, _prepare)
