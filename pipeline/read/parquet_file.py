"""What all Parquet formats share: footers to slices, row groups to rows, rows to JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline import storage
from pipeline.arrow import pc
from pipeline.columns import is_list, is_valid, one_chunk
from pipeline.config import ReadConfig
from pipeline.errors import InputError, StorageError
from pipeline.held import held_bytes
from pipeline.read.box_mode import check_box_mode
from pipeline.read.category_space import resolve_category_space
from pipeline.read.finish import RawGroup, finish_slice
from pipeline.read.id_statistics import IdStatistics
from pipeline.read.image_ids import INT64_MAX, convert_id
from pipeline.read.parquet_bounds import check_dictionaries, check_sizes
from pipeline.read.parquet_footer import Footer, Leaf, read_footer
from pipeline.read.parquet_layout import MASK_COLUMNS, Layout
from pipeline.read.parquet_rows import to_raw_rows
from pipeline.read.parquet_types import as_bytes, refuse_extension_types
from pipeline.read.slices import FileScan, ReadResult, Slice, SourceContext
from pipeline.read.validate import FileFacts
from pipeline.storage import InputFile

MAX_ID_ROWS = 5_000_000
"""Rows of a file up to which its image ids are all looked at when it is scanned."""

HEAD_ROWS = 1_000
"""Rows from which it is judged whether boxes are corners."""


class ParquetKind(NamedTuple):
    """How the rows of a file become a table with a row per instance.

    Attributes
    ----------
    format : str
        Name of the format.
    find : callable
        (URI, schema of the file, config) -> layout of the prepared table.
    prepare : callable
        (URI, table as read, layout) -> table with a row per instance.
    """

    format: str
    find: Callable[[str, pa.Schema, ReadConfig], Layout]
    prepare: Callable[[str, pa.Table, Layout], pa.Table]


class _Group(NamedTuple):
    """What a scan found of one row group."""

    n_rows: int
    low: Any
    high: Any


def scan_parquet(
    file: InputFile, config: ReadConfig, unit_bytes: int, kind: ParquetKind
) -> FileScan:
    """Cut the row groups of a file into slices, by its footer.

    Raises
    ------
    InputError
        If the file is damaged or encrypted, or decodes to far more than it holds.
    SchemaError
        If it has no masks, or columns of types that cannot be read.
    """
    footer = read_footer(file.uri, file.file_bytes)
    with open_parquet(file.uri) as parquet:
        layout = kind.find(file.uri, parquet.schema_arrow, config)
        check_sizes(file.uri, footer, layout.file_columns)
        statistics = IdStatistics()
        groups = [
            _look_at_ids(parquet, footer, group, layout, config, statistics)
            for group in range(len(footer.row_groups))
        ]
        slices = _cut(file.uri, footer, groups, unit_bytes, kind.format)
        has_category = _has_category(parquet, footer, layout)
        if slices:
            _check_head(file.uri, parquet, layout, config, kind)
    extras = layout.extras.serialize().to_pybytes() if len(layout.extras) else b""
    space, category_map = resolve_category_space(file.uri, kind.format, config)
    return FileScan(
        format=kind.format,
        id_type=layout.id_type if slices else None,
        slices=slices,
        image_id_sample=statistics.sample(),
        n_images=statistics.n_distinct(),
        extras=extras,
        source=SourceContext(
            extras,
            has_category=has_category,
            columns=config.columns,
            drop=config.drop,
            category_map=category_map,
            file_bytes=file.file_bytes,
            tag=file.tag,
        ),
        category_space=space,
    )


def read_parquet(
    part: Slice, source: SourceContext, config: ReadConfig, id_type: str, kind: ParquetKind
) -> ReadResult:
    """Read the rows of one slice.

    Raises
    ------
    InputError
        If pages are damaged or decode to far more than they hold, or the rows
        are others than when the file was scanned.
    """
    groups = list(range(part.start, part.stop))
    footer = read_footer(part.uri, source.file_bytes)
    with open_parquet(part.uri) as parquet:
        layout = kind.find(part.uri, parquet.schema_arrow, config)
        for group in groups:
            check_dictionaries(
                part.uri,
                footer,
                group,
                layout.file_columns,
                lambda paths: open_parquet(part.uri, paths),
            )
        found = parquet.read_row_groups(groups, layout.file_columns, use_threads=False)
        # Masks have a parser of their own; other text is carried on as it is.
        masks = [layout.columns.get(name) for name in MASK_COLUMNS]
        found.select([name for name in found.column_names if name not in masks]).validate(full=True)
    table = kind.prepare(part.uri, found, layout)
    if len(table) != part.n_rows:
        raise InputError(
            f"{part.uri}: expected {part.n_rows} rows in row groups {part.start} to "
            f"{part.stop - 1}, got {len(table)}; the file was changed during the run: start again"
        )
    rows = to_raw_rows(table, layout, part.first_row, id_type, config.id_mode)
    facts = FileFacts(has_category=source.has_category, category_map=source.category_map)
    faults = rows.verdicts.faults
    too_large = {place for place, fault in faults.items() if fault.code == "VALUE_TOO_LARGE"}
    return finish_slice(
        part,
        [RawGroup(rows.raw, rows.place_N)],
        faults,
        {},
        config,
        id_type,
        facts,
        lambda place: (None, None if place in too_large else to_json(table, place)),
    )


def parquet_payloads(
    part: Slice, source: SourceContext, source_rows: Sequence[int], kind: ParquetKind
) -> list[tuple[int | None, bytes]]:
    """Return rows of a slice as JSON; they have no byte offset."""
    config = ReadConfig(columns=source.columns, drop=source.drop, id_mode="string")
    with open_parquet(part.uri) as parquet:
        layout = kind.find(part.uri, parquet.schema_arrow, config)
        groups = list(range(part.start, part.stop))
        found = parquet.read_row_groups(groups, layout.file_columns, use_threads=False)
    table = kind.prepare(part.uri, found, layout)
    return [(None, to_json(table, row - part.first_row)) for row in source_rows]


def to_json(table: pa.Table, row: int) -> bytes:
    """Return one row as a JSON object; bytes as text, numbers that JSON lacks as text too."""
    found = table.slice(row, 1)
    # Text of masks has not been looked at: it need not be UTF-8.
    fields = [field.with_type(as_bytes(field.type)) for field in found.schema]
    [values] = found.cast(pa.schema(fields)).to_pylist()
    return json.dumps(_plain(values)).encode()


@contextmanager
def open_parquet(uri: str, read_dictionary: list[str] | None = None) -> Generator[pq.ParquetFile]:
    """Open a file whose footer has been looked at (`read_footer`).

    Raises
    ------
    InputError
        For whatever Arrow cannot read in it.
    SchemaError
        If a column is of an extension type.
    """
    options: dict[str, Any] = {"read_dictionary": read_dictionary}
    try:
        if storage.is_local(uri) and held_bytes(uri) is None:
            with pq.ParquetFile(storage.local_path(uri), **options) as parquet:
                refuse_extension_types(uri, parquet.schema_arrow)
                yield parquet
        else:
            options["pre_buffer"] = True
            with storage.open_input(uri) as stream, pq.ParquetFile(stream, **options) as parquet:
                refuse_extension_types(uri, parquet.schema_arrow)
                yield parquet
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        reason = storage.redact(str(error))[:200]
        if isinstance(error, OSError) and error.errno is not None:
            raise StorageError(f"{uri}: could not read it: {reason}") from error
        raise InputError(
            f"{uri}: expected a readable Parquet file, got: {reason}; it is damaged: copy or write "
            "it again"
        ) from error


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


def _look_at_ids(
    parquet: pq.ParquetFile,
    footer: Footer,
    group: int,
    layout: Layout,
    config: ReadConfig,
    statistics: IdStatistics,
) -> _Group:
    """Return how many instances a row group has, and between which image ids.

    Small files are read for it; of large ones the footer's statistics are
    taken, where they have the ids as they will be.
    """
    found = footer.row_groups[group]
    if footer.n_rows > MAX_ID_ROWS and layout.count_at is None:
        name = layout.columns["image_id"]
        bounds = _footer_bounds(found.find(name), parquet.schema_arrow.field(name).type, layout)
        if bounds is not None:
            statistics.add_range(*bounds, found.n_rows)
            return _Group(found.n_rows, *bounds)
    ids = _read_ids(parquet, footer, group, layout, config.id_mode)
    is_usable_N = is_valid(ids)
    if layout.id_type == "int":
        values_N = ids.fill_null(0).to_numpy()
        usable: Any = values_N[is_usable_N]
        statistics.add(values_N, is_usable_N)
        bounds = (int(usable.min()), int(usable.max())) if len(usable) else (None, None)
    else:
        texts: list[Any] = ids.to_pylist()
        usable = [text for text in texts if text is not None]
        statistics.add(texts, is_usable_N)
        bounds = (min(usable), max(usable)) if usable else (None, None)
    return _Group(len(ids), *bounds)


def _read_ids(
    parquet: pq.ParquetFile, footer: Footer, group: int, layout: Layout, id_mode: str
) -> Any:
    """Return the image_id of every instance of a row group; null where it is not usable."""
    column = _read_column(parquet, group, layout.columns["image_id"])
    if pa.types.is_signed_integer(column.type) and layout.id_type == "int":
        ids: Any = column.cast(pa.int64())
    else:
        encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
        values = [
            convert_id(value, layout.id_type, id_mode) for value in encoded.dictionary.to_pylist()
        ]
        dtype = pa.int64() if layout.id_type == "int" else pa.large_string()
        ids = pa.array(values, dtype).take(encoded.indices)
    if layout.count_at is None:
        return ids
    leaf = _find_leaf(footer, group, layout.count_at)
    lists = _read_column(parquet, group, leaf.path)
    return ids.take(pa.array(repeat_rows(list_offsets(lists))))


def _read_column(parquet: pq.ParquetFile, group: int, path: str) -> Any:
    table = parquet.read_row_group(group, [path])
    if table.num_columns != 1:
        raise pa.ArrowInvalid(f"row group {group} without the column {path!a}")
    return one_chunk(table[0])


def list_offsets(column: Any) -> NDArray[np.int64]:
    """Return the offsets of a list column, or of the first list inside a struct column."""
    while not is_list(column.type):
        column = pc.struct_field(column, [0])
    lengths_N = pc.list_value_length(column).fill_null(0).to_numpy()
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths_N, dtype=np.int64)])


def repeat_rows(offsets_N1: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for every value of a ragged column the row that it is in."""
    return np.repeat(np.arange(len(offsets_N1) - 1), np.diff(offsets_N1))


