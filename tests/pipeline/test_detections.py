"""A detector's rows: what each form becomes, and what is said of rows that are wrong."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from pipeline import backend
from pipeline.config import CompactConfig, DedupConfig, ReadConfig
from pipeline.detections import Detected, read_detections
from pipeline.errors import CompactionError, InputError, SchemaError
from tests import oracle

H, W = 12, 15


def config(**steps: Any) -> CompactConfig:
    return CompactConfig(inputs=("x",), output="y", **steps)


def bitmaps(n: int = 3) -> np.ndarray[Any, Any]:
    return np.random.default_rng(n).random((n, H, W)) < 0.4


def read(batch: dict[str, Any], **steps: Any) -> Detected:
    return read_detections(batch, "here", config(**steps))


def coco(masks: np.ndarray[Any, Any]) -> list[dict[str, Any]]:
    return [{"size": [H, W], "counts": oracle.encode(mask)} for mask in masks]


def runs(mask: np.ndarray[Any, Any]) -> list[int]:
    return oracle.parse((H, W), oracle.encode(mask))


FORMS: dict[str, Any] = {
    "bool": lambda masks: masks,
    "uint8": lambda masks: masks.astype(np.uint8) * 3,
    "tensor": torch.from_numpy,
    "list of bitmaps": list,
    "object array of bitmaps": lambda masks: _objects(list(masks)),
    "dicts": coco,
    "object array of dicts": lambda masks: _objects(coco(masks)),
    "text": lambda masks: [rle | {"counts": rle["counts"].decode()} for rle in coco(masks)],
    "run lengths": lambda masks: [{"size": [H, W], "counts": runs(mask)} for mask in masks],
    "bare strings": lambda masks: [oracle.encode(mask) for mask in masks],
}


def _objects(values: list[Any]) -> np.ndarray[Any, Any]:
    out = np.empty(len(values), object)
    out[:] = values
    return out


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_mask_is_the_same_mask(form: str) -> None:
    masks = bitmaps(5)
    expected = [oracle.encode(mask) for mask in masks]
    cells = [FORMS[form](masks[:3]), FORMS[form](masks[3:])]
    batch = {"image_id": np.array([4, 2]), "masks": cells}
    batch |= {"height": np.full(2, H), "width": np.full(2, W)}
    found = read(batch)
    assert found.instances["counts"].to_pylist() == expected
    assert found.instances["image_id"].to_pylist() == [4, 4, 4, 2, 2]
    assert (found.image_id.to_pylist(), found.image_N.tolist()) == ([4, 2], [0, 0, 0, 1, 1])
    assert found.place_N.tolist() == [0, 1, 2, 0, 1]
    single = {"image_id": [4, 4, 4, 2, 2], "height": [H] * 5, "width": [W] * 5}
    name = "mask" if "b" in form and "bare" not in form and "object array of d" not in form else ""
    name = name or ("counts" if form == "bare strings" else "segmentation")
    found = read(single | {name: FORMS[form](masks)})
    assert found.instances["counts"].to_pylist() == expected
    assert found.place_N.tolist() == [0, 1, 2, 0, 1]


@pytest.mark.parametrize("kernels", [backend.NUMBA, "torch"], ids=["numba", "torch"])
def test_soft_masks_are_pasted_into_their_boxes(kernels: Any) -> None:
    if kernels == "torch":
        kernels = backend.choose(config(device="auto"), has_gpu=False)
    ones = np.ones((2, 1, 28, 28), np.float32)
    batch: dict[str, Any] = {"image_id": ["a"], "height": [H], "width": [W], "scores": [[0.9, 0.8]]}
    batch |= {"masks": [ones], "boxes": [np.array([[2, 3, 8, 9], [0, 0, 15, 12]], np.float32)]}
    found = read_detections(batch, "here", config(), kernels)
    expected = np.zeros((2, H, W), bool)
    expected[0, 3:9, 2:8] = expected[1] = True
    assert found.instances["counts"].to_pylist() == [oracle.encode(mask) for mask in expected]
    boxes = [found.instances[f"input_bbox_{side}"].to_pylist() for side in "xywh"]
    assert boxes == [[2.0, 0.0], [3.0, 0.0], [6.0, 15.0], [6.0, 12.0]]


def test_polygons_are_filled_by_cocos_rule() -> None:
    ring = [1.0, 1.0, 9.0, 1.0, 9.0, 7.0, 1.0, 7.0]
    batch = {"image_id": [1], "masks": [[[ring]]], "height": [H], "width": [W]}
    assert read(batch).instances["counts"].to_pylist() == [oracle.from_polygons([ring], H, W)]


def test_all_that_a_row_says_is_carried() -> None:
    batch = {
        "image_id": np.array(["b", "a"]),
        "masks": [bitmaps(2), bitmaps(1)],
        "scores": [torch.tensor([0.5, 0.25]), np.array([1.0])],
        "category_ids": [[3, 1], [2]],
        "ids": [[10, None], [11]],
        "iscrowd": [[True, False], [0]],
        "model": ["x", "y"],
    }
    found = read(batch, dedup=DedupConfig(across=True, source_column="model")).instances
    assert found["image_id"].to_pylist() == ["b", "b", "a"]
    assert found["score"].to_pylist() == [0.5, 0.25, 1.0]
    assert found["category_id"].to_pylist() == [3, 1, 2]
    assert found["input_id"].to_pylist() == [10, None, 11]
    assert found["iscrowd"].to_pylist() == [True, False, False]
    assert found["model"].to_pylist() == ["x", "x", "y"]
    assert found["source"].to_pylist() == ["here"] * 3
    assert found["source_row"].to_pylist() == [0, 1, 2]


def test_boxes_of_single_rows_are_cocos() -> None:
    batch = {"image_id": [1], "mask": bitmaps(1), "bbox": [[1, 2, 3, 4]], "score": [0.5]}
    found = read(batch).instances
    assert [found[f"input_bbox_{side}"][0].as_py() for side in "xywh"] == [1.0, 2.0, 3.0, 4.0]


def test_images_without_instances_are_known() -> None:
    found = read({"image_id": [1, 2], "masks": [[], np.zeros((0, H, W), bool)], "scores": [[], []]})
    assert found.image_id.to_pylist() == [1, 2]
    assert len(found.instances) == len(found.rejects) == 0
    assert len(read({"image_id": [], "masks": []}).image_id) == 0


def test_rows_that_cannot_be_used_are_rejected_with_a_reason() -> None:
    batch = {
        "image_id": [1],
        "masks": [[*coco(bitmaps(2)), {"size": [H, W], "counts": "0"}, None]],
        "scores": [[0.5, float("nan"), 0.5, 0.5]],
    }
    found = read(batch)
    assert found.instances["source_row"].to_pylist() == [0]
    rejects = found.rejects.to_pylist()
    assert [row["source_row"] for row in rejects] == [1, 2, 3]
    assert [row["code"] for row in rejects] == ["SCORE", "RLE_SUM", "NO_SEGMENTATION"]
    assert json.loads(rejects[0]["payload"])["score"] == "nan"
    assert json.loads(rejects[1]["payload"])["segmentation"] == {"size": [H, W], "counts": "0"}
    with pytest.raises(InputError, match="row 1: SCORE"):
        read(batch, read=ReadConfig(on_invalid="fail"))


def test_a_size_that_the_row_states_otherwise_is_rejected() -> None:
    batch = {"image_id": [1], "masks": [bitmaps(1)], "height": [H + 1], "width": [W]}
    assert read(batch).rejects["code"].to_pylist() == ["SIZE_MISMATCH"]


GOOD: dict[str, Any] = {"image_id": [1, 2], "masks": [bitmaps(1), bitmaps(2)]}

WRONG: dict[str, tuple[dict[str, Any], type[CompactionError], str]] = {
    "no masks": ({"image_id": [1]}, SchemaError, "masks in one column"),
    "two": (GOOD | {"mask": [1, 2]}, SchemaError, "masks in one column"),
    "no image": ({"masks": [bitmaps(1)]}, SchemaError, "expected the column 'image_id'"),
    "columns": (
        GOOD | {"scores": [[0.5]]},
        SchemaError,
        "expected 2 rows in every",
    ),
    "lengths": (GOOD | {"scores": [[0.5], [0.5]]}, InputError, "image 2: expected as many values"),
    "ids": (GOOD | {"image_id": [1, "b"]}, InputError, "row 0: image_id: expected a string"),
    "null id": (GOOD | {"image_id": [1, None]}, InputError, "row 1: image_id"),
    "fraction": (GOOD | {"category_ids": [[1.5], [1, 1]]}, SchemaError, "'category_ids'"),
    "text": (GOOD | {"scores": [["a"], ["b", "c"]]}, SchemaError, "column 'scores'"),
    "box": (GOOD | {"boxes": [[[1, 2, 3]], [[1, 2, 3]] * 2]}, SchemaError, "expected 4 numbers"),
    "integers": ({"image_id": [1], "masks": [np.ones((1, 2, 2), int)]}, SchemaError, "got int64"),
    "flat": ({"image_id": [1], "masks": [np.ones((2, 2), bool)]}, SchemaError, r"shape \(2, 2\)"),
    "soft": ({"image_id": [1], "masks": [np.ones((1, 2, 2))]}, SchemaError, "expected 'boxes'"),
    "bare": ({"image_id": [1], "masks": [[b"04"]]}, SchemaError, "expected 'height' and 'width'"),
    "mixed": (GOOD | {"masks": [bitmaps(1), coco(bitmaps(2))]}, SchemaError, "one form"),
    "dict": ({"image_id": [7], "masks": [[{"size": [1]}]]}, InputError, "image 7: expected a mask"),
    "number": ({"image_id": [7], "masks": [[5]]}, InputError, "image 7: expected a mask"),
    "sizes": (
        {"image_id": [7], "masks": [[np.ones((1, 2), bool), np.ones((2, 2), bool)]]},
        InputError,
        "one height and width",
    ),
    "no size": ({"image_id": [1], "masks": [np.ones((1, 0, 2), bool)]}, InputError, "1 <= h, w"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_batches_are_refused_by_name(name: str) -> None:
    batch, error, message = WRONG[name]
    with pytest.raises(error, match=message):
        read(batch)


def test_a_table_is_not_a_batch() -> None:
    with pytest.raises(SchemaError, match="batch_format 'numpy'"):
        read([1, 2])  # type: ignore[arg-type]
