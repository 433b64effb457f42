from __future__ import annotations

from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import storage
from pipeline.errors import StorageError
from pipeline.publish import verify_files
from pipeline.publish.files import read_footer
from pipeline.records import DataFile
from tests.published import make_rows, run_name, schemas, write_file, write_run

RUN = run_name(1)


@pytest.fixture
def local_uri(tmp_path: Path) -> str:
    return storage.to_uri(str(tmp_path / "out"))


def path_of(output_uri: str, file: DataFile) -> Path:
    return storage.local_path(storage.join(output_uri, file.table, file.name))


def test_files_as_they_were_written_pass(output_uri: str) -> None:
    files = write_run(output_uri, RUN)
    verify_files(output_uri, [file for table in files.values() for file in table], schemas())


def test_no_files_pass(local_uri: str) -> None:
    verify_files(local_uri, [], schemas())


def test_strings_and_nulls_have_statistics_too(local_uri: str) -> None:
    own = schemas("string")
    rows = make_rows(own["compacted"], 4, RUN)
    for column in ("score", "category_id"):
        index = rows.schema.get_field_index(column)
        values = [None, None, None, 1] if column == "score" else [None] * 4
        field = rows.schema.field(index)
        rows = rows.set_column(index, field, pa.array(values, field.type))
    file = write_file(local_uri, "compacted", rows, RUN, 0)
    assert (file.minimum["score"], file.null_count["score"]) == (1.0, 3)
    assert "category_id" not in file.minimum
    verify_files(local_uri, [file], own)


def test_a_file_without_rows_passes(local_uri: str) -> None:
    file = write_file(local_uri, "lineage", schemas()["lineage"].empty_table(), RUN, 0)
    verify_files(local_uri, [file], schemas())


def test_a_missing_file_is_caught(output_uri: str) -> None:
    files = write_run(output_uri, RUN)
    storage.remove(storage.join(output_uri, "compacted", files["compacted"][1].name))
    with pytest.raises(StorageError, match=rf"part-00001-{RUN}\.parquet: is missing"):
        verify_files(output_uri, files["compacted"], schemas())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"file_bytes": 1}, r"expected 1 bytes, the store has \d+"),
        ({"rows": 5}, "expected 5 rows, its footer says 4"),
        ({"minimum": {"image_id": 1}}, "minimum, maximum and nulls .* of column category_id"),
        ({"maximum": {"image_id": 4, "category_id": 3, "score": 0.1875}}, "column image_id"),
        ({"null_count": {"image_id": 0, "category_id": 0, "score": 1}}, "column score"),
        ({"null_count": {"area": 0}}, r"\(None, None, 0\) of column area.*None, None, None"),
    ],
)
def test_a_wrong_record_is_caught(local_uri: str, change: dict[str, object], message: str) -> None:
    file = write_run(local_uri, RUN)["compacted"][0]
    with pytest.raises(StorageError, match=message):
        verify_files(local_uri, [msgspec.structs.replace(file, **change)], schemas())


def test_a_valid_but_shorter_file_is_caught_whatever_its_size(local_uri: str) -> None:
    # What a writer leaves whose `with` block was left by an exception.
    file = write_run(local_uri, RUN)["compacted"][0]
    path = path_of(local_uri, file)
    pq.write_table(pq.read_table(path).slice(0, 2), path)
    record = msgspec.structs.replace(file, file_bytes=path.stat().st_size)
    with pytest.raises(StorageError, match="expected 4 rows, its footer says 2"):
        verify_files(local_uri, [record], schemas())


@pytest.mark.parametrize("keep", [0, 7, 100])
def test_a_cut_file_is_caught(local_uri: str, keep: int) -> None:
    file = write_run(local_uri, RUN)["compacted"][0]
    path = path_of(local_uri, file)
    path.write_bytes(path.read_bytes()[:keep])
    record = msgspec.structs.replace(file, file_bytes=keep)
    with pytest.raises(StorageError, match="is not a whole Parquet file"):
        verify_files(local_uri, [record], schemas())


@pytest.mark.parametrize("what", ["type", "nullability", "column"])
def test_another_schema_is_caught(local_uri: str, what: str) -> None:
    schema = schemas()["compacted"]
    index = schema.get_field_index("area")
    other = {
        "type": schema.set(index, pa.field("area", pa.int32(), nullable=False)),
        "nullability": schema.set(index, pa.field("area", pa.int64(), nullable=True)),
        "column": schema.remove(index),
    }[what]
    file = write_file(local_uri, "compacted", make_rows(other, 3, RUN), RUN, 0)
    with pytest.raises(StorageError, match="expected the schema"):
        verify_files(local_uri, [file], schemas())


def test_a_footer_larger_than_the_first_read(local_uri: str) -> None:
    wide = pa.table({f"column_{i}": [i] for i in range(2000)})
    storage.write_bytes(storage.join(local_uri, "keep"), b"")
    path = storage.local_path(local_uri) / "wide.parquet"
    pq.write_table(wide, path)
    uri = storage.join(local_uri, "wide.parquet")
    assert read_footer(uri, path.stat().st_size).num_columns == 2000
