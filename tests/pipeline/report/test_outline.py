"""Outlines by hand, and against the bitmaps that they enclose."""

from __future__ import annotations

import re

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.masks import measure, rle
from pipeline.masks.batch import CocoStrings
from pipeline.report import outline
from tests import oracle
from tests.strategies import bitmaps_of


def test_worked_example() -> None:
    assert outline.svg_path(np.array([[1, 0], [1, 1]], bool)) == "M0 0H1V1H2V2H0Z"


def test_no_pixel_has_no_outline() -> None:
    assert outline.svg_path(np.zeros((3, 2), bool)) == ""


def inside(path: str, height: int, width: int) -> np.ndarray:
    """Fill a path by the even-odd rule: a pixel is in if an odd number of edges is left of it."""
    crossings = np.zeros((height, width + 1), int)
    x = y = start_y = 0
    for command, a, b in re.findall(r"([MHVZ])(\d*) ?(\d*)", path):
        if command == "M":
            x, y, start_y = int(a), int(b), int(b)
        elif command == "H":
            x = int(a)
        else:
            end = start_y if command == "Z" else int(a)
            crossings[min(y, end) : max(y, end), x] += 1
            y = end
    return np.cumsum(crossings, axis=1)[:, :width] % 2 == 1


@settings(max_examples=100)
@given(bitmap=st.integers(1, 8).flatmap(lambda h: bitmaps_of((h, 7))))
def test_path_encloses_the_pixels(bitmap: np.ndarray) -> None:
    path = outline.svg_path(bitmap)
    assert np.array_equal(inside(path, *bitmap.shape), bitmap)


@settings(max_examples=200)
@given(st.integers(1, 9).flatmap(lambda h: st.lists(bitmaps_of((h, 7)), min_size=1, max_size=3)))
def test_masks_are_read_as_the_kernels_read_them(bitmaps: list[np.ndarray]) -> None:
    height, width = bitmaps[0].shape
    texts = [oracle.encode(bitmap).decode() for bitmap in bitmaps]
    found = outline.read_masks(texts, height, width)
    offsets_N1 = np.cumsum([0, *map(len, texts)])
    strings = CocoStrings(np.frombuffer("".join(texts).encode(), np.uint8), offsets_N1)
    expected = rle.from_coco(strings, found.size_hw_N2)
    np.testing.assert_array_equal(found.offsets_N1, expected.offsets_N1)
    np.testing.assert_array_equal(found.counts_R, expected.counts_R)
    view, box_N4 = outline.window(found, height, width), measure.bbox_xywh(expected)
    box_N4 = box_N4[box_N4[:, 2] > 0]
    if len(box_N4):
        left, top = np.maximum(box_N4[:, :2].min(axis=0) - 1, 0)
        right, bottom = np.minimum((box_N4[:, :2] + box_N4[:, 2:]).max(axis=0) + 1, (width, height))
        assert view == (left, top, right - left, bottom - top, 1)


def test_long_runs_are_read() -> None:
    bitmap = np.zeros((3000, 2000), bool)
    bitmap[1500:, 700:702] = bitmap[17, 1000] = bitmap[:40, 1999] = True
    found = outline.read_masks([oracle.encode(bitmap).decode()], *bitmap.shape)
    assert found.counts_R.sum() == bitmap.size
    assert found.counts_R.tolist()[:4] == [3000 * 700 + 1500, 1500, 1500, 1500]
    assert found.counts_R.tolist()[-1] == 3000 - 40


def test_picture_of_every_pixel_is_the_mask() -> None:
    bitmap = np.random.default_rng(0).random((9, 11)) < 0.5
    bitmap[3, 4] = True
    batch = outline.read_masks([oracle.encode(bitmap).decode()], 9, 11)
    view = outline.window(batch, 9, 11)
    part = bitmap[view.y : view.y + view.rows, view.x : view.x + view.columns]
    assert view.step == 1
    assert np.array_equal(outline.sample(batch, 0, view), part)


def test_large_masks_are_sampled() -> None:
    bitmap = np.zeros((900, 700), bool)
    bitmap[100:800, 50:650] = True
    batch = outline.read_masks([oracle.encode(bitmap).decode()], 900, 700)
    view = outline.window(batch, 900, 700)
    assert max(view.rows, view.columns) <= outline.SIDE
    assert outline.sample(batch, 0, view).mean() > 0.6
