"""Formats with an object per image: detectron2's predictions and dataset dicts, SA-1B."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import read
from pipeline.config import ReadConfig
from pipeline.errors import ConfigError, InputError, SchemaError
from pipeline.read.text import _torch_text
from tests import oracle
from tests.pipeline.read.files import (
    SQUARE,
    make_annotation,
    make_annotations,
    make_rle,
    make_row,
    read_whole,
    write_file,
)

RING = [1, 1, 4, 1, 4, 4, 1, 4]


def make_predictions() -> list[dict[str, Any]]:
    rows = [make_row(image_id=n // 3, category_id=n % 4, score=n / 10) for n in range(8)]
    return [{"image_id": n, "instances": [r for r in rows if r["image_id"] == n]} for n in range(4)]


def make_dicts() -> list[dict[str, Any]]:
    annotations = [
        {"bbox": [1, 1, 4, 4], "bbox_mode": 0, "category_id": 0, "segmentation": [RING]},
        {"bbox": [1, 1, 3, 3], "bbox_mode": 1, "category_id": 1, "segmentation": [RING]},
        {"category_id": 1, "iscrowd": 1, "segmentation": make_rle([0, 100], 10, 10)},
    ]
    image = {"file_name": "../../x.jpg", "height": 10, "width": 10}
    return [
        image | {"image_id": 4, "annotations": annotations[:2]},
        image | {"image_id": 2, "annotations": []},
        image | {"image_id": 3, "annotations": annotations[2:]},
    ]


def make_sa1b(n_masks: int = 3) -> dict[str, Any]:
    annotation = {
        "bbox": [1, 1, 2, 2],
        "area": 4,
        "segmentation": make_rle(SQUARE),
        "point_input": [[1.5, 2.5]],
        "crop_box": [0, 0, 5, 4],
    }
    return {
        "image": {"image_id": 321, "width": 5, "height": 4, "file_name": "sa_321.jpg"},
        "annotations": [
            annotation | {"id": 10 + n, "predicted_iou": n / 8, "stability_score": 1 - n / 8}
            for n in range(n_masks)
        ],
    }


def to_torch(value: Any) -> bytes:
    torch = pytest.importorskip("torch")
    stream = io.BytesIO()
    torch.save(value, stream)
    return stream.getvalue()


@pytest.mark.parametrize("pack", ["json", "pth", "gz"])
@pytest.mark.parametrize("unit_bytes", [1, 400, 1 << 20])
def test_predictions(tmp_path: Path, pack: str, unit_bytes: int) -> None:
    value = make_predictions()
    data = json.dumps(value).encode()
    packed = {
        "json": lambda: data,
        "pth": lambda: to_torch(value),
        "gz": lambda: gzip.compress(data),
    }
    file = write_file(tmp_path, packed[pack](), f"x.{pack}")
    whole = read_whole(file, unit_bytes=unit_bytes)
    assert whole.scan.format == "detectron2_predictions"
    assert whole.scan.category_space == "contiguous"
    assert whole.instances["image_id"].to_pylist() == [n // 3 for n in range(8)]
    assert whole.instances["score"].to_pylist() == [n / 10 for n in range(8)]
    assert whole.instances["category_id"].to_pylist() == [n % 4 for n in range(8)]
    assert whole.instances["counts"].to_pylist() == [SQUARE.encode()] * 8
    assert whole.scan.n_images == 4


def test_dataset_dicts(tmp_path: Path) -> None:
    whole = read_whole(write_file(tmp_path, make_dicts()), unit_bytes=1)
    assert whole.scan.format == "detectron2_dicts"
    rows = whole.instances.to_pylist()
    assert [row["image_id"] for row in rows] == [4, 4, 3]
    assert [row["area"] for row in rows] == [9, 9, 100]
    assert rows[0]["counts"] == oracle.from_polygons([RING], 10, 10)
    assert [[row[f"input_bbox_{k}"] for k in "xywh"] for row in rows] == [
        [1, 1, 3, 3],
        [1, 1, 3, 3],
        [None] * 4,
    ]
    assert [row["iscrowd"] for row in rows] == [False, False, True]


def test_sa1b(tmp_path: Path) -> None:
    whole = read_whole(write_file(tmp_path, make_sa1b()))
    assert whole.scan.format == "sa1b"
    rows = whole.instances
    assert rows["image_id"].to_pylist() == [321] * 3
    assert rows["category_id"].to_pylist() == [None] * 3
    assert rows["score"].to_pylist() == [0, 0.125, 0.25]
    assert rows["stability_score"].to_pylist() == [1, 0.875, 0.75]
    assert rows["input_id"].to_pylist() == [10, 11, 12]
    assert rows["input_area"].to_pylist() == [4] * 3
    empty = read_whole(write_file(tmp_path, make_sa1b(0)))
    assert [part.n_rows for part in empty.scan.slices] == []


def test_bad_rows_have_their_place_and_can_be_given_back(tmp_path: Path) -> None:
    value = make_sa1b()
    value["annotations"][1]["segmentation"] = make_rle("5")
    value["annotations"][2]["predicted_iou"] = "high"
    file = write_file(tmp_path, value)
    whole = read_whole(file)
    assert whole.fault() == ("RLE_SUM", "segmentation.counts")
    [reject] = whole.rejects.to_pylist()
    assert reject["source_row"] == 1
    data = Path(file.uri.removeprefix("file://")).read_bytes()
    assert data[reject["byte_offset"] :].startswith(b'{"bbox": [1, 1, 2, 2]')
    payload = json.loads(reject["payload"])
    assert (payload["image_id"], payload["height"], payload["id"]) == (321, 4, 11)
    assert whole.instances["score"].to_pylist() == [0, None]
    part = whole.scan.slices[0]
    assert read.payloads(part, whole.scan.source, [1]) == [
        (reject["byte_offset"], reject["payload"])
    ]
    payload["segmentation"] = make_rle(SQUARE)
    again = read_whole(write_file(tmp_path, [payload]))
    assert again.instances["input_id"].to_pylist() == [11]


@pytest.mark.parametrize("instances", [[5], [{}], [None, make_row()], [[]]])
def test_instances_that_are_no_rows(tmp_path: Path, instances: list[Any]) -> None:
    value = [{"image_id": 1, "instances": [make_row(image_id=1), *instances]}]
    whole = read_whole(write_file(tmp_path, value))
    assert len(whole.rejects) == 1
    assert set(whole.instances["image_id"].to_pylist()) == {1}
    assert set(whole.rejects["code"].to_pylist()) <= {"NO_SEGMENTATION", "IMAGE_ID", "CATEGORY"}


DAMAGED: list[tuple[Any, str]] = [
    ([{"image_id": 1, "instances": [make_row()]}, {"image_id": 2, "instances": 5}], "list under"),
    ([{"image_id": 1, "instances": [make_row()]}, 7], "list under 'instances'"),
    ({"image": {"image_id": "x"}, "annotations": [make_row()]}, "64-bit integer, got 'x'"),
    ({"image": {"image_id": 2**70}, "annotations": [make_row()]}, "64-bit integer"),
    ([{"image_id": 1, "instances": [make_row(segmentation=...)]}], "boxes only"),
]


@pytest.mark.parametrize(("value", "message"), DAMAGED)
def test_other_shapes_are_errors(tmp_path: Path, value: Any, message: str) -> None:
    with pytest.raises((InputError, SchemaError), match=message):
        read_whole(write_file(tmp_path, value))


def test_cut_off_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cut off"):
        read_whole(write_file(tmp_path, json.dumps(make_predictions())[:-5]))


class Evil:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("is_torch", [False, True])
def test_43_pickles_are_not_run(tmp_path: Path, is_torch: bool) -> None:
    canary = tmp_path / "canary"
    value = [Evil(canary)]
    data = to_torch(value) if is_torch else pickle.dumps(value)
    with pytest.raises(SchemaError, match="UNSAFE_TYPE"):
        read_whole(write_file(tmp_path, data, "x.pth"))
    assert not canary.exists()


def test_torch_values_that_are_no_json(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    rows = [make_row(image_id=1, score=torch.tensor(0.5))]
    whole = read_whole(
        write_file(tmp_path, to_torch([{"image_id": 1, "instances": rows}]), "x.pth")
    )
    assert whole.instances["score"].to_pylist() == [0.5]
    with pytest.raises(SchemaError, match="expected"):
        read_whole(write_file(tmp_path, to_torch([1 + 2j]), "x.pth"))
    with pytest.raises(InputError, match="damaged archive"):
        read_whole(write_file(tmp_path, to_torch(make_predictions())[:-100], "x.pth"))


def test_strings_as_bytes_and_numbers_that_are_not_finite(tmp_path: Path) -> None:
    rows = [
        make_row(image_id=1, segmentation=make_rle(SQUARE.encode())),
        make_row(image_id=1, score=float("nan")),
        make_row(image_id=1, bbox=(1.0, 1.0, float("inf"), 2.0)),
    ]
    value = [{"image_id": 1, "instances": rows}]
    whole = read_whole(write_file(tmp_path, to_torch(value), "x.pth"))
    assert whole.instances["counts"].to_pylist() == [SQUARE.encode()]
    assert whole.rejects["code"].to_pylist() == ["SCORE", "BBOX"]


def test_torch_is_optional(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_file(tmp_path, to_torch(make_predictions()), "x.pth")
    monkeypatch.setitem(sys.modules, "torch", None)
    _torch_text.cache_clear()
    with pytest.raises(ConfigError, match="pip install"):
        read_whole(file)


CATEGORIES = {"categories": [{"id": n, "name": str(n)} for n in (90, 1, 44, 7)]}
METADATA = {"thing_dataset_id_to_contiguous_id": {"1": 0, "7": 1, "44": 2, "90": 3}}


@pytest.mark.parametrize("mapping", [CATEGORIES, METADATA])
def test_36_contiguous_ids_are_mapped(tmp_path: Path, mapping: Any) -> None:
    (tmp_path / "meta.json").write_text(json.dumps(mapping))
    config = ReadConfig(category_space={"*.pred": str(tmp_path / "meta.json")})
    value = make_predictions()
    value[0]["instances"][1]["category_id"] = 4
    whole = read_whole(write_file(tmp_path, value, "x.pred"), config)
    assert whole.scan.category_space == "dataset"
    ids = [1, 44, 90, 1, 7, 44, 90]
    assert whole.instances["category_id"].to_pylist() == ids
    assert whole.fault() == ("CATEGORY", "category_id")


def test_36_ids_of_two_kinds_do_not_meet(tmp_path: Path) -> None:
    files = [
        write_file(tmp_path, make_predictions(), "a.json"),
        write_file(tmp_path, make_annotations(make_annotation([RING])), "b.json"),
    ]
    scans = [read.scan(file, ReadConfig(), 1 << 20) for file in files]
    with pytest.raises(SchemaError, match=r"a.json and dataset ids in .*b.json"):
        read.check_category_spaces(files, scans)
    config = ReadConfig(category_space={"*": "dataset"})
    read.check_category_spaces(files, [read.scan(file, config, 1 << 20) for file in files])
    read.check_category_spaces(files[:1], scans[:1])


@pytest.mark.parametrize("mapping", [{}, {"categories": []}, {"categories": [{"id": "x"}]}, [1]])
def test_36_maps_that_are_none(tmp_path: Path, mapping: Any) -> None:
    (tmp_path / "meta.json").write_text(json.dumps(mapping))
    config = ReadConfig(category_space={"*": str(tmp_path / "meta.json")})
    with pytest.raises(ConfigError, match=r"--read.category_space: .*categories"):
        read_whole(write_file(tmp_path, make_predictions(), "x.json"), config)


def test_same_masks_in_every_json_format(tmp_path: Path) -> None:
    rows = [make_annotation([RING], id=n, bbox=[1, 1, 3, 3]) for n in range(4)]
    image = {"image_id": 7, "height": 10, "width": 10}
    formats = [
        make_annotations(*rows),
        [image | {"annotations": [{k: v for k, v in r.items() if k != "image_id"} for r in rows]}],
        {"image": image, "annotations": rows},
        [row | {"height": 10, "width": 10} for row in rows],
    ]
    found = [read_whole(write_file(tmp_path, content)).instances for content in formats]
    for table in found[1:]:
        assert table.select(["counts", "area", "input_bbox_x", "input_id"]) == found[0].select(
            ["counts", "area", "input_bbox_x", "input_id"]
        )
    assert np.all(found[0]["area"].to_numpy() == 9)
