"""Crack code on a device against the compiled writer, byte for byte."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from pipeline.errors import MaskError
from pipeline.masks import _torch_arrays, contour, rle, torch_contour
from pipeline.masks.batch import MaskBatch
from tests import strategies
from tests.devices import DEVICES, Calls

pytestmark = pytest.mark.parametrize("device", DEVICES)


def assert_same(batch: MaskBatch, device: str) -> None:
    found, expected = torch_contour.encode_crack(batch, device=device), contour.encode_crack(batch)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


@given(stacks=strategies.images())
@settings(max_examples=200)
def test_parity(device: str, stacks: list[Any]) -> None:
    assert_same(strategies.to_batch(strategies.flat(stacks)), device)


def test_large_shapes(device: str) -> None:
    y, x = np.mgrid[:300, :400]
    masks = [
        (y - 150) ** 2 + (x - 200) ** 2 < 120**2,
        np.hypot(y - 150, x - 200) % 20 < 9,
        (y // 7 + x // 5) % 2 == 0,
        np.ones((300, 400), bool),
        np.zeros((300, 400), bool),
        x > 398,
        (y == 150) | (x % 50 == 0),
        np.random.default_rng(0).random((300, 400)) < 0.5,
    ]
    assert_same(strategies.to_batch(masks), device)


def test_nothing(device: str) -> None:
    assert_same(rle.empty_batch(), device)
    assert_same(strategies.to_batch([np.zeros((3, 3), bool)] * 2), device)


def test_a_row_of_2_to_the_20_pixels(device: str) -> None:
    n_columns = 2**20
    assert_same(strategies.batch_of_runs([(1, n_columns)], [[0, n_columns]]), device)


def test_stretches_change_nothing(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    masks = list(np.random.default_rng(1).random((9, 12, 13)) < 0.5)
    batch = strategies.to_batch([*masks[:3], np.zeros((12, 13), bool), *masks[3:]])
    for at_once in (1, 300, 10**6):
        monkeypatch.setattr(torch_contour, "CRACKS_AT_ONCE", at_once)
        assert_same(batch, device)


@pytest.mark.parametrize("runs", [[4, 0, 5], [4, 4], [10]])
def test_runs_that_are_not_canonical_are_refused_by_row(device: str, runs: list[int]) -> None:
    batch = strategies.batch_of_runs([(3, 3), (3, 3)], [[9], runs])
    with pytest.raises(MaskError, match="row 1"):
        torch_contour.encode_crack(batch, device=device)


def test_boundaries_that_are_too_long_are_refused_by_row(device: str) -> None:
    n_columns = 2**23
    batch = strategies.batch_of_runs([(1, n_columns)], [[0, n_columns]])
    with pytest.raises(MaskError, match="row 0"):
        torch_contour.encode_crack(batch, device=device)


def test_calls_do_not_grow_with_masks(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_torch_arrays, "CPU_SHARE", 1)  # one stretch
    masks = list(np.random.default_rng(2).random((5, 9, 9)) < 0.6)
    torch_contour.encode_crack(strategies.to_batch(masks), device=device)  # makes the buffers
    counted: list[int] = []
    for n_copies in (10, 10, 10_000):  # buffers are made once
        batch = strategies.to_batch(masks)
        batch = rle.take(batch, np.tile(np.arange(5), n_copies))
        with Calls() as calls:
            torch_contour.encode_crack(batch, device=device)
        counted.append(calls.n_calls)
    assert counted[1] == counted[2] < 1000
