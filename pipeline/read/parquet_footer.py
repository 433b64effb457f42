"""The footer of a Parquet file, read without Arrow.

What a footer says is needed before Arrow touches the file: an extension type in
its schema may run code when it is built, and a damaged statistic ends the whole
process (Arrow throws where nothing catches). So its bytes, Thrift's compact
protocol, are read here; nothing in them is believed, only measured.

Source: the Parquet format's ``parquet.thrift``, and Thrift's compact protocol.
Worked example of the latter: ``15 02 16 04 00`` is a struct whose field 1 (0x15:
one on from field 0, type 5: i32) is 1 (0x02 in zigzag) and whose field 2 (0x16:
one on, type 6: i64) is 2; 00 ends it.
"""

from __future__ import annotations

import base64
import binascii
import struct
from functools import lru_cache
from typing import Any, NamedTuple

from pipeline import storage
from pipeline.errors import InputError
from pipeline.read.parquet_types import unsafe_type

MAX_FOOTER_BYTES = 256 << 20

_TAIL_BYTES = 64 << 10
_MAX_KNOWN_BYTES = 1 << 20
_MAX_DEPTH = 40
_PHYSICAL_TYPES = (
    "BOOLEAN",
    "INT32",
    "INT64",
    "INT96",
    "FLOAT",
    "DOUBLE",
    "BYTE_ARRAY",
    "FIXED_LEN_BYTE_ARRAY",
)


class Leaf(NamedTuple):
    """One leaf column of one row group.

    Attributes
    ----------
    path : str
        Its name, with dots between levels.
    physical_type : str
        As Parquet names it.
    n_values : int
        Values, nulls included.
    packed_bytes, page_bytes : int
        Size of its pages in the file, and decompressed.
    has_dictionary : bool
        Whether a page of it is a dictionary.
    n_nulls : int or None
        Nulls, where the statistics say.
    minimum, maximum : bytes or None
        Plain-encoded, where the statistics say.
    """

    path: str
    physical_type: str
    n_values: int
    packed_bytes: int
    page_bytes: int
    has_dictionary: bool
    n_nulls: int | None
    minimum: bytes | None
    maximum: bytes | None


class RowGroup(NamedTuple):
    """One row group: its rows, its size decompressed, its leaf columns in order."""

    n_rows: int
    n_bytes: int
    leaves: list[Leaf]

    def find(self, name: str, field: str = "") -> Leaf | None:
        """Return the first leaf of a column, or of a field anywhere inside it."""
        for leaf in self.leaves:
            path = f"{leaf.path}."
            if path.startswith(f"{name}.") and (not field or f".{field}." in path):
                return leaf
        return None

    def inside(self, names: list[str]) -> list[Leaf]:
        """Return the leaves of some top-level columns."""
        wanted = tuple(f"{name}." for name in names)
        return [leaf for leaf in self.leaves if f"{leaf.path}.".startswith(wanted)]


class Footer(NamedTuple):
    """The footer of one file."""

    n_rows: int
    row_groups: list[RowGroup]


def read_footer(uri: str, file_bytes: int) -> Footer:
    """Read the footer of a file.

    Raises
    ------
    InputError
        If there is none, or it is damaged, encrypted or too long.
    SchemaError
        If it names an extension type.
    """
    data = _footer_bytes(uri, file_bytes)
    return (_decode_known if len(data) <= _MAX_KNOWN_BYTES else _decode)(uri, data)


def _decode(uri: str, data: bytes) -> Footer:
    fields = _parse(uri, data)
    try:
        _check_arrow_schema(uri, fields.get(5, []))
        groups = [_row_group(group) for group in fields.get(4, [])]
        return Footer(sum(group.n_rows for group in groups), groups)
    except (KeyError, TypeError, AttributeError, IndexError, UnicodeDecodeError) as error:
        raise _damaged(uri, f"a footer with other fields ({type(error).__name__})") from error


_decode_known = lru_cache(maxsize=8)(_decode)
"""Each slice of a file asks for its footer, by the bytes that the file has by then."""


