"""Write the golden files of detectron2: ``python -m tests.golden.make_detectron2``.

Run it where detectron2 is installed; it uses nothing of the product. Written are
the files that detectron2 itself writes (``COCOEvaluator``'s results JSON and
``instances_predictions.pth``, ``LVISEvaluator``'s ``.pth``, dataset dicts as its COCO loader
makes them), what its models hand on (bitmaps, and ROI masks with boxes), and beside
each the masks that detectron2 has of it, in ``masks.npz``.

detectron2 0.6 (git main of November 2026), built against torch 2.13.0 on CPU; torchvision
beside it lacks its operators, whose names are all that is needed.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

_LIBRARY = torch.library.Library("torchvision", "DEF")
for _name in ("nms", "qnms"):
    _LIBRARY.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

import detectron2.utils.env  # noqa: E402, F401

sys.modules.setdefault("cv2", ModuleType("cv2"))  # lvis imports it for its drawings

from detectron2.data import DatasetCatalog, MetadataCatalog  # noqa: E402
from detectron2.data.datasets import register_coco_instances  # noqa: E402
from detectron2.evaluation import COCOEvaluator, LVISEvaluator  # noqa: E402
from detectron2.modeling.postprocessing import detector_postprocess  # noqa: E402
from detectron2.structures import BitMasks, Boxes, Instances  # noqa: E402
from pycocotools import mask as coco_mask  # noqa: E402

FOLDER = Path(__file__).resolve().parent / "detectron2"
SIZES = {139: (60, 80), 285: (47, 63)}
CATEGORY_IDS = [1, 7, 44, 90]
RINGS = {
    139: [
        [[10.5, 5.25, 40.0, 8.0, 35.5, 30.75, 12.0, 28.0]],
        [[50, 10, 75, 10, 75, 50, 50, 50], [5, 40, 20, 40, 12.5, 55]],
        [[-4.0, 20.0, 15.0, 18.0, 10.0, 45.0]],
    ],
    285: [[[3.3, 3.3, 50.7, 6.1, 44.4, 41.9, 20.2, 44.4, 6.6, 30.0]]],
}


def make_annotations() -> dict[str, Any]:
    """Return a dataset of polygons and one crowd, whose category ids have gaps."""
    rng = np.random.default_rng(5)
    annotations: list[dict[str, Any]] = []
    for image_id, polygons in RINGS.items():
        for n, rings in enumerate(polygons):
            xy = np.concatenate([np.reshape(ring, (-1, 2)) for ring in rings])
            box = [*xy.min(axis=0).tolist(), *np.ptp(xy, axis=0).tolist()]
            row = {"segmentation": rings, "iscrowd": 0, "category_id": CATEGORY_IDS[n]}
            annotations.append(row | {"bbox": box, "area": 100.0, "image_id": image_id})
    height, width = SIZES[285]
    crowd = (rng.random((height, width)) < 0.4).ravel(order="F").astype(int)
    ends = np.flatnonzero(np.diff(crowd)) + 1
    runs = np.diff([0, *ends.tolist(), height * width]).tolist()
    counts = runs if crowd[0] == 0 else [0, *runs]
    mask = {"size": [height, width], "counts": counts}
    row = {"segmentation": mask, "iscrowd": 1, "category_id": 90, "bbox": [0, 0, width, height]}
    annotations.append(row | {"area": 100.0, "image_id": 285})
    images = [
        {"id": image_id, "height": h, "width": w, "file_name": f"{image_id}.jpg"}
        | {"neg_category_ids": [], "not_exhaustive_category_ids": []}
        for image_id, (h, w) in SIZES.items()
    ]
    categories = [{"id": n, "name": f"kind {n}", "frequency": "f"} for n in CATEGORY_IDS]
    annotations = [{"id": 10 + n, **row} for n, row in enumerate(annotations)]
    return {"images": images, "annotations": annotations, "categories": categories}


def make_instances(image_id: int) -> tuple[Instances, Any]:
    """Return what a model hands on, pasted, and its ROI masks before that."""
    rng = np.random.default_rng(image_id)
    height, width = SIZES[image_id]
    n = 4
    near = rng.uniform(-3, [width * 0.7, height * 0.7], (n, 2))
    far = near + rng.uniform(6, 40, (n, 2))
    y, x = np.mgrid[-1:1:28j, -1:1:28j]
    waves = [np.cos(3 * x * (k + 1)) * np.cos(2 * y) - x * y / 2 for k in range(n)]
    soft = 1 / (1 + np.exp(-4 * (np.stack(waves) + rng.normal(0, 0.2, (n, 28, 28)) - 0.1)))
    # 8 bits of each probability: the file stays small, and none is 0.5 itself.
    soft = (np.round(soft * 255) / 256 + 1 / 1024).astype(np.float32)
    raw = Instances((height, width))
    raw.pred_boxes = Boxes(torch.as_tensor(np.hstack([near, far]), dtype=torch.float32))
    raw.pred_boxes.clip((height, width))
    raw.scores = torch.as_tensor(rng.random(n), dtype=torch.float32)
    raw.pred_classes = torch.as_tensor(rng.integers(0, len(CATEGORY_IDS), n))
    raw.pred_masks = torch.as_tensor(soft)[:, None]
    before = {
        "roi": soft,
        "boxes": raw.pred_boxes.tensor.numpy().copy(),
        "scores": raw.scores.numpy(),
        "classes": raw.pred_classes.numpy(),
    }
    return detector_postprocess(raw, height, width), before


def to_bitmaps(annotations: list[dict[str, Any]], height: int, width: int) -> Any:
    """Return the masks that detectron2's data loader makes of annotations, bool (N, H, W)."""
    out: list[Any] = []
    for annotation in annotations:
        mask = annotation["segmentation"]
        if isinstance(mask, list):
            rings = [np.asarray(ring, dtype=np.float64) for ring in mask]
            out.append(BitMasks.from_polygon_masks([rings], height, width).tensor[0].numpy())
        else:
            out.append(coco_mask.decode(mask).astype(bool))
    return np.stack(out)


