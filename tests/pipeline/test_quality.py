"""Area drift and boundary IoU of what is stored, against the pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipeline.config import DedupConfig, EncodeConfig
from pipeline.stored import coco_counts
from tests import model, oracle
from tests.pipeline.masks.test_boundary import slow
from tests.scene import compact, make_report

POLYGON = EncodeConfig(encoding="polygon", fidelity=0.8)
ALONE = DedupConfig(group="none")


def blobs(n: int = 30, seed: int = 1) -> list[model.Row]:
    """Unions of discs in images of 60 x 80 px (a boundary of 2 px), in three categories."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:60, :80]
    rows: list[model.Row] = []
    for number in range(n):
        mask = np.zeros((60, 80), bool)
        for _ in range(3):
            cy, cx, r = rng.integers(15, 45), rng.integers(20, 60), rng.integers(5, 14)
            mask |= (y - cy) ** 2 + (x - cx) ** 2 <= r * r
        facts: dict[str, Any] = {"mask": oracle.encode(mask), "source_row": number}
        rows.append(model.Row(number // 3, None, number % 3, 0.5, False, 60, 80, **facts))
    return rows


def likeness(rows: list[model.Row]) -> dict[int, tuple[int, float, float, float]]:
    """By row: category, fidelity, relative change of area, and boundary IoU, by pixels."""
    table = compact(rows, dedup=ALONE, encode=POLYGON).compacted
    found: dict[int, tuple[int, float, float, float]] = {}
    for kept, text in zip(table.to_pylist(), coco_counts(table).to_pylist(), strict=True):
        own, stored = rows[kept["source_row"]].dense(), oracle.decode((60, 80), text)
        iou = (own & stored).sum() / (own | stored).sum()
        drift = (int(stored.sum()) - int(own.sum())) / int(own.sum())
        found[kept["source_row"]] = (kept["category_id"], iou, drift, slow(own, stored, 2))
    return found


def test_figures_are_those_of_the_pixels() -> None:
    rows = blobs()
    document, _ = make_report(rows, dedup=ALONE, encode=POLYGON)
    facts = likeness(rows)
    assert sum(iou < 1 for _, iou, _, _ in facts.values()) > 20, "the scene lost its purpose"
    areas = [row.dense().sum() for row in rows]
    stored = sum(area * (1 + facts[n][2]) for n, area in enumerate(areas))
    assert document["area_drift"] == pytest.approx(stored / sum(areas) - 1)
    assert document["mean_boundary_iou"] == pytest.approx(np.mean([b for *_, b in facts.values()]))
    bins = [min(int(100 * b), 99) for *_, b in facts.values()]
    assert document["histograms"]["boundary"] == np.bincount(bins, minlength=100).tolist()
    for category in (0, 1, 2):
        own = [fact for fact in facts.values() if fact[0] == category]
        shown = document["categories"][str(category)]
        assert shown["mean_fidelity"] == pytest.approx(np.mean([iou for _, iou, _, _ in own]))
        assert shown["min_boundary_iou"] == pytest.approx(min(b for *_, b in own))
        assert shown["mean_boundary_iou"] == pytest.approx(np.mean([b for *_, b in own]))
        assert shown["max_area_drift"] == pytest.approx(max(abs(drift) for _, _, drift, _ in own))


def test_worst_cases_are_shown() -> None:
    rows = blobs()
    _, result = make_report(rows, dedup=ALONE, encode=POLYGON)
    facts = likeness(rows)
    worst = sorted(facts, key=lambda n: (facts[n][3], n))[:3]
    shown = [one for one in result.record.samples if one.kind == "worst_boundary"]
    assert [one.boundary_iou for one in shown] == pytest.approx([facts[n][3] for n in worst])
    for one in shown:
        _, iou, drift, near = facts[one.source_row]
        assert (one.fidelity, one.drift, one.boundary_iou) == pytest.approx((iou, drift, near))


def test_lossless_forms_drift_nowhere() -> None:
    document, result = make_report(blobs(), encode=EncodeConfig(encoding="crack"))
    assert (document["area_drift"], document["mean_boundary_iou"]) == (0.0, 1.0)
    assert not [one for one in result.record.samples if one.kind == "worst_boundary"]


def test_boundaries_are_measured_on_the_sample_alone() -> None:
    rows = blobs()
    record = compact(rows, 0.5, dedup=ALONE, encode=POLYGON).record
    n_sampled = sum(counts.boundary_masks for counts in record.categories.values())
    assert n_sampled == record.numbers["sample_kept"] < len(rows)
