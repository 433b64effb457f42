"""Which columns of a Parquet file hold what, decided from its schema alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pyarrow as pa

from pipeline.columns import is_list, is_ragged_binary
from pipeline.config import ReadConfig
from pipeline.errors import ConfigError, SchemaError
from pipeline.read.parquet_types import refuse_equal_names, storable_type
from schemas.compacted import COMPACTED_COLUMNS
from schemas.instances import FIXED_COLUMNS

BOX_COLUMNS = ("bbox_x", "bbox_y", "bbox_w", "bbox_h")
PLAIN_COLUMNS = ("image_id", "category_id", "score", "iscrowd", "id", "area", "bbox")
MASK_COLUMNS = ("segmentation", "counts", "mask", "roi_mask")
DENSE_COLUMNS = ("mask", "roi_mask", "height", "width", "size")
SIZE_COLUMNS = ("height", "width", "size")
NAMES = (*PLAIN_COLUMNS, *BOX_COLUMNS, *MASK_COLUMNS, *SIZE_COLUMNS)
"""Our names, which ``--read.columns`` maps to the file's."""

_BOX_FIELDS = (("x", "y", "w", "h"), ("x", "y", "width", "height"))


class Layout(NamedTuple):
    """Where things are in a table with a row per instance, and in its Parquet file.

    Attributes
    ----------
    columns : dict of str to str
        Our name -> the table's, for the columns that are there.
    mask_form : str
        ``"strings"``, ``"counts"``, ``"polygons"``, ``"bitmaps"`` or ``"rois"``.
    id_type : str
        ``"int"`` or ``"string"``.
    extras : pa.Schema
        Columns that are carried through, with the types they get.
    file_columns : list of str
        Columns of the file that are read for it.
    category_at : tuple of str or None
        Column of the file that holds the categories, and the field inside it or "".
    count_at : tuple of str or None
        Likewise a column whose lists hold a value per instance; None where a
        row is an instance.
    """

    columns: dict[str, str]
    mask_form: str
    id_type: str
    extras: pa.Schema
    file_columns: list[str]
    category_at: tuple[str, str] | None
    count_at: tuple[str, str] | None = None


def find_layout(uri: str, schema: pa.Schema, config: ReadConfig) -> Layout:
    """Decide which column holds what.

    Parameters
    ----------
    uri : str
        The file, for messages.
    schema : pa.Schema
        Its columns; no extension types.
    config : ReadConfig
        Which columns have other names, which are left out, how ids are read.

    Raises
    ------
    ConfigError
        If ``--read.columns`` has a name that is none of ours.
    SchemaError
        If a column is missing, or of a type that cannot be read.
    """
    schema = pa.schema([field for field in schema if field.name not in config.drop])
    columns = _match(uri, schema, config.columns)
    types = {ours: schema.field(theirs).type for ours, theirs in columns.items()}
    if "image_id" not in columns:
        raise _missing(uri, "image_id", schema)
    id_type = _id_type(uri, columns["image_id"], types["image_id"], config.id_mode)
    mask_form = _mask_form(uri, columns, types, schema)
    _check_types(uri, columns, types)
    extras = _extras(uri, schema, columns)
    file_columns = [*columns.values(), *extras.names]
    category_at = (columns["category_id"], "") if "category_id" in columns else None
    return Layout(columns, mask_form, id_type, extras, file_columns, category_at)


def field_types(dtype: Any) -> dict[str, pa.DataType]:
    """Return the types of a struct's fields by name; none for other types."""
    return {field.name: field.type for field in dtype} if pa.types.is_struct(dtype) else {}


def _match(uri: str, schema: pa.Schema, names: dict[str, str]) -> dict[str, str]:
    refuse_equal_names(uri, schema.names, "columns")
    for ours, theirs in names.items():
        if ours not in NAMES:
            raise ConfigError(f"--read.columns: expected one of {', '.join(NAMES)}, got {ours!a}")
        if theirs not in schema.names:
            raise _missing(uri, theirs, schema)
    taken = set(names.values())
    found = {name: name for name in NAMES if name in schema.names and name not in taken}
    return {name: {**found, **names}[name] for name in NAMES if name in {**found, **names}}


def _missing(uri: str, name: str, schema: pa.Schema) -> SchemaError:
    got = ", ".join(map(ascii, schema.names[:30])) or "no column"
    return SchemaError(
        f"{uri}: expected a column {name!a}, got {got}; name the columns with --read.columns, for "
        'example {"image_id": "img"}'
    )


def _id_type(uri: str, name: str, dtype: Any, id_mode: str) -> str:
    if pa.types.is_dictionary(dtype):
        dtype = dtype.value_type
    if pa.types.is_integer(dtype):
        return "int" if id_mode == "auto" else id_mode
    if pa.types.is_string(dtype) or pa.types.is_large_string(dtype):
        return "string" if id_mode == "auto" else id_mode
    if pa.types.is_floating(dtype) and id_mode != "auto":
        return id_mode
    hint = "cast the column"
    if pa.types.is_floating(dtype):
        hint = "convert whole numbers (pandas writes them so) with --read.id_mode int"
    raise SchemaError(
        f"{uri}: column {name!a} (image_id): expected integers or strings, got {dtype}; {hint}"
    )