def _footer_bytes(uri: str, file_bytes: int) -> bytes:
    start = max(0, file_bytes - _TAIL_BYTES)
    tail = storage.read_bytes(uri, start, file_bytes)
    end = tail[-8:]
    if end[4:] == b"PARE":
        raise InputError(f"{uri}: expected plain Parquet, got an encrypted file; decrypt it first")
    size = int.from_bytes(end[:4], "little")
    if end[4:] != b"PAR1" or not 0 < size <= file_bytes - 12:
        raise _damaged(uri, f"{end!a} at byte {max(0, file_bytes - 8)}")
    if size > MAX_FOOTER_BYTES:
        raise InputError(
            f"{uri}: expected a footer of at most {MAX_FOOTER_BYTES} bytes, got {size}; write "
            "larger row groups"
        )
    if size + 8 <= len(tail):
        return tail[-8 - size : -8]
    return storage.read_bytes(uri, file_bytes - 8 - size, file_bytes - 8)


def _damaged(uri: str, got: str) -> InputError:
    return InputError(
        f"{uri}: expected a Parquet file with its footer, got {got}; the file was cut off or "
        "damaged: copy or write it again"
    )


def _check_arrow_schema(uri: str, pairs: list[dict[int, Any]]) -> None:
    for pair in pairs:
        if pair.get(1) == b"ARROW:schema":
            try:
                schema = base64.b64decode(pair.get(2, b""))
            except binascii.Error:
                continue
            if b"ARROW:extension:name" in schema:
                raise unsafe_type(uri, "schema")


def _row_group(fields: dict[int, Any]) -> RowGroup:
    return RowGroup(fields[3], fields[2], [_leaf(column[3]) for column in fields[1]])


def _leaf(fields: dict[int, Any]) -> Leaf:
    statistics = fields.get(12, {})
    return Leaf(
        path=b".".join(fields[3]).decode(),
        physical_type=_PHYSICAL_TYPES[fields[1]],
        n_values=fields[5],
        packed_bytes=fields[7],
        page_bytes=fields[6],
        has_dictionary=11 in fields,
        n_nulls=statistics.get(3),
        minimum=statistics.get(6),
        maximum=statistics.get(5),
    )


def _parse(uri: str, data: bytes) -> dict[int, Any]:
    try:
        return _Thrift(data).struct(0)
    except (IndexError, ValueError, struct.error) as error:
        raise _damaged(uri, f"a footer that is none ({error})") from error


class _Thrift:
    """Reads the compact protocol; raises IndexError or ValueError for what is not in it."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._place = 0

    def struct(self, depth: int) -> dict[int, Any]:
        if depth > _MAX_DEPTH:
            raise ValueError("nested too deep")
        fields: dict[int, Any] = {}
        number = 0
        while True:
            byte = self._byte()
            kind, step = byte & 15, byte >> 4
            if kind == 0:
                return fields
            number = number + step if step else self._integer()
            fields[number] = kind == 1 if kind in (1, 2) else self._value(kind, depth)

    def _value(self, kind: int, depth: int) -> Any:
        if kind in (4, 5, 6):
            return self._integer()
        if kind == 8:
            return self._bytes(self._natural())
        if kind in (9, 10):
            return self._list(depth)
        if kind == 12:
            return self.struct(depth + 1)
        if kind in (1, 2, 3):
            return self._byte()
        if kind == 7:
            return struct.unpack("<d", self._bytes(8))[0]
        if kind == 11:
            return self._map(depth)
        raise ValueError(f"type {kind}")

    def _list(self, depth: int) -> list[Any]:
        byte = self._byte()
        size, kind = byte >> 4, byte & 15
        size = self._natural() if size == 15 else size
        if size > len(self._data) - self._place or depth > _MAX_DEPTH:
            raise ValueError(f"a list of {size}")
        return [self._value(kind, depth + 1) for _ in range(size)]

    def _map(self, depth: int) -> dict[Any, Any]:
        size = self._natural()
        if size == 0:
            return {}
        if size > len(self._data) - self._place or depth > _MAX_DEPTH:
            raise ValueError(f"a map of {size}")
        kinds = self._byte()
        pairs = [
            (repr(self._value(kinds >> 4, depth + 1)), self._value(kinds & 15, depth + 1))
            for _ in range(size)
        ]
        return dict(pairs)

    def _byte(self) -> int:
        byte = self._data[self._place]
        self._place += 1
        return byte

    def _bytes(self, size: int) -> bytes:
        stop = self._place + size
        if stop > len(self._data):
            raise IndexError("ends too early")
        found = self._data[self._place : stop]
        self._place = stop
        return found

    def _natural(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
            if shift > 63:
                raise ValueError("a number of more than 64 bits")

    def _integer(self) -> int:
        value = self._natural()
        return (value >> 1) ^ -(value & 1)
