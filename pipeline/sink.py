"""The files of a unit of work: Parquet with settings per column, written whole, then its record.

A task may run twice and die at any line. So names are deterministic, a file
appears only when it is whole, and the record, written last, says that the unit
is done.
"""

from __future__ import annotations

import hashlib
import time
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import runs, storage
from pipeline.arrow import pc
from pipeline.config import FORMAT_VERSION, CompactConfig, WriteConfig
from pipeline.errors import StorageError
from pipeline.records import DataFile, UnitRecord
from schemas.compacted import MASK_COLUMNS
from schemas.metadata import CONFIG_KEY, FORMAT_KEY

STATISTICS = ("image_id", "category_id", "score")
"""Columns with statistics in the footers and in the Delta log, where a table has them."""

PAGE_BYTES = 1 << 20
"""Smallest size at which a page of mask bytes is closed."""

_SPLIT = ("score", "input_bbox_x", "input_bbox_y", "input_bbox_w", "input_bbox_h", "input_area")
_DELTA = ("image_id", "instance_id", "input_id", "area", "source_row", "linked_source_row")
_PLAIN = ("kept_instance_id", "iou", "ios")
_LENGTHS = (*MASK_COLUMNS, "payload", "repaired")


def file_name(unit: int, run_id: str) -> str:
    """Return the name of a unit's file in each of the tables."""
    return f"part-{unit:05d}-{run_id}.parquet"


def write_unit(
    output: str,
    tables: dict[str, pa.Table],
    record: UnitRecord,
    config: CompactConfig,
    is_published: bool = False,
) -> UnitRecord:
    """Write a unit's tables and then its record.

    Parameters
    ----------
    output : str
        URI of the output.
    tables : dict of str to pa.Table
        By table name; a table without rows leaves no file.
    record : UnitRecord
        What is known of the unit so far.
    config : CompactConfig
        `write` sets compression and row groups; all that decides rows goes into the footers.
    is_published : bool
        The unit's files are live: only the very bytes that its record names may be written.

    Returns
    -------
    UnitRecord
        The record as it was written, with files and the time of writing. What writing the
        record itself took is added afterwards, since it cannot be in there.

    Raises
    ------
    StorageError
        If a file is not there afterwards with all of its bytes; if a live file would be another.
    """
    wanted: dict[str, str] = {}
    if is_published:
        published = runs.read_record(output, record.run_id, record.unit)
        wanted = {file.table: file.digest for file in published.files}
    started = time.perf_counter()
    written = [
        write_table(output, name, table, record, config, wanted.get(name))
        for name, table in tables.items()
        if len(table)
    ]
    record.files = [file for file, _ in written]
    protect_s = sum(seconds for _, seconds in written)
    record.stage_s["write"] = time.perf_counter() - started - protect_s
    record.stage_s["protect"] = protect_s
    started = time.perf_counter()
    runs.write_record(output, record)
    record.stage_s["protect"] += time.perf_counter() - started
    return record


def write_table(
    output: str,
    name: str,
    table: pa.Table,
    record: UnitRecord,
    config: CompactConfig,
    wanted: str | None = None,
) -> tuple[DataFile, float]:
    """Write one Parquet file, with the checksum that is wanted if one is; check that it is stored.

    Returns
    -------
    tuple
        The file, and the seconds that checking it and summing up its bytes took.
    """
    data = parquet_bytes(table, config)
    own_name = file_name(record.unit, record.run_id)
    uri = storage.join(output, name, own_name)
    started = time.perf_counter()
    digest = hashlib.blake2b(data, digest_size=16).hexdigest()
    if wanted not in (None, digest):
        raise StorageError(
            f"{uri}: is live, and would be written anew with other bytes (checksum {digest} "
            f"instead of {wanted}), as other versions of the libraries give them; nothing of it "
            "was changed. Bring the file back from a backup, or run again into another --output"
        )
    protect_s = time.perf_counter() - started
    storage.write_bytes(uri, memoryview(data))
    started = time.perf_counter()
    stored = storage.file_bytes(uri)
    if stored != data.size:
        raise StorageError(f"{uri}: expected {data.size} bytes after writing, found {stored}")
    minimum, maximum, null_count = statistics(table)
    n_groups = len(row_groups(table, config.write.row_group_rows))
    file = DataFile(
        table=name,
        name=own_name,
        rows=len(table),
        file_bytes=data.size,
        digest=digest,
        minimum=minimum,
        maximum=maximum,
        null_count=null_count,
        row_groups=n_groups,
    )
    return file, protect_s + time.perf_counter() - started


def parquet_bytes(table: pa.Table, config: CompactConfig) -> pa.Buffer:
    """Return a table as a Parquet file; row groups hold whole images."""
    settings = msgspec.json.encode(config.decisive(), order="sorted")
    table = table.replace_schema_metadata({FORMAT_KEY: FORMAT_VERSION, CONFIG_KEY: settings})
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(
        sink, table.schema, **writer_options(table.schema, config.write)
    ) as writer:
        for start, stop in row_groups(table, config.write.row_group_rows):
            writer.write_table(table.slice(start, stop - start), row_group_size=stop - start)
    return sink.getvalue()


def writer_options(schema: pa.Schema, config: WriteConfig) -> dict[str, Any]:
    """Return the settings per column; what was measured is in docs/decisions.md."""
    names = schema.names
    encoding = dict.fromkeys(_LENGTHS, "DELTA_LENGTH_BYTE_ARRAY")
    encoding |= dict.fromkeys(_SPLIT, "BYTE_STREAM_SPLIT") | dict.fromkeys(_PLAIN, "PLAIN")
    encoding |= dict.fromkeys(_DELTA, "DELTA_BINARY_PACKED")
    if "image_id" in names and not pa.types.is_integer(schema.field("image_id").type):
        del encoding["image_id"]
    encoding = {name: encoding[name] for name in names if name in encoding}
    return {
        "compression": "zstd",
        "compression_level": config.compression_level,
        "use_dictionary": [name for name in names if name not in encoding],
        "column_encoding": encoding,
        "write_statistics": [name for name in STATISTICS if name in names],
        "data_page_size": PAGE_BYTES,
        "store_schema": True,
    }


def row_groups(table: pa.Table, rows: int) -> list[tuple[int, int]]:
    """Return the (start, stop) of row groups of at least `rows` rows that cut no image."""
    if "image_id" not in table.column_names:
        return [(start, min(start + rows, len(table))) for start in range(0, len(table), rows)]
    image_id = table["image_id"].combine_chunks().dictionary_encode()
    code_N = image_id.indices.to_numpy()
    ends = np.append(np.flatnonzero(code_N[1:] != code_N[:-1]) + 1, len(table))
    groups: list[tuple[int, int]] = []
    start = 0
    while start < len(table):
        place = int(np.searchsorted(ends, start + rows))
        stop = int(ends[min(place, len(ends) - 1)])
        groups.append((start, stop))
        start = stop
    return groups


def statistics(table: pa.Table) -> tuple[dict[str, Any], dict[str, Any], dict[str, int]]:
    """Return minimum, maximum and number of nulls of the columns that have statistics."""
    minimum: dict[str, Any] = {}
    maximum: dict[str, Any] = {}
    null_count: dict[str, int] = {}
    for name in STATISTICS:
        if name not in table.column_names:
            continue
        column = table[name]
        null_count[name] = column.null_count
        if column.null_count < len(column):
            bounds = pc.min_max(column).as_py()
            minimum[name], maximum[name] = bounds["min"], bounds["max"]
    return minimum, maximum, null_count
