from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from deltalake import DeltaTable

from pipeline import storage
from pipeline.errors import ConfigError
from pipeline.publish import (
    find_run,
    inspect_target,
    open_tables,
    publish,
    restore,
    tables,
    vacuum,
    write_heartbeat,
)
from pipeline.publish.address import delta_options, delta_uri
from pipeline.publish.heartbeat import Heartbeat
from pipeline.records import TABLES
from tests.published import publish_run, run_name, schemas, write_run

A, B, C = run_name(1), run_name(2), run_name(3)


@pytest.fixture
def local_uri(tmp_path: Path) -> str:
    return storage.to_uri(str(tmp_path / "out"))


def age(output_uri: str, hours: float) -> None:
    """Make everything in the logs older."""

    def shift(match: re.Match[bytes]) -> bytes:
        return match[1] + str(int(match[2]) - round(hours * 3_600_000)).encode()

    for table in TABLES:
        log_uri = storage.join(output_uri, table, "_delta_log")
        for name in storage.list_names(log_uri):
            uri = storage.join(log_uri, name)
            pattern = rb'("timestamp":|"deletionTimestamp":)(\d+)'
            storage.write_bytes(uri, re.sub(pattern, shift, storage.read_bytes(uri)))


def beat(output_uri: str, run_id: str, hours_ago: float) -> None:
    """Leave the heartbeat of a run that was alive some hours ago."""
    uri = storage.join(output_uri, "runs", run_id, "heartbeat.json")
    storage.write_bytes(uri, msgspec.json.encode(Heartbeat(time.time() - 3600 * hours_ago, 30)))


def leave_record(output_uri: str, run_id: str) -> str:
    name = f"runs/{run_id}/units/00000.json"
    storage.write_bytes(storage.join(output_uri, name), b"{}")
    return name


def names_of(run_id: str, *names: str) -> list[str]:
    names = names or ("compacted/0", "compacted/1", "lineage/0", "rejects/0")
    return [f"{n[:-2]}/part-0000{n[-1]}-{run_id}.parquet" for n in names]


def files_in(output_uri: str) -> set[str]:
    return {
        f"{table}/{name}"
        for table in TABLES
        for name in storage.list_names(storage.join(output_uri, table))
        if name != "_delta_log"
    }


def test_a_version_goes_when_its_retention_is_over(output_uri: str) -> None:
    publish_run(output_uri, 1)
    record = leave_record(output_uri, A)
    publish_run(output_uri, 2)
    assert vacuum(output_uri) == []
    age(output_uri, 167)
    assert vacuum(output_uri) == []
    age(output_uri, 2)
    expected = [*names_of(A), record]
    assert vacuum(output_uri) == expected
    assert files_in(output_uri) == {*names_of(A), *names_of(B)}, "a dry run deletes nothing"
    assert vacuum(output_uri, dry_run=False) == expected
    assert files_in(output_uri) == set(names_of(B))
    assert storage.list_names(storage.join(output_uri, "runs", A, "units")) == []
    assert vacuum(output_uri, dry_run=False) == []
    assert (
        DeltaTable(
            delta_uri(storage.join(output_uri, "compacted")),
            storage_options=delta_options(output_uri),
        )
        .to_pyarrow_table(columns=["run_id"])["run_id"]
        .to_pylist()
        == [B] * 7
    )
    target = inspect_target(output_uri, [])
    assert target.versions == dict.fromkeys(TABLES, 1), "no commit, so no run loses to a vacuum"
    assert find_run(target, A).kind == "absent"


def test_retention_counts_from_when_a_version_was_replaced(local_uri: str) -> None:
    publish_run(local_uri, 1)
    age(local_uri, 1000)
    publish_run(local_uri, 2)
    assert vacuum(local_uri) == []
    assert vacuum(local_uri, retention_hours=0) == names_of(A)


def test_restored_files_are_kept(local_uri: str) -> None:
    publish_run(local_uri, 1)
    publish_run(local_uri, 2)
    restore(local_uri, 0)
    age(local_uri, 1000)
    assert vacuum(local_uri) == names_of(B)