def _mask_form(
    uri: str, columns: dict[str, str], types: dict[str, pa.DataType], schema: pa.Schema
) -> str:
    holders = [name for name in MASK_COLUMNS if name in columns]
    if not holders:
        raise SchemaError(
            f"{uri}: expected masks in a column {' or '.join(MASK_COLUMNS)}, got "
            f"{', '.join(map(ascii, schema.names[:30]))} (boxes only?); name the column with "
            '--read.columns, for example {"counts": "rle"}'
        )
    if len(holders) > 1:
        raise SchemaError(
            f"{uri}: expected masks in one column, got "
            f"{', '.join(columns[name] for name in holders)!a}; leave all but one out with "
            "--read.drop"
        )
    dtype: Any = types[holders[0]]
    if holders[0] in ("mask", "roi_mask"):
        return _dense_form(uri, columns[holders[0]], holders[0], dtype, types)
    inner = field_types(dtype)
    if "counts" in inner:
        return _counts_form(uri, f"{columns[holders[0]]}.counts", inner["counts"], inner, types)
    if is_list(dtype) and is_list(dtype.value_type):
        if not _is_number(dtype.value_type.value_type):
            raise _wrong(uri, columns[holders[0]], "lists of lists of numbers", dtype)
        _need_size(uri, {}, types)
        return "polygons"
    return _counts_form(uri, columns[holders[0]], dtype, {}, types)


def _dense_form(uri: str, path: str, name: str, dtype: Any, types: dict[str, pa.DataType]) -> str:
    if name == "mask":
        if not (pa.types.is_binary(dtype) or pa.types.is_large_binary(dtype)):
            raise _wrong(uri, path, "PNG bytes or packed bits", dtype)
        return "bitmaps"
    while is_list(dtype):
        dtype = dtype.value_type
    if not _is_number(dtype):
        raise _wrong(uri, path, "lists of n x n probabilities", dtype)
    _need_size(uri, {}, types)
    if "bbox" not in types and BOX_COLUMNS[0] not in types:
        raise SchemaError(
            f"{uri}: expected the boxes of ROI masks in a column 'bbox' [x, y, width, height], got "
            "none; add it, or name it with --read.columns"
        )
    return "rois"


def _counts_form(
    uri: str,
    path: str,
    dtype: Any,
    inner: dict[str, pa.DataType],
    types: dict[str, pa.DataType],
) -> str:
    _need_size(uri, inner, types)
    if pa.types.is_dictionary(dtype):
        dtype = dtype.value_type
    if is_ragged_binary(dtype):
        return "strings"
    if is_list(dtype) and pa.types.is_integer(dtype.value_type):
        return "counts"
    raise _wrong(uri, path, "COCO strings, lists of run lengths, or lists of rings", dtype)


def _need_size(uri: str, inner: dict[str, pa.DataType], types: dict[str, pa.DataType]) -> None:
    size: Any = inner.get("size", types.get("size"))
    if size is not None:
        if not (is_list(size) and pa.types.is_integer(size.value_type)):
            raise _wrong(uri, "size", "lists [height, width] of integers", size)
    elif "height" not in types or "width" not in types:
        raise SchemaError(
            f"{uri}: expected the size of each mask's image in columns 'height' and 'width', or in "
            "'size', got none; add them, or name them with --read.columns"
        )


def _check_types(uri: str, columns: dict[str, str], types: dict[str, pa.DataType]) -> None:
    rules: dict[str, tuple[Callable[[Any], bool], str]] = {
        "category_id": (_is_integer, "integers"),
        "score": (_is_number, "numbers"),
        "iscrowd": (lambda dtype: _is_integer(dtype) or pa.types.is_boolean(dtype), "0 and 1"),
        "height": (_is_integer, "integers"),
        "width": (_is_integer, "integers"),
        "bbox": (_is_box, "lists [x, y, width, height] or structs of these"),
        **dict.fromkeys(BOX_COLUMNS, (_is_number, "numbers")),
    }
    for name, (is_right, expected) in rules.items():
        if name in types and not is_right(types[name]):
            raise _wrong(uri, columns[name], expected, types[name])
    flat = [name for name in BOX_COLUMNS if name in types]
    if flat and len(flat) < 4:
        raise SchemaError(f"{uri}: expected all of {', '.join(BOX_COLUMNS)}, got only {flat}")


def _is_integer(dtype: pa.DataType) -> bool:
    return pa.types.is_integer(dtype) or pa.types.is_null(dtype)


def _is_number(dtype: pa.DataType) -> bool:
    kinds = (_is_integer, pa.types.is_floating, pa.types.is_decimal)
    return any(is_kind(dtype) for is_kind in kinds)


def _is_box(dtype: Any) -> bool:
    if is_list(dtype):
        return _is_number(dtype.value_type)
    inner = field_types(dtype)
    return tuple(inner) in _BOX_FIELDS and all(map(_is_number, inner.values()))


def _wrong(uri: str, name: str, expected: str, dtype: pa.DataType) -> SchemaError:
    return SchemaError(
        f"{uri}: column {name!a}: expected {expected}, got {dtype}; cast the column, or name "
        "another with --read.columns"
    )


def _extras(uri: str, schema: pa.Schema, columns: dict[str, str]) -> pa.Schema:
    used = set(columns.values())
    ours = {name.lower() for name in (*COMPACTED_COLUMNS, *FIXED_COLUMNS)}
    fields: list[pa.Field] = []
    for field in schema:
        if field.name in used:
            continue
        if field.name.lower() in ours:
            raise SchemaError(
                f"{uri}: column {field.name!a}: expected extra columns by names that the output "
                "does not use itself; rename it, or leave it out with --read.drop"
            )
        fields.append(pa.field(field.name, storable_type(uri, field.name, field.type)))
    return pa.schema(fields)
