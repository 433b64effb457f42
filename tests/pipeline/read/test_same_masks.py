"""The same 1,000 masks end as the same compacted table, whatever format they come in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import storage
from pipeline.config import CompactConfig, DedupConfig, EncodeConfig, ReadConfig
from pipeline.records import SourceCounts, UnitRecord
from pipeline.sink import parquet_bytes
from pipeline.unit import compact_unit
from schemas.rejects import rejects_schema
from tests.pipeline.read.files import read_whole
from tests.pipeline.read.same_masks import (
    BOXES,
    N_IMAGES,
    N_IN_IMAGE,
    SHAPES,
    Rows,
    make_scene,
    sa1b,
    write_files,
)

PLACE = ("source", "source_row", "run_id", "stability_score")
"""Columns that say where a row came from, which differs, and what only SA-1B has."""

SCENES = {kind: make_scene(kind) for kind in ("shapes", "boxes")}
_EXPECTED: dict[str, pa.Table] = {}


def compact(paths: Sequence[Path], **steps: Any) -> pa.Table:
    """Read files and compact their rows as one unit of work."""
    config = CompactConfig(inputs=("x",), output="y", **steps)
    tables: list[pa.Table] = []
    record = UnitRecord(0, "run")
    for path in paths:
        whole = read_whole(storage.inspect_file(f"file://{path}"), config.read, 50_000)
        assert len(whole.rejects) == 0
        tables.append(whole.instances)
        record.sources[f"file://{path}"] = SourceCounts(read=len(whole.instances))
    rows = pa.concat_tables(tables)
    assert len(rows) == N_IMAGES * N_IN_IMAGE
    nothing = rejects_schema().empty_table()
    found = compact_unit(rows, nothing, record, config, 0.0, lambda uri, rows: []).compacted
    return found.drop_columns([name for name in PLACE if name in found.column_names])


def expected(kind: str, folder: Path) -> pa.Table:
    """Return what the results JSON of a scene ends as: less than all, more than an image's one."""
    if kind not in _EXPECTED:
        found = compact(write_files(folder, SHAPES["results"](SCENES[kind])))
        assert 500 < len(found) < 900
        _EXPECTED[kind] = found
    return _EXPECTED[kind]


@pytest.mark.parametrize("format", list(SHAPES)[1:])
def test_shapes(tmp_path: Path, format: str) -> None:
    # Contiguous ids of detectron2's files are the same numbers here.
    found = compact(write_files(tmp_path, SHAPES[format](SCENES["shapes"])))
    assert found.equals(expected("shapes", tmp_path))


@pytest.mark.parametrize("format", list(BOXES)[1:])
def test_boxes(tmp_path: Path, format: str) -> None:
    found = compact(write_files(tmp_path, BOXES[format](SCENES["boxes"])))
    assert found.equals(expected("boxes", tmp_path))


def test_sa1b_has_no_categories(tmp_path: Path) -> None:
    rows: Rows = [row | {"category_id": None} for row in SCENES["shapes"]]
    (tmp_path / "one").mkdir()
    found = compact(write_files(tmp_path, sa1b(rows)))
    assert found.equals(compact(write_files(tmp_path / "one", SHAPES["results"](rows))))


@pytest.mark.parametrize("encoding", ["rle", "crack"])
def test_our_own_tables(tmp_path: Path, encoding: Any) -> None:
    dedup = DedupConfig(group="none")
    config = CompactConfig(
        inputs=("x",), output="y", dedup=dedup, encode=EncodeConfig(encoding=encoding)
    )
    whole = read_whole(
        storage.inspect_file(
            f"file://{write_files(tmp_path, SHAPES['results'](SCENES['shapes']))[0]}"
        ),
        ReadConfig(),
    )
    record = UnitRecord(0, "run", sources={"x": SourceCounts(read=1_000)})
    nothing = rejects_schema().empty_table()
    table = compact_unit(
        whole.instances, nothing, record, config, 0.0, lambda uri, rows: []
    ).compacted
    path = tmp_path / "own.parquet"
    path.write_bytes(parquet_bytes(table, config))
    assert set(pq.read_table(path)["encoding"].to_pylist()) == {encoding}
    assert compact([path]).equals(expected("shapes", tmp_path))