def die_after_lineage(output_uri: str, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Publish a run that dies when it has committed one table."""
    real = tables.commit_files

    def crash(*args: Any) -> int:
        if args[0].endswith("rejects"):
            raise KeyboardInterrupt
        return real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(tables, "commit_files", crash)
        with pytest.raises(KeyboardInterrupt):
            publish_run(output_uri, number)


def test_a_set_is_retained_whole_though_one_table_lost_it_earlier(
    local_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_run(local_uri, 1)
    die_after_lineage(local_uri, 2, monkeypatch)
    age(local_uri, 1000)
    publish_run(local_uri, 3)
    assert vacuum(local_uri, dry_run=False) == []
    restore(local_uri, 0)
    assert find_run(inspect_target(local_uri, []), A).kind == "live"


def test_a_live_set_is_kept_though_a_dead_run_replaced_one_of_its_tables(
    local_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Run B died after its commit of `lineage`: the log of `lineage` has removed A's files,
    # but A is what is published.
    publish_run(local_uri, 1)
    die_after_lineage(local_uri, 2, monkeypatch)
    age(local_uri, 1000)
    assert vacuum(local_uri, dry_run=False) == [], "B has left no heartbeat: in doubt"
    beat(local_uri, B, hours_ago=1000)
    orphans = names_of(B, "compacted/0", "compacted/1", "rejects/0")
    assert vacuum(local_uri, dry_run=False) == orphans
    assert find_run(inspect_target(local_uri, []), A).kind == "live"
    assert len(open_tables(local_uri)["lineage"].to_pyarrow_table()) == 2


def test_files_of_a_run_that_may_live_are_kept(output_uri: str) -> None:
    publish_run(output_uri, 1)
    target = inspect_target(output_uri, [])
    files = write_run(output_uri, B)
    record = leave_record(output_uri, B)
    assert vacuum(output_uri, 0, dry_run=False) == []
    write_heartbeat(output_uri, B, 30)
    assert vacuum(output_uri, 0, dry_run=False) == []
    beat(output_uri, B, hours_ago=47)
    assert vacuum(output_uri, 0, dry_run=False) == []
    publish(target, B, "token", files, schemas(), {})
    assert find_run(inspect_target(output_uri, []), B).kind == "live"
    beat(output_uri, B, hours_ago=49)
    assert vacuum(output_uri) == [], "published: kept however long it has been silent"
    assert storage.exists(storage.join(output_uri, record))


def test_files_of_a_dead_run_go_with_its_records(output_uri: str) -> None:
    publish_run(output_uri, 1)
    write_run(output_uri, B)
    record = leave_record(output_uri, B)
    beat(output_uri, B, hours_ago=49)
    assert vacuum(output_uri, dry_run=False) == [*names_of(B), record]
    assert files_in(output_uri) == set(names_of(A))
    assert publish_run(output_uri, 2) == dict.fromkeys(TABLES, 1), "the run can be made again"


def test_a_run_that_makes_an_expired_version_again_is_safe(local_uri: str) -> None:
    # Its files have the names of those that the log removed long ago.
    publish_run(local_uri, 1)
    publish_run(local_uri, 2)
    age(local_uri, 1000)
    vacuum(local_uri, dry_run=False)
    write_run(local_uri, A)
    write_heartbeat(local_uri, A, 30)
    assert vacuum(local_uri, dry_run=False) == []


def test_temporary_files_go_with_a_dead_run_only(local_uri: str) -> None:
    publish_run(local_uri, 1)
    record = leave_record(local_uri, A)
    folder = storage.local_path(local_uri) / "compacted"
    temp = f".maskpress-tmp-00c0ffee-part-00000-{A}.parquet"
    (folder / temp).touch()
    assert vacuum(local_uri, dry_run=False) == []
    beat(local_uri, A, hours_ago=49)
    assert vacuum(local_uri, dry_run=False) == [f"compacted/{temp}"]
    assert storage.exists(storage.join(local_uri, record)), "A is live: it keeps its records"


def test_what_is_not_ours_is_kept(local_uri: str) -> None:
    publish_run(local_uri, 1)
    for name in ("compacted/notes.txt", "compacted/part-1.parquet", "notes.txt"):
        storage.write_bytes(storage.join(local_uri, name), b"precious")
    assert vacuum(local_uri, 0, dry_run=False) == []


def test_files_that_another_tool_replaced_go_after_retention(local_uri: str) -> None:
    publish_run(local_uri, 1)
    path = delta_uri(storage.join(local_uri, "compacted"))
    DeltaTable(path).delete("image_id = 0")
    foreign = set(storage.list_names(storage.join(local_uri, "compacted")))
    DeltaTable(path).delete("image_id = 1")
    age(local_uri, 1000)
    (replaced,) = [n for n in foreign if A not in n and n != "_delta_log"]
    assert vacuum(local_uri) == [f"compacted/{replaced}"], "A's publication is the newest of ours"


def test_refusals(local_uri: str) -> None:
    with pytest.raises(ConfigError, match="nothing is published"):
        vacuum(local_uri)
    publish_run(local_uri, 1)
    with pytest.raises(ConfigError, match="--retention_hours: expected >= 0, got -1"):
        vacuum(local_uri, -1)
