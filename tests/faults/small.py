"""A small job that takes all the ways of a large one, and what must hold after any fault.

Two files with ids of their own make three units of work. Rows are kept, merged, filtered and
rejected. The driver does the units itself, without Ray.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from pipeline import execution, flow, publish, runs, storage, tasks
from pipeline.config import CompactConfig, DedupConfig, FilterConfig, RunConfig
from pipeline.errors import CompactionError
from pipeline.records import TABLES
from pipeline.verify import verify
from tests import oracle, outputs

Content = dict[str, pa.Table]

UNIT_BYTES = 900
"""About the bytes of one image, so that each is a unit of work."""

OLD = DedupConfig(threshold=0.5)
NEW = DedupConfig(threshold=0.8)
THIRD = DedupConfig(threshold=0.9)


def write_inputs(folder: Path) -> tuple[Path, Path]:
    """Write two files of predictions; images 1 and 2 are in the first, 3 in the second."""
    folder.mkdir(parents=True, exist_ok=True)
    files = (folder / "first.json", folder / "second.json")
    for path, images in zip(files, ((1, 2), (3,)), strict=True):
        path.write_text(json.dumps([row for image in images for row in rows(image)]))
    return files


def write_many(folder: Path, n_images: int, is_scattered: bool) -> tuple[Path, Path]:
    """Write two files with images of their own, or with some rows of every image all over."""
    folder.mkdir(parents=True, exist_ok=True)
    files = (folder / "first.json", folder / "second.json")
    every = [row for image in range(n_images) for row in rows(image)]
    half = len(every) // 2
    if is_scattered:
        every = [row for place in range(6) for row in every[place::6]]
    for path, part in zip(files, (every[:half], every[half:]), strict=True):
        path.write_text(json.dumps(part))
    return files


def rows(image: int) -> list[dict[str, Any]]:
    """Return the rows of an image: one is merged, one filtered, one rejected, three are kept."""
    whole = np.zeros((12, 16), bool)
    left = image % 8
    whole[1:9, left : left + 8] = True
    part = whole.copy()
    part[1:4] = False  # 5 of 8 rows: an IoU of 0.625 with the whole, between OLD and NEW
    other = np.zeros((12, 16), bool)
    other[10:, 2:9] = True
    dot = np.zeros((12, 16), bool)
    dot[0, 0] = True
    masks = (whole, whole, part, other, dot)
    rows = [
        {
            "image_id": image,
            "category_id": 1,
            "score": 0.9 - n / 8,
            "bbox": [0, 0, 4, 4],
            "segmentation": {"size": [12, 16], "counts": oracle.encode(mask).decode()},
        }
        for n, mask in enumerate(masks)
    ]
    broken = {"size": [12, 16], "counts": "5"}
    return [*rows, {**rows[0], "segmentation": broken}]


def configure(inputs: Sequence[Path], output: Path, dedup: DedupConfig = NEW) -> CompactConfig:
    """Return the settings of a run of the small job."""
    return CompactConfig(
        inputs=tuple(str(path) for path in inputs),
        output=str(output),
        dedup=dedup,
        filter=FilterConfig(min_area=2),
        run=RunConfig(backend="numba", unit_bytes=UNIT_BYTES),
    )


def run(config: CompactConfig) -> flow.Outcome:
    """Do a whole run in this process; only Ray is not there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execution, "fits_here", lambda plan, config: True)
        patch.setattr(execution, "execute_here", outputs.execute_rest)
        return flow.run(config)


def attempt(config: CompactConfig) -> tuple[flow.Outcome | None, CompactionError | None]:
    """Do a run; return how it ended, or its error."""
    try:
        return run(config), None
    except CompactionError as error:
        return None, error


def content(output: Path | str, version: int | None = None) -> Content:
    """Return the rows of all tables as Maskpress reads them, every column, in an order of keys."""
    opened = publish.open_tables(storage.to_uri(str(output)), version)
    return {
        name: table.to_pyarrow_dataset()
        .to_table()
        .sort_by([("source", "ascending"), ("source_row", "ascending")])
        .combine_chunks()
        for name, table in opened.items()
    }


def published(output: Path) -> Content | None:
    """Return what a reader finds, None where nothing is published."""
    if not DeltaTable.is_deltatable(str(output / "compacted")):
        return None
    found = content(output)
    any_reader = DeltaTable(str(output / "compacted")).to_pyarrow_dataset().to_table()
    assert (
        any_reader.sort_by([("source", "ascending"), ("source_row", "ascending")]).combine_chunks()
        == (found["compacted"])
    ), "Delta's own reader sees other rows than ours"
    return found


def assert_whole(output: Path, wanted: Content) -> None:
    """Check that exactly this is published, that every check passes, and no file is lost."""
    found = published(output)
    assert found is not None
    assert found == wanted
    findings = verify(str(output), is_all=True)
    assert findings.problems == []


def live_files(output: Path) -> set[str]:
    """Return the names of the files that any reader of the newest versions opens."""
    return {
        f"{name}/{uri.rpartition('/')[2]}"
        for name in TABLES
        for uri in DeltaTable(str(output / name)).file_uris()
    }


def finished_units(output: Path) -> dict[str, set[int]]:
    """Return which units each run has a record of whose files are there, by run_id."""
    uri = storage.to_uri(str(output))
    return {
        run_id: {record.unit for record in runs.read_records(uri, run_id)}
        for run_id in storage.list_names(storage.join(uri, "runs"))
    }


@contextmanager
def counted_units() -> Iterator[list[int]]:
    """Give the list of the units that are written while the block runs."""
    written: list[int] = []
    real = tasks.sink.write_unit

    def write_unit(*args: Any) -> Any:
        record = real(*args)
        written.append(record.unit)
        return record

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks.sink, "write_unit", write_unit)
        yield written


class Undisturbed(msgspec.Struct):
    """Two runs of the same inputs, the second over the first, that nothing disturbed."""

    inputs: tuple[Path, Path]
    first: Path
    """Output of the first run alone, to be copied."""
    old: Content
    new: Content
    live: set[str]
    """Names of the files of the second."""


def run_undisturbed(folder: Path) -> Undisturbed:
    """Do both runs."""
    inputs = write_inputs(folder / "in")
    first, second = folder / "first", folder / "second"
    run(configure(inputs, first, OLD))
    run(configure(inputs, second, NEW))
    old, new = published(first), published(second)
    assert old is not None
    assert new is not None
    reasons = set(new["lineage"]["reason"].to_pylist())
    assert reasons == {"exact_duplicate", "min_area"}
    assert old["compacted"].num_rows < new["compacted"].num_rows
    assert new["rejects"].num_rows == 3
    assert len(finished_units(second).popitem()[1]) > 1
    return Undisturbed(inputs, first, old, new, live_files(second))
