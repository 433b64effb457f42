"""Every part of a published output, damaged by hand: each damage is named by where it is."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest

from pipeline.verify import verify
from tests.faults import small

Change = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("damage")
    small.run(small.configure(small.write_inputs(folder / "in"), folder / "out"))
    assert verify(str(folder / "out"), is_all=True).problems == []
    return folder / "out"


@pytest.fixture
def out(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "out"))


def named(out: Path) -> set[str]:
    return {problem.where for problem in verify(str(out)).problems}


@pytest.mark.parametrize("table", ["compacted", "lineage", "rejects"])
def test_two_files_that_took_each_others_place_are_both_named(out: Path, table: str) -> None:
    first, second, *_ = sorted((out / table).glob("*.parquet"))
    spare = out / "spare"
    first.rename(spare)
    second.rename(first)
    spare.rename(second)
    assert named(out) >= {f"{table}/{first.name}", f"{table}/{second.name}"}


@pytest.mark.parametrize("column", ["counts", "n_merged", "fidelity", "instance_id", "score"])
def test_one_bit_of_a_column_is_named_by_its_file(out: Path, column: str) -> None:
    path = min((out / "compacted").glob("*.parquet"))
    group = pq.ParquetFile(path).metadata.row_group(0)
    chunk = next(
        group.column(n)
        for n in range(group.num_columns)
        if group.column(n).path_in_schema == column
    )
    data = bytearray(path.read_bytes())
    data[chunk.data_page_offset + chunk.total_compressed_size - 2] ^= 1
    path.write_bytes(data)
    assert named(out) == {f"compacted/{path.name}"}


def edit(path: Path, change: Change) -> None:
    record = msgspec.json.decode(path.read_bytes())
    change(record)
    path.write_bytes(msgspec.json.encode(record))


def fewer_rows(record: dict[str, Any]) -> None:
    record["files"][0]["rows"] -= 1


def other_checksum(record: dict[str, Any]) -> None:
    record["files"][0]["digest"] = "0" * 32


def other_file(record: dict[str, Any]) -> None:
    record["files"][0]["name"] = "part-00009-" + record["run_id"] + ".parquet"


def other_fate(record: dict[str, Any]) -> None:
    counts = next(iter(record["sources"].values()))
    counts["kept"] += 1
    counts["merged"] -= 1


@pytest.mark.parametrize("change", [fewer_rows, other_checksum, other_file, other_fate])
def test_a_changed_record_is_named(out: Path, change: Change) -> None:
    path = min(out.glob("runs/*/units/*.json"))
    file = msgspec.json.decode(path.read_bytes())["files"][0]
    edit(path, change)
    found = named(out)
    places = {f"{file['table']}/{file['name']}", str(path.relative_to(out))}
    assert found & places, found


def test_a_record_that_is_gone_is_named_by_its_files(out: Path) -> None:
    path = min(out.glob("runs/*/units/*.json"))
    files = msgspec.json.decode(path.read_bytes())["files"]
    path.unlink()
    assert named(out) == {f"{file['table']}/{file['name']}" for file in files}


def test_a_file_that_nobody_published_is_no_problem(out: Path) -> None:
    path = min((out / "compacted").glob("*.parquet"))
    shutil.copy(path, path.with_name("part-00077-" + "0" * 16 + ".parquet"))
    assert named(out) == set()
