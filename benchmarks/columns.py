"""What a written table costs under other Parquet settings.

``python -m benchmarks.columns TABLE ...`` reads tables that the job wrote and writes each
column again, alone, with zstd at level 3, under every encoding that its type allows. All rows
are taken as one row group. The one marked ``*`` is what the job writes. A second table has the
whole file with other levels, row groups and orders of the rows of an image.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from pipeline.config import WriteConfig
from pipeline.sink import writer_options

PLAIN, DICTIONARY, SPLIT = "PLAIN", "dictionary", "BYTE_STREAM_SPLIT"
DELTA, LENGTHS, FRONT = "DELTA_BINARY_PACKED", "DELTA_LENGTH_BYTE_ARRAY", "DELTA_BYTE_ARRAY"
ENCODINGS = (PLAIN, DICTIONARY, SPLIT, DELTA, LENGTHS, FRONT)
MASKS = ("counts", "crack", "polygon")


def main() -> None:
    """Print one table of bytes a row for every table that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.columns")
    parser.add_argument("tables", nargs="+", type=Path, help="OUT/compacted, OUT/lineage, ...")
    for path in parser.parse_args().tables:
        table = pa.concat_tables([pq.read_table(file) for file in sorted(path.glob("*.parquet"))])
        console = Console(width=130)
        print_table(console, f"{path}: {len(table):,} rows", measure(table))
        if "bbox_x" in table.column_names:
            print_files(console, measure_files(table))


def measure(table: pa.Table) -> dict[str, dict[str, float]]:
    """Return bytes a row by column and encoding; ``chosen`` is the one that the job writes."""
    options = writer_options(table.schema, WriteConfig())
    costs: dict[str, dict[str, float]] = {}
    for name in table.column_names:
        column = table.select([name])
        chosen = options["column_encoding"].get(name, DICTIONARY)
        costs[name] = {
            encoding: column_bytes(column, encoding) / len(table)
            for encoding in ENCODINGS
            if encoding in possible(column.schema.field(0).type)
        }
        costs[name]["chosen"] = costs[name][chosen]
    return costs


def possible(dtype: pa.DataType) -> tuple[str, ...]:
    """Return the encodings that readers in use can be trusted to know for a type."""
    if pa.types.is_integer(dtype):
        return PLAIN, DICTIONARY, DELTA
    if pa.types.is_floating(dtype):
        return PLAIN, DICTIONARY, SPLIT
    if pa.types.is_binary(dtype) or pa.types.is_string(dtype):
        return PLAIN, DICTIONARY, LENGTHS, FRONT
    return (PLAIN, DICTIONARY)


def column_bytes(table: pa.Table, encoding: str) -> int:
    """Return the bytes of the only column of a table in Parquet."""
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        row_group_size=len(table),
        compression="zstd",
        compression_level=3,
        use_dictionary=encoding == DICTIONARY,
        column_encoding=None if encoding == DICTIONARY else encoding,
        write_statistics=False,
        data_page_size=1 << 20,
    )
    found = pq.read_metadata(pa.BufferReader(sink.getvalue())).row_group(0).column(0)
    return found.total_compressed_size


def measure_files(table: pa.Table) -> dict[str, float]:
    """Return bytes a row of the whole file by setting; the first is what the job writes."""
    by_order = {
        "category, x": [("category_id", "ascending"), ("bbox_x", "ascending")],
        "x": [("bbox_x", "ascending")],
        "area": [("area", "descending")],
    }
    config = WriteConfig()
    costs = {"as written": file_bytes(table, config)}
    for level in (1, 9, 19):
        costs[f"zstd {level}"] = file_bytes(table, WriteConfig(compression_level=level))
    for rows in (2_000, 5_000):
        costs[f"row groups of {rows:,}"] = file_bytes(table, WriteConfig(row_group_rows=rows))
    for name, keys in by_order.items():
        ordered = table.sort_by([("image_id", "ascending"), *keys])
        costs[f"in an image by {name}"] = file_bytes(ordered, config)
    return {name: n_bytes / len(table) for name, n_bytes in costs.items()}


def file_bytes(table: pa.Table, config: WriteConfig) -> int:
    """Return the bytes of a file with the job's settings per column."""
    sink = pa.BufferOutputStream()
    options = writer_options(table.schema, config)
    pq.write_table(table, sink, row_group_size=config.row_group_rows, **options)
    return sink.getvalue().size


def print_files(console: Console, costs: dict[str, float]) -> None:
    """Print bytes a row of the whole file by setting, and as a ratio to what is written."""
    table = Table(title="the whole file, bytes a row")
    for heading in ("setting", "bytes a row", "ratio"):
        table.add_column(heading, justify="left" if heading == "setting" else "right")
    written = costs["as written"]
    for name, cost in costs.items():
        table.add_row(name, f"{cost:.2f}", f"{cost / written:.3f}")
    console.print(table)


def print_table(console: Console, title: str, costs: dict[str, dict[str, float]]) -> None:
    """Print bytes a row, and what all columns but masks and input boxes cost together."""
    table = Table(title=f"{title}, bytes a row at zstd 3")
    for heading in ("column", *ENCODINGS):
        table.add_column(heading, justify="left" if heading == "column" else "right")
    for name, cost in costs.items():
        cells = [
            f"{cost[encoding]:.3f}{'*' if cost[encoding] == cost['chosen'] else ''}"
            if encoding in cost
            else ""
            for encoding in ENCODINGS
        ]
        table.add_row(name, *cells)
    console.print(table)
    rest = [name for name in costs if name not in MASKS and not name.startswith("input_")]
    total = sum(costs[name]["chosen"] for name in rest)
    console.print(f"columns but masks and what the input said (input_*): {total:.2f} bytes a row")


if __name__ == "__main__":
    main()
