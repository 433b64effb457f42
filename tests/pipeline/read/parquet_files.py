"""Small Parquet files with a row per instance, for the tests of reading them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.config import ReadConfig
from tests.pipeline.read.files import SQUARE, Whole, read_whole

RING = [1.0, 1.0, 4.0, 1.0, 4.0, 4.0, 1.0, 4.0]
N = 6


def write(folder: Path, table: pa.Table | dict[str, Any], **options: Any) -> storage.InputFile:
    path = folder / "input.parquet"
    pq.write_table(table if isinstance(table, pa.Table) else pa.table(table), path, **options)
    return storage.inspect_file(storage.to_uri(str(path)))


def base(**columns: Any) -> dict[str, Any]:
    """Return columns of N good rows, with these instead; a column of `...` is left out."""
    good: dict[str, Any] = {
        "image_id": list(range(N)),
        "category_id": [1] * N,
        "score": [0.5] * N,
        "counts": [SQUARE] * N,
        "height": [4] * N,
        "width": [5] * N,
    }
    return {name: column for name, column in (good | columns).items() if column is not ...}


def read_columns(folder: Path, config: ReadConfig | None = None, **columns: Any) -> Whole:
    return read_whole(write(folder, base(**columns)), config)
