"""Pixels to runs on a device, against the compiled kernels, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import MaskError
from pipeline.masks import dense, torch_dense
from pipeline.masks.batch import MaskBatch
from tests import strategies
from tests.devices import DEVICES, Calls

pytestmark = pytest.mark.parametrize("device", DEVICES)


def assert_same(found: MaskBatch, expected: MaskBatch) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


@given(stack=strategies.bitmap_stacks(max_side=40))
@settings(max_examples=60)
def test_bitmaps_parity(device: str, stack: Any) -> None:
    expected = dense.from_bitmaps(stack)
    assert_same(torch_dense.from_bitmaps(stack, device=device), expected)
    tensor = torch.from_numpy(stack.copy()).to(device)
    assert_same(torch_dense.from_bitmaps(tensor, device=device), expected)
    assert_same(torch_dense.from_bitmaps(tensor.to(torch.uint8) * 7, device=device), expected)
    bits = np.packbits(stack, axis=-1)
    assert_same(torch_dense.from_packed(bits, stack.shape[2], device=device), expected)


@given(seed=st.integers(0, 2**32 - 1), threshold=st.sampled_from([0.3, 0.5, 0.9]))
@settings(max_examples=60)
def test_roi_parity(device: str, seed: int, threshold: float) -> None:
    random = np.random.default_rng(seed)
    n_masks, side = random.integers(0, 6), random.choice([1, 4, 28])
    soft = random.random((n_masks, side, side), np.float32)
    corner = random.uniform(-30, 50, (n_masks, 2))
    size = random.uniform(0.1, random.choice([2, 30, 300]), (n_masks, 2))
    boxes = np.concatenate([corner, corner + size], axis=1).astype(np.float32)
    boxes[random.random((n_masks, 4)) < 0.03] = random.choice([np.nan, np.inf, 0.0, 1e38])
    soft[random.random(soft.shape) < 0.01] = np.nan
    arguments = (soft, boxes, random.integers(1, 50, (n_masks, 2)).astype(np.int32))
    found = torch_dense.from_roi(*arguments, threshold=threshold, device=device)
    assert_same(found, dense.from_roi(*arguments, threshold=threshold))


def test_stretches_change_nothing(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(2)
    stack = random.random((7, 9, 11)) < 0.5
    soft = random.random((7, 28, 28), np.float32)
    boxes = np.tile(np.array([2, 1, 9, 8], np.float32), (7, 1))
    sizes_N2 = np.full((7, 2), (9, 11), np.int32)
    expected, pasted = dense.from_bitmaps(stack), dense.from_roi(soft, boxes, sizes_N2)
    for at_once in (1, 200, 250):
        monkeypatch.setattr(torch_dense, "PIXELS_AT_ONCE", at_once)
        monkeypatch.setattr(torch_dense, "SAMPLES_AT_ONCE", at_once)
        assert_same(torch_dense.from_bitmaps(stack, device=device), expected)
        assert_same(torch_dense.from_roi(soft, boxes, sizes_N2, device=device), pasted)


def test_stretches_stay_below_what_a_call_can_index(device: str) -> None:
    assert torch_dense.PIXELS_AT_ONCE < 2**31
    assert torch_dense.SAMPLES_AT_ONCE < 2**31


def test_broken_input_is_refused(device: str) -> None:
    for bitmaps in (np.zeros((2, 2), bool), torch.zeros((1, 2, 2)), np.zeros((1, 0, 2), bool)):
        with pytest.raises(MaskError, match="expected"):
            torch_dense.from_bitmaps(bitmaps, device=device)
    with pytest.raises(MaskError, match="expected uint8"):
        torch_dense.from_packed(np.zeros((1, 2, 2), np.uint8), 8, device=device)
    with pytest.raises(MaskError, match="threshold"):
        torch_dense.from_roi(
            np.ones((1, 2, 2), np.float32), np.ones((1, 4), np.float32),
            np.array([[3, 3]], np.int32),
            threshold=0.0, device=device,
        )  # fmt: skip


def test_calls_do_not_grow_with_masks(device: str) -> None:
    counted: list[tuple[int, ...]] = []
    for n_masks in (10, 10, 10_000):  # buffers are made once
        bitmaps = np.ones((n_masks, 3, 4), bool)
        soft = np.ones((n_masks, 2, 2), np.float32)
        boxes = np.tile(np.array([0, 0, 4, 4], np.float32), (n_masks, 1))
        sizes_N2 = np.full((n_masks, 2), 5, np.int32)
        with Calls() as of_bitmaps:
            torch_dense.from_bitmaps(bitmaps, device=device)
        with Calls() as of_roi:
            torch_dense.from_roi(soft, boxes, sizes_N2, device=device)
        counted.append((of_bitmaps.n_calls, of_roi.n_calls))
    assert counted[1] == counted[2]
    assert max(counted[1]) < 300
