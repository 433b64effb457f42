"""Polygon fill against pycocotools, by hand, and on what pycocotools cannot survive."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import MaskError
from pipeline.masks.polygon_fill import PolyCode, PolygonFill, fill_polygons
from tests import oracle, strategies

Rings = Sequence[Sequence[float]]
NAN, INF = float("nan"), float("inf")
SQUARE = [2.0, 2.0, 7.0, 2.0, 7.0, 7.0, 2.0, 7.0]
BOW_TIE = [0.0, 0.0, 10.0, 10.0, 10.0, 0.0, 0.0, 10.0]


def fill(polygons: Sequence[Rings], sizes_hw: Sequence[Sequence[int]]) -> PolygonFill:
    rings = [ring for polygon in polygons for ring in polygon]
    return fill_polygons(
        np.array([value for ring in rings for value in ring], np.float64),
        np.cumsum([0, *(len(ring) for ring in rings)]),
        np.cumsum([0, *(len(polygon) for polygon in polygons)]),
        np.array(sizes_hw, np.int64).reshape(-1, 2),
    )


def fill_one(rings: Rings, size_hw: Sequence[int]) -> tuple[PolyCode, list[int]]:
    filled = fill([rings], [size_hw])
    return PolyCode(filled.code_N[0]), strategies.list_runs(filled.batch)[0]


def area(runs: Sequence[int]) -> int:
    return sum(runs[1::2])


def test_worked_example():
    assert fill_one([[1, 1, 3, 1, 3, 2, 1, 2]], (3, 4)) == (PolyCode.OK, [4, 1, 2, 1, 4])


def test_nothing_to_fill():
    filled = fill([], [])
    assert filled.batch.counts_R.size == 0
    assert filled.batch.offsets_N1.tolist() == [0]


def test_lvis_equals_pycocotools(shared_data: Path):
    data = json.loads((shared_data / "lvis_val_100.json").read_text())
    size_of = {image["id"]: (image["height"], image["width"]) for image in data["images"]}
    polygons = [annotation["segmentation"] for annotation in data["annotations"]]
    sizes = [size_of[annotation["image_id"]] for annotation in data["annotations"]]
    filled = fill(polygons, sizes)
    assert len(polygons) > 900
    assert not filled.code_N.any()
    for runs, rings, size in zip(strategies.list_runs(filled.batch), polygons, sizes, strict=True):
        assert oracle.to_string(runs) == oracle.from_polygons(rings, *size)


COORDINATES = st.one_of(
    st.integers(-8, 32).map(float),
    st.integers(-16, 64).map(lambda n: n / 2),
    st.integers(-80, 320).map(lambda n: n / 10),
    st.floats(-40, 60),
    st.floats(-2000, 2000),
)
RINGS = st.lists(st.tuples(COORDINATES, COORDINATES), min_size=3, max_size=9).map(
    lambda points: [value for point in points for value in point]
)


@settings(max_examples=120)
@given(st.lists(st.tuples(st.lists(RINGS, min_size=1, max_size=3), strategies.sizes()), max_size=8))
def test_any_polygon_equals_pycocotools(cases: list[tuple[Rings, tuple[int, int]]]):
    filled = fill([rings for rings, _ in cases], [size for _, size in cases])
    strings = [oracle.to_string(runs) for runs in strategies.list_runs(filled.batch)]
    assert strings == [oracle.from_polygons(rings, *size) for rings, size in cases]
    areas = [area(runs) for runs in strategies.list_runs(filled.batch)]
    assert filled.code_N.tolist() == [PolyCode.OK if a else PolyCode.ZERO_AREA for a in areas]


def test_many_crossings_in_a_column_equal_pycocotools():
    rng = np.random.default_rng(7)
    xs = np.where(np.arange(301) % 2, 60.0, 0.5)
    ring = np.stack([xs, rng.uniform(-5, 70, 301)], axis=1).ravel().tolist()
    code, runs = fill_one([ring, SQUARE], (64, 61))
    assert code == PolyCode.OK
    assert oracle.to_string(runs) == oracle.from_polygons([ring, SQUARE], 64, 61)


@pytest.mark.parametrize(
    ("rings", "code", "n_bad"),
    [
        ([[1, 1, 4, 4]], PolyCode.POLY_TOO_SHORT, 1),
        ([[1, 1]], PolyCode.POLY_TOO_SHORT, 1),
        ([[1, 1, 4, 4, 5, 1, 2]], PolyCode.POLY_ODD, 1),
        ([[NAN, 0, 5, 0, 5, 5]], PolyCode.POLY_NONFINITE, 1),
        ([[0, -INF, 5, 0, 5, 5]], PolyCode.POLY_NONFINITE, 1),
        ([[0, 0, 1e9, 0, 1e9, 1]], PolyCode.POLY_RANGE, 1),
        ([[0, 0, 1e300, 0, NAN, 1]], PolyCode.POLY_NONFINITE, 1),
        ([[1, 1, 4, 4], [1, 1, 4, 4, 5]], PolyCode.POLY_TOO_SHORT, 2),
        ([[1, 1, 4, 4, 5], [1, 1, 4, 4]], PolyCode.POLY_TOO_SHORT, 2),
        ([], PolyCode.NO_SEGMENTATION, 0),
        ([[]], PolyCode.NO_SEGMENTATION, 1),
        ([[20, 20, 30, 20, 30, 30]], PolyCode.ZERO_AREA, 0),
        ([[0, 0, 5, 5, 9, 9]], PolyCode.ZERO_AREA, 0),
        ([[3, 3, 3, 3, 3, 3]], PolyCode.ZERO_AREA, 0),
    ],
)
def test_faulty_polygons_have_a_code_and_no_pixel(rings: Rings, code: PolyCode, n_bad: int):
    filled = fill([[SQUARE], rings, [SQUARE]], [(12, 10)] * 3)
    assert filled.code_N.tolist() == [PolyCode.OK, code, PolyCode.OK]
    assert filled.n_bad_rings_N.tolist() == [0, n_bad, 0]
    runs = strategies.list_runs(filled.batch)
    assert runs[1] == [120]
    assert runs[0] == runs[2]
    assert area(runs[0]) == 25


@pytest.mark.parametrize("bad", [[1, 1, 4, 4], [0] * 7, [NAN] * 6, [2e7] * 6, []])
def test_a_good_ring_survives_bad_ones_in_either_order(bad: list[float]):
    filled = fill([[bad, SQUARE], [SQUARE, bad], [SQUARE]], [(12, 10)] * 3)
    runs = strategies.list_runs(filled.batch)
    assert runs[0] == runs[1] == runs[2]
    assert filled.code_N.tolist() == [PolyCode.OK] * 3
    assert filled.n_bad_rings_N.tolist() == [1, 1, 0]


def test_partly_outside_is_clipped_and_counted():
    filled = fill([[[-5, -5, 5, -5, 5, 5, -5, 5]], [SQUARE]], [(12, 12)] * 2)
    assert area(strategies.list_runs(filled.batch)[0]) == 25
    assert filled.is_clipped_N.tolist() == [True, False]


def test_self_crossing_is_even_odd_and_counted():
    twice = [1, 1, 6, 1, 6, 6, 1, 6] * 2
    clockwise = [0, 0, 10, 0, 10, 10, 0, 10]
    hole = [*clockwise, 0, 0, 3, 3, 3, 6, 6, 6, 6, 3, 3, 3]
    polygons = [[BOW_TIE], [twice], [clockwise], [clockwise[::-1]], [hole], [SQUARE, SQUARE]]
    filled = fill(polygons, [(12, 12)] * len(polygons))
    assert filled.is_crossing_N.tolist() == [True, True, False, False, False, False]
    areas = [area(runs) for runs in strategies.list_runs(filled.batch)]
    assert areas == [50, 0, 100, 100, 91, 25]


@pytest.mark.parametrize(
    ("size_hw", "code"),
    [
        ((0, 10), PolyCode.SIZE_INVALID),
        ((10, -1), PolyCode.SIZE_INVALID),
        ((2**32, 2**32), PolyCode.SIZE_INVALID),
        ((70000, 70000), PolyCode.IMAGE_TOO_LARGE),
    ],
)
def test_faulty_sizes_have_a_code_and_the_size_of_one_pixel(size_hw: tuple[int, int], code: int):
    filled = fill([[SQUARE], [SQUARE]], [size_hw, (9, 9)])
    assert filled.code_N.tolist() == [code, PolyCode.OK]
    assert filled.batch.size_hw_N2.tolist() == [[1, 1], [9, 9]]
    assert strategies.list_runs(filled.batch)[0] == [1]


def test_positions_beyond_32_bits_of_pycocotools_are_right():
    low, high = 46000 - 10, 46000
    code, runs = fill_one([[low, low, high, low, high, high, low, high]], (46000, 46000))
    assert code == PolyCode.OK
    assert area(runs) == 100
    assert runs[0] == low * 46000 + low
    assert sum(runs) == 46000**2


def test_far_vertices_cost_no_more_than_the_image():
    far = 2.0**24
    code, runs = fill_one([[-far, -far, far, -far, far, far, -far, far]], (64, 64))
    assert (code, runs) == (PolyCode.OK, [0, 64 * 64])


def test_too_many_crossings_are_out_of_range():
    ring = [value for i in range(30) for value in ((i % 2) * 2.0**24, 1.0 + i)]
    assert fill_one([ring], (100, 2**24)) == (PolyCode.POLY_RANGE, [100 * 2**24])


def test_a_batch_beyond_one_chunk_of_memory():
    wide = [0, 0, 2**21, 0, 2**21, 1, 0, 1]
    filled = fill([[wide], [SQUARE]] * 6, [(2, 2**21), (9, 9)] * 6)
    assert not filled.code_N.any()
    assert np.diff(filled.batch.offsets_N1).tolist() == [2**22 + 1, 11] * 6
    assert filled.batch.counts_R.sum() == 6 * (2**22 + 81)


def test_offsets_that_cut_something_else_are_an_error():
    xy, sizes = np.array(SQUARE), np.array([[9, 9]])
    good = np.array([0, 8]), np.array([0, 1])
    for rings, masks in (
        (np.array([0, 6]), good[1]),
        (np.array([1, 8]), good[1]),
        (np.array([0, 9, 8]), np.array([0, 2])),
        (good[0], np.array([0, 2])),
        (good[0], np.array([], np.int64)),
    ):
        with pytest.raises(MaskError, match="offsets"):
            fill_polygons(xy, rings, masks, sizes)
    with pytest.raises(MaskError, match="sizes"):
        fill_polygons(xy, *good, np.array([[9, 9], [9, 9]]))
