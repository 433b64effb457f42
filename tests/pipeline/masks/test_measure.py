"""Area, tight box and boundary length of runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from pipeline.errors import MaskError
from pipeline.masks import measure
from pipeline.masks.rle import empty_batch
from tests import oracle, strategies


def dense_boundary_length(mask: Any) -> int:
    """Count the cracks by comparing each pixel with its neighbours, the outside as background."""
    framed = np.pad(mask, 1).astype(np.int8)
    return int(np.abs(np.diff(framed, axis=0)).sum() + np.abs(np.diff(framed, axis=1)).sum())


def test_worked_example() -> None:
    batch = strategies.batch_of_runs([(3, 3)], [[3, 2, 1, 1, 2]])
    assert measure.area(batch).tolist() == [3]
    assert measure.bbox_xywh(batch).tolist() == [[1, 0, 2, 2]]
    assert measure.boundary_length(batch).tolist() == [8]
    assert measure.area(batch).dtype == np.int64
    assert measure.bbox_xywh(batch).dtype == np.int32
    assert measure.boundary_length(batch).dtype == np.int64


@pytest.mark.parametrize(
    ("size_hw", "runs", "area", "bbox", "length"),
    [
        ((1, 1), [1], 0, [0, 0, 0, 0], 0),
        ((1, 1), [0, 1], 1, [0, 0, 1, 1], 4),
        ((1, 7), [2, 3, 2], 3, [2, 0, 3, 1], 8),
        ((7, 1), [2, 3, 2], 3, [0, 2, 1, 3], 8),
        ((3, 4), [12], 0, [0, 0, 0, 0], 0),
        ((3, 4), [0, 12], 12, [0, 0, 4, 3], 14),
        ((3, 4), [2, 2, 8], 2, [0, 0, 2, 3], 8),
        ((46340, 46340), [0, 46340**2], 46340**2, [0, 0, 46340, 46340], 4 * 46340),
        ((1, 2**31 - 1), [0, 2**31 - 1], 2**31 - 1, [0, 0, 2**31 - 1, 1], 2**32),
        ((46340, 46340), [46340**2 - 1, 1], 1, [46339, 46339, 1, 1], 4),
    ],
)
def test_by_hand(
    size_hw: tuple[int, int], runs: list[int], area: int, bbox: list[int], length: int
) -> None:
    batch = strategies.batch_of_runs([(2, 2), size_hw, (2, 2)], [[0, 4], runs, [4]])
    assert measure.area(batch).tolist() == [4, area, 0]
    assert measure.bbox_xywh(batch).tolist() == [[0, 0, 2, 2], bbox, [0, 0, 0, 0]]
    assert measure.boundary_length(batch).tolist() == [8, length, 0]


def test_no_masks() -> None:
    assert measure.area(empty_batch()).shape == (0,)
    assert measure.bbox_xywh(empty_batch()).shape == (0, 4)
    assert measure.boundary_length(empty_batch()).shape == (0,)


@given(strategies.images())
@settings(max_examples=100)
def test_parity(stacks: list[Any]) -> None:
    masks = strategies.flat(stacks)
    batch = strategies.to_batch(masks)
    counts = strategies.list_strings(strategies.to_strings(masks))
    pairs = [(mask.shape, one) for mask, one in zip(masks, counts, strict=True)]
    assert measure.area(batch).tolist() == [oracle.area(*pair) for pair in pairs]
    assert measure.bbox_xywh(batch).tolist() == [list(oracle.to_bbox(*pair)) for pair in pairs]
    assert measure.boundary_length(batch).tolist() == [dense_boundary_length(m) for m in masks]


def test_broken_batches() -> None:
    batch = strategies.batch_of_runs([(2, 2)], [[0, 4]])
    broken = batch._replace(offsets_N1=np.array([0, 3]))
    for function in (measure.area, measure.bbox_xywh, measure.boundary_length):
        with pytest.raises(MaskError, match="offsets"):
            function(broken)
    harmless = strategies.batch_of_runs([(2, 2)] * 3, [[], [2**32 - 1] * 3, [0, 0, 0]])
    for function in (measure.area, measure.bbox_xywh, measure.boundary_length):
        assert len(function(harmless)) == 3
