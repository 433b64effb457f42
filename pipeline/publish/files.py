"""Files against their records, before a commit makes them count.

Delta accepts missing files, wrong sizes and wrong statistics, and then readers fail or
lose rows silently; so nothing is committed that was not seen in the store.
"""

from __future__ import annotations

import struct
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.errors import InputError, StorageError
from pipeline.records import DataFile

_TAIL_BYTES = 64 << 10


def verify_files(output_uri: str, files: list[DataFile], schemas: dict[str, pa.Schema]) -> None:
    """Compare every file with its record: its size in the store, the rest with its footer.

    Parameters
    ----------
    output_uri : str
        The output; a file lies at ``<output>/<table>/<name>``.
    files : list of DataFile
        The records; none is fine.
    schemas : dict of str to pa.Schema
        By table: the schema that each of its files must have (names, types, nullability).

    Raises
    ------
    StorageError
        Naming the first file that differs, and how.

    Notes
    -----
    One stat and one read of the file's tail each, 16 at a time.
    """

    def check(file: DataFile) -> str:
        uri = storage.join(output_uri, file.table, file.name)
        problem = _find_difference(uri, file, schemas[file.table])
        return f"{uri}: {problem}" if problem else ""

    with ThreadPoolExecutor(max_workers=16) as pool:
        for problem in pool.map(check, files):
            if problem:
                raise StorageError(
                    f"{problem}; nothing was published, run again to write the file anew"
                )


def read_footer(uri: str, file_bytes: int) -> pq.FileMetaData:
    """Return a Parquet file's metadata, read from its tail alone.

    Raises
    ------
    StorageError
        If the file does not end as a Parquet file does.
    """
    tail = storage.read_bytes(uri, max(0, file_bytes - _TAIL_BYTES), file_bytes)
    footer_bytes = struct.unpack("<I", tail[-8:-4])[0] + 8 if len(tail) >= 12 else 0
    if footer_bytes > len(tail):
        tail = storage.read_bytes(uri, max(0, file_bytes - footer_bytes), file_bytes)
    try:
        return pq.read_metadata(pa.BufferReader(tail))
    except (pa.ArrowException, OSError) as error:
        raise StorageError(f"{uri}: is not a whole Parquet file: {error}") from error


def _find_difference(uri: str, file: DataFile, schema: pa.Schema) -> str:
    try:
        file_bytes = storage.file_bytes(uri)
    except InputError:
        return "is missing"
    if file_bytes != file.file_bytes:
        return f"expected {file.file_bytes} bytes, the store has {file_bytes}"
    footer = read_footer(uri, file_bytes)
    if footer.num_rows != file.rows:
        return f"expected {file.rows} rows, its footer says {footer.num_rows}"
    found = footer.schema.to_arrow_schema()
    if not found.equals(schema, check_metadata=False):
        return f"expected the schema\n{schema}\nits footer says\n{found}\n"
    columns = sorted({*file.minimum, *file.maximum, *file.null_count})
    for column in columns:
        recorded = (file.minimum.get(column), file.maximum.get(column), file.null_count.get(column))
        in_footer = _statistics(footer, column)
        if recorded != in_footer:
            return (
                f"expected minimum, maximum and nulls {recorded} of column {column}, "
                f"its footer says {in_footer}"
            )
    return ""


def _statistics(footer: pq.FileMetaData, column: str) -> tuple[Any, Any, int | None]:
    """Return (minimum, maximum, nulls) of a column over all row groups; None: not stated."""
    lows: list[Any] = []
    highs: list[Any] = []
    nulls = 0
    for group in (footer.row_group(number) for number in range(footer.num_row_groups)):
        if group.num_rows == 0:
            continue
        chunks = (group.column(number) for number in range(group.num_columns))
        statistics = next((c.statistics for c in chunks if c.path_in_schema == column), None)
        if statistics is None or not statistics.has_null_count:
            return None, None, None
        nulls += statistics.null_count
        if statistics.has_min_max:
            lows.append(statistics.min)
            highs.append(statistics.max)
        elif statistics.null_count < group.num_rows:
            return None, None, None
    return (min(lows), max(highs), nulls) if lows else (None, None, nulls)
