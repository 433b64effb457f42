from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from pipeline import storage
from pipeline.errors import ConfigError, ConflictError, SchemaError
from pipeline.publish import find_run, inspect_target, open_tables, publish, tables
from pipeline.publish.address import delta_uri
from pipeline.publish.log import head_version, last_publication
from pipeline.records import TABLES, DataFile
from tests.published import make_rows, publish_run, run_name, schemas, write_run

A, B, C = run_name(1), run_name(2), run_name(3)


@pytest.fixture
def local_uri(tmp_path: Path) -> str:
    return storage.to_uri(str(tmp_path / "out"))


def rows_of(output_uri: str, version: int | None = None) -> dict[str, tuple[int, set[str]]]:
    """Return (rows, run ids) of each table as a publication shows it."""
    found = {}
    for name, table in open_tables(output_uri, version).items():
        data = pa.table(table.to_pyarrow_table(columns=["run_id"]))
        found[name] = (len(data), set(data["run_id"].to_pylist()))
    return found


def test_create_replace_and_open_each_version(output_uri: str) -> None:
    assert publish_run(output_uri, 1) == dict.fromkeys(TABLES, 0)
    assert rows_of(output_uri) == {"lineage": (2, {A}), "rejects": (1, {A}), "compacted": (7, {A})}
    assert publish_run(output_uri, 2, {"compacted": (5,), "lineage": (1, 1)}) == dict.fromkeys(
        TABLES, 1
    )
    assert rows_of(output_uri) == {
        "lineage": (2, {B}),
        "rejects": (0, set()),
        "compacted": (5, {B}),
    }
    assert rows_of(output_uri, 0)["compacted"] == (7, {A})
    assert open_tables(output_uri, 0)["rejects"].version() == 0


