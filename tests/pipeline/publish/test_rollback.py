from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from pipeline import storage
from pipeline.errors import ConfigError, ConflictError
from pipeline.publish import find_run, history, inspect_target, open_tables, restore, rollback
from pipeline.publish.address import delta_uri
from pipeline.publish.log import head_version
from pipeline.records import TABLES
from tests.published import publish_run, run_name, schemas

A, B = run_name(1), run_name(2)


@pytest.fixture
def local_uri(tmp_path: Path) -> str:
    return storage.to_uri(str(tmp_path / "out"))


def heads(output_uri: str) -> dict[str, int | None]:
    return {table: head_version(storage.join(output_uri, table)) for table in TABLES}


def run_ids(output_uri: str) -> set[str]:
    """Return the runs whose rows our readers see in any of the tables."""
    found = set[str]()
    for table in open_tables(output_uri).values():
        found |= set(pa.table(table.to_pyarrow_table(columns=["run_id"]))["run_id"].to_pylist())
    return found


def test_history_is_newest_first(output_uri: str) -> None:
    publish_run(output_uri, 1)
    publish_run(output_uri, 2, {"compacted": (5,)})
    restore(output_uri, 0)
    keys = ("version", "run_id", "rows", "restored_from", "is_live")
    entries = history(output_uri)
    assert [tuple(entry[key] for key in keys) for entry in entries] == [
        (2, A, 7, 0, True),
        (1, B, 5, None, False),
        (0, A, 7, None, False),
    ]
    times = [datetime.fromisoformat(entry["timestamp"]) for entry in entries]
    assert times == sorted(times, reverse=True)
    assert times[0].utcoffset() == timedelta(0)


def test_history_of_nothing(local_uri: str) -> None:
    with pytest.raises(ConfigError, match="nothing is published"):
        history(local_uri)


def test_a_table_that_another_tool_changed_has_no_live_publication(local_uri: str) -> None:
    publish_run(local_uri, 1)
    DeltaTable(delta_uri(storage.join(local_uri, "compacted"))).delete("image_id = 0")
    assert [entry["is_live"] for entry in history(local_uri)] == [False]
    assert restore(local_uri, 0) == 2
    assert [entry["is_live"] for entry in history(local_uri)] == [True, False]


def test_restore_is_one_commit_per_table(output_uri: str) -> None:
    publish_run(output_uri, 1)
    publish_run(output_uri, 2)
    assert restore(output_uri, 0) == 2
    assert heads(output_uri) == dict.fromkeys(TABLES, 2)
    assert run_ids(output_uri) == {A}
    target = inspect_target(output_uri, [])
    assert find_run(target, A).kind == "live"
    assert find_run(target, B).kind == "superseded"
    assert restore(output_uri, 1) == 3
    assert run_ids(output_uri) == {B}


def test_restore_brings_the_schema_back(local_uri: str) -> None:
    publish_run(local_uri, 1, tables=schemas("int", (pa.field("model", pa.string()),)))
    publish_run(local_uri, 2)
    assert "model" not in open_tables(local_uri)["compacted"].schema().to_arrow().names
    restore(local_uri, 0)
    assert "model" in open_tables(local_uri)["compacted"].schema().to_arrow().names


def test_restoring_what_is_live_changes_nothing(local_uri: str) -> None:
    publish_run(local_uri, 1)
    assert restore(local_uri, 0) == 0
    assert heads(local_uri) == dict.fromkeys(TABLES, 0)


def test_restoring_an_empty_publication(local_uri: str) -> None:
    publish_run(local_uri, 1, {})
    publish_run(local_uri, 2)
    restore(local_uri, 0)
    assert run_ids(local_uri) == set()
    assert find_run(inspect_target(local_uri, []), A).kind == "live"


def test_a_restore_can_be_restored_and_published_over(local_uri: str) -> None:
    for number in (1, 2):
        publish_run(local_uri, number)
    restore(local_uri, 0)
    publish_run(local_uri, 3)
    assert restore(local_uri, 2) == 4
    assert run_ids(local_uri) == {A}


def test_versions_that_are_not_there(local_uri: str) -> None:
    publish_run(local_uri, 1)
    for version in (-1, 1):
        with pytest.raises(ConfigError, match=f"expected a version from 0 to 0, got {version}"):
            restore(local_uri, version)


def test_files_that_were_deleted_cannot_be_restored(local_uri: str) -> None:
    publish_run(local_uri, 1)
    publish_run(local_uri, 2)
    name = f"part-00000-{A}.parquet"
    storage.remove(storage.join(local_uri, "rejects", name))
    with pytest.raises(ConfigError, match=f"1 of its files were deleted.*rejects/{name}"):
        restore(local_uri, 0)
    assert heads(local_uri) == dict.fromkeys(TABLES, 1)


@pytest.mark.parametrize("done", [1, 2])
def test_a_restore_that_died_shows_the_old_set_and_can_be_repeated(
    local_uri: str, done: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_run(local_uri, 1)
    publish_run(local_uri, 2)
    real, calls = rollback.commit_restore, list[str]()

    def crash(*args: Any) -> int:
        if len(calls) == done:
            raise KeyboardInterrupt
        calls.append(args[0])
        return real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(rollback, "commit_restore", crash)
        with pytest.raises(KeyboardInterrupt):
            restore(local_uri, 0)
    assert run_ids(local_uri) == {B}
    restore(local_uri, 0)
    assert run_ids(local_uri) == {A}


def test_a_restore_loses_to_a_run_that_publishes_meanwhile(
    local_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_run(local_uri, 1)
    publish_run(local_uri, 2)
    real = rollback.missing_files

    def meanwhile(*args: Any) -> list[str]:
        publish_run(local_uri, 3)
        return real(*args)

    monkeypatch.setattr(rollback, "missing_files", meanwhile)
    with pytest.raises(ConflictError, match=f"run {run_name(3)} committed version 2"):
        restore(local_uri, 0)
    assert run_ids(local_uri) == {run_name(3)}


def test_a_run_loses_to_a_restore_meanwhile(local_uri: str) -> None:
    publish_run(local_uri, 1)
    publish_run(local_uri, 2)
    target = inspect_target(local_uri, [])
    restore(local_uri, 0)
    with pytest.raises(ConflictError, match=f"run {A} committed version 2"):
        publish_run(local_uri, 3, target=target)
    assert run_ids(local_uri) == {A}
