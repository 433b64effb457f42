from __future__ import annotations

import json
from pathlib import Path

from pipeline import publish, storage, tasks
from pipeline.config import CompactConfig, RunConfig
from pipeline.storage import InputFile
from tests.outputs import run_inline


def test_small_files_are_looked_at_together_and_large_ones_alone() -> None:
    sizes = [1] * (tasks.SCAN_FILES + 2) + [tasks.SCAN_BYTES, 1, tasks.SCAN_BYTES + 1, 1]
    inventory = [InputFile(f"{n:05d}", size, "t") for n, size in enumerate(sizes)]
    batches = tasks.scan_batches(inventory)
    assert [len(batch) for batch in batches] == [tasks.SCAN_FILES, 2, 1, 1, 1, 1]
    assert [file for batch in batches for file in batch] == inventory
    assert tasks.scan_batches([]) == []


def test_a_slice_without_a_usable_row_passes_the_shuffle(tmp_path: Path) -> None:
    row = {"image_id": 1, "category_id": 1, "score": 0.5, "bbox": [0, 0, 1, 1]}
    good = {**row, "segmentation": {"size": [3, 3], "counts": "321O1"}}
    bad = {**row, "segmentation": {"size": [3, 3], "counts": "5"}}
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([good, {**good, "score": 0.4}, bad]))
    settings = RunConfig(backend="numba", unit_bytes=1)
    config = CompactConfig(inputs=(str(path),), output=str(tmp_path / "out"), run=settings)
    run_inline(config)
    tables = publish.open_tables(storage.to_uri(config.output))
    counts = {name: table.to_pyarrow_dataset().count_rows() for name, table in tables.items()}
    assert counts == {"compacted": 1, "lineage": 1, "rejects": 1}