def main() -> None:
    """Write all files."""
    FOLDER.mkdir(exist_ok=True)
    masks: dict[str, Any] = {}
    (FOLDER / "annotations.json").write_text(json.dumps(make_annotations()))
    register_coco_instances("golden", {}, str(FOLDER / "annotations.json"), str(FOLDER))
    dicts = DatasetCatalog.get("golden")
    for image in dicts:
        image["file_name"] = Path(image["file_name"]).name
        size = (image["height"], image["width"])
        masks[f"dicts_{image['image_id']}"] = to_bitmaps(image["annotations"], *size)
    text = json.dumps(dicts, default=lambda value: value.decode())  # the bytes of COCO strings
    (FOLDER / "dataset_dicts.json").write_text(text)
    (FOLDER / "metadata.json").write_text(
        json.dumps(
            {
                "thing_dataset_id_to_contiguous_id": MetadataCatalog.get(
                    "golden"
                ).thing_dataset_id_to_contiguous_id
            }
        )
    )
    rois: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        coco = COCOEvaluator("golden", tasks=("bbox", "segm"), output_dir=folder)
        lvis = LVISEvaluator("golden", tasks=("bbox", "segm"), output_dir=f"{folder}/lvis")
        lvis._do_evaluation = False
        for evaluator in (coco, lvis):
            evaluator.reset()
            for image_id, (height, width) in SIZES.items():
                instances, before = make_instances(image_id)
                masks[f"predicted_{image_id}"] = instances.pred_masks.numpy()
                rois |= {f"{name}_{image_id}": value for name, value in before.items()}
                inputs = {"image_id": image_id, "height": height, "width": width}
                evaluator.process([inputs], [{"instances": instances}])
            evaluator.evaluate()
        for source, target in (
            ("coco_instances_results.json", "coco_instances_results.json"),
            ("instances_predictions.pth", "coco_predictions.pth"),
            ("lvis/instances_predictions.pth", "lvis_predictions.pth"),
        ):
            (FOLDER / target).write_bytes((Path(folder) / source).read_bytes())
    np.savez_compressed(FOLDER / "rois.npz", **rois)
    np.savez_compressed(FOLDER / "masks.npz", **masks)


if __name__ == "__main__":
    main()
