"""Parquet with a row per instance: columns by COCO's names, or as ``--read.columns`` says.

Masks are COCO strings or run lengths in ``segmentation`` (a struct of size and
counts) or in ``counts`` beside ``height`` and ``width``, or polygons as lists
of rings. All columns that have no name of ours are carried through.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.columns import is_valid, one_chunk
from pipeline.config import ReadConfig
from pipeline.errors import InputError, StorageError
from pipeline.read.box_mode import check_box_mode
from pipeline.read.image_ids import convert_id
from pipeline.read.parquet_bounds import check_dictionaries, check_footer, check_sizes
from pipeline.read.parquet_layout import Layout, find_layout
from pipeline.read.parquet_rows import to_raw_rows
from pipeline.read.parquet_types import refuse_extension_types
from pipeline.read.reject_table import Reject, reject_table
from pipeline.read.row_scan import IdStatistics
from pipeline.read.slices import FileScan, ReadResult, Slice, SourceContext
from pipeline.read.validate import FileFacts, validate
from pipeline.storage import InputFile

FORMAT = "parquet"
MAX_ID_ROWS = 5_000_000
"""Rows of a file up to which its image ids are all looked at when it is scanned."""

HEAD_ROWS = 1_000
"""Rows from which it is judged whether boxes are corners."""


def scan(file: InputFile, config: ReadConfig, unit_bytes: int) -> FileScan:
    """Cut the row groups of the file into slices, by its footer.

    Raises
    ------
    InputError
        If the file is damaged or encrypted, or decodes to far more than it holds.
    SchemaError
        If it has no masks, or columns of types that cannot be read.
    """
    check_footer(file.uri, file.file_bytes)
    with _open(file.uri) as parquet:
        refuse_extension_types(file.uri, parquet.schema_arrow)
        layout = find_layout(file.uri, parquet.schema_arrow, config.columns, config.id_mode)
        check_sizes(file.uri, parquet.metadata, layout.needed())
        statistics = IdStatistics()
        bounds = [
            _id_bounds(parquet, group, layout, config, statistics)
            for group in range(parquet.num_row_groups)
        ]
        has_category = _has_category(parquet, layout)
        _check_head(file.uri, parquet, layout, config)
        slices = _cut(file.uri, parquet.metadata, bounds, unit_bytes)
    return FileScan(
        format=FORMAT,
        id_type=layout.id_type if slices else None,
        slices=slices,
        image_id_sample=statistics.sample(),
        n_images=statistics.n_distinct(),
        extras=layout.extras.serialize().to_pybytes(),
        source=SourceContext(layout.extras.serialize().to_pybytes(), has_category=has_category),
    )


def read(part: Slice, source: SourceContext, config: ReadConfig, id_type: str) -> ReadResult:
    """Read the rows of one slice."""
    groups = list(range(part.start, part.stop))
    with _open(part.uri) as parquet:
        layout = find_layout(part.uri, parquet.schema_arrow, config.columns, config.id_mode)
        for group in groups:
            check_dictionaries(
                part.uri,
                parquet.metadata,
                group,
                layout.needed(),
                lambda paths: _open(part.uri, paths),
            )
        table = parquet.read_row_groups(groups, layout.needed(), use_threads=False)
    if len(table) != part.n_rows:
        raise InputError(
            f"{part.uri}: expected {part.n_rows} rows in row groups {part.start} to "
            f"{part.stop - 1}, got {len(table)}; the file was changed during the run: start again"
        )
    rows = to_raw_rows(table, layout, part.first_row, id_type, config.id_mode)
    facts = FileFacts(has_category=source.has_category)
    checked = validate(rows.raw, part.uri, id_type, facts)
    faults = rows.verdicts.faults | {
        int(rows.place_N[row]): fault for row, fault in checked.faults.items()
    }
    places = sorted(faults)
    rejects = [
        Reject(
            part.first_row + place,
            None,
            faults[place],
            None if faults[place].code == "VALUE_TOO_LARGE" else to_json(table, place),
        )
        for place in places
    ]
    return ReadResult(checked.instances, reject_table(part.uri, rejects), checked.counters)


def payloads(
    part: Slice, source: SourceContext, source_rows: Sequence[int]
) -> list[tuple[int | None, bytes]]:
    """Return rows of a slice as JSON; they have no byte offset."""
    with _open(part.uri) as parquet:
        table = parquet.read_row_groups(list(range(part.start, part.stop)), use_threads=False)
    return [(None, to_json(table, row - part.first_row)) for row in source_rows]


def to_json(table: pa.Table, row: int) -> bytes:
    """Return one row as a JSON object; bytes as text, numbers that JSON lacks as text too."""
    [values] = table.slice(row, 1).to_pylist()
    return json.dumps(_plain(values)).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    is_json = value is None or isinstance(value, bool | int | str)
    is_json = is_json or (isinstance(value, float) and np.isfinite(value))
    return value if is_json else str(value)


@contextmanager
def _open(uri: str, read_dictionary: list[str] | None = None) -> Generator[pq.ParquetFile]:
    """Open a file whose footer has been looked at; Arrow's complaints become InputErrors."""
    options: dict[str, Any] = {"read_dictionary": read_dictionary}
    try:
        if storage.is_local(uri):
            with pq.ParquetFile(storage.local_path(uri), **options) as parquet:
                yield parquet
        else:
            with (
                storage.open_input(uri) as stream,
                pq.ParquetFile(stream, pre_buffer=True, **options) as parquet,
            ):
                yield parquet
    except (pa.ArrowException, OSError) as error:
        reason = storage.redact(str(error))[:200]
        if isinstance(error, OSError) and error.errno is not None:
            raise StorageError(f"{uri}: could not read it: {reason}") from error
        raise InputError(
            f"{uri}: expected a readable Parquet file, got: {reason}; it is damaged: copy or write "
            "it again"
        ) from error


