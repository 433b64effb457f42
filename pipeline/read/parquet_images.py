"""Parquet with a row per image: lists of instances beside the image's own columns.

The instances are one column ``annotations``, ``instances`` or ``objects``: a
list of structs, or a struct of lists; or the columns with COCO's names are
lists themselves. Each image becomes as many rows as it has instances, in order;
its other columns are repeated. What is a list under another name is the image's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.arrow import pc
from pipeline.columns import is_list, is_ragged_binary, one_chunk
from pipeline.config import ReadConfig
from pipeline.errors import InputError, SchemaError
from pipeline.read.parquet_file import (
    ParquetKind,
    list_offsets,
    parquet_payloads,
    read_parquet,
    repeat_rows,
    scan_parquet,
)
from pipeline.read.parquet_layout import NAMES, Layout, field_types, find_layout
from pipeline.read.slices import FileScan, ReadResult, Slice, SourceContext
from pipeline.storage import InputFile

FORMAT = "parquet_images"
CONTAINERS = ("annotations", "instances", "objects")
_OF_IMAGE = ("image_id", "height", "width", "size")


class _Shape(NamedTuple):
    """Which columns are of the image, and where those of the instances are.

    Attributes
    ----------
    container : str
        The column of structs; "" where the instances' columns are lists.
    of_image, of_instance : list of pa.Field
        Fields of the table with a row per instance.
    """

    container: str
    of_image: list[pa.Field]
    of_instance: list[pa.Field]


def scan(file: InputFile, config: ReadConfig, unit_bytes: int) -> FileScan:
    """Cut the file into slices; see `pipeline.read.parquet_file.scan_parquet`."""
    return scan_parquet(file, config, unit_bytes, _KIND)


def read(part: Slice, source: SourceContext, config: ReadConfig, id_type: str) -> ReadResult:
    """Read the instances of one slice; see `pipeline.read.parquet_file.read_parquet`."""
    return read_parquet(part, source, config, id_type, _KIND)


def payloads(
    part: Slice, source: SourceContext, source_rows: Sequence[int]
) -> list[tuple[int | None, bytes]]:
    """Return instances of a slice as JSON; they have no byte offset."""
    return parquet_payloads(part, source, source_rows, _KIND)


def is_row_per_image(schema: pa.Schema, names: dict[str, str]) -> bool:
    """Return whether a row of this schema holds several masks.

    Parameters
    ----------
    schema : pa.Schema
        Of the file.
    names : dict
        ``--read.columns``.
    """
    if _container(schema):
        return True
    for ours in ("segmentation", "counts"):
        name = names.get(ours, ours)
        dtype: Any = schema.field(name).type if name in schema.names else None
        if dtype is not None and is_list(dtype) and _is_mask(dtype.value_type, ours):
            return True
    return False


def _is_mask(value: Any, name: str) -> bool:
    """Return whether a value of a list is a whole mask: runs, or a list of rings."""
    if is_ragged_binary(value) or "counts" in field_types(value):
        return True
    if not is_list(value):
        return False
    return name == "counts" or is_list(value.value_type)


def _container(schema: pa.Schema) -> str:
    for name in CONTAINERS:
        dtype: Any = schema.field(name).type if name in schema.names else pa.null()
        inner = field_types(dtype.value_type if is_list(dtype) else dtype)
        is_usable = is_list(dtype) or all(map(is_list, inner.values()))
        if is_usable and {"segmentation", "counts"} & set(inner):
            return name
    return ""


def _shape(uri: str, schema: pa.Schema, names: dict[str, str]) -> _Shape:
    container = _container(schema)
    ours = {theirs: name for name, theirs in names.items()}
    of_image: list[pa.Field] = []
    of_instance: list[pa.Field] = []
    for field in schema:
        dtype: Any = field.type
        name = ours.get(field.name, field.name)
        if field.name == container:
            fields = list(dtype.value_type if is_list(dtype) else dtype)
            if not is_list(dtype):
                fields = [pa.field(inner.name, inner.type.value_type) for inner in fields]
            of_instance += fields
        elif not container and is_list(dtype) and name in NAMES and name not in _OF_IMAGE:
            of_instance.append(pa.field(field.name, dtype.value_type))
        else:
            of_image.append(field)
    taken = {field.name for field in of_instance}
    of_image = [field for field in of_image if not (field.name in taken and field.name in NAMES)]
    for field in of_image:
        if field.name not in NAMES and _holds_bytes(field.type):
            raise SchemaError(
                f"{uri}: column {field.name!a}: expected columns of an image that can be repeated "
                f"for each of its instances, got {field.type}; leave it out with --read.drop"
            )
    return _Shape(container, of_image, of_instance)


def _holds_bytes(dtype: Any) -> bool:
    if pa.types.is_binary(dtype) or pa.types.is_large_binary(dtype):
        return True
    return any(_holds_bytes(dtype.field(n).type) for n in range(dtype.num_fields))


def _find(uri: str, schema: pa.Schema, config: ReadConfig) -> Layout:
    schema = pa.schema([field for field in schema if field.name not in config.drop])
    shape = _shape(uri, schema, config.columns)
    prepared = pa.schema([*shape.of_image, *shape.of_instance])
    layout = find_layout(uri, prepared, config)
    wanted = {*layout.columns.values(), *layout.extras.names, shape.container}
    inner = [field.name for field in shape.of_instance if field.name in wanted]
    # The smallest column that has a value per instance.
    light = [name for name in inner if name not in _mask_names(layout)] or inner
    category = layout.category_at[0] if layout.category_at else ""
    return layout._replace(
        file_columns=[name for name in schema.names if name in wanted],
        category_at=_place(shape, category) if category else None,
        count_at=_place(shape, light[0]),
    )


def _mask_names(layout: Layout) -> list[str]:
    return [layout.columns[name] for name in ("segmentation", "counts") if name in layout.columns]


def _place(shape: _Shape, name: str) -> tuple[str, str]:
    """Return column and field where the file has a column of the prepared table."""
    is_inside = shape.container and name in [field.name for field in shape.of_instance]
    return (shape.container, name) if is_inside else (name, "")


def _prepare(uri: str, table: pa.Table, layout: Layout) -> pa.Table:
    """Return a row per instance."""
    container = _container(table.schema)
    ours = {theirs: name for name, theirs in layout.columns.items()}
    of_image: dict[str, Any] = {}
    of_instance: dict[str, Any] = {}
    offsets_of: dict[str, NDArray[np.int64]] = {}
    for name in table.column_names:
        column = one_chunk(table[name])
        if name == container:
            for field, (values, offsets_N1) in _open(column).items():
                of_instance[field], offsets_of[field] = values, offsets_N1
        elif not container and is_list(column.type) and ours.get(name, "size") not in _OF_IMAGE:
            of_instance[name], offsets_of[name] = column.flatten(), list_offsets(column)
        else:
            of_image[name] = column
    offsets_N1 = _same_offsets(uri, offsets_of)
    rows = pa.array(repeat_rows(offsets_N1))
    repeated = {name: column.take(rows) for name, column in of_image.items()}
    return pa.table(repeated | of_instance)


def _open(column: Any) -> dict[str, tuple[Any, NDArray[np.int64]]]:
    """Return values and offsets of every field of the column of instances."""
    if is_list(column.type):
        values, offsets_N1 = column.flatten(), list_offsets(column)
        names = list(field_types(values.type))
        return {name: (pc.struct_field(values, name), offsets_N1) for name in names}
    fields = {name: pc.struct_field(column, name) for name in field_types(column.type)}
    return {name: (lists.flatten(), list_offsets(lists)) for name, lists in fields.items()}


def _same_offsets(uri: str, offsets_of: dict[str, NDArray[np.int64]]) -> NDArray[np.int64]:
    first = next(iter(offsets_of))
    for name, offsets_N1 in offsets_of.items():
        if not np.array_equal(offsets_N1, offsets_of[first]):
            raise InputError(
                f"{uri}: expected as many values in {name!a} as in {first!a} in every row, got "
                f"{offsets_N1[-1]} and {offsets_of[first][-1]} in all; write the file again with "
                "lists of one length"
            )
    return offsets_of[first]


_KIND = ParquetKind(FORMAT, _find, _prepare)
