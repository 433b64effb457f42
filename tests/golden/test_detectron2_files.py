"""Files that detectron2 itself wrote are read back to the masks that detectron2 itself has."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import pipeline
from pipeline import storage
from pipeline.config import ReadConfig
from pipeline.detector import to_row
from tests import oracle
from tests.pipeline.read.files import Whole, read_whole

FOLDER = Path(__file__).resolve().parent / "detectron2"
MASKS = dict(np.load(FOLDER / "masks.npz"))
ROIS = dict(np.load(FOLDER / "rois.npz"))
IMAGE_IDS = (139, 285)
DATASET_IDS = [1, 7, 44, 90]


def read_golden(name: str, **config: Any) -> Whole:
    return read_whole(storage.inspect_file(f"file://{FOLDER / name}"), ReadConfig(**config))


def masks_of(whole: Whole) -> dict[int, Any]:
    out: dict[int, list[Any]] = {}
    for row in whole.instances.to_pylist():
        mask = oracle.decode((row["height"], row["width"]), row["counts"])
        out.setdefault(row["image_id"], []).append(mask)
    return {image_id: np.stack(masks) for image_id, masks in out.items()}


def classes() -> list[int]:
    return [int(one) for image_id in IMAGE_IDS for one in ROIS[f"classes_{image_id}"]]


@pytest.mark.parametrize(
    "name", ["coco_instances_results.json", "coco_predictions.pth", "lvis_predictions.pth"]
)
def test_predictions(name: str) -> None:
    whole = read_golden(name)
    found = masks_of(whole)
    assert len(whole.rejects) == 0
    for image_id in IMAGE_IDS:
        assert np.array_equal(found[image_id], MASKS[f"predicted_{image_id}"])
    scores = np.concatenate([ROIS[f"scores_{image_id}"] for image_id in IMAGE_IDS])
    assert np.array_equal(whole.instances["score"].to_numpy().astype(np.float32), scores)


@pytest.mark.parametrize("mapping", ["annotations.json", "metadata.json"])
def test_36_categories_of_the_two_files_of_one_model(mapping: str) -> None:
    results = read_golden("coco_instances_results.json").instances["category_id"].to_pylist()
    assert results == [DATASET_IDS[one] for one in classes()]
    raw = read_golden("coco_predictions.pth")
    assert raw.scan.category_space == "contiguous"
    assert raw.instances["category_id"].to_pylist() == classes()
    mapped = read_golden("coco_predictions.pth", category_space={"*.pth": str(FOLDER / mapping)})
    assert mapped.instances["category_id"].to_pylist() == results


@pytest.mark.parametrize("name", ["dataset_dicts.json", "annotations.json"])
def test_datasets(name: str) -> None:
    whole = read_golden(name)
    found = masks_of(whole)
    assert len(whole.rejects) == 0
    for image_id in IMAGE_IDS:
        assert np.array_equal(found[image_id], MASKS[f"dicts_{image_id}"])
    boxes = read_golden("annotations.json").instances.select(["input_bbox_x", "input_bbox_w"])
    assert whole.instances.select(boxes.column_names).equals(boxes)


def test_roi_masks_in_parquet(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = []
    for image_id in IMAGE_IDS:
        height, width = MASKS[f"predicted_{image_id}"].shape[1:]
        for square, (x0, y0, x1, y1) in zip(
            ROIS[f"roi_{image_id}"], ROIS[f"boxes_{image_id}"].tolist(), strict=True
        ):
            row = {"image_id": image_id, "height": height, "width": width}
            rows.append(row | {"roi_mask": square.ravel(), "bbox": [x0, y0, x1 - x0, y1 - y0]})
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rois.parquet")
    found = masks_of(read_whole(storage.inspect_file(f"file://{tmp_path}/rois.parquet")))
    for image_id in IMAGE_IDS:
        assert np.array_equal(found[image_id], MASKS[f"predicted_{image_id}"])


def stand_in(image_id: int, name: str) -> dict[str, Any]:
    """Return a model's output by its duck type, with bitmaps or with ROI masks."""
    masks = MASKS[f"predicted_{image_id}"] if name == "bitmaps" else ROIS[f"roi_{image_id}"]
    fields = {
        "pred_masks": torch.as_tensor(masks),
        "pred_boxes": SimpleNamespace(tensor=torch.as_tensor(ROIS[f"boxes_{image_id}"])),
        "scores": torch.as_tensor(ROIS[f"scores_{image_id}"]),
        "pred_classes": torch.as_tensor(ROIS[f"classes_{image_id}"]),
    }
    return {"instances": SimpleNamespace(get_fields=lambda: fields)}


def real(image_id: int, name: str) -> dict[str, Any]:
    """Return the same as detectron2's own Instances; ROI masks as its models have them."""
    structures = pytest.importorskip("detectron2.structures")
    fields = stand_in(image_id, name)["instances"].get_fields()
    fields["pred_boxes"] = structures.Boxes(fields["pred_boxes"].tensor)
    if name == "rois":
        fields["pred_masks"] = fields["pred_masks"][:, None]
    size = MASKS[f"predicted_{image_id}"].shape[1:]
    return {"instances": structures.Instances(size, **fields)}


@pytest.mark.parametrize("make", [stand_in, real])
@pytest.mark.parametrize("name", ["bitmaps", "rois"])
def test_what_a_model_hands_on(make: Any, name: str) -> None:
    rows = [to_row(make(image_id, name), "x.jpg") for image_id in IMAGE_IDS]
    batch: dict[str, Any] = {key: [row[key] for row in rows] for key in rows[0]}
    shapes = [MASKS[f"predicted_{image_id}"].shape for image_id in IMAGE_IDS]
    batch |= {"image_id": list(IMAGE_IDS), "height": [s[1] for s in shapes]}
    batch |= {"width": [s[2] for s in shapes]}
    stage = pipeline.CompactMasks({"dedup": {"group": "none"}})
    kept = pipeline.unnest(stage(batch)).to_pylist()
    found = {
        (row["image_id"], row["source_row"]): oracle.decode(
            (row["height"], row["width"]), row["counts"]
        )
        for row in kept
    }
    assert len(found) == len(kept) == len(classes())
    for (image_id, place), mask in found.items():
        assert np.array_equal(mask, MASKS[f"predicted_{image_id}"][place])
    assert sorted(row["category_id"] for row in kept) == sorted(classes())


def test_files_are_small() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 200_000
    assert json.loads((FOLDER / "metadata.json").read_text())