def _id_bounds(
    parquet: pq.ParquetFile,
    group: int,
    layout: Layout,
    config: ReadConfig,
    statistics: IdStatistics,
) -> tuple[Any, Any]:
    """Return the smallest and largest image_id of a row group, None if it has none.

    Small files are read for it; of large ones the footer's statistics are
    taken, where they have the ids as they will be.
    """
    found = parquet.metadata.row_group(group)
    if parquet.metadata.num_rows > MAX_ID_ROWS:
        bounds = _footer_bounds(found, layout)
        if bounds is not None:
            statistics.add_range(*bounds, found.num_rows)
            return bounds
    column = one_chunk(parquet.read_row_group(group, [layout.columns["image_id"]])[0])
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    values = [
        convert_id(value, layout.id_type, config.id_mode)
        for value in encoded.dictionary.to_pylist()
    ]
    usable: list[Any] = [value for value in values if value is not None]
    ids = pa.array(values, pa.int64() if layout.id_type == "int" else pa.large_string())
    rows = ids.take(encoded.indices)
    is_usable_N = is_valid(rows)
    if layout.id_type == "int":
        statistics.add(rows.fill_null(0).to_numpy(), is_usable_N)
    else:
        statistics.add(rows.to_pylist(), is_usable_N)
    return (min(usable), max(usable)) if usable else (None, None)


def _footer_bounds(group: pq.RowGroupMetaData, layout: Layout) -> tuple[Any, Any] | None:
    name = layout.columns["image_id"]
    for n in range(group.num_columns):
        leaf = group.column(n)
        if leaf.path_in_schema == name and leaf.is_stats_set and leaf.statistics.has_min_max:
            low, high = leaf.statistics.min, leaf.statistics.max
            wanted = int if layout.id_type == "int" else str
            if isinstance(low, wanted) and isinstance(high, wanted):
                return low, high
    return None


def _has_category(parquet: pq.ParquetFile, layout: Layout) -> bool:
    if "category_id" not in layout.columns:
        return False
    return any(
        parquet.read_row_group(group, [layout.columns["category_id"]])[0].null_count
        < parquet.metadata.row_group(group).num_rows
        for group in range(parquet.num_row_groups)
    )


def _check_head(uri: str, parquet: pq.ParquetFile, layout: Layout, config: ReadConfig) -> None:
    """Look at the first rows for what is wrong with all of them."""
    if not {"bbox", "bbox_x"} & set(layout.columns) or parquet.metadata.num_rows == 0:
        return
    batches = parquet.iter_batches(HEAD_ROWS, columns=layout.needed(), use_threads=False)
    table = pa.Table.from_batches([next(batches)])
    raw = to_raw_rows(table, layout, 0, layout.id_type, config.id_mode).raw
    size_hw_N2 = np.where(raw.listed_hw_N2 > 0, raw.listed_hw_N2, raw.size_hw_N2)
    box_N4 = np.where(raw.has_bbox_N[:, None], raw.bbox_xywh_N4, np.nan)
    check_box_mode(uri, box_N4, size_hw_N2)


def _cut(
    uri: str, metadata: pq.FileMetaData, bounds: Sequence[tuple[Any, Any]], unit_bytes: int
) -> list[Slice]:
    """Join consecutive row groups until a slice has about the bytes asked for."""
    slices: list[Slice] = []
    first_row = n_rows = n_bytes = start = 0
    for group in range(metadata.num_row_groups):
        n_rows += metadata.row_group(group).num_rows
        n_bytes += metadata.row_group(group).total_byte_size
        if n_bytes < unit_bytes and group + 1 < metadata.num_row_groups:
            continue
        own = [bound for bound in bounds[start : group + 1] if bound[0] is not None]
        low = min(bound[0] for bound in own) if own else None
        high = max(bound[1] for bound in own) if own else None
        if n_rows:
            slices.append(
                Slice(uri, FORMAT, first_row, n_rows, start, group + 1, n_bytes, low, high)
            )
        first_row, n_rows, n_bytes, start = first_row + n_rows, 0, 0, group + 1
    return slices
