"""F12: an exception ends a writer amid its file, or leaves a valid file with fewer rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import flow, storage
from pipeline.errors import StorageError
from tests.faults import small, survival

ROWS = pa.table({"image_id": [1, 2, 3]})


@pytest.mark.parametrize("table", ["compacted", "lineage", "rejects"])
def test_a_valid_short_file_is_not_published(
    undisturbed: small.Undisturbed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    output = tmp_path / "out"
    survival.prepare(undisturbed, output, is_second=True)
    before = set(output.glob(f"{table}/part-*"))
    check = flow.checks.before_commit
    shortened: list[Path] = []

    def shorten_first(*arguments: Any) -> Any:
        path = min(set(output.glob(f"{table}/part-*")) - before)
        rows = pq.read_table(path)
        pq.write_table(rows.slice(0, len(rows) - 1), path)
        shortened.append(path)
        return check(*arguments)

    monkeypatch.setattr(flow.checks, "before_commit", shorten_first)
    _, error = small.attempt(small.configure(undisturbed.inputs, output))
    monkeypatch.undo()
    assert isinstance(error, StorageError)
    assert shortened[0].name in error.message
    assert small.published(output) == undisturbed.old
    survival.check(undisturbed, output, is_second=True)


def test_a_writer_that_fails_publishes_no_part_of_an_object(s3_uri: str) -> None:
    def write() -> None:
        with (
            storage.open_output(f"{s3_uri}/rows.parquet") as stream,
            pq.ParquetWriter(stream, ROWS.schema) as writer,
        ):
            writer.write_table(ROWS)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write()
    assert storage.list_names(s3_uri) == []
