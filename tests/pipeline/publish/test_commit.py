from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

from pipeline import storage
from pipeline.errors import CommitUnknownError, ConflictError, StorageError
from pipeline.publish import commit
from pipeline.publish.commit import commit_files, commit_restore
from pipeline.publish.log import Marker, head_version, live_names, read_commit
from pipeline.records import DataFile
from tests.published import run_name, schemas

SCHEMA = schemas()["rejects"]


def file_of(number: int) -> DataFile:
    return DataFile("rejects", f"part-00000-{run_name(number)}.parquet", 1, 10, "")


def marker_of(number: int) -> Marker:
    return Marker(run_name(number), f"token-{number}", "0", 1)


def commit_run(table_uri: str, base: int | None, number: int) -> int:
    return commit_files(table_uri, base, [file_of(number)], SCHEMA, marker_of(number), {"k": "v"})


@pytest.fixture
def table_uri(output_uri: str) -> str:
    return storage.join(output_uri, "rejects")


@pytest.fixture
def local_uri(tmp_path: Path) -> str:
    return storage.to_uri(str(tmp_path / "rejects"))


def test_versions_count_from_zero(table_uri: str) -> None:
    assert commit_run(table_uri, None, 1) == 0
    assert commit_run(table_uri, 0, 2) == 1
    assert live_names(table_uri, 1) == {file_of(2).name}
    with pytest.raises(StorageError, match="version 2 could not be committed"):
        commit_restore(table_uri, 1, 0, marker_of(3))  # its file is not there
    storage.write_bytes(storage.join(table_uri, file_of(1).name), b"")
    assert commit_restore(table_uri, 1, 0, marker_of(3)) == 2
    assert live_names(table_uri, 2) == {file_of(1).name}


def test_a_stale_base_is_refused(table_uri: str) -> None:
    commit_run(table_uri, None, 1)
    with pytest.raises(ConflictError, match=f"run {run_name(1)} committed version 0"):
        commit_run(table_uri, None, 2)
    commit_run(table_uri, 0, 2)
    with pytest.raises(ConflictError, match=f"run {run_name(2)} committed version 1"):
        commit_run(table_uri, 0, 3)
    with pytest.raises(ConflictError, match=f"run {run_name(2)} committed version 1"):
        commit_restore(table_uri, 0, 0, marker_of(4))
    assert head_version(table_uri) == 1


@pytest.mark.parametrize("base", [None, 0])
def test_of_racing_commits_one_lands(table_uri: str, base: int | None) -> None:
    if base is not None:
        commit_files(table_uri, None, [], SCHEMA, marker_of(9), {})
    barrier = threading.Barrier(6)
    won: list[int] = []
    lost: list[str] = []

    def race(number: int) -> None:
        barrier.wait()
        try:
            commit_run(table_uri, base, number)
            won.append(number)
        except ConflictError as error:
            lost.append(str(error))

    threads = [threading.Thread(target=race, args=(number,)) for number in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert len(won) == 1
    assert len(lost) == 5
    assert all(f"run {run_name(won[0])} " in text for text in lost)
    version = head_version(table_uri)
    assert version == (0 if base is None else 1)
    assert live_names(table_uri, version) == {file_of(won[0]).name}


def lose_reply(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Make every commit land and then fail, as a store does whose answer is lost."""
    calls: list[str] = []
    create, overwrite = commit.create_table_with_add_actions, DeltaTable.create_write_transaction

    def create_and_fail(*args: Any, **options: Any) -> None:
        calls.append("create")
        create(*args, **options)
        raise CommitFailedError("the reply was lost")

    def overwrite_and_fail(self: DeltaTable, *args: Any, **options: Any) -> None:
        calls.append("overwrite")
        overwrite(self, *args, **options)
        raise CommitFailedError("the reply was lost")

    monkeypatch.setattr(commit, "create_table_with_add_actions", create_and_fail)
    monkeypatch.setattr(DeltaTable, "create_write_transaction", overwrite_and_fail)
    return calls


def test_a_lost_reply_is_read_back(table_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = lose_reply(monkeypatch)
    assert commit_run(table_uri, None, 1) == 0
    assert commit_run(table_uri, 0, 2) == 1
    assert calls == ["create", "overwrite"]
    assert head_version(table_uri) == 1


def test_a_commit_that_landed_late_is_found_by_the_next_attempt(
    local_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = lose_reply(monkeypatch)
    real, reads = commit.read_commit, list[int]()

    def read_late(table_uri: str, version: int) -> Any:
        reads.append(version)
        return None if len(reads) == 1 else real(table_uri, version)

    monkeypatch.setattr(commit, "read_commit", read_late)
    assert commit_run(local_uri, None, 1) == 0
    assert calls == ["create", "create"]
    assert head_version(local_uri) == 0


def test_an_outcome_that_cannot_be_read_is_unknown(
    local_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_reply(monkeypatch)

    def unreadable(table_uri: str, version: int) -> None:
        raise StorageError("the store is away")

    monkeypatch.setattr(commit, "read_commit", unreadable)
    with pytest.raises(CommitUnknownError, match=r"the store is away.*the reply was lost"):
        commit_run(local_uri, None, 1)


def test_a_store_that_always_refuses_ends_after_few_attempts(
    local_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def refuse(*args: Any, **options: Any) -> None:
        calls.append(1)
        raise CommitFailedError("access denied")

    monkeypatch.setattr(commit, "create_table_with_add_actions", refuse)
    with pytest.raises(StorageError, match=r"version 0 could not be committed.*access denied"):
        commit_run(local_uri, None, 1)
    assert len(calls) == 3
    assert head_version(local_uri) is None


def test_a_reply_that_lies_is_not_believed(local_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # "Done", but the log holds another run: a store that ignores conditional writes.
    real = commit.create_table_with_add_actions

    def overwritten(*args: Any, **options: Any) -> None:
        real(*args, **options)
        log = storage.local_path(local_uri) / "_delta_log" / f"{0:020d}.json"
        log.write_text(log.read_text().replace("token-1", "token-2").replace(*run_names))

    run_names = (run_name(1), run_name(2))
    monkeypatch.setattr(commit, "create_table_with_add_actions", overwritten)
    with pytest.raises(ConflictError, match=f"run {run_name(2)}"):
        commit_run(local_uri, None, 1)


def test_statistics_go_into_the_log(local_uri: str) -> None:
    file = DataFile(
        table="rejects",
        name=file_of(1).name,
        rows=3,
        file_bytes=10,
        digest="",
        minimum={"image_id": 1, "score": 0.5},
        maximum={"image_id": 9, "score": float("inf")},
        null_count={"image_id": 0, "score": 1, "category_id": 3},
    )
    commit_files(local_uri, None, [file], SCHEMA, marker_of(1), {})
    log = storage.local_path(local_uri) / "_delta_log" / f"{0:020d}.json"
    actions = [json.loads(line) for line in log.read_text().splitlines()]
    (add,) = [action["add"] for action in actions if "add" in action]
    assert (add["path"], add["size"], add["partitionValues"]) == (file.name, 10, {})
    assert json.loads(add["stats"]) == {
        "numRecords": 3,
        "minValues": {"image_id": 1},
        "maxValues": {"image_id": 9},
        "nullCount": {"image_id": 0, "score": 1, "category_id": 3},
    }


def test_commit_metadata_cannot_hide_the_marker(local_uri: str) -> None:
    commit_files(local_uri, None, [], SCHEMA, marker_of(1), {"run_id": "other", "note": "x"})
    landed = read_commit(local_uri, 0)
    assert landed is not None
    assert landed.marker == marker_of(1)
