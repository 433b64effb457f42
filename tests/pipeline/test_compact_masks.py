"""The stage for other pipelines gives what the job gives, image by image."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import ray
from hypothesis import given, settings
from hypothesis import strategies as st

import pipeline
from pipeline import flow
from pipeline.config import CompactConfig, EncodeConfig
from pipeline.errors import ConfigError, SchemaError
from pipeline.publish import open_tables
from pipeline.storage import to_uri
from tests import model
from tests.pipeline.test_unit import POLICIES, compact, model_rows
from tests.scene import rectangles, write_results

FATES = ("n_kept", "n_merged", "n_filtered", "n_rejected")
OF_SOURCE = ("source", "source_row", "linked_source", "linked_source_row", "run_id")


def to_batch(rows: Sequence[model.Row], *, is_dense: bool = True) -> dict[str, Any]:
    """Return model rows as a detector would give them: a row per image."""
    images = list(dict.fromkeys(row.image_id for row in rows))
    own = [[row for row in rows if row.image_id == image] for image in images]
    if is_dense:
        masks: list[Any] = [np.array([row.dense() for row in image]) for image in own]
    else:
        masks = [
            [{"size": [row.height, row.width], "counts": row.mask} for row in image]
            for image in own
        ]
    return {
        "image_id": np.array(images),
        "masks": masks,
        "scores": [[row.score for row in image] for image in own],
        "category_ids": [[row.category_id for row in image] for image in own],
        "ids": [[row.input_id for row in image] for image in own],
        "iscrowd": [[row.iscrowd for row in image] for image in own],
        "origin": [[row.origin for row in image] for image in own],
    }


def as_detected(rows: Sequence[model.Row]) -> list[model.Row]:
    """Return the rows as the stage names them: one source, counted by image."""
    seen: dict[Any, int] = {}
    out: list[model.Row] = []
    for row in rows:
        place = seen.setdefault(row.image_id, 0)
        seen[row.image_id] += 1
        category_id = row.category_id or 1
        out.append(replace(row, source="detections", source_row=place, category_id=category_id))
    return out


def assert_equal_but(found: pa.Table, expected: pa.Table, *ignored: str) -> None:
    names = [name for name in expected.column_names if name not in ignored]
    found = found.select(names).sort_by([("image_id", "ascending")])
    assert found.to_pylist() == expected.select(names).to_pylist()


@pytest.mark.parametrize("policy", POLICIES, ids=repr)
@settings(max_examples=10)
@given(drawn=model_rows(), threshold=st.sampled_from([0.5, 0.8]), is_dense=st.booleans())
def test_a_batch_equals_a_unit(
    policy: dict[str, Any], drawn: list[model.Row], threshold: float, is_dense: bool
) -> None:
    rows = as_detected(drawn)
    expected = compact(rows, threshold=threshold, **policy)
    across = {"source_column": "origin"} if policy.get("across") else {}
    stage = pipeline.CompactMasks({"dedup": {"threshold": threshold, **policy, **across}})
    images = stage(to_batch(rows, is_dense=is_dense))
    # Places in an image stay, so that the order of an image's rows is the unit's.
    ignored = ("run_id", "origin") if not across else ("run_id",)
    assert_equal_but(pipeline.unnest(images), expected.compacted, *ignored)
    assert_equal_but(pipeline.unnest(images, "lineage"), expected.lineage, *ignored)
    assert images["image_id"].to_pylist() == list(dict.fromkeys(row.image_id for row in rows))
    assert sum(images["n_read"].to_pylist()) == len(rows)


@pytest.mark.parametrize("encoding", ["rle", "crack", "polygon"])
@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_batches_equal_a_run_of_the_job(tmp_path: Path, encoding: Any, backend: Any) -> None:
    rows = as_detected(replace(row, iscrowd=False) for row in rectangles(8))
    rows = [replace(row, input_id=None, iscrowd=False) for row in rows]
    path = write_results(tmp_path / "in.json", rows)
    encode = EncodeConfig(encoding=encoding)
    flow.run(CompactConfig(inputs=(str(path),), output=str(tmp_path / "out"), encode=encode))
    tables = {
        name: table.to_pyarrow_table()
        for name, table in open_tables(to_uri(str(tmp_path / "out")), None).items()
    }
    run = {"backend": backend}
    stage = pipeline.CompactMasks({"encode": {"encoding": encoding}, "run": run, "device": "cpu"})
    batches = [[row for row in rows if row.image_id // 3 == n] for n in range(3)]
    found = [stage(to_batch(batch)) for batch in batches]
    for name in ("compacted", "lineage"):
        ours = pa.concat_tables([pipeline.unnest(images, name) for images in found])
        assert_equal_but(ours, tables[name].sort_by([("image_id", "ascending")]), *OF_SOURCE)


def test_every_row_of_an_image_is_accounted_for() -> None:
    mask = np.zeros((4, 10, 10), bool)
    mask[0, 1:5, 1:5] = mask[1, 1:5, 1:5] = mask[3, 7:, 7:] = True
    batch = {
        "image_id": ["a", "b", "c"],
        "masks": [mask, mask[:0], mask[3:]],
        "scores": [[0.9, 0.8, 0.7, 0.1], [], [float("nan")]],
    }
    images = pipeline.CompactMasks({"filter": {"min_score": 0.2}})(batch)
    counts = [tuple(row[name] for name in FATES) for row in images.to_pylist()]
    assert counts == [(1, 1, 2, 0), (0, 0, 0, 0), (0, 0, 0, 1)]
    assert images["n_read"].to_pylist() == [4, 0, 1]
    [first, _, last] = images.to_pylist()
    [kept] = first["compacted"]
    assert (kept["source_row"], kept["n_merged"]) == (0, 1)
    fates = {
        row["source_row"]: (row["reason"], row["kept_instance_id"]) for row in first["lineage"]
    }
    assert fates == {
        1: ("exact_duplicate", kept["instance_id"]),
        2: ("empty", None),
        3: ("min_score", None),
    }
    assert [(row["code"], row["source_row"]) for row in last["rejects"]] == [("SCORE", 0)]


def test_images_whose_rows_disagree_on_their_size_are_rejected_with_the_rows() -> None:
    rles = [{"size": [2, 2], "counts": "04"}, {"size": [1, 4], "counts": "04"}]
    images = pipeline.CompactMasks()({"image_id": [5, 5], "segmentation": rles})
    [image] = images.to_pylist()
    assert (image["n_read"], image["n_rejected"]) == (2, 2)
    assert [row["source_row"] for row in image["rejects"]] == [0, 1]
    assert all(b'"counts": "04"' in row["payload"] for row in image["rejects"])


def test_settings_that_make_no_sense_are_refused_at_once() -> None:
    for config, message in (
        ({"dedupe": {}}, "expected settings of read, clean"),
        ({"dedup": {"treshold": 0.5}}, "dedup: expected settings among threshold"),
        ({"dedup": {"threshold": 5}}, "--dedup.threshold"),
        ({"dedup": {"across": True}}, "--dedup.source_column beside it"),
        ({"run": {"backend": "numba"}, "device": "cuda"}, "beside --run.backend numba"),
        ({"run": {"backend": "jax"}}, "--run.backend: expected one of auto, numba, torch"),
        ({"encode": {"encoding": "png"}}, "--encode.encoding: expected one of rle"),
        ({"device": "gpu"}, "--device: expected one of auto, cpu, cuda, got 'gpu'"),
        (5, "as a mapping or CompactConfig, got 5"),
    ):
        with pytest.raises(ConfigError, match=message):
            pipeline.CompactMasks(config)


def test_a_device_that_is_not_there_is_refused_where_it_would_be_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    stage = pipeline.CompactMasks({"device": "cuda"})
    with pytest.raises(ConfigError, match="--device cuda: expected a GPU"):
        stage({"image_id": [1], "masks": [np.zeros((1, 2, 2), bool)]})


def test_only_results_are_opened() -> None:
    images = pipeline.CompactMasks()({"image_id": [1], "masks": [np.ones((1, 2, 2), bool)]})
    for wrong in ("masks", "image_id"):
        with pytest.raises(ConfigError, match="one of compacted, lineage, rejects"):
            pipeline.unnest(images, wrong)
    with pytest.raises(ConfigError, match="batch_format='pyarrow'"):
        pipeline.unnest({"compacted": []})


def test_a_stage_travels() -> None:
    stage = pipeline.CompactMasks({"encode": {"encoding": "crack"}}, source="model-1")
    batch = {"image_id": [1], "masks": [np.ones((1, 2, 2), bool)]}
    first = stage(batch)
    assert pickle.loads(pickle.dumps(stage))(batch).equals(first)
    assert pipeline.unnest(first)["source"].to_pylist() == ["model-1"]


# --- Ray Data ------------------------------------------------------------------------------------


def detect(batch: dict[str, Any]) -> dict[str, Any]:
    """Find two equal squares in each image, of image sizes that differ; none in each fifth."""
    masks = []
    for image_id in batch["image_id"].tolist():
        mask = np.zeros((2 if image_id % 5 else 0, 20 + image_id % 3, 24), bool)
        mask[:, 3:9, image_id % 10 : image_id % 10 + 5] = True
        masks.append(mask)
    scores = [np.linspace(0.9, 0.8, len(mask)) for mask in masks]
    return {"image_id": batch["image_id"], "masks": masks, "scores": scores}


def test_behind_a_detector_in_ray_data(ray_local: None) -> None:
    images = ray.data.from_items([{"image_id": n} for n in range(23)])
    found = images.map_batches(detect, batch_size=4).map_batches(
        pipeline.CompactMasks({"encode": {"encoding": "crack"}}), batch_size=5
    )
    rows = sorted(found.take_all(), key=lambda row: row["image_id"])
    assert [row["n_read"] for row in rows] == [2 if n % 5 else 0 for n in range(23)]
    assert [row["n_merged"] for row in rows] == [1 if n % 5 else 0 for n in range(23)]

    actors = images.map_batches(detect, batch_size=7).map_batches(
        pipeline.CompactMasks,
        fn_constructor_kwargs={"config": {"encode": {"encoding": "crack"}}},
        batch_size=None,
        concurrency=1,
    )
    kept = actors.map_batches(pipeline.unnest, batch_format="pyarrow").to_pandas()
    assert sorted(kept["image_id"]) == [n for n in range(23) if n % 5]
    assert set(kept["n_merged"]) == {1}


def test_instances_meet_by_image_in_ray_data(ray_local: None) -> None:
    rles = {"size": [4, 4], "counts": "0>2"}
    rows = [{"image_id": n % 3, "segmentation": rles, "score": 1 - n / 9} for n in range(9)]
    found = (
        ray.data.from_items(rows)
        .groupby("image_id")
        .map_groups(pipeline.CompactMasks(), batch_format="numpy")
        .take_all()
    )
    assert sorted((row["image_id"], row["n_kept"], row["n_merged"]) for row in found) == [
        (0, 1, 2),
        (1, 1, 2),
        (2, 1, 2),
    ]


def test_a_wrong_batch_says_what_was_expected() -> None:
    with pytest.raises(SchemaError, match="masks in one column"):
        pipeline.CompactMasks()({"image_id": [1], "pred_masks": [np.ones((1, 2, 2), bool)]})
    with pytest.raises(SchemaError, match=r"list of masks for each image, empty where .* got None"):
        pipeline.CompactMasks()({"image_id": [1], "masks": [None]})
