"""Readers: one file per source format, each file of input into INSTANCES and REJECTS.

`sniff` says what a file is, `scan` how its rows are cut into slices, `read`
turns one slice into rows that are usable and rows that are not.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline import storage
from pipeline.config import ReadConfig
from pipeline.held import holding
from pipeline.read import (
    coco_annotations,
    coco_lines,
    coco_results,
    compacted,
    detectron2_dicts,
    detectron2_predictions,
    parquet,
    parquet_images,
    sa1b,
)
from pipeline.read.category_space import check_category_spaces
from pipeline.read.detect import sniff
from pipeline.read.slices import FileScan, ReadResult, Slice, SourceContext
from pipeline.storage import InputFile

__all__ = ["FORMATS", "FileScan", "ReadResult", "Slice", "SourceContext"]
__all__ += ["check_category_spaces", "payloads", "read", "scan", "sniff"]

_MODULES = (
    coco_results,
    coco_lines,
    coco_annotations,
    detectron2_predictions,
    detectron2_dicts,
    sa1b,
    parquet,
    parquet_images,
    compacted,
)
_READERS = {module.FORMAT: module for module in _MODULES}

FORMATS = tuple(_READERS)
"""Names of the formats that can be read."""


def scan(file: InputFile, config: ReadConfig, unit_bytes: int) -> FileScan:
    """Look at a file once, without decoding a mask.

    Parameters
    ----------
    file : InputFile
        Any file of the inventory.
    config : ReadConfig
        How to read it.
    unit_bytes : int
        About how much one slice holds, decompressed.

    Returns
    -------
    FileScan
        A valid file without rows has no slices.

    Raises
    ------
    InputError
        If the file is damaged.
    SchemaError
        If it is of no known format, or has no masks, or ids of no usable type.
    """
    with holding(file.uri, file.file_bytes, storage.read_bytes):
        found = sniff(file, config) if config.format == "auto" else config.format
        return _READERS[found].scan(file, config, unit_bytes)


def read(part: Slice, source: SourceContext, config: ReadConfig, id_type: str) -> ReadResult:
    """Read one slice.

    Parameters
    ----------
    part : Slice
        As `scan` cut it.
    source : SourceContext
        `FileScan.source` of its file.
    config : ReadConfig
        As given to `scan`.
    id_type : str
        ``"int"`` or ``"string"``: image_id in the output.

    Returns
    -------
    ReadResult
        Usable rows in file order, rejects, counters.

    Raises
    ------
    InputError
        If the slice is damaged, or other than when it was scanned.
    """
    with holding(part.uri, source.file_bytes, storage.read_bytes):
        return _READERS[part.format].read(part, source, config, id_type)


def payloads(
    part: Slice, source: SourceContext, source_rows: Sequence[int]
) -> list[tuple[int | None, bytes]]:
    """Return the byte offset and the original bytes of some rows of a slice.

    Parameters
    ----------
    part, source
        As for `read`.
    source_rows : sequence of int
        Rows of the file, within the slice.
    """
    return _READERS[part.format].payloads(part, source, source_rows)
