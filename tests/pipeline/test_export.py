"""Tables in other formats: the same masks, the ids and boxes that came in, readable again."""

from __future__ import annotations

import contextlib
import io
import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

import pipeline
from pipeline import cli
from pipeline import export as exporting
from pipeline.config import CompactConfig, DedupConfig, EncodeConfig, WriteConfig
from pipeline.dataset import find_version
from pipeline.stored import coco_counts
from tests import model, oracle
from tests.outputs import run_inline

ROOT = Path(__file__).resolve().parents[2]
JOB = runpy.run_path(str(ROOT / "jobs" / "export.py"))
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
    return run_job([str(output), "--to", to, "--output", str(target), *flags])


def run_job(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """Run the job in this process, as its last lines do."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        try:
            code = cli.run_job(lambda: JOB["main"](arguments))
        except SystemExit as end:  # of the command line
            code = int(end.code or 0)
    return subprocess.CompletedProcess(arguments, code, stdout.getvalue(), stderr.getvalue())


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
            is_zero = row["id"] == exporting.ID_OF_ZERO
            table_row = rows[0 if is_zero else row["id"]]
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


def compact_rows(
    tmp_path: Path, ids: list[int | None], images: list[int] | None = None, group_rows: int = 2
) -> str:
    """Publish one small mask an id, in row groups of few rows; return the output."""
    masks = [oracle.encode(np.eye(5, dtype=bool) | (np.arange(25).reshape(5, 5) == 3))] * len(ids)
    rows = [
        {
            **({} if id is None else {"id": id}),
            "image_id": images[n] if images else n,
            "category_id": 1,
            "segmentation": {"size": [5, 5], "counts": mask.decode()},
            "score": 0.5,
        }
        for n, (id, mask) in enumerate(zip(ids, masks, strict=True))
    ]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    config = CompactConfig(
        inputs=(str(tmp_path / "rows.json"),),
        output=str(tmp_path / "out"),
        dedup=DedupConfig(group="none"),
        write=WriteConfig(row_group_rows=group_rows),
    )
    run_inline(config)
    return str(tmp_path / "out")


@pytest.mark.parametrize("ids_a_pass", [1, 3, 1000])
@pytest.mark.parametrize(
    ("ids", "column"),
    [
        ([7, -3, 2**62, 0, 5, 11], "input_id"),
        ([7, 3, 4, 1, 5, 7], "instance_id"),
        ([2] * 9, "instance_id"),
        ([7, 3, 4, 1, 5, None], "instance_id"),
        ([None] * 3, "instance_id"),
    ],
)
def test_ids_as_they_came_if_they_are_a_key(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ids: list[int | None],
    column: str,
    ids_a_pass: int,
) -> None:
    output = compact_rows(tmp_path, ids)
    monkeypatch.setattr(exporting, "IDS_A_PASS", ids_a_pass)
    assert exporting.choose_ids(output, find_version(output)) == column
    stream = io.BytesIO()
    assert exporting.export_json(output, "coco", stream) == len(ids)
    written = [row["id"] for row in json.loads(stream.getvalue())["annotations"]]
    assert len(set(written)) == len(ids)
    if column == "input_id":
        assert written == ids
    else:  # image 0 has the instance_id 0, which pycocotools' evaluation takes for "none"
        assert written == [exporting.ID_OF_ZERO, *(n << 24 for n in range(1, len(ids)))]


def test_images_are_written_once_each(tmp_path: Path) -> None:
    images = [3, 3, 3, 1, 1, 2, 9, 9]
    output = compact_rows(tmp_path, list(range(8)), images, group_rows=1)
    stream = io.BytesIO()
    exporting.export_json(output, "coco", stream)
    document = json.loads(stream.getvalue())
    assert document["images"] == [{"id": n, "height": 5, "width": 5} for n in (1, 2, 3, 9)]
    assert [row["image_id"] for row in document["annotations"]] == sorted(images)


@pytest.mark.parametrize("to", ["coco", "results", "detectron2", "crack"])
def test_a_table_without_rows(tmp_path: Path, to: str) -> None:
    (tmp_path / "none.json").write_text("[]")
    output = tmp_path / "out"
    run_inline(CompactConfig(inputs=(str(tmp_path / "none.json"),), output=str(output)))
    done = export(output, to, tmp_path / "x")
    assert (done.returncode, done.stdout[:15]) == (0, "0 masks written"), done.stderr
    if to == "crack":
        assert "crack" in pq.read_table(tmp_path / "x").column_names
    else:
        empty = {"annotations": [], "images": [], "categories": []}
        assert json.loads((tmp_path / "x").read_text()) == (empty if to == "coco" else [])


def test_pycocotools_loads_what_is_written(outputs: dict[str, Path], tmp_path: Path) -> None:
    for name in ("rle", "crack", "polygon"):
        for to in ("coco", "results"):
            done = export(outputs[name], to, tmp_path / f"{name}-{to}.json")
            assert done.returncode == 0, done.stderr
        written = json.loads((tmp_path / f"{name}-coco.json").read_text())["annotations"]
        loaded = oracle.load_dataset(
            tmp_path / f"{name}-coco.json",
            tmp_path / f"{name}-results.json" if name != "crack" else None,
        )
        strings = [value for i in pipeline.load(str(outputs[name])) for value in i.rows["counts"]]
        assert loaded.annotation_masks == [value.as_py() for value in strings]
        assert loaded.annotation_ids == [row["id"] for row in written]
        if name != "crack":  # ground truths have no scores, so they are no results
            assert loaded.result_masks == loaded.annotation_masks


@pytest.mark.parametrize("encoding", ["rle", "crack", "polygon"])
def test_readers_of_parquet_read_what_is_written(
    outputs: dict[str, Path], tmp_path: Path, encoding: str
) -> None:
    target = tmp_path / "x.parquet"
    assert export(outputs["rle"], encoding, target).returncode == 0
    expected = pq.read_table(target).to_pylist()
    assert pl.read_parquet(target).to_dicts() == expected
    with duckdb.connect() as connection:
        found = connection.sql(f"SELECT * FROM read_parquet('{target}')").fetchall()
    assert found == [tuple(row.values()) for row in expected]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--to", "rle", "--fidelity", "0.9"], "goes with --to polygon, not rle"),
        (["--to", "coco", "--fidelity", "0.9"], "goes with --to polygon, not coco"),
        (["--to", "polygon", "--fidelity", "1.5"], "encode.fidelity: expected a number in (0, 1]"),
        (["--to", "png"], "invalid choice: 'png'"),
        (["--to", "coco", "--version", "99"], "version"),
        (["--to", "coco", "--vers", "0"], "--vers"),
        ([], "--to"),
    ],
)
def test_wrong_flags_are_said(
    outputs: dict[str, Path], tmp_path: Path, flags: list[str], message: str
) -> None:
    done = run_job([str(outputs["rle"]), "--output", str(tmp_path / "x"), *flags])
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "x").exists()


def test_an_output_within_the_table_is_refused(outputs: dict[str, Path]) -> None:
    done = export(outputs["rle"], "coco", outputs["rle"] / "compacted" / "x.json")
    assert done.returncode == 2
    assert "lies inside a table" in done.stderr


def test_the_script_ends_with_the_job_s_code(outputs: dict[str, Path], tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "jobs" / "export.py"), str(outputs["rle"])]
    for code in (0, 2):  # the second time the file exists
        flags = ["--to", "results", "--output", str(tmp_path / "x.json")]
        done = subprocess.run([*command, *flags], capture_output=True, timeout=120, check=False)
        assert done.returncode == code, done.stderr


def test_nothing_published_is_said(tmp_path: Path) -> None:
    done = export(tmp_path, "coco", tmp_path / "x.json")
    assert done.returncode == 2
    assert "nothing is published there" in done.stderr
    assert not (tmp_path / "x.json").exists()
