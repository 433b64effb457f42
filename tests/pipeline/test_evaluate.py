"""AP before and after on hand-made images whose AP is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import evaluate, runs, storage
from pipeline.config import CompactConfig, DedupConfig, GateConfig, ReportConfig
from pipeline.errors import ConfigError
from pipeline.report.gates import gate_rows
from tests import model, oracle
from tests.scene import run_here, write_results


def square(x: int) -> np.ndarray:
    mask = np.zeros((60, 80), bool)
    mask[10:40, x : x + 30] = True
    return mask


def row(image_id: int, mask: np.ndarray, score: float) -> model.Row:
    return model.Row(image_id, None, 1, score, False, 60, 80, oracle.encode(mask))


def write_truth(path: Path, masks: dict[int, np.ndarray]) -> Path:
    annotations = [
        {
            "id": image_id,
            "image_id": image_id,
            "category_id": 1,
            "iscrowd": 0,
            "area": int(mask.sum()),
            "bbox": [0, 0, 1, 1],
            "segmentation": {"size": [60, 80], "counts": oracle.encode(mask).decode()},
        }
        for image_id, mask in masks.items()
    ]
    images = [{"id": image_id, "height": 60, "width": 80} for image_id in masks]
    categories = [{"id": 1, "name": "square"}]
    document = {"images": images, "annotations": annotations, "categories": categories}
    path.write_text(json.dumps(document))
    return path


def compare(folder: Path, rows: list[model.Row], **dedup: Any) -> dict[str, Any]:
    truth = write_truth(folder / "truth.json", {1: square(5), 2: square(20)})
    path = write_results(folder / "in.json", rows)
    output = storage.to_uri(str(folder / "out"))
    steps = {"dedup": DedupConfig(**dedup)}
    document = run_here(path, output, **steps)
    config = CompactConfig(inputs=(str(path),), output=output, **steps)
    plan = runs.read_plan(output, document["run_id"])
    assert plan is not None
    records = runs.read_records(output, plan.run_id)
    return evaluate.compare(evaluate.read_truth(str(truth)), plan, records, config, output)


def test_merging_copies_of_lower_score_costs_nothing(tmp_path: Path) -> None:
    rows = [row(1, square(5), 0.9), row(1, square(6), 0.5), row(2, square(20), 0.8)]
    rows.append(row(7, square(1), 0.99))  # of an image that the truth does not list
    found = compare(tmp_path, rows)
    assert (found["images"], found["rows_before"], found["rows_after"]) == (2, 3, 2)
    for kind in evaluate.KINDS:
        assert found[kind]["before"]["ap"] == pytest.approx(1.0)
        assert found[kind]["ap_drop"] == pytest.approx(0.0)


def test_merging_the_right_mask_into_a_wrong_one_costs_what_it_should(tmp_path: Path) -> None:
    # The leader is off by 9 of 30 columns, so its IoU with the truth is 21/39: right at .5 alone.
    rows = [row(1, square(14), 0.9), row(1, square(5), 0.8), row(2, square(20), 0.7)]
    found = compare(tmp_path, rows, threshold=0.5)
    assert (found["rows_before"], found["rows_after"]) == (3, 2)
    after = found["segm"]["after"]
    assert after["ap50"] == pytest.approx(1.0)
    # At .75 one of two objects is found, and a false one of a higher score stands before it.
    recall = np.linspace(0, 1, 101)
    assert after["ap75"] == pytest.approx(np.where(recall <= 0.5, 0.5, 0).mean())
    assert found["segm"]["ap_drop"] == pytest.approx(
        found["segm"]["before"]["ap"] - found["segm"]["after"]["ap"]
    )
    assert found["segm"]["ap_drop"] > 0.2
    assert set(found["categories"]["1"]) == set(evaluate.KINDS)
    document = {"merged_fraction": 0, "mean_iou": None, "ap_drop": found["segm"]["ap_drop"]}
    (gate,) = gate_rows(document, GateConfig(max_ap_drop=0.1))
    assert not gate["holds"]


@pytest.mark.parametrize("text", ["[]", "no json", '{"images": []}'])
def test_file_that_is_no_ground_truth(tmp_path: Path, text: str) -> None:
    (tmp_path / "truth.json").write_text(text)
    with pytest.raises(ConfigError, match=r"--report\.ground_truth"):
        evaluate.read_truth(str(tmp_path / "truth.json"))


def test_gate_needs_a_ground_truth() -> None:
    with pytest.raises(ConfigError, match=r"--gate\.max_ap_drop: expected --report\.ground_truth"):
        CompactConfig(inputs=("x",), output="y", gate=GateConfig(max_ap_drop=0.1))
    CompactConfig(
        inputs=("x",),
        output="y",
        gate=GateConfig(max_ap_drop=0.1),
        report=ReportConfig(ground_truth="truth.json"),
    )
