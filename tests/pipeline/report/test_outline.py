"""Outlines by hand, and against the bitmaps that they enclose."""

from __future__ import annotations

import re

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

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
