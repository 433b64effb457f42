from __future__ import annotations

from pathlib import Path

import pytest
from deltalake import write_deltalake

from pipeline import storage
from pipeline.config import FORMAT_VERSION
from pipeline.errors import StorageError
from pipeline.publish.address import delta_uri
from pipeline.publish.log import (
    explain,
    head_version,
    last_publication,
    live_names,
    open_table,
    publications,
    read_commit,
)
from tests.published import make_rows, publish_run, run_name, schemas


@pytest.fixture
def table_uri(tmp_path: Path) -> str:
    output_uri = storage.to_uri(str(tmp_path / "out"))
    publish_run(output_uri, 1)
    publish_run(output_uri, 2)
    return storage.join(output_uri, "compacted")


def test_a_commit_says_who_published_what(output_uri: str) -> None:
    publish_run(output_uri, 1)
    commit = read_commit(storage.join(output_uri, "compacted"), 0)
    assert commit is not None
    assert commit.marker is not None
    assert commit.operation == "CREATE TABLE"
    assert commit.timestamp_ms > 1_600_000_000_000
    assert commit.marker.run_id == run_name(1)
    assert commit.marker.token == "token-1"
    assert commit.marker.format == FORMAT_VERSION
    assert commit.marker.rows == 7
    assert commit.marker.versions == {"lineage": 0, "rejects": 0}


def test_the_log_may_not_be_cleaned_up(table_uri: str) -> None:
    configuration = open_table(table_uri).metadata().configuration
    assert configuration == {"delta.enableExpiredLogCleanup": "false"}


def test_no_table_no_version(tmp_path: Path) -> None:
    table_uri = storage.to_uri(str(tmp_path / "table"))
    assert head_version(table_uri) is None
    # A commit that died before its first version leaves a folder, perhaps a temporary file.
    (tmp_path / "table" / "_delta_log").mkdir(parents=True)
    (tmp_path / "table" / "_delta_log" / "_commit_1b2c.json.tmp").touch()
    assert head_version(table_uri) is None
    assert read_commit(table_uri, 0) is None


def test_publications_leave_out_foreign_commits(table_uri: str) -> None:
    path = delta_uri(table_uri)
    write_deltalake(path, make_rows(schemas()["compacted"], 1, "foreign"), mode="append")
    assert head_version(table_uri) == 2
    assert [commit.version for commit in publications(table_uri, 2)] == [0, 1]
    assert [commit.version for commit in publications(table_uri, 0)] == [0]
    last = last_publication(table_uri, 2)
    assert last is not None
    assert last.version == 1


def test_live_names_are_those_of_a_version(table_uri: str) -> None:
    assert live_names(table_uri, 0) == {f"part-0000{u}-{run_name(1)}.parquet" for u in (0, 1)}


def test_messages_of_delta_become_one_plain_line() -> None:
    coloured = "Generic S3 error\n   \x1b[31m↳\x1b[0m GET s3://key:secret@b/a\n  \x1b[31m↳\x1b[0m "
    assert explain(OSError(coloured)) == "Generic S3 error GET s3://***@b/a"


def test_an_unreadable_log_is_named(table_uri: str) -> None:
    log = storage.local_path(table_uri) / "_delta_log"
    (log / f"{1:020d}.json").write_text("{not json")
    with pytest.raises(StorageError, match="compacted: could not read the Delta log"):
        open_table(table_uri)
    with pytest.raises(StorageError, match="at version 7"):
        open_table(table_uri, 7)
