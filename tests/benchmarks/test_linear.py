"""Enlarged masks are what their name says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.linear import enlarge, prepare
from tests import strategies


@settings(max_examples=60)
@given(st.lists(strategies.bitmaps(), min_size=1, max_size=4), st.integers(1, 4))
def test_every_pixel_becomes_a_block(masks: list[strategies.Bitmap], factor: int) -> None:
    enlarged = enlarge(strategies.to_batch(masks), factor)
    expected = [np.kron(mask, np.ones((factor, factor), bool)) for mask in masks]
    assert strategies.list_runs(enlarged) == strategies.list_runs(strategies.to_batch(expected))
    assert enlarged.size_hw_N2.tolist() == [list(mask.shape) for mask in expected]


@pytest.mark.parametrize("factor", [1, 3])
def test_the_boundary_grows_with_the_side(factor: int) -> None:
    disc = np.hypot(*np.mgrid[-9:10, -9:10]) < 8
    small, large = (prepare(enlarge(strategies.to_batch([disc]), f)) for f in (1, factor))
    assert large.n_cracks == factor * small.n_cracks
    assert large.n_pixels == factor**2 * small.n_pixels
