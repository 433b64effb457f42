"""The promises that whole runs keep, each in a run in which something would break it.

What holds the others, and all of them after a death anywhere, is named in the README.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import flow, publish, runs, sink, storage
from pipeline.config import CompactConfig, ReadConfig, RunConfig
from pipeline.errors import CompactionError, InputError, StorageError
from tests import outputs
from tests.faults import small

N_UNITS = 2


class Ended(BaseException):
    """The run ends here, as by SIGKILL."""


@pytest.fixture
def inputs(tmp_path: Path) -> tuple[Path, Path]:
    return small.write_inputs(tmp_path / "in")


@pytest.fixture
def old(inputs: tuple[Path, Path], tmp_path: Path) -> small.Content:
    """Return what is published before the run of a test."""
    small.run(small.configure(inputs, tmp_path / "out", small.OLD))
    return small.content(tmp_path / "out")


def refuses(config: CompactConfig, old: small.Content, kind: type[CompactionError]) -> str:
    """Check that a run fails and changes nothing that a reader sees; return its message."""
    with pytest.raises(kind) as caught:
        small.run(config)
    assert small.content(config.output) == old
    return caught.value.message


def test_a_valid_but_shorter_file_is_not_published(
    inputs: tuple[Path, Path],
    old: small.Content,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = small.configure(inputs, tmp_path / "out")
    real = sink.write_table

    def write_short(output: str, name: str, *rest: Any) -> Any:
        file, seconds = real(output, name, *rest)
        path = tmp_path / "out" / name / file.name
        pq.write_table(pq.read_table(path).slice(1), path)
        return file, seconds

    monkeypatch.setattr(sink, "write_table", write_short)
    assert "expected" in refuses(config, old, StorageError)
    monkeypatch.undo()
    assert small.run(config).state == "published"
    assert small.verify(str(tmp_path / "out"), is_all=True).problems == []


@pytest.mark.parametrize("table", ["compacted", "lineage", "rejects"])
def test_a_run_that_lost_a_row_is_not_published(
    table: str,
    inputs: tuple[Path, Path],
    old: small.Content,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def drop(tables: outputs.Tables) -> outputs.Tables:
        return tables | {table: tables[table].slice(1)}

    def execute(*arguments: Any) -> Any:
        return real(*arguments, drop)

    real = outputs.execute_rest
    monkeypatch.setattr(outputs, "execute_rest", execute)
    message = refuses(small.configure(inputs, tmp_path / "out"), old, StorageError)
    assert "every row of the input once" in message
    assert "--run.resume false" in message


def test_repaired_rows_are_in_two_tables_and_counted_once(
    inputs: tuple[Path, Path], tmp_path: Path
) -> None:
    config = small.configure(inputs, tmp_path / "out")
    repair = ReadConfig(on_invalid="repair", repair=("rle_tail",))
    outcome = small.run(dataclasses.replace(config, read=repair))
    assert outcome.report["rows"]["rejected"] == 0
    rejects = small.content(tmp_path / "out")["rejects"]
    assert len(rejects) == len(rejects["repaired"].drop_null()) == 3


@pytest.mark.parametrize("change", [lambda path: path.write_bytes(b"[]"), Path.unlink])
def test_inputs_that_change_stop_the_run(
    change: Callable[[Path], Any],
    inputs: tuple[Path, Path],
    old: small.Content,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = outputs.execute_rest

    def execute(*arguments: Any) -> Any:
        yield from real(*arguments)
        change(inputs[1])

    monkeypatch.setattr(outputs, "execute_rest", execute)
    message = refuses(small.configure(inputs, tmp_path / "out"), old, InputError)
    assert inputs[1].name in message


def test_inputs_are_never_modified(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    def state() -> list[Any]:
        found = [(path, path.stat()) for path in sorted(inputs[0].parent.iterdir())]
        return [
            (path.name, stat.st_mtime_ns, stat.st_ctime_ns, hashlib.sha256(path.read_bytes()))
            for path, stat in found
        ]

    before = [(*entry[:3], entry[3].hexdigest()) for entry in state()]
    small.run(small.configure(inputs, tmp_path / "out"))
    assert [(*entry[:3], entry[3].hexdigest()) for entry in state()] == before


def test_an_image_beyond_the_limit_is_rejected_and_the_others_go_on(
    inputs: tuple[Path, Path], tmp_path: Path
) -> None:
    rows = json.loads(inputs[0].read_text())
    first, other = ([row for row in rows if row["image_id"] == image] for image in (1, 2))
    inputs[0].write_text(json.dumps([*first, *first, *first, *other[:1]]))
    config = small.configure(inputs[:1], tmp_path / "out")
    limit = ReadConfig(max_image_bytes=2000)  # 7 rows of 256 bytes and their masks
    outcome = small.run(dataclasses.replace(config, read=limit))
    assert outcome.report["rejects"] == {"RLE_SUM": 3, "TOO_MANY_MASKS": 15}
    assert outcome.report["rows"]["kept"] == 1
    assert small.verify(str(tmp_path / "out"), is_all=True).problems == []


def test_running_again_does_nothing(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    config = small.configure(inputs, tmp_path / "out")
    first = small.run(config)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    with small.counted_units() as written:
        again = small.run(config)
    assert (first.state, again.state, written) == ("published", "already", [])
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before


def end_at(monkeypatch: pytest.MonkeyPatch, config: CompactConfig, unit: int) -> None:
    """Do a run that ends when the files of a unit are there, and its record is not."""
    real = runs.write_record

    def write_record(output: str, record: Any) -> None:
        if record.unit == unit:
            raise Ended
        real(output, record)

    with monkeypatch.context() as patch:
        patch.setattr(runs, "write_record", write_record)
        with pytest.raises(Ended):
            small.run(config)


@pytest.mark.parametrize("unit", range(N_UNITS))
def test_only_the_unit_in_flight_is_done_twice(
    unit: int, inputs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = small.configure(inputs, tmp_path / "whole")
    small.run(whole)
    config = small.configure(inputs, tmp_path / "out")
    end_at(monkeypatch, config, unit)
    with small.counted_units() as written:
        assert small.run(config).state == "published"
    assert written == list(range(unit, N_UNITS))
    assert small.content(tmp_path / "out") == small.content(tmp_path / "whole")
    report = flow.report.read(storage.to_uri(config.output), small_run_id(config))[0]
    rows = report["rows"]
    assert rows["read"] == rows["kept"] + rows["merged"] + rows["filtered"] + rows["rejected"] == 18


def test_resume_false_starts_over(
    inputs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small.configure(inputs, tmp_path / "out")
    end_at(monkeypatch, config, N_UNITS - 1)
    fresh = dataclasses.replace(
        config, run=RunConfig(backend="numba", unit_bytes=small.UNIT_BYTES, resume=False)
    )
    with small.counted_units() as written:
        assert small.run(fresh).state == "published"
    assert written == list(range(N_UNITS))
    small.run(small.configure(inputs, tmp_path / "whole"))
    assert small.content(tmp_path / "out") == small.content(tmp_path / "whole")


def test_going_back_is_commits_of_metadata_only(
    inputs: tuple[Path, Path], old: small.Content, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    small.run(small.configure(inputs, out))
    before = set(out.glob("*/*.parquet"))
    publish.restore(storage.to_uri(str(out)), 0)
    assert small.content(out) == old
    assert set(out.glob("*/*.parquet")) == before
    added = sorted(str(path.relative_to(out)) for path in out.glob("*/_delta_log/*2.json"))
    assert added == [f"{table}/_delta_log/{2:020d}.json" for table in sorted(old)]


def small_run_id(config: CompactConfig) -> str:
    (run_id,) = {row["run_id"] for row in small.content(config.output)["compacted"].to_pylist()}
    return run_id


def test_the_small_job_has_rows_of_every_fate(old: small.Content) -> None:
    assert all(isinstance(table, pa.Table) and len(table) for table in old.values())
