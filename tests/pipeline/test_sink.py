"""Files of a unit: settings per column, row groups of whole images, whole or absent."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import sink, storage
from pipeline.config import FORMAT_VERSION, CompactConfig, WriteConfig
from pipeline.errors import StorageError
from pipeline.records import UnitRecord
from schemas.compacted import compacted_schema
from schemas.lineage import lineage_schema


def config(**write: int) -> CompactConfig:
    return CompactConfig(inputs=("x",), output="y", write=WriteConfig(**write))


def compacted(image_ids: list[int]) -> pa.Table:
    schema = compacted_schema("int")
    values = {
        "image_id": image_ids,
        "score": [0.5 if image_id else None for image_id in image_ids],
        "counts": [b"04"] * len(image_ids),
        "encoding": ["rle"] * len(image_ids),
        "source": ["a"] * len(image_ids),
        "run_id": ["r"] * len(image_ids),
    }
    zero = {pa.bool_(): False}
    arrays = [
        pa.array(values[field.name], field.type)
        if field.name in values
        else pa.nulls(len(image_ids), field.type)
        if field.nullable
        else pa.repeat(pa.scalar(zero.get(field.type, 0), field.type), len(image_ids))
        for field in schema
    ]
    return pa.table(arrays, schema=schema)


def test_files_and_record_are_written_and_read_back(tmp_path: Path) -> None:
    table = compacted([0, 1, 1, 2])
    empty = table.slice(0, 0)
    record = sink.write_unit(
        f"file://{tmp_path}",
        {"compacted": table, "lineage": empty},
        UnitRecord(3, "abc"),
        config(),
    )
    (file,) = record.files
    assert (file.table, file.name, file.rows) == ("compacted", "part-00003-abc.parquet", 4)
    path = tmp_path / "compacted" / file.name
    assert path.stat().st_size == file.file_bytes
    assert pq.read_table(path).equals(table)
    assert (file.minimum, file.maximum) == (
        {"image_id": 0, "score": 0.5},
        {"image_id": 2, "score": 0.5},
    )
    assert file.null_count == {"image_id": 0, "category_id": 4, "score": 1}
    stored = (tmp_path / "runs" / "abc" / "units" / "00003.json").read_bytes()
    read_back = msgspec.json.decode(stored, type=UnitRecord)
    # What writing the record took is known only afterwards.
    assert 0 < read_back.stage_s["protect"] < record.stage_s["protect"]
    assert msgspec.structs.replace(read_back, stage_s=record.stage_s) == record


def test_same_rows_give_the_same_bytes() -> None:
    table = compacted(list(range(50)))
    first = sink.parquet_bytes(table, config())
    again = sink.parquet_bytes(pa.concat_tables([table.slice(0, 7), table.slice(7)]), config())
    assert first.equals(again)


def test_settings_of_the_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(sink.parquet_bytes(compacted([1, 2, 3]), config(compression_level=5)))
    file = pq.ParquetFile(path)
    metadata = file.schema_arrow.metadata
    assert metadata[b"maskpress.format"] == FORMAT_VERSION.encode()
    assert msgspec.json.decode(metadata[b"maskpress.config"])["dedup"]["threshold"] == 0.8
    group = file.metadata.row_group(0)
    columns = {group.column(n).path_in_schema: group.column(n) for n in range(group.num_columns)}
    assert "DELTA_LENGTH_BYTE_ARRAY" in columns["counts"].encodings
    assert "BYTE_STREAM_SPLIT" in columns["score"].encodings
    for name in ("image_id", "instance_id", "input_id", "area", "source_row"):
        assert "DELTA_BINARY_PACKED" in columns[name].encodings
    assert "RLE_DICTIONARY" in columns["bbox_x"].encodings
    assert not columns["counts"].is_stats_set
    assert columns["image_id"].is_stats_set
    assert {column.compression for column in columns.values()} == {"ZSTD"}


def test_settings_follow_the_columns_that_are_there() -> None:
    strings = sink.writer_options(compacted_schema("string"), WriteConfig())
    assert "image_id" in strings["use_dictionary"]
    assert "image_id" not in strings["column_encoding"]
    lineage = sink.writer_options(lineage_schema("int"), WriteConfig())["column_encoding"]
    assert lineage["iou"] == lineage["kept_instance_id"] == "PLAIN"
    assert lineage["linked_source_row"] == lineage["image_id"] == "DELTA_BINARY_PACKED"
    assert "crack" not in lineage


@given(image_ids=st.lists(st.integers(0, 4), min_size=1, max_size=40), rows=st.integers(1, 12))
def test_row_groups_hold_whole_images(image_ids: list[int], rows: int) -> None:
    table = pa.table({"image_id": sorted(image_ids)})
    groups = sink.row_groups(table, rows)
    assert [start for start, _ in groups] == [0, *[stop for _, stop in groups[:-1]]]
    assert groups[-1][1] == len(table)
    seen: set[int] = set()
    for start, stop in groups:
        own = set(table["image_id"][start:stop].to_pylist())
        assert not own & seen
        seen |= own
    assert all(stop - start >= rows for start, stop in groups[:-1])


def test_short_file_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(uri: str, data: memoryview) -> None:
        path = Path(uri.removeprefix("file://"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data[:-1])

    monkeypatch.setattr(storage, "write_bytes", cut)
    with pytest.raises(StorageError, match=r"expected \d+ bytes after writing, found \d+"):
        sink.write_unit(
            f"file://{tmp_path}", {"compacted": compacted([1])}, UnitRecord(0, "r"), config()
        )
