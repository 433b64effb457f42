"""Our own tables as input: the masks, ids and extra columns come back as they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import storage
from pipeline.config import FORMAT_VERSION, ReadConfig
from pipeline.errors import InputError, SchemaError
from pipeline.masks.contour import encode_crack
from pipeline.masks.polygon import encode_polygon
from pipeline.masks.rle import to_coco
from schemas.compacted import compacted_schema
from schemas.metadata import FORMAT_KEY
from tests import oracle
from tests.pipeline.read.files import read_whole
from tests.strategies import bitmaps_of, to_batch

SIZE = (12, 9)
EXTRAS = [pa.field("model", pa.large_string())]


def make_rows(bitmaps: list[Any], encodings: list[str]) -> list[dict[str, Any]]:
    batch = to_batch(bitmaps)
    values = {
        "rle": to_coco(batch),
        "crack": encode_crack(batch),
        "polygon": encode_polygon(batch, 1.0),
    }
    rows: list[dict[str, Any]] = []
    for n, (bitmap, encoding) in enumerate(zip(bitmaps, encodings, strict=True)):
        counts = oracle.encode(bitmap)
        box = oracle.to_bbox(SIZE, counts)
        coded = values[encoding]
        data = bytes(coded.bytes_B[coded.offsets_N1[n] : coded.offsets_N1[n + 1]])
        if encoding == "polygon" and not data:
            encoding, data = "rle", counts
        column = {"rle": "counts"}.get(encoding, encoding)
        rows.append(
            {"image_id": n // 2, "instance_id": 2 * n, "input_id": 50 + n, "category_id": 4}
            | {"score": n / 8, "iscrowd": n == 1, "height": SIZE[0], "width": SIZE[1]}
            | {f"bbox_{k}": side for k, side in zip("xywh", box, strict=True)}
            | {f"input_bbox_{k}": side + 0.5 for k, side in zip("xywh", box, strict=True)}
            | {"area": int(bitmap.sum()), "input_area": 3.5, "encoding": encoding, column: data}
            | {"n_merged": 1, "fidelity": 1.0, "source": "before", "source_row": 9}
            | {"model": "a", "run_id": "r"}
        )
    return rows


def write(
    folder: Path, rows: list[dict[str, Any]], written: str = FORMAT_VERSION, **options: Any
) -> storage.InputFile:
    path = folder / "part-0.parquet"
    schema = compacted_schema("int", EXTRAS).with_metadata({FORMAT_KEY: written})
    table = pa.Table.from_pylist(rows, schema=schema)
    pq.write_table(table, path, **options)
    return storage.inspect_file(storage.to_uri(str(path)))


@given(st.lists(bitmaps_of(SIZE), min_size=1, max_size=6), st.data())
@settings(max_examples=40)
def test_masks_come_back(
    tmp_path_factory: pytest.TempPathFactory, bitmaps: list[Any], data: st.DataObject
) -> None:
    encodings = [data.draw(st.sampled_from(["rle", "crack", "polygon"])) for _ in bitmaps]
    rows = make_rows(bitmaps, encodings)
    file = write(tmp_path_factory.mktemp("compacted"), rows, row_group_size=2)
    whole = read_whole(file, unit_bytes=data.draw(st.sampled_from([1, 10**6])))
    assert whole.scan.format == "compacted"
    assert len(whole.rejects) == 0
    for n, (got, row) in enumerate(zip(whole.instances.to_pylist(), rows, strict=True)):
        assert got["counts"] == oracle.encode(bitmaps[n])
        same = ("image_id", "input_id", "category_id", "score", "iscrowd", "input_area", "model")
        for name in (*same, "bbox_x", "bbox_h", "input_bbox_x", "input_bbox_h", "area"):
            assert got[name] == row[name]
        assert (got["source"], got["source_row"]) == (file.uri, n)


def bitmap() -> Any:
    found = np.zeros(SIZE, bool)
    found[2:9, 3:7] = True
    return found


@pytest.mark.parametrize("encoding", ["crack", "polygon"])
def test_damaged_masks_are_an_error(tmp_path: Path, encoding: str) -> None:
    rows = make_rows([bitmap()] * 2, [encoding] * 2)
    rows[1][encoding] = b"\xff" + rows[1][encoding]
    with pytest.raises(InputError, match=rf"part-0.*{encoding}.*damaged"):
        read_whole(write(tmp_path, rows))


def test_files_of_another_format_are_refused(tmp_path: Path) -> None:
    rows = make_rows([bitmap()] * 2, ["rle", "crack"])
    with pytest.raises(SchemaError, match=r"part-0.* expected format 1 of Maskpress, got 0"):
        read_whole(write(tmp_path, rows, written="0"))


def test_unknown_encoding_is_an_error(tmp_path: Path) -> None:
    rows = make_rows([bitmap()] * 2, ["rle", "crack"])
    rows[1]["encoding"] = "jpeg"
    with pytest.raises(InputError, match="expected the encoding rle, crack or polygon"):
        read_whole(write(tmp_path, rows))


def test_damaged_strings_are_refused_one_by_one(tmp_path: Path) -> None:
    rows = make_rows([bitmap()] * 3, ["rle", "crack", "rle"])
    rows[2]["counts"] = b"5"
    whole = read_whole(write(tmp_path, rows))
    assert whole.fault() == ("RLE_SUM", "segmentation.counts")


def test_columns_can_be_left_out(tmp_path: Path) -> None:
    file = write(tmp_path, make_rows([bitmap()], ["crack"]))
    whole = read_whole(file, ReadConfig(drop=("model",)))
    assert "model" not in whole.instances.schema.names