def _footer_bounds(leaf: Leaf | None, dtype: Any, layout: Layout) -> tuple[Any, Any] | None:
    """Return smallest and largest id as the statistics have them, if they have the right type."""
    if leaf is None or leaf.minimum is None or leaf.maximum is None:
        return None
    if layout.id_type == "string" and leaf.physical_type == "BYTE_ARRAY":
        # Cut in the middle of a character, a bound is still one byte for byte.
        low = leaf.minimum.decode("utf-8", "ignore")
        try:
            return low, leaf.maximum.decode()
        except UnicodeDecodeError:
            return None
    if layout.id_type != "int" or leaf.physical_type not in ("INT32", "INT64"):
        return None
    is_signed = not pa.types.is_unsigned_integer(dtype)
    low, high = (
        int.from_bytes(value, "little", signed=is_signed) for value in (leaf.minimum, leaf.maximum)
    )
    return (low, high) if high <= INT64_MAX else None


def _find_leaf(footer: Footer, group: int, place: tuple[str, str]) -> Leaf:
    leaf = footer.row_groups[group].find(*place)
    if leaf is None:
        raise pa.ArrowInvalid(f"row group {group} without the column {'.'.join(place)}")
    return leaf


def _has_category(parquet: pq.ParquetFile, footer: Footer, layout: Layout) -> bool:
    """Return whether any instance has a category."""
    if layout.category_at is None:
        return False
    for group in range(len(footer.row_groups)):
        leaf = _find_leaf(footer, group, layout.category_at)
        if leaf.n_nulls is not None:
            n_values = leaf.n_values - leaf.n_nulls
        else:
            column = _read_column(parquet, group, leaf.path)
            while is_list(column.type) or pa.types.is_struct(column.type):
                is_struct = pa.types.is_struct(column.type)
                column = column.flatten()[0] if is_struct else column.flatten()
            n_values = len(column) - column.null_count
        if n_values:
            return True
    return False


