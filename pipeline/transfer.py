"""How tables travel through Ray: one row, whose cells hold them as Arrow IPC.

A Ray block is not a unit of work: blocks are split, bundled and their schemas
united. A row is never split, and Ray never sees what is inside a binary cell.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

_MESSAGE_TYPES: dict[str, pa.DataType] = {
    "partition": pa.int64(),
    "unit": pa.int64(),
    "instances": pa.large_binary(),
    "compacted": pa.large_binary(),
    "lineage": pa.large_binary(),
    "rejects": pa.large_binary(),
    "notes": pa.large_binary(),
}


def to_ipc(table: pa.Table) -> bytes:
    """Return a table as an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def from_ipc(data: bytes | memoryview | pa.Buffer) -> pa.Table:
    """Return the table that an Arrow IPC stream holds, without copying it."""
    with pa.ipc.open_stream(pa.py_buffer(data)) as reader:
        return reader.read_all()


def message(rows: list[dict[str, Any]], names: tuple[str, ...]) -> pa.Table:
    """Return rows for Ray: a table of the given cells, typed as all messages are."""
    arrays = [pa.array([row[name] for row in rows], _MESSAGE_TYPES[name]) for name in names]
    return pa.table(arrays, names=list(names))


def cell(table: pa.Table, name: str, row: int) -> memoryview:
    """Return the bytes of one binary cell, without copying them."""
    return memoryview(table[name][row].as_buffer())