@pytest.mark.parametrize("written", ["0", "7"])
def test_tables_of_another_format_are_not_opened(
    local_uri: str, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    monkeypatch.setattr(tables, "FORMAT_VERSION", written)
    publish_run(local_uri, 1)
    monkeypatch.undo()
    with pytest.raises(ConfigError, match=f"has format {written} at version 0 .* format 1;"):
        open_tables(local_uri)


def test_a_run_replaces_tables_of_an_older_format(
    local_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "FORMAT_VERSION", "0")
    publish_run(local_uri, 1)
    monkeypatch.undo()
    publish_run(local_uri, 2)
    assert rows_of(local_uri)["compacted"] == (7, {B})
    with pytest.raises(ConfigError, match="has format 0 at version 0"):
        open_tables(local_uri, 0)


def test_a_run_without_rows_makes_empty_tables(output_uri: str) -> None:
    publish_run(output_uri, 1, {})
    assert rows_of(output_uri) == dict.fromkeys(TABLES, (0, set[str]()))
    publish_run(output_uri, 2, {})
    assert open_tables(output_uri)["compacted"].version() == 1
    target = inspect_target(output_uri, [])
    assert find_run(target, B).kind == "live"
    assert find_run(target, A).kind == "superseded"


def test_schema_in_the_log_is_ours(local_uri: str) -> None:
    extra = pa.field("model", pa.string(), metadata={"meaning": "which model"})
    own = schemas("string", (extra,))
    publish_run(local_uri, 1, tables=own)
    for name, table in open_tables(local_uri).items():
        assert pa.schema(table.schema().to_arrow()).equals(own[name], check_metadata=True)


def test_publishing_what_is_live_changes_nothing(local_uri: str) -> None:
    publish_run(local_uri, 1)
    assert publish_run(local_uri, 1) == dict.fromkeys(TABLES, 0)
    assert head_version(storage.join(local_uri, "compacted")) == 0


def test_extra_columns_may_change_and_the_type_of_image_id_may_not(local_uri: str) -> None:
    publish_run(local_uri, 1)
    wider = schemas("int", (pa.field("model", pa.string()),))
    publish_run(local_uri, 2, tables=wider)
    assert open_tables(local_uri)["compacted"].schema().to_arrow().field("model") is not None
    with pytest.raises(SchemaError, match=r"image_id of type int.*string.*--read\.id_mode int"):
        publish_run(local_uri, 3, tables=schemas("string"))


def test_a_stale_target_loses_and_is_told_to_whom(output_uri: str) -> None:
    publish_run(output_uri, 1)
    stale = inspect_target(output_uri, [])
    publish_run(output_uri, 2)
    with pytest.raises(ConflictError, match=f"run {B} committed version 1"):
        publish_run(output_uri, 3, target=stale)
    assert {head_version(storage.join(output_uri, table)) for table in TABLES} == {1}


def test_a_first_run_loses_to_another_first_run(local_uri: str) -> None:
    stale = inspect_target(local_uri, [])
    publish_run(local_uri, 1)
    with pytest.raises(ConflictError, match=f"run {A} committed version 0"):
        publish_run(local_uri, 2, target=stale)


def test_a_foreign_commit_is_a_conflict_and_is_not_kept(local_uri: str) -> None:
    publish_run(local_uri, 1)
    stale = inspect_target(local_uri, [])
    path = delta_uri(storage.join(local_uri, "compacted"))
    write_deltalake(path, make_rows(schemas()["compacted"], 1, "foreign"), mode="append")
    with pytest.raises(ConflictError, match="a WRITE that is not ours"):
        publish_run(local_uri, 2, target=stale)
    publish_run(local_uri, 2)
    assert rows_of(local_uri)["compacted"] == (7, {B})


def test_a_vacuum_meanwhile_is_no_conflict(local_uri: str) -> None:
    for number in (1, 2):
        publish_run(local_uri, number)
    target = inspect_target(local_uri, [])
    for table in TABLES:
        delta = DeltaTable(delta_uri(storage.join(local_uri, table)))
        delta.vacuum(0, dry_run=False, enforce_retention_duration=False, full=False)
        assert delta.version() == 3
    assert find_run(inspect_target(local_uri, []), B).kind == "live"
    assert publish_run(local_uri, 3, target=target) == dict.fromkeys(TABLES, 4)
    assert rows_of(local_uri)["compacted"] == (7, {C})


@pytest.mark.parametrize("done", [1, 2, 3])
def test_a_crash_between_commits_is_completed_by_running_again(
    local_uri: str, done: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_run(local_uri, 1)
    real, calls = tables.commit_files, list[str]()

    def crash(*args: Any) -> int:
        if len(calls) == done:
            raise KeyboardInterrupt
        calls.append(args[0])
        return real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(tables, "commit_files", crash)
        if done < 3:
            with pytest.raises(KeyboardInterrupt):
                publish_run(local_uri, 2)
        else:
            publish_run(local_uri, 2)
    before = B if done == 3 else A
    assert {run for _, runs in rows_of(local_uri).values() for run in runs} == {before}
    assert publish_run(local_uri, 2) == dict.fromkeys(TABLES, 1)
    assert rows_of(local_uri)["compacted"] == (7, {B})


def test_a_first_run_that_died_is_completed_or_replaced(
    local_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = tables.commit_files

    def crash(*args: Any) -> int:
        if args[0].endswith("rejects"):
            raise KeyboardInterrupt
        return real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(tables, "commit_files", crash)
        with pytest.raises(KeyboardInterrupt):
            publish_run(local_uri, 1)
    with pytest.raises(ConfigError, match="nothing is published"):
        open_tables(local_uri)
    target = inspect_target(local_uri, [])
    assert target.versions == {"lineage": 0, "rejects": None, "compacted": None}
    assert publish_run(local_uri, 2) == {"lineage": 1, "rejects": 0, "compacted": 0}
    assert rows_of(local_uri)["lineage"] == (2, {B})


READERS: dict[str, Callable[[str], list[str]]] = {
    "polars": lambda path: pl.scan_delta(path).collect()["run_id"].to_list(),
    "pandas": lambda path: DeltaTable(path).to_pandas()["run_id"].tolist(),
    "duckdb": lambda path: _read_duckdb(path),
}


def _read_duckdb(path: str) -> list[str]:
    with duckdb.connect() as connection:
        connection.register("compacted", DeltaTable(path).to_pyarrow_dataset())
        rows = connection.execute("SELECT run_id FROM compacted WHERE score >= 0").fetchall()
    return [row[0] for row in rows]


def test_readers_see_the_old_version_or_the_new_one_whole(
    local_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_run(local_uri, 1)
    real = tables.commit_files
    seen: list[str] = []

    def look() -> None:
        # Raw readers of `compacted`, and ours of the set, around every commit.
        path = delta_uri(storage.join(local_uri, "compacted"))
        for read in READERS.values():
            run_ids = read(path)
            assert run_ids in ([A] * 7, [B] * 7)
            seen.append(run_ids[0])
        shown = {run for _, runs in rows_of(local_uri).values() for run in runs}
        assert shown == {seen[-1]}

    def watched(*args: Any) -> int:
        look()
        version = real(*args)
        look()
        return version

    monkeypatch.setattr(tables, "commit_files", watched)
    publish_run(local_uri, 2)
    assert seen == [A] * 15 + [B] * 3


def test_racing_publishers_leave_one_winner(output_uri: str) -> None:
    publish_run(output_uri, 9)
    target = inspect_target(output_uri, [])
    outcomes: dict[str, object] = {}
    barrier = threading.Barrier(4)

    def run(number: int) -> None:
        files = write_run(output_uri, run_name(number), {"compacted": (number,)})
        barrier.wait()
        try:
            publish(target, run_name(number), f"token-{number}", files, schemas(), {})
            outcomes[run_name(number)] = "won"
        except ConflictError as error:
            outcomes[run_name(number)] = str(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    winners = [run_id for run_id, outcome in outcomes.items() if outcome == "won"]
    assert len(outcomes) == 4
    assert len(winners) == 1
    assert all(f"run {winners[0]}" in str(o) for r, o in outcomes.items() if r not in winners)
    assert rows_of(output_uri)["compacted"][1] == set(winners)


class Stepped:
    """Publishers that move one phase at a time, in a given order: checks, then three commits."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go: dict[str, threading.Semaphore] = {}
        self.stopped = threading.Semaphore(0)
        real = tables.commit_files

        def stop_before(*args: Any) -> int:
            self.stopped.release()
            assert self.go[threading.current_thread().name].acquire(timeout=60)
            return real(*args)

        monkeypatch.setattr(tables, "commit_files", stop_before)

    def run(self, order: list[str], actions: dict[str, Callable[[], object]]) -> dict[str, object]:
        outcomes: dict[str, object] = {}

        def act(name: str) -> None:
            assert self.go[name].acquire(timeout=60)
            try:
                outcomes[name] = actions[name]()
            except ConflictError as error:
                outcomes[name] = error
            self.stopped.release()

        self.go = {name: threading.Semaphore(0) for name in actions}
        threads = {name: threading.Thread(target=act, args=(name,), name=name) for name in actions}
        for thread in threads.values():
            thread.start()
        for name in order:
            if threads[name].is_alive() and name not in outcomes:
                self.go[name].release()
                assert self.stopped.acquire(timeout=60)
        for thread in threads.values():
            thread.join(timeout=60)
        return outcomes


@pytest.mark.parametrize("is_twin", [False, True])
def test_every_interleaving_of_two_publishers(
    tmp_path: Path, is_twin: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nothing is read back here, so the files need not exist.
    stepped = Stepped(monkeypatch)
    run_ids = {"a": A, "b": A if is_twin else B}
    for number, turns_of_a in enumerate(combinations(range(8), 4)):
        target = inspect_target(storage.to_uri(str(tmp_path / str(number))), [])

        def act(name: str, target: Any = target) -> dict[str, int]:
            file = DataFile("compacted", f"part-00000-{run_ids[name]}.parquet", 1, 1, "")
            files = {"compacted": [file], "lineage": [], "rejects": []}
            return publish(target, run_ids[name], f"token-{name}", files, schemas(), {})

        order = ["a" if turn in turns_of_a else "b" for turn in range(8)]
        outcomes = stepped.run(order, {"a": lambda: act("a"), "b": lambda: act("b")})
        winners = [name for name, outcome in outcomes.items() if isinstance(outcome, dict)]
        if is_twin:
            assert sorted(winners) == ["a", "b"], order
            assert outcomes["a"] == outcomes["b"] == dict.fromkeys(TABLES, 0), order
        else:
            (winner,) = winners
            (lost,) = [outcome for outcome in outcomes.values() if not isinstance(outcome, dict)]
            assert f"run {run_ids[winner]}" in str(lost), order
            last = last_publication(storage.join(target.uri, "compacted"), 0)
            assert last is not None
            assert last.marker is not None
            assert last.marker.run_id == run_ids[winner]


def test_open_refuses_what_is_not_published(local_uri: str) -> None:
    with pytest.raises(ConfigError, match="nothing is published"):
        open_tables(local_uri)
    publish_run(local_uri, 1)
    with pytest.raises(ConfigError, match="expected a version from 0 to 0, got 4"):
        open_tables(local_uri, 4)
