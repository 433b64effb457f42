"""Every setting of a sweep against what the main job gives with its flags."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pipeline import evaluate, sink
from pipeline.config import CleanConfig, CompactConfig, DedupConfig, FilterConfig
from pipeline.tune import Point, Sample, SweepConfig, Swept, list_settings, sweep
from tests import model, oracle
from tests.instances import to_instances
from tests.scene import compact, rectangles

SWEEP = SweepConfig(thresholds=(0.3, 0.5, 0.8), fidelities=(0.9,))


def rows_of_two_sources() -> list[model.Row]:
    rows = rectangles(4)
    return [replace(row, source=f"file:///{row.source_row % 2}.json") for row in rows]


def try_all(rows: list[model.Row], config: CompactConfig, wanted: SweepConfig = SWEEP) -> Swept:
    sample = Sample(to_instances(rows), len({row.image_id for row in rows}), None, None)
    return sweep(sample, list_settings(config, wanted), config)


@pytest.mark.parametrize(
    "steps",
    [
        {},
        {"dedup": DedupConfig(overlap="ios")},
        {"dedup": DedupConfig(across=True), "filter": FilterConfig(min_score=0.2, min_area=9)},
        {"clean": CleanConfig(min_part_area=12)},
    ],
    ids=["plain", "ios", "across and filters", "cleaned"],
)
def test_survivors_and_bytes_are_those_of_the_main_job(steps: dict[str, Any]) -> None:
    rows = rows_of_two_sources()
    config = CompactConfig(inputs=("x",), output="y", **steps)
    swept = try_all(rows, config)
    assert len({point.n_kept for point in swept.points}) > 5, "the scene lost its purpose"
    for point in swept.points:
        own = steps | {"dedup": point.setting.dedup, "encode": point.setting.encode}
        result = compact(rows, **own)
        assert point.n_kept == len(result.compacted)
        named = result.compacted.set_column(
            result.compacted.schema.get_field_index("run_id"),
            result.compacted.schema.field("run_id"),
            [["0" * 16] * len(result.compacted)],
        )
        changed = dataclasses.replace(config, **own)
        # The sizes of compressed files agree only where all rows and masks do.
        assert point.file_bytes == sink.parquet_bytes(named, changed).size


def mean_ious(rows: list[model.Row], point: Point) -> tuple[float, float | None]:
    """Compare every row's pixels with those that are stored for it, one by one."""
    result = compact(rows, dedup=point.setting.dedup, encode=point.setting.encode)
    from pipeline.stored import coco_counts

    table = result.compacted
    dense = {
        row["instance_id"]: oracle.decode((row["height"], row["width"]), text)
        for row, text in zip(table.to_pylist(), coco_counts(table).to_pylist(), strict=True)
    }
    home = {row["source_row"]: row["instance_id"] for row in table.to_pylist()}
    gone = {row["source_row"]: row["kept_instance_id"] for row in result.lineage.to_pylist()}
    kept, merged = [], []
    for row in rows:
        own, is_merged = row.dense(), row.source_row in gone
        other = dense[(gone if is_merged else home)[row.source_row]]
        value = (own & other).sum() / (own | other).sum()
        (merged if is_merged else kept).append(value)
    return float(np.mean(kept + merged)), float(np.mean(merged)) if merged else None


def test_mean_iou_is_that_of_the_pixels() -> None:
    rows = rectangles(2)
    wanted = SweepConfig(
        thresholds=(0.4,), per_category=(False,), encodings=("rle", "polygon"), fidelities=(0.7,)
    )
    swept = try_all(rows, CompactConfig(inputs=("x",), output="y"), wanted)
    assert any(point.mean_iou < 0.95 for point in swept.points)
    for point in swept.points:
        whole, merged = mean_ious(rows, point)
        assert point.mean_iou == pytest.approx(whole)
        assert point.merged_iou == (None if merged is None else pytest.approx(merged))


def square(x: int) -> np.ndarray:
    mask = np.zeros((60, 80), bool)
    mask[10:40, x : x + 30] = True
    return mask


def row(image_id: int, x: int, score: float) -> model.Row:
    mask = oracle.encode(square(x))
    return model.Row(image_id, None, 1, score, False, 60, 80, mask, source_row=x)


def truth(masks: dict[int, np.ndarray]) -> evaluate.Truth:
    annotations = [
        {
            "id": n,
            "image_id": n,
            "category_id": 1,
            "iscrowd": 0,
            "area": int(mask.sum()),
            "bbox": [0, 0, 1, 1],
            "segmentation": {"size": [60, 80], "counts": oracle.encode(mask).decode()},
        }
        for n, mask in masks.items()
    ]
    images = [{"id": n, "height": 60, "width": 80} for n in masks]
    document = {"images": images, "annotations": annotations, "categories": [{"id": 1}]}
    return evaluate.Truth("file:///truth.json", document, frozenset(masks))


def test_precision_by_hand() -> None:
    # Merged at 0.5, the right mask of image 1 goes into a wrong one of a higher score, whose
    # IoU with the truth is 21/39; at 0.8 both stay. Only all AP of recall 1/2 is then left:
    # of ten thresholds, 0.50 alone finds both objects, the others one behind a false mask.
    rows = [row(1, 14, 0.9), row(1, 5, 0.8), row(2, 20, 0.7)]
    wanted = SweepConfig(
        thresholds=(0.5, 0.8), groups=("leader",), merges=("best",), per_category=(True,),
        encodings=("rle", "crack"),
    )  # fmt: skip
    config = CompactConfig(inputs=("x",), output="y")
    sample = Sample(to_instances(rows), 2, 2, truth({1: square(5), 2: square(20)}))
    swept = sweep(sample, list_settings(config, wanted), config)
    ap = {(p.setting.dedup.threshold, p.setting.encode.encoding): p.ap for p in swept.points}
    half = np.where(np.linspace(0, 1, 101) <= 0.5, 0.5, 0).mean()
    assert ap[0.5, "rle"] == ap[0.5, "crack"] == pytest.approx((1 + 9 * half) / 10)
    assert ap[0.8, "rle"] == ap[0.8, "crack"] == swept.ap_before
    assert swept.ap_before is not None
    assert swept.ap_before > ap[0.5, "rle"]


def test_filtered_to_nothing_is_a_point_like_others() -> None:
    config = CompactConfig(inputs=("x",), output="y", filter=FilterConfig(min_score=2.0))
    swept = try_all(rectangles(1), config)
    assert {point.n_kept for point in swept.points} == {0}
    assert swept.n_rows == 0
