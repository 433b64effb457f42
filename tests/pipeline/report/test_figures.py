"""Every figure of report.json against DuckDB over the tables and the input."""

from __future__ import annotations

import dataclasses

import pytest

from pipeline import storage
from pipeline.config import CompactConfig
from tests import figures
from tests.figure_runs import FRACTION, Run, open_tables


def test_scene_has_something_of_everything(run: Run) -> None:
    d = run.document
    left_out = "min_area" if run.steps["filter"].min_area else "empty"
    assert {"merged", "exact_duplicate", "min_score", left_out} == set(d["reasons"])
    assert min(*d["rows"].values(), d["near_miss_range"][0]) > 0
    assert 0 < d["estimate"]["sample_images"] < d["images"]
    assert sum(d["histograms"]["near_miss"]) > 1
    if run.steps["encode"].encoding == "polygon":
        assert d["mean_fidelity"] < 1
        assert d["mean_boundary_iou"] < d["mean_fidelity"]


def test_every_figure_is_what_a_query_gives_or_is_named(run: Run) -> None:
    seen: set[figures.Path] = set()
    for path, value in figures.leaves(run.document):
        is_named = any(figures.matches(name, path) for name in figures.NOT_OF_THE_TABLES)
        if is_named and path not in run.expected:
            continue
        asked = figures.SCALARS | figures.FAMILIES | figures.PAIRS
        is_known = path[0] == "histograms" or any(
            len(name.split(".")) == len(path) and figures.matches(name, path) for name in asked
        )
        assert is_known or value in ({}, []), f"no query for {'.'.join(path)}"
        seen.add(path)
        expected = run.expected.get(path)
        if path[0] == "histograms":
            expected = [expected.get(n, 0) for n in range(len(value))]
            assert value == expected, path
        elif value in (None, 0, {}):
            assert expected in (None, 0), path
        else:
            assert value == pytest.approx(expected, rel=1e-12), path
    left = {path for path, value in run.expected.items() if value} - seen
    assert left == set(), "what queries give is in the report"


def test_the_others_are_what_they_are_said_to_be(run: Run) -> None:
    d = run.document
    tables = open_tables(run.output)
    assert {d["run_id"]} == {
        one for table in tables.values() for one in table["run_id"].to_pylist()
    }
    config = CompactConfig(inputs=("x",), output="y", **run.steps)
    for step in ("dedup", "encode", "filter"):
        given = dataclasses.asdict(getattr(config, step))
        assert {key: d["config"][step][key] for key in given} == given
    records = list((storage.local_path(run.output) / "runs" / d["run_id"] / "units").iterdir())
    assert d["plan"]["units"] == len(records) == sum(d["backend"].values())
    assert (d["plan"]["is_shuffled"], d["plan"]["skipped_files"]) == (False, {})
    assert d["pairs"]["walked"] <= d["pairs"]["candidate"]
    # Exact duplicates meet by hash; every other merged row was compared with its leader.
    assert d["reasons"]["merged"] <= d["pairs"]["candidate"]
    estimated = d["estimate"]
    assert (estimated["is_estimate"], estimated["sample_fraction"]) == (True, FRACTION)
    assert d["near_miss_range"] == [
        round(run.steps["dedup"].threshold - 0.1, 10),
        run.steps["dedup"].threshold,
    ]
    assert (d["metrics"], d["ap_drop"]) == (None, None)
    assert [(g["flag"], g["limit"], g["value"], g["holds"]) for g in d["gates"]] == [
        ("--gate.max_merged_fraction", 0.9, d["merged_fraction"], True),
        ("--gate.min_mean_iou", 0.6, d["mean_iou"], True),
    ]
    times = d["time"]
    worked = sum(times["worker_stage_s"].values())
    assert times["core_hours"] == pytest.approx(worked / 3600, abs=1e-5)
    assert times["wall_s"] == pytest.approx(sum(times["driver_stage_s"].values()), abs=1e-2)
    for name, seconds in times["worker_stage_s"].items():
        if seconds > 0.01:
            assert times["worker_masks_per_s"][name] == pytest.approx(
                d["rows"]["read"] / seconds, rel=0.01
            )
            rate = times["worker_input_bytes_per_s"][name]
            assert rate == pytest.approx(d["bytes"]["input_files"] / seconds, rel=0.01)
    assert 0 < times["report_share"] < 1
    assert times["gpu_hours"] == 0