def _check_head(
    uri: str, parquet: pq.ParquetFile, layout: Layout, config: ReadConfig, kind: ParquetKind
) -> None:
    """Look at the first rows for what is wrong with all of them."""
    if not {"bbox", "bbox_x"} & set(layout.columns):
        return
    batches = parquet.iter_batches(HEAD_ROWS, columns=layout.file_columns, use_threads=False)
    table = kind.prepare(uri, pa.Table.from_batches([next(batches)]), layout).slice(0, HEAD_ROWS)
    raw = to_raw_rows(table, layout, 0, layout.id_type, config.id_mode).raw
    size_hw_N2 = np.where(raw.listed_hw_N2 > 0, raw.listed_hw_N2, raw.size_hw_N2)
    box_N4 = np.where(raw.has_bbox_N[:, None], raw.bbox_xywh_N4, np.nan)
    check_box_mode(uri, box_N4, size_hw_N2)


def _cut(
    uri: str,
    footer: Footer,
    groups: Sequence[_Group],
    unit_bytes: int,
    format: str,
) -> list[Slice]:
    """Join consecutive row groups until a slice has about the bytes asked for."""
    slices: list[Slice] = []
    first_row = n_bytes = start = 0
    for n, _ in enumerate(groups):
        n_bytes += footer.row_groups[n].n_bytes
        if n_bytes < unit_bytes and n + 1 < len(groups):
            continue
        own = groups[start : n + 1]
        n_rows = sum(group.n_rows for group in own)
        low = min((group.low for group in own if group.low is not None), default=None)
        high = max((group.high for group in own if group.high is not None), default=None)
        if n_rows:
            slices.append(Slice(uri, format, first_row, n_rows, start, n + 1, n_bytes, low, high))
        first_row, n_bytes, start = first_row + n_rows, 0, n + 1
    return slices
