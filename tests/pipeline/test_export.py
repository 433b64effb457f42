"""Tables in other formats: the same masks, the ids and boxes that came in, readable again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import pipeline
from pipeline.config import CompactConfig, DedupConfig, EncodeConfig
from pipeline.stored import coco_counts
from tests import model, oracle
from tests.outputs import run_inline

ROOT = Path(__file__).resolve().parents[2]
RESULTS = "detectron2_mask_rcnn_coco_instances_results.json"
LVIS = "lvis_val_100.json"


@pytest.fixture(scope="module")
def outputs(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return a table of each encoding, of results and of annotations, and one with unions."""
    folder = tmp_path_factory.mktemp("out")
    found: dict[str, Path] = {}
    settings: dict[str, tuple[str, dict[str, Any]]] = {
        "rle": (RESULTS, {}),
        "crack": (LVIS, {"encode": EncodeConfig(encoding="crack")}),
        "polygon": (RESULTS, {"encode": EncodeConfig(encoding="polygon", fidelity=0.9)}),
        "union": (RESULTS, {"dedup": DedupConfig(threshold=0.3, merge="union")}),
    }
    for name, (file, steps) in settings.items():
        found[name] = folder / name
        inputs = (str(shared_data / file),)
        run_inline(CompactConfig(inputs=inputs, output=str(found[name]), **steps))
    return found


def export(output: Path, to: str, target: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "jobs" / "export.py"), str(output)]
    return subprocess.run(
        [*command, "--to", to, "--output", str(target), *flags],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def masks(rows: list[dict[str, Any]]) -> dict[Any, bytes]:
    """Return canonical masks by (image_id, category_id, score, box)."""
    found: dict[Any, bytes] = {}
    for row in rows:
        key = (row["image_id"], row["category_id"], row.get("score"), tuple(row["bbox"]))
        size, counts = row["segmentation"]["size"], row["segmentation"]["counts"]
        found[key] = oracle.canonical(tuple(size), counts.encode())
    return found


def test_results_come_back_with_their_boxes(
    outputs: dict[str, Path], shared_data: Path, tmp_path: Path
) -> None:
    done = export(outputs["rle"], "results", tmp_path / "r.json")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("196 masks written")
    written = json.loads((tmp_path / "r.json").read_text())
    given = masks(json.loads((shared_data / RESULTS).read_text()))
    assert masks(written).items() <= given.items()
    assert len(written) == 196


def test_annotations_keep_ids_area_and_crowds(
    outputs: dict[str, Path], shared_data: Path, tmp_path: Path
) -> None:
    done = export(outputs["crack"], "coco", tmp_path / "a.json")
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "a.json").read_text())
    given = json.loads((shared_data / LVIS).read_text())
    by_id = {row["id"]: row for row in given["annotations"]}
    expected = {row.input_id: row.mask for row in model.load_annotations(shared_data / LVIS)}
    sizes = {image["id"]: (image["height"], image["width"]) for image in given["images"]}
    for row in document["annotations"]:
        source = by_id[row["id"]]
        for name in ("image_id", "category_id", "bbox", "area"):
            assert row[name] == source[name]
        assert row["iscrowd"] == source.get("iscrowd", 0)
        assert row["segmentation"]["counts"].encode() == expected[row["id"]]
    used = {row["image_id"] for row in document["annotations"]}
    assert {i["id"]: (i["height"], i["width"]) for i in document["images"]} == {
        key: sizes[key] for key in used
    }
    assert {c["id"] for c in document["categories"]} == {
        row["category_id"] for row in document["annotations"]
    }


def test_dataset_dicts_are_one_per_image(outputs: dict[str, Path], tmp_path: Path) -> None:
    assert export(outputs["rle"], "detectron2", tmp_path / "d.json").returncode == 0
    dicts = json.loads((tmp_path / "d.json").read_text())
    ids = [entry["image_id"] for entry in dicts]
    assert len(set(ids)) == len(ids)
    assert sum(len(entry["annotations"]) for entry in dicts) == 196
    first = dicts[0]["annotations"][0]
    assert first["bbox_mode"] == 1
    assert first["segmentation"]["size"] == [dicts[0]["height"], dicts[0]["width"]]


