"""The comparison of Parquet settings: each column once under every encoding its type allows."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
from rich.console import Console

from benchmarks import columns

ROWS = 4_000


def make_table() -> pa.Table:
    rng = np.random.default_rng(0)
    n = np.arange(ROWS)
    return pa.table(
        {
            "image_id": n // 10,
            "instance_id": (n // 10 << 24) + n % 10,
            "category_id": rng.integers(0, 5, ROWS),
            "score": rng.random(ROWS),
            "bbox_x": rng.integers(0, 300, ROWS),
            "area": rng.integers(0, 9_000, ROWS),
            "crack": [rng.bytes(20) for _ in range(ROWS)],
        }
    )


def test_every_column_is_measured_under_what_its_type_allows() -> None:
    costs = columns.measure(make_table())
    assert set(costs["image_id"]) == {"PLAIN", "dictionary", "DELTA_BINARY_PACKED", "chosen"}
    assert costs["score"]["chosen"] == costs["score"]["BYTE_STREAM_SPLIT"]
    assert costs["bbox_x"]["chosen"] == costs["bbox_x"]["dictionary"]
    assert 20 <= costs["crack"]["chosen"] < 20.2  # noise does not shrink; every length is equal
    assert costs["instance_id"]["chosen"] < 1 < costs["instance_id"]["dictionary"]


def test_the_whole_file_is_measured_and_printed() -> None:
    costs = columns.measure_files(make_table())
    assert costs["zstd 19"] <= costs["zstd 1"]
    console = Console(record=True, width=130, file=io.StringIO())
    columns.print_table(console, "a table", columns.measure(make_table()))
    columns.print_files(console, costs)
    text = console.export_text()
    assert "bytes a row" in text
    assert all(name in text for name in costs)
