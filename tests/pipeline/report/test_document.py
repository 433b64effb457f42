"""report.json against queries over the tables, and duplicates of known number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from pipeline.config import DedupConfig
from pipeline.unit import UnitResult
from tests import model, oracle
from tests.scene import make_report, rectangles, with_copies


def ask(result: UnitResult, sql: str) -> Any:
    connection = duckdb.connect()
    connection.register("compacted", result.compacted)
    connection.register("lineage", result.lineage)
    return connection.sql(sql).fetchall()


def test_figures_equal_queries() -> None:
    document, result = make_report(rectangles(), dedup=DedupConfig(threshold=0.6))
    merged = ask(
        result, "select count(*), avg(iou) from lineage where kept_instance_id is not null"
    )
    assert (document["rows"]["merged"], document["mean_iou"]) == (
        merged[0][0],
        pytest.approx(merged[0][1]),
    )
    kept = ask(result, "select count(*), avg(fidelity), sum(octet_length(counts)) from compacted")
    assert (document["rows"]["kept"], document["mean_fidelity"]) == kept[0][:2]
    assert document["bytes"]["stored_masks"] == kept[0][2]
    assert document["encodings"] == {"rle": {"masks": kept[0][0], "bytes": kept[0][2]}}
    reasons = dict(ask(result, "select reason, count(*) from lineage group by 1"))
    assert document["reasons"] == reasons
    sql = """select coalesce(category_id::varchar, 'null'), count(*), avg(fidelity),
                    min(fidelity) from compacted group by 1"""
    for name, n_kept, mean, lowest in ask(result, sql):
        row = document["categories"][name]
        assert (row["kept"], row["mean_fidelity"], row["min_fidelity"]) == (n_kept, mean, lowest)
    fraction = document["rows"]["merged"] / document["rows"]["read"]
    assert document["merged_fraction"] == fraction


def test_copies_of_known_number_on_real_masks(shared_data: Path) -> None:
    path = shared_data / "lvis_val_100.json"
    originals = [row for row in model.load_annotations(path, "x") if row.dense().sum() > 400][:60]
    rows = with_copies(originals, 2)
    expected: list[float] = []
    for n in range(0, len(rows), 3):
        leader, *copies = (row.dense() for row in rows[n : n + 3])
        for copy in copies:
            shared, union = int((leader & copy).sum()), int((leader | copy).sum())
            expected.append(shared / union)
    merged = [iou for iou in expected if iou >= 0.8]
    assert 60 < len(merged) < 120, "the scene lost its purpose"
    document, _ = make_report(rows)
    assert document["rows"]["merged"] == len(merged)
    assert document["rows"]["kept"] == len(rows) - len(merged)
    assert document["mean_iou"] == pytest.approx(np.mean(merged))
    bins = np.minimum(np.floor(np.array(merged) * 100), 99).astype(int)
    assert document["histograms"]["merged_iou"] == np.bincount(bins, minlength=100).tolist()
    lower = sum(iou >= 0.7 for iou in expected)
    assert document["estimate"]["choices"]["lower_threshold"]["merged"] >= lower - len(originals)


def test_units_sum_up_to_the_same() -> None:
    rows = rectangles()
    whole, _ = make_report(rows)
    parts = [make_report([row for row in rows if row.image_id % 2 == n])[0] for n in (0, 1)]
    for key in ("kept", "merged", "filtered"):
        assert whole["rows"][key] == sum(part["rows"][key] for part in parts)
    for name, counts in whole["histograms"].items():
        summed = np.sum([part["histograms"][name] for part in parts], axis=0)
        assert counts == summed.tolist()


def test_empty_run() -> None:
    document, _ = make_report([])
    assert document["rows"] == dict.fromkeys(document["rows"], 0)
    assert document["merged_fraction"] is None
    assert document["estimate"]["sample_rows"] == 0


def test_masks_of_one_pixel_are_in_every_figure() -> None:
    mask = np.zeros((3, 3), bool)
    mask[1, 1] = True
    row = model.Row(1, None, 1, 0.5, False, 3, 3, oracle.encode(mask))
    document, _ = make_report([row])
    assert document["categories"]["1"]["masks"] == {"rle": 1}
