"""The worked example in the docstring of the two mask forms."""

from __future__ import annotations

import numpy as np

from pipeline.masks import batch
from tests import oracle, strategies


def test_worked_example_of_the_docstring() -> None:
    drawing = [line.split()[:3] for line in (batch.__doc__ or "").splitlines() if " . " in line]
    bitmap = np.array([[pixel == "X" for pixel in row] for row in drawing])
    assert bitmap.shape == (3, 3)
    masks = strategies.to_batch([bitmap])
    assert masks.counts_R.tolist() == [3, 2, 1, 1, 2]
    assert masks.offsets_N1.tolist() == [0, 5]
    assert masks.size_hw_N2.tolist() == [[3, 3]]
    assert strategies.to_strings([bitmap]).bytes_B.tobytes() == b"321O1"
    np.testing.assert_array_equal(oracle.decode((3, 3), b"321O1"), bitmap)


def test_dtypes_of_the_forms() -> None:
    masks = strategies.to_batch(np.zeros((2, 2, 3), bool))
    assert [array.dtype for array in masks] == [np.int32, np.uint32, np.int64]
    strings = strategies.to_strings(np.zeros((2, 2, 3), bool))
    assert [array.dtype for array in strings] == [np.uint8, np.int64]
