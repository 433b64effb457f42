"""Keys of JSON rows that are carried through: those that are named, of the types that are named.

JSON has no schema, and none is guessed: ``--read.extras`` says what a key holds.
A value of another type, or none, is null.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

import msgspec
import pyarrow as pa

from pipeline.config import ReadConfig
from pipeline.errors import ConfigError
from pipeline.read.mask_columns import Int64
from schemas.compacted import COMPACTED_COLUMNS
from schemas.instances import FIXED_COLUMNS

_TYPES: dict[str, tuple[Any, pa.DataType]] = {
    "int": (Int64, pa.int64()),
    "float": (float, pa.float64()),
    "bool": (bool, pa.bool_()),
    "string": (str, pa.large_string()),
}


def extras_schema(config: ReadConfig) -> pa.Schema:
    """Return the columns that ``--read.extras`` asks for.

    Raises
    ------
    ConfigError
        If a name is one of the output's own, or two differ only by case.
    """
    taken = {name.lower() for name in (*COMPACTED_COLUMNS, *FIXED_COLUMNS)}
    for name in config.extras:
        if name.lower() in taken:
            raise ConfigError(
                f"--read.extras: expected keys that are no column of the output and differ by "
                f"more than case, got {name!a}; rename the key in the files"
            )
        taken.add(name.lower())
    return pa.schema([pa.field(name, _TYPES[kind][1]) for name, kind in config.extras.items()])


def read_extras(
    text: bytes,
    spans: Callable[[], Iterable[Sequence[int]]],
    config: ReadConfig,
    is_lines: bool,
) -> pa.Table:
    """Return the extra columns of all rows of a slice.

    Parameters
    ----------
    text : bytes
        Rows with commas between them, or lines; known to be JSON.
    spans : callable
        Gives the place of every row in `text`; called only if a value is of
        another type than was said.
    config : ReadConfig
        ``--read.extras``.
    is_lines : bool
        Whether nothing but line ends separates the rows.

    Returns
    -------
    pa.Table
        A row for each row of the slice.
    """
    schema = extras_schema(config)
    kind = _row_type(tuple(config.extras.items()))
    try:
        if is_lines:
            rows = msgspec.json.Decoder(kind).decode_lines(text)
        else:
            rows = msgspec.json.decode(b"[%b]" % text, type=list[kind])
    except (msgspec.DecodeError, UnicodeDecodeError):
        rows = [_read_row(text[begin:end], kind, config) for begin, end in spans()]
    columns = [
        pa.array([getattr(row, f"field_{n}") for row in rows], field.type)
        for n, field in enumerate(schema)
    ]
    return pa.Table.from_arrays(columns, schema=schema)


@lru_cache(maxsize=8)
def _row_type(extras: tuple[tuple[str, str], ...]) -> Any:
    """Return the type of a row with these keys; the fields of it are numbered."""
    fields: list[Any] = [
        (f"field_{n}", _TYPES[kind][0] | None, None) for n, (_, kind) in enumerate(extras)
    ]
    names = {f"field_{n}": name for n, (name, _) in enumerate(extras)}
    return msgspec.defstruct("ExtraKeys", fields, rename=names, gc=False)


def _read_row(data: bytes, kind: Any, config: ReadConfig) -> Any:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError):
        row: Any = json.loads(data.decode("utf-8", "replace"))
    found = kind()
    if isinstance(row, dict):
        for n, (name, wanted) in enumerate(config.extras.items()):
            try:
                value = msgspec.convert(row.get(name), type=_TYPES[wanted][0] | None)
            except msgspec.ValidationError:
                continue
            setattr(found, f"field_{n}", value)
    return found
