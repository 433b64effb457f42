"""Gates in whole runs on LVIS masks with copies of known number: what must trip does."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from pipeline import publish
from tests import model
from tests.scene import with_copies, write_results

ROOT = Path(__file__).resolve().parents[2]


class Scene(NamedTuple):
    """Results on disk, their ground truth, and the IoU of every copy with its original."""

    results: Path
    truth: Path
    n_rows: int
    iou: list[float]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Scene:
    """Forty LVIS masks, each with two copies moved by one and by two pixels, scores 1, .9, .8.

    Every original has a category of its own, so that nothing else can meet it; the ground truth
    are the copies that were moved by one pixel, in the originals' place.
    """
    folder = tmp_path_factory.mktemp("gates")
    path = shared_data / "lvis_val_100.json"
    originals = [row for row in model.load_annotations(path, "x") if row.dense().sum() > 400][:40]
    rows = with_copies(originals, 2)
    iou: list[float] = []
    for n in range(0, len(rows), 3):
        leader, *copies = (row.dense() for row in rows[n : n + 3])
        iou += [float((leader & copy).sum() / (leader | copy).sum()) for copy in copies]
    annotations = [
        {
            "id": n + 1,
            "image_id": row.image_id,
            "category_id": row.category_id,
            "iscrowd": 0,
            "area": int(row.dense().sum()),
            "bbox": [0, 0, 1, 1],
            "segmentation": {"size": [row.height, row.width], "counts": row.mask.decode()},
        }
        for n, row in enumerate(rows[1::3])
    ]
    sizes = {row.image_id: (row.height, row.width) for row in rows}
    document = {
        "images": [{"id": i, "height": h, "width": w} for i, (h, w) in sizes.items()],
        "annotations": annotations,
        "categories": [{"id": n, "name": f"object {n}"} for n in range(len(originals))],
    }
    truth = folder / "truth.json"
    truth.write_text(json.dumps(document))
    return Scene(write_results(folder / "results.json", rows), truth, len(rows), iou)


def job(scene: Scene, output: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "jobs" / "compact.py"), str(scene.results)]
    command += ["--output", str(output), "--report.ground_truth", str(scene.truth), *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)


def reports(output: Path) -> dict[str, dict[str, Any]]:
    found = [path / "report.json" for path in (output / "reports").iterdir()]
    return {path.parent.name: json.loads(path.read_text()) for path in found}


def hand_made_ap(iou_of: Sequence[Sequence[float]]) -> float:
    """AP of categories of one object each: by threshold, of hits in order of their scores.

    With one object the precision at every recall is that of the first hit: 1 / its place.
    """
    thresholds = np.linspace(0.5, 0.95, 10)
    values: list[float] = []
    for overlaps in iou_of:
        for threshold in thresholds:
            places = [n for n, iou in enumerate(overlaps) if iou >= threshold]
            values.append(1 / (places[0] + 1) if places else 0.0)
    return float(np.mean(values))


def test_figures_are_those_made_by_hand_and_gates_trip(scene: Scene, tmp_path: Path) -> None:
    output = tmp_path / "out"
    done = job(scene, output, "--dedup.threshold", "0.8")
    assert done.returncode == 0, done.stderr
    ((first, document),) = reports(output).items()
    merged = [iou for iou in scene.iou if iou >= 0.8]
    assert 30 < len(merged) < 80, "the scene lost its purpose"
    n_kept = scene.n_rows - len(merged)
    assert (document["rows"]["merged"], document["rows"]["kept"]) == (len(merged), n_kept)
    assert document["mean_iou"] == pytest.approx(np.mean(merged))
    bins = np.minimum(np.floor(np.array(merged) * 100), 99).astype(int)
    assert document["histograms"]["merged_iou"] == np.bincount(bins, minlength=100).tolist()
    # Against the first copy the original has its IoU, the copy 1, the second copy the same again.
    near = [[scene.iou[n], 1.0, scene.iou[n]] for n in range(0, len(scene.iou), 2)]
    before, after = (
        hand_made_ap(near),
        hand_made_ap([one[:1] if scene.iou[2 * n] >= 0.8 else one for n, one in enumerate(near)]),
    )
    metrics = document["metrics"]
    assert (metrics["rows_before"], metrics["rows_after"]) == (scene.n_rows, n_kept)
    assert metrics["segm"]["before"]["ap"] == pytest.approx(before, abs=1e-6)
    assert metrics["segm"]["after"]["ap"] == pytest.approx(after, abs=1e-6)
    drop = document["ap_drop"]
    assert drop == pytest.approx(before - after, abs=1e-6)
    assert drop > 0.03
    fraction, mean = document["merged_fraction"], document["mean_iou"]
    live = publish.open_tables(f"file://{output}")["compacted"].version()
    for flag, limit, row, value in (
        ("--gate.max_ap_drop", "0.01", "ap_drop", drop),
        ("--gate.min_mean_iou", "0.999", "mean_iou", mean),
        ("--gate.max_merged_fraction", "0.1", "merged_fraction", fraction),
    ):
        # Another encoding: a run of its own, which would replace the first one.
        done = job(scene, output, "--encode.encoding", "crack", flag, limit)
        assert done.returncode == 6, done.stderr
        assert flag in done.stderr
        assert f"expected {row} of" in done.stderr
        assert f"got {value:.6g}" in done.stderr
        (stopped,) = set(reports(output)) - {first}
        (gate,) = reports(output)[stopped]["gates"]
        assert (gate["row"], gate["holds"]) == (row, False)
        page = (output / "reports" / stopped / "report.html").read_text()
        assert "Gate broken, nothing was published" in page
        table = publish.open_tables(f"file://{output}")["compacted"]
        assert table.version() == live
        assert set(table.to_pyarrow_table()["run_id"].to_pylist()) == {first}
    limits = ("--gate.max_ap_drop", "0.99", "--gate.min_mean_iou", "0.5")
    done = job(scene, output, "--encode.encoding", "crack", *limits)
    assert done.returncode == 0, done.stderr
    assert publish.open_tables(f"file://{output}")["compacted"].version() > live
