"""Parquet with a row per instance: columns by COCO's names, or as ``--read.columns`` says.

Masks are COCO strings or run lengths in ``segmentation`` (a struct of size and
counts) or in ``counts`` beside ``height`` and ``width``, or polygons as lists
of rings. All columns that have no name of ours are carried through.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from pipeline.config import ReadConfig
from pipeline.read.parquet_file import ParquetKind, parquet_payloads, read_parquet, scan_parquet
from pipeline.read.parquet_layout import Layout, find_layout
from pipeline.read.slices import FileScan, ReadResult, Slice, SourceContext
from pipeline.storage import InputFile

FORMAT = "parquet"


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


def _find(uri: str, schema: pa.Schema, config: ReadConfig) -> Layout:
    return find_layout(uri, schema, config)


def _prepare(uri: str, table: pa.Table, layout: Layout) -> pa.Table:
    return table


_KIND = ParquetKind(FORMAT, _find, _prepare)
