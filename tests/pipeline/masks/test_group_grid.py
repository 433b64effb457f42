"""Crowds: the grid finds what a scan of all finds, however many candidates a mask has."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.masks._numba_group_grid import sort_found
from pipeline.masks.group import GRID_FROM, Grouping
from tests import oracle
from tests.grouping import Bitmap, Case, Image, case_of, model, strings_case, unpruned

SCAN, GRID = 1 << 30, 2
"""From how many members on candidates are looked up in a grid: never, always."""


def policy_of(threshold: float, overlap: str = "iou", group: str = "component") -> dict[str, Any]:
    return {"threshold": threshold, "overlap": overlap, "group": group, "across": False}


def assert_same(one: Grouping, other: Grouping) -> None:
    for name, a, b in zip(Grouping._fields[:5], one, other, strict=False):
        assert np.array_equal(a, b), name


def square(x: int, y: int, side: int, height: int, width: int) -> list[int]:
    first = x * height + y
    runs = [first] + [side, height - side] * side
    runs[-1] = width * height - first - (side - 1) * height - side
    return runs


def heaps(n: int, height: int, width: int, seed: int) -> Case:
    """Squares of many sizes in twelve heaps."""
    rng = np.random.default_rng(seed)
    strings: list[bytes] = []
    for _ in range(n):
        heap = int(rng.integers(12))
        x = heap % 4 * 90 + 20 + int(rng.integers(25))
        y = heap // 4 * 110 + 20 + int(rng.integers(25))
        side = int(rng.choice([3, 6, 12, 20, 40]))
        strings.append(oracle.to_string(square(x, y, side, height, width)))
    return strings_case(strings, (height, width))


@pytest.mark.parametrize("kind", ["leader", "component"])
@pytest.mark.parametrize("overlap", ["iou", "ios"])
@pytest.mark.parametrize("threshold", [0.2, 0.6])
def test_crowds_by_grid_and_by_scan(kind: str, overlap: str, threshold: float) -> None:
    # Many masks have more candidates than are sorted by insertion.
    case = heaps(GRID_FROM + 400, 400, 400, seed=0)
    policy = policy_of(threshold, overlap, kind)
    by_scan = unpruned(case, policy, 0, SCAN)
    by_grid = unpruned(case, policy, 0, GRID_FROM)
    assert_same(by_scan, by_grid)
    assert 12 <= len(np.unique(by_grid.leader_N)) < 1300
    assert by_grid.n_candidate_pairs == by_scan.n_candidate_pairs


def test_a_small_crowd_equals_the_model() -> None:
    rng = np.random.default_rng(1)
    masks: Bitmap = np.zeros((120, 30, 40), bool)
    for mask in masks:
        y, x, side = (int(value) for value in rng.integers((0, 0, 2), (25, 35, 12)))
        mask[y : y + side, x : x + side] = True
    n = len(masks)
    drawn = [Image(masks, [0] * n, [False] * n, [0] * n)]
    for threshold in (0.02, 0.1, 0.4):
        policy = policy_of(threshold)
        grouping = unpruned(case_of(drawn), policy, 0, GRID)
        for name, column, values in zip(
            Grouping._fields, grouping, model(drawn, **policy), strict=False
        ):
            assert column.tolist() == values, name


@pytest.mark.parametrize("n", [0, 1, 2, 32, 33, 1000, 70_000])
def test_rows_that_were_found_are_sorted(n: int) -> None:
    rng = np.random.default_rng(n)
    found: NDArray[np.int32] = rng.integers(0, 2**31, n).astype(np.int32)
    expected = np.sort(found)
    sort_found(found, n, np.empty(max(n, 1), np.int32), np.empty(257, np.int64))
    assert np.array_equal(found, expected)
