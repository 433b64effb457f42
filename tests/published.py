"""Small runs of the three tables, written as a run would write them, for tests of publishing."""

from __future__ import annotations

import hashlib

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.publish import Target, inspect_target, publish
from pipeline.records import TABLES, DataFile
from schemas.compacted import compacted_schema
from schemas.lineage import lineage_schema
from schemas.rejects import rejects_schema

STATISTICS = ("image_id", "category_id", "score")


def run_name(number: int) -> str:
    """Return a run_id as the plan makes them: 16 hex digits."""
    return hashlib.blake2b(bytes([number]), digest_size=8).hexdigest()


def schemas(id_type: str = "int", extras: tuple[pa.Field, ...] = ()) -> dict[str, pa.Schema]:
    """Return the schemas of the three tables."""
    return {
        "compacted": compacted_schema(id_type, extras),
        "lineage": lineage_schema(id_type),
        "rejects": rejects_schema(),
    }


def make_rows(schema: pa.Schema, n: int, run_id: str, first: int = 0) -> pa.Table:
    """Return n rows that count up from `first` in every number."""
    columns: list[pa.Array] = []
    for field in schema:
        if pa.types.is_integer(field.type):
            values = list(range(first, first + n))
        elif pa.types.is_floating(field.type):
            values = [(first + i) / 16 for i in range(n)]
        elif pa.types.is_boolean(field.type):
            values = [False] * n
        elif pa.types.is_binary(field.type):
            values = [b"mask"] * n
        else:
            values = [run_id if field.name == "run_id" else f"{first + i:06d}" for i in range(n)]
        columns.append(pa.array(values, field.type))
    return pa.table(columns, schema=schema)


def write_file(output_uri: str, table: str, rows: pa.Table, run_id: str, unit: int) -> DataFile:
    """Write one data file and return what its unit would record of it."""
    sink = pa.BufferOutputStream()
    names = [name for name in STATISTICS if name in rows.column_names]
    pq.write_table(rows, sink, write_statistics=names, row_group_size=max(1, len(rows) // 2))
    data = sink.getvalue().to_pybytes()
    name = f"part-{unit:05d}-{run_id}.parquet"
    storage.write_bytes(storage.join(output_uri, table, name), data)
    stated = [name for name in names if rows[name].null_count < len(rows)]
    bounds = {name: pc.min_max(rows[name]).as_py() for name in stated}
    return DataFile(
        table=table,
        name=name,
        rows=len(rows),
        file_bytes=len(data),
        digest=hashlib.blake2b(data, digest_size=16).hexdigest(),
        minimum={name: bound["min"] for name, bound in bounds.items()},
        maximum={name: bound["max"] for name, bound in bounds.items()},
        null_count={name: rows[name].null_count for name in names},
    )


def write_run(
    output_uri: str,
    run_id: str,
    counts: dict[str, tuple[int, ...]] | None = None,
    tables: dict[str, pa.Schema] | None = None,
) -> dict[str, list[DataFile]]:
    """Write the files of a run: by table, the rows of each of its units."""
    counts = {"compacted": (4, 3), "lineage": (2,), "rejects": (1,)} if counts is None else counts
    tables = tables or schemas()
    return {
        table: [
            write_file(output_uri, table, make_rows(tables[table], n, run_id, 10 * u), run_id, u)
            for u, n in enumerate(counts.get(table, ()))
        ]
        for table in TABLES
    }


def publish_run(
    output_uri: str,
    number: int,
    counts: dict[str, tuple[int, ...]] | None = None,
    target: Target | None = None,
    tables: dict[str, pa.Schema] | None = None,
) -> dict[str, int]:
    """Write and publish a run from what is there now, or from an earlier target."""
    target = target or inspect_target(output_uri, [])
    files = write_run(output_uri, run_name(number), counts, tables)
    token = f"token-{number}"
    return publish(target, run_name(number), token, files, tables or schemas(), {})
