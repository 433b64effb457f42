"""Which images a sweep looks at."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline import evaluate
from pipeline.config import CompactConfig, RunConfig
from pipeline.errors import ConfigError, InputError
from pipeline.tune import Sample, read_sample
from tests.scene import rectangles, write_results


def config(*inputs: Path, unit_bytes: int = 2000) -> CompactConfig:
    names = tuple(str(path) for path in inputs)
    return CompactConfig(inputs=names, output="y", run=RunConfig(unit_bytes=unit_bytes))


def images(sample: Sample) -> set[object]:
    return set(sample.instances["image_id"].to_pylist())


@pytest.mark.parametrize("is_text", [False, True])
def test_sample_depends_on_ids_alone(tmp_path: Path, is_text: bool) -> None:
    rows = rectangles(12)
    if is_text:
        rows = [replace(row, image_id=f"image {row.image_id}") for row in rows]
    one = write_results(tmp_path / "one.json", rows)
    odd = write_results(tmp_path / "odd.json", rows[1::2])
    even = write_results(tmp_path / "even.json", rows[::2])
    whole = read_sample(config(one, unit_bytes=1 << 20), 5, None)
    assert (whole.n_images, whole.n_images_seen) == (5, 12)
    chosen = images(whole)
    assert len(whole.instances) == sum(row.image_id in chosen for row in rows)
    parts = read_sample(config(odd, even), 5, None)
    assert images(parts) == chosen
    assert len(parts.instances) == len(whole.instances)


def test_more_images_than_there_are(tmp_path: Path) -> None:
    sample = read_sample(config(write_results(tmp_path / "a.json", rectangles(3))), 50, None)
    assert (sample.n_images, sample.n_images_seen) == (3, 3)


def write_truth(path: Path, ids: list[int]) -> evaluate.Truth:
    annotations = [{"id": n, "image_id": n, "category_id": 1} for n in ids]
    document = {"images": [{"id": n} for n in ids], "annotations": annotations, "categories": []}
    path.write_text(json.dumps(document))
    return evaluate.read_truth(str(path))


def test_ground_truth_names_the_images(tmp_path: Path) -> None:
    truth = write_truth(tmp_path / "truth.json", [1, 3, 5, 99])
    path = write_results(tmp_path / "a.json", rectangles(6))
    sample = read_sample(config(path), 10, truth)
    assert images(sample) == {1, 3, 5}
    assert (sample.n_images, sample.n_images_seen) == (4, 4)
    fewer = read_sample(config(path), 2, truth).truth
    assert fewer is not None
    assert len(fewer.image_ids) == 2
    assert {row["image_id"] for row in fewer.document["annotations"]} == fewer.image_ids


def test_nothing_to_look_at(tmp_path: Path) -> None:
    path = write_results(tmp_path / "a.json", rectangles(2))
    with pytest.raises(ConfigError, match=r"expected masks on the images of .*truth.json"):
        read_sample(config(path), 10, write_truth(tmp_path / "truth.json", [77]))
    (tmp_path / "none.json").write_text("[]")
    with pytest.raises(ConfigError, match="expected masks in the inputs, found none"):
        read_sample(config(tmp_path / "none.json"), 10, None)
    with pytest.raises(InputError, match="no such file"):
        read_sample(config(tmp_path / "absent.json"), 10, None)
