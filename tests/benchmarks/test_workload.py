"""The workload generator: same seed same bytes, valid strings, the stated look."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.files import to_table, write_parquet, write_results_json
from benchmarks.runs import counts_to_strings, crop_counts, paste_counts
from benchmarks.workload import Kind, Workload, cached, huge_image, make_workload
from tests import oracle, strategies

KINDS: tuple[Kind, ...] = ("sparse", "detector")


def assert_same(a: Workload, b: Workload) -> None:
    for name, values in vars(a).items():
        np.testing.assert_array_equal(values, getattr(b, name))


@pytest.fixture(scope="module")
def dense() -> Workload:
    return make_workload("dense", n_images=2, side=640)


def test_same_seed_same_bytes_other_seed_other_bytes() -> None:
    first = make_workload("dense", n_images=1, masks_per_image=20, side=320)
    assert_same(first, make_workload("dense", n_images=1, masks_per_image=20, side=320))
    other = make_workload("dense", n_images=1, masks_per_image=20, side=320, seed=1)
    assert first.bytes_B.tobytes() != other.bytes_B.tobytes()


@pytest.mark.parametrize("kind", ["dense", "scattered", "sparse", "crowded", "nested", "detector"])
def test_every_string_is_canonical_and_sums_to_its_image(kind) -> None:
    workload = make_workload(kind, n_images=2, masks_per_image=20, side=256)
    assert len(workload) == 40
    sizes = workload.size_hw_N2.tolist()
    for size_hw, counts in zip(sizes, workload.strings(), strict=True):
        assert oracle.canonical(size_hw, counts) == counts
    assert workload.n_runs == sum(
        len(oracle.parse(size_hw, counts))
        for size_hw, counts in zip(sizes, workload.strings(), strict=True)
    )


def test_scenes_look_as_stated(dense: Workload) -> None:
    assert 80 < dense.n_runs / len(dense) < 130
    assert ((dense.score > 0) & (dense.score <= 1)).all()
    boxes = dense.bbox_xywh_N4
    assert (boxes >= 0).all()
    limits = dense.size_hw_N2[:, ::-1]
    assert (boxes[:, :2] + boxes[:, 2:] <= limits + 1e-9).all()
    assert list(np.unique(dense.image_id)) == [1, 2]


def test_boxes_of_the_detector_are_as_large_as_real_ones() -> None:
    sizes: dict[Kind, float] = {}
    for kind in KINDS:
        workload = make_workload(kind, n_images=8, side=640)
        sizes[kind] = float(np.median(np.sqrt(workload.bbox_xywh_N4[:, 2:].prod(axis=1))))
    assert 0.9 < sizes["detector"] / (0.104 * 640) < 1.1
    assert 0.9 < sizes["sparse"] / (0.051 * 640) < 1.1


def test_about_four_in_ten_survive(dense: Workload) -> None:
    masks = np.array(dense.strings(), object)
    survivors = 0
    for image in np.unique(dense.image_id):
        for category in np.unique(dense.category_id):
            rows = np.flatnonzero((dense.image_id == image) & (dense.category_id == category))
            if not len(rows):
                continue
            rows = rows[np.argsort(-dense.score[rows], kind="stable")]
            size_hw = dense.size_hw_N2[rows[0]].tolist()
            overlap = oracle.iou(size_hw, masks[rows].tolist(), masks[rows].tolist())
            is_taken = np.zeros(len(rows), bool)
            for n in range(len(rows)):
                if not is_taken[n]:
                    survivors += 1
                    is_taken |= overlap[n] >= 0.8
    assert 0.30 < survivors / len(dense) < 0.45


def test_huge_image_is_one_image_of_small_masks() -> None:
    workload = huge_image(200, 900)
    assert (workload.image_id == 1).all()
    assert (workload.category_id == 1).all()
    assert (workload.size_hw_N2 == 900).all()
    assert 30 < np.median(workload.bbox_xywh_N4[:, 2]) < 50


def test_a_mask_is_pasted_by_bilinear_sampling_at_pixel_centres() -> None:
    # Cells of one pixel: the mask itself. Half a pixel further: the mean of two cells, and
    # 0.5 stays.
    soft = np.zeros((28, 28))
    soft[3:5, 6] = 1
    assert paste_counts(soft, [0, 0, 28, 28], 28, 28).tolist() == [6 * 28 + 3, 2, 21 * 28 + 23]
    counts = paste_counts(soft, [0.5, 0, 28.5, 28], 28, 28)
    assert counts.tolist() == [6 * 28 + 3, 2, 26, 2, 20 * 28 + 23]
    assert paste_counts(soft * 0, [0, 0, 28, 28], 28, 28).tolist() == [28 * 28]


@settings(max_examples=60)
@given(strategies.bitmaps(), st.data())
def test_the_counts_of_a_crop_are_those_of_the_image(crop, data) -> None:
    margins = [data.draw(st.integers(0, 2)) for _ in range(4)]
    image = np.pad(crop, (margins[:2], margins[2:]))
    counts = crop_counts(crop.T, margins[2], margins[0], *image.shape)
    bytes_B, offsets_N1 = counts_to_strings(counts, np.array([len(counts)]))
    assert bytes_B.tobytes() == oracle.encode(image)
    assert offsets_N1.tolist() == [0, len(bytes_B)]


@settings(max_examples=60)
@given(st.lists(st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=6), max_size=4))
def test_strings_of_any_counts(counts) -> None:
    lengths = np.array([len(runs) for runs in counts], np.int64)
    flat = np.array([run for runs in counts for run in runs], np.int64)
    bytes_B, offsets_N1 = counts_to_strings(flat, lengths)
    data = bytes_B.tobytes()
    strings = [data[offsets_N1[n] : offsets_N1[n + 1]] for n in range(len(counts))]
    assert strings == [oracle.to_string(runs) for runs in counts]


def test_take_and_cache_keep_the_rows(dense: Workload, tmp_path: Path) -> None:
    rows = np.array([7, 3, 3])
    part = dense.take(rows)
    assert part.strings() == [dense.strings()[n] for n in rows]
    assert cached("part", lambda: part, tmp_path) is part
    assert_same(cached("part", lambda: pytest.fail("made again"), tmp_path), part)


def test_files_hold_the_rows(dense: Workload, tmp_path: Path) -> None:
    part = dense.take(np.arange(5))
    write_parquet(to_table(part), tmp_path / "a.parquet")
    table = pq.read_table(tmp_path / "a.parquet")
    assert table["counts"].to_pylist() == part.strings()
    assert table["bbox_w"].to_pylist() == part.bbox_xywh_N4[:, 2].tolist()
    write_results_json(part, tmp_path / "a.json")
    entries = json.loads((tmp_path / "a.json").read_text())
    assert [entry["segmentation"]["counts"].encode() for entry in entries] == part.strings()
    assert [entry["score"] for entry in entries] == part.score.tolist()
