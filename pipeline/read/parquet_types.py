"""Types of Parquet columns: what is never touched, and what Delta's readers can hold."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from pipeline.errors import SchemaError

_WIDENED = {
    pa.uint8(): pa.int16(),
    pa.uint16(): pa.int32(),
    pa.uint32(): pa.int64(),
    pa.float16(): pa.float32(),
    pa.null(): pa.large_string(),
}
_KEPT = (
    pa.types.is_boolean,
    pa.types.is_signed_integer,
    pa.types.is_floating,
    pa.types.is_date32,
    pa.types.is_decimal128,
)


def refuse_extension_types(uri: str, schema: pa.Schema) -> None:
    """Refuse a file with a column of an extension type, at any depth.

    To look at a value of such a type may run code of whoever registered it.

    Raises
    ------
    SchemaError
        Naming the column.
    """
    for field in schema:
        for path, inner in _walk(field.name, field):
            name = (inner.metadata or {}).get(b"ARROW:extension:name")
            if name is not None or isinstance(inner.type, pa.BaseExtensionType):
                raise unsafe_type(uri, f"column {path!a}")


def unsafe_type(uri: str, where: str) -> SchemaError:
    """Return the error for an extension type."""
    return SchemaError(
        f"{uri}: {where}: UNSAFE_TYPE: expected plain Arrow types, got an extension type, whose "
        "values may run code when they are looked at; write the file with its storage type instead"
    )


def storable_type(uri: str, path: str, dtype: pa.DataType) -> pa.DataType:
    """Return the type in which an extra column is carried through, without loss.

    Raises
    ------
    SchemaError
        If there is none that Delta's readers hold.
    """
    if dtype in _WIDENED:
        return _WIDENED[dtype]
    if any(is_kind(dtype) for is_kind in _KEPT):
        return dtype
    if _is_text(dtype):
        return pa.large_string()
    if _is_bytes(dtype):
        return pa.large_binary()
    if pa.types.is_timestamp(dtype) and dtype.unit != "ns":
        return pa.timestamp("us", dtype.tz)
    return _nested_type(uri, path, dtype)


def as_bytes(dtype: Any) -> pa.DataType:
    """Return the type with bytes in place of text, at any depth, and no dictionaries."""
    if pa.types.is_dictionary(dtype):
        return as_bytes(dtype.value_type)
    if _is_text(dtype):
        return pa.large_binary()
    if pa.types.is_struct(dtype):
        return pa.struct([field.with_type(as_bytes(field.type)) for field in dtype])
    if pa.types.is_list(dtype) or pa.types.is_large_list(dtype):
        return pa.large_list(as_bytes(dtype.value_type))
    if pa.types.is_fixed_size_list(dtype):
        return pa.list_(as_bytes(dtype.value_type), dtype.list_size)
    return dtype


def refuse_equal_names(uri: str, names: Iterable[str], what: str) -> None:
    """Refuse names that differ only by case: Delta's readers take them for one.

    Raises
    ------
    SchemaError
        Naming both.
    """
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.lower(), name)
        if other is not name:
            raise SchemaError(
                f"{uri}: expected {what} that differ by more than case, got {other!a} and "
                f"{name!a}; rename one of them, or leave it out with --read.drop"
            )


def _nested_type(uri: str, path: str, dtype: Any) -> pa.DataType:
    if pa.types.is_dictionary(dtype):
        return storable_type(uri, path, dtype.value_type)
    if pa.types.is_struct(dtype) and dtype.num_fields:
        refuse_equal_names(uri, [field.name for field in dtype], f"fields of column {path!a}")
        return pa.struct(
            [
                pa.field(field.name, storable_type(uri, f"{path}.{field.name}", field.type))
                for field in dtype
            ]
        )
    is_list = pa.types.is_list(dtype) or pa.types.is_large_list(dtype)
    if is_list or pa.types.is_fixed_size_list(dtype):
        return pa.large_list(storable_type(uri, f"{path}[]", dtype.value_type))
    raise SchemaError(
        f"{uri}: column {path!a}: expected a type that Delta tables can hold, got {dtype}; cast it "
        "before (nanoseconds to microseconds, uint64 to int64 or decimal, times and durations to "
        "integers, maps to lists of structs), or leave it out with --read.drop"
    )


def _is_text(dtype: pa.DataType) -> bool:
    kinds = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(is_kind(dtype) for is_kind in kinds)


def _is_bytes(dtype: pa.DataType) -> bool:
    kinds = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)
    return any(is_kind(dtype) for is_kind in (*kinds, pa.types.is_fixed_size_binary))


def _walk(path: str, field: pa.Field) -> Iterable[tuple[str, pa.Field]]:
    yield path, field
    dtype: Any = field.type
    if pa.types.is_dictionary(dtype):
        yield from _walk(path, pa.field("", dtype.value_type))
        return
    for n in range(dtype.num_fields):
        inner = dtype.field(n)
        yield from _walk(f"{path}.{inner.name}", inner)