def test_images_and_categories_of_the_dataset_are_taken_over(
    outputs: dict[str, Path], shared_data: Path, tmp_path: Path
) -> None:
    given = json.loads((shared_data / LVIS).read_text())
    given["images"].append({**given["images"][0], "id": 10**9, "file_name": "empty.jpg"})
    like = tmp_path / "like.json"
    like.write_text(json.dumps(given))
    done = export(outputs["crack"], "coco", tmp_path / "a.json", "--like", str(like))
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "a.json").read_text())
    for name in ("images", "categories", "info", "licenses"):
        assert document.get(name) == given.get(name)
    assert len(document["annotations"]) == 977
    done = export(outputs["crack"], "detectron2", tmp_path / "d.json", "--like", str(like))
    assert done.returncode == 0, done.stderr
    names = {image["id"]: image.get("file_name") for image in given["images"]}
    for entry in json.loads((tmp_path / "d.json").read_text()):
        assert entry.get("file_name") == names[entry["image_id"]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["images"].pop(), "got none; name the dataset"),
        (lambda d: [i.update(height=1) for i in d["images"]], "got 1 x"),
        (lambda d: d["images"][0].pop("id"), "objects with id, height and width"),
        (lambda d: d.pop("images"), "missing required field `images`"),
    ],
)
def test_another_dataset_is_refused(
    outputs: dict[str, Path], shared_data: Path, tmp_path: Path, change: Any, message: str
) -> None:
    given = json.loads((shared_data / LVIS).read_text())
    change(given)
    (tmp_path / "like.json").write_text(json.dumps(given))
    done = export(
        outputs["crack"], "coco", tmp_path / "a.json", "--like", str(tmp_path / "like.json")
    )
    assert done.returncode == 2
    assert message in done.stderr
    assert not (tmp_path / "a.json").exists()


def test_flag_that_does_not_apply_is_said(outputs: dict[str, Path], tmp_path: Path) -> None:
    done = export(outputs["crack"], "results", tmp_path / "a.json", "--like", "x.json")
    assert done.returncode == 2
    assert "goes with --to coco or detectron2" in done.stderr


def test_changed_masks_get_measured_boxes(outputs: dict[str, Path], tmp_path: Path) -> None:
    for name in ("union", "polygon"):
        assert export(outputs[name], "coco", tmp_path / f"{name}.json").returncode == 0
        rows = {
            row["instance_id"]: row
            for image in pipeline.load(str(outputs[name]))
            for row in image.rows.to_pylist()
        }
        changed = 0
        for row in json.loads((tmp_path / f"{name}.json").read_text())["annotations"]:
            table_row = rows[row["id"]]
            measured = [table_row[f"bbox_{side}"] for side in "xywh"]
            if table_row["fidelity"] < 1 or (name == "union" and table_row["n_merged"]):
                assert row["bbox"] == measured
                assert row["area"] == table_row["area"]
                changed += 1
            else:
                assert row["bbox"] == [table_row[f"input_bbox_{side}"] for side in "xywh"]
        assert changed


@pytest.mark.parametrize("encoding", ["rle", "crack", "polygon"])
def test_tables_are_encoded_anew(outputs: dict[str, Path], tmp_path: Path, encoding: str) -> None:
    for name in ("rle", "crack"):
        target = tmp_path / f"{name}.parquet"
        assert export(outputs[name], encoding, target).returncode == 0
        table = pq.read_table(target)
        images = list(pipeline.load(str(outputs[name])))
        assert len(table) == sum(len(image.rows) for image in images)
        if encoding != "polygon":
            assert set(table["encoding"].to_pylist()) == {encoding}
            strings = [value for image in images for value in image.rows["counts"].to_pylist()]
            assert coco_counts(table).to_pylist() == strings
        else:
            assert min(table["fidelity"].to_pylist()) >= 0.98


def test_load_gives_images_in_order_with_strings(outputs: dict[str, Path]) -> None:
    images = list(pipeline.load(str(outputs["crack"])))
    ids = [image.image_id for image in images]
    assert ids == sorted(set(ids))
    for image in images[:5]:
        for row, annotation in zip(image.rows.to_pylist(), image.annotations(), strict=True):
            size = annotation["segmentation"]["size"]
            counts = annotation["segmentation"]["counts"].encode()
            assert oracle.area(tuple(size), counts) == row["area"] == annotation["area"]


def test_existing_file_is_not_overwritten(outputs: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("precious")
    done = export(outputs["rle"], "coco", tmp_path / "x.json")
    assert done.returncode == 2
    assert "exists already" in done.stderr
    assert (tmp_path / "x.json").read_text() == "precious"


def test_nothing_published_is_said(tmp_path: Path) -> None:
    done = export(tmp_path, "coco", tmp_path / "x.json")
    assert done.returncode == 2
    assert "nothing is published there" in done.stderr
    assert not (tmp_path / "x.json").exists()
