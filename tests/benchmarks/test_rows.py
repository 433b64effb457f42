"""The generator of files of any size: the same rows in every format, image by image, seeded."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from benchmarks import rows
from benchmarks.rows import Recipe
from tests.pipeline.read.files import Whole, read_whole, write_file

RECIPE = Recipe(1_205, masks_per_image=50, side=128, n_distinct=500)


@pytest.fixture(scope="module", autouse=True)
def small_batches() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "_BATCH_MASKS", 250)
        yield


@pytest.fixture(scope="module")
def folder(small_batches: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rows")
    for format in rows.FORMATS:
        rows.write(RECIPE, format, folder / format)
    return folder


def whole(path: Path) -> Whole:
    return read_whole(write_file(path.parent, path.read_bytes(), path.name))


def test_every_format_holds_the_same_masks(folder: Path) -> None:
    found = {format: whole(folder / format) for format in rows.FORMATS}
    first = found["json"].instances
    assert len(first) == RECIPE.n_masks
    for format in rows.FORMATS:
        assert len(found[format].rejects) == 0
        for name in ("image_id", "category_id", "counts", "height", "width", "source_row"):
            assert found[format].instances[name].equals(first[name]), (format, name)
    assert first["score"].equals(found["parquet"].instances["score"])


def test_images_are_whole_ascending_and_come_again_under_new_ids(folder: Path) -> None:
    table = pq.read_table(folder / "parquet")
    image_id = table["image_id"].to_numpy()
    assert (np.diff(image_id) >= 0).all()
    assert np.unique(image_id, return_counts=True)[1].tolist() == [50] * 24 + [5]
    counts = table["counts"].to_pylist()
    assert counts[:500] == counts[500:1_000]
    assert counts[:250] != counts[250:500]


def test_same_arguments_same_bytes_other_seed_other_bytes(folder: Path, tmp_path: Path) -> None:
    small = RECIPE._replace(n_masks=200)
    for name, recipe in {"a": small, "b": small, "c": small._replace(seed=1)}.items():
        rows.write(recipe, "json", tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").read_bytes() != (tmp_path / "c").read_bytes()


def test_text_is_compressed_as_its_name_says(tmp_path: Path) -> None:
    small = RECIPE._replace(n_masks=100)
    rows.write(small, "json", tmp_path / "a.json")
    rows.write(small, "json", tmp_path / "a.json.gz")
    assert (
        gzip.decompress((tmp_path / "a.json.gz").read_bytes()) == (tmp_path / "a.json").read_bytes()
    )


def test_passes_scatter_the_rows_of_an_image(folder: Path, tmp_path: Path) -> None:
    rows.write(RECIPE._replace(n_passes=3), "parquet", tmp_path / "a")
    once, thrice = pq.read_table(folder / "parquet"), pq.read_table(tmp_path / "a")
    assert len(thrice) == len(once)
    assert (np.diff(thrice["image_id"].to_numpy()) < 0).sum() == 2
    order = [("image_id", "ascending"), ("score", "ascending"), ("counts", "ascending")]
    assert thrice.sort_by(order) == once.sort_by(order)
