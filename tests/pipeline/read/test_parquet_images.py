"""A row per image gives the rows of a row per instance, in every layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import read, storage
from pipeline.config import ReadConfig
from pipeline.errors import InputError, SchemaError
from tests.pipeline.read.files import SQUARE, read_whole

RING = [1.0, 1.0, 4.0, 1.0, 4.0, 4.0, 1.0, 4.0]
INSTANCES = [
    {"category_id": n % 3, "score": n / 10, "bbox": [1, 1, 2, n], "id": 100 + n} for n in range(7)
]
LENGTHS = [2, 0, 4, 1]
IMAGES = {"image_id": [8, 3, 5, 9], "split": ["a", "b", None, "d"]}
SIZES = {"height": [4] * 4, "width": [5] * 4}


def grouped(values: list[Any]) -> list[list[Any]]:
    ends = [sum(LENGTHS[: n + 1]) for n in range(4)]
    return [values[end - length : end] for end, length in zip(ends, LENGTHS, strict=True)]


def lists(**masks: Any) -> dict[str, Any]:
    instances = [row | masks for row in INSTANCES]
    return {name: grouped([row[name] for row in instances]) for name in instances[0]}


def structs(**masks: Any) -> list[list[dict[str, Any]]]:
    return grouped([row | masks for row in INSTANCES])


RLE = {"size": [4, 5], "counts": SQUARE}
LAYOUTS: dict[str, dict[str, Any]] = {
    "list of structs": {"annotations": structs(segmentation=RLE)},
    "instances": {"instances": structs(segmentation=RLE)},
    "structs with strings": {**SIZES, "objects": structs(counts=SQUARE.encode())},
    "structs with rings": {**SIZES, "objects": structs(segmentation=[[1, 1, 3, 1, 3, 3, 1, 3]])},
    "struct of lists": {
        "objects": [
            {name: column[n] for name, column in lists(segmentation=RLE).items()} for n in range(4)
        ]
    },
    "lists of structs beside": lists(segmentation=RLE),
    "lists of strings": {**SIZES, **lists(counts=SQUARE)},
    "lists of counts": {**SIZES, **lists(counts=[5, 2, 2, 2, 9])},
    "lists of rings": {**SIZES, **lists(segmentation=[[1, 1, 3, 1, 3, 3, 1, 3]])},
}


def write(folder: Path, columns: dict[str, Any], **options: Any) -> storage.InputFile:
    path = folder / "input.parquet"
    pq.write_table(pa.table(IMAGES | columns), path, **options)
    return storage.inspect_file(storage.to_uri(str(path)))


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("rows_per_group", [1, 3, 100])
def test_every_layout_gives_the_same_rows(tmp_path: Path, name: str, rows_per_group: int) -> None:
    file = write(tmp_path, LAYOUTS[name], row_group_size=rows_per_group)
    whole = read_whole(file, unit_bytes=1)
    assert whole.scan.format == "parquet_images"
    assert len(whole.rejects) == 0
    rows = whole.instances
    assert rows["image_id"].to_pylist() == [8, 8, 5, 5, 5, 5, 9]
    assert rows["split"].to_pylist() == ["a", "a", None, None, None, None, "d"]
    assert rows["counts"].to_pylist() == [SQUARE.encode()] * 7
    assert rows["source_row"].to_pylist() == list(range(7))
    assert rows["category_id"].to_pylist() == [row["category_id"] for row in INSTANCES]
    assert rows["input_id"].to_pylist() == [row["id"] for row in INSTANCES]
    assert rows["input_bbox_h"].to_pylist() == list(range(7))
    assert whole.scan.n_images == 3
    assert whole.scan.image_id_sample == [5, 5, 5, 5, 8, 8, 9]


def test_nulls_are_no_instances(tmp_path: Path) -> None:
    column: list[Any] = structs(segmentation=RLE)
    column[2] = None
    whole = read_whole(write(tmp_path, {"annotations": column}))
    assert whole.instances["image_id"].to_pylist() == [8, 8, 9]
    columns = lists(segmentation=RLE)
    for values in columns.values():
        values[0] = None
    whole = read_whole(write(tmp_path, columns))
    assert whole.instances["image_id"].to_pylist() == [5, 5, 5, 5, 9]


def test_bad_rows_are_refused_one_by_one(tmp_path: Path) -> None:
    column = structs(segmentation=RLE)
    column[2][1] = column[2][1] | {"segmentation": {"size": [4, 5], "counts": "5"}}
    file = write(tmp_path, {"annotations": column}, row_group_size=2)
    whole = read_whole(file, unit_bytes=1)
    assert whole.fault() == ("RLE_SUM", "segmentation.counts")
    [reject] = whole.rejects.to_pylist()
    assert reject["source_row"] == 3
    payload = json.loads(reject["payload"])
    assert payload["segmentation"] == {"size": [4, 5], "counts": "5"}
    assert (payload["image_id"], payload["id"]) == (5, 103)
    part = whole.scan.slices[1]
    assert read.payloads(part, whole.scan.source, [3]) == [(None, reject["payload"])]


def test_no_category_is_one_class(tmp_path: Path) -> None:
    rows = [{"segmentation": RLE}, {"segmentation": RLE, "category_id": None}]
    for row in rows:
        whole = read_whole(write(tmp_path, {"annotations": [[row]] * 4}))
        assert whole.instances["category_id"].to_pylist() == [None] * 4


def test_lists_of_other_lengths_are_an_error(tmp_path: Path) -> None:
    columns = lists(segmentation=RLE)
    columns["score"][2] = [0.5]
    with pytest.raises(InputError, match="as many values in 'score'"):
        read_whole(write(tmp_path, columns))


def test_bytes_of_images_are_not_repeated(tmp_path: Path) -> None:
    columns = {"image": [{"bytes": b"x", "path": ""}] * 4, "objects": structs(segmentation=RLE)}
    file = write(tmp_path, columns)
    with pytest.raises(SchemaError, match=r"'image'.*--read.drop"):
        read_whole(file)
    assert len(read_whole(file, ReadConfig(drop=("image",))).instances) == 7


def test_names_are_mapped(tmp_path: Path) -> None:
    columns = lists(segmentation=RLE) | {"image_id": ["a", "b", "c", "d"]}
    columns["conf"] = columns.pop("score")
    columns["masks"] = columns.pop("segmentation")
    names = {"score": "conf", "segmentation": "masks"}
    whole = read_whole(write(tmp_path, columns), ReadConfig(columns=names))
    assert whole.scan.format == "parquet_images"
    assert whole.instances["image_id"].to_pylist() == list("aaccccd")
    assert whole.instances["score"].to_pylist() == [n / 10 for n in range(7)]
