"""Intersections from column profiles, and by search where masks are too wide for them."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.masks import _torch_arrays, _torch_profile, group, rle, torch_backend
from pipeline.masks._torch_overlap import foreground, intersections, measure, to_keys
from pipeline.masks._torch_rle import read_strings
from tests import strategies
from tests.devices import DEVICES, Calls

pytestmark = pytest.mark.parametrize("device", DEVICES)

WIDE = 1 << 40


def shared_by_both(masks: Any, device: str, limit: int = WIDE) -> tuple[list[int], list[int]]:
    """Return what all pairs share, from profiles and by search; no mask is empty."""
    strings = strategies.to_strings(masks)
    sizes_N2 = torch.from_numpy(strategies.sizes_of(masks).astype(np.int64)).to(device)
    runs, refused = read_strings(
        torch.from_numpy(strings.bytes_B.copy()).to(device),
        torch.from_numpy(strings.offsets_N1.copy()).to(device),
        sizes_N2[:, 0] * sizes_N2[:, 1],
        is_strict=True,
    )
    assert refused == -1
    height_N = sizes_N2[:, 0].int()
    spans = foreground(runs, height_N)
    profile = _torch_profile.build_profile(spans, measure(spans, height_N), height_N, WIDE)
    assert profile is not None
    pairs = np.array(list(combinations(range(len(masks)), 2)), np.int64).reshape(-1, 2)
    i_P, j_P = (torch.from_numpy(column.copy()).to(device) for column in pairs.T)
    columns = _torch_profile.shared_pixels(profile, i_P, j_P, limit).tolist()
    return columns, intersections(to_keys(spans), i_P, j_P, limit).tolist()


def by_pixels(masks: Any) -> list[int]:
    return [int((one & other).sum()) for one, other in combinations(masks, 2)]


def test_worked_example(device: str) -> None:
    a = np.array([[1, 1], [1, 0], [1, 1]], bool)
    b = np.array([[0, 1], [1, 1], [1, 1]], bool)
    assert shared_by_both([a, b], device) == ([4], [4])


@given(
    stack=strategies.bitmap_stacks(min_masks=1, max_masks=7), limit=st.sampled_from([1, 9, WIDE])
)
@settings(max_examples=80)
def test_any_masks(device: str, stack: Any, limit: int) -> None:
    masks = [mask for mask in stack if mask.any()]
    if masks:
        assert shared_by_both(masks, device, limit) == (by_pixels(masks),) * 2


def test_many_runs_in_a_column_runs_over_columns_and_no_common_column(device: str) -> None:
    y, x = np.mgrid[:60, :40]
    masks = [
        y % 2 == 0,
        y % 3 == 0,
        (y % 5 < 3) & (x > 9),
        x < 5,
        x >= 35,
        (x * 60 + y > 700) & (x * 60 + y < 1500),
        np.ones((60, 40), bool),
        np.random.default_rng(0).random((60, 40)) < 0.5,
    ]
    assert shared_by_both(masks, device) == (by_pixels(masks),) * 2


@pytest.mark.parametrize("policy", ["leader", "component"])
@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), threshold=st.sampled_from([0.3, 0.6, 1.0]))
def test_the_way_changes_no_group(device: str, policy: Any, seed: int, threshold: float) -> None:
    random = np.random.default_rng(seed)
    masks = random.random((4, 15, 11))[random.integers(0, 4, 30)] < random.random((30, 1, 1))
    zeros = np.zeros(30, np.int64)
    rows = strategies.to_strings(masks), strategies.sizes_of(masks), np.array([0, 12, 30])
    options: dict[str, Any] = {"threshold": threshold, "group": policy}
    expected = group.group_masks(*rows, zeros, zeros > 0, None, **options)
    for limit in (torch_backend.ITEMS_AT_ONCE, 0):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("pipeline.masks._torch_stretch.build_profile", _bounded(limit))
            found = torch_backend.group_masks(
                *rows, zeros, zeros > 0, None, **options, device=device
            )
        for one, other in zip(found[:5], expected[:5], strict=True):
            np.testing.assert_array_equal(one, other)


def _bounded(most: int) -> Any:
    build = _torch_profile.build_profile
    return lambda spans, boxes, height_N, limit: build(spans, boxes, height_N, min(limit, most))


@pytest.mark.parametrize("kind", ["noise", "bars", "tall bars", "dots"])
@pytest.mark.parametrize("policy", ["leader", "component"])
def test_memory_is_what_the_limits_say(
    device: str, policy: Any, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(0)
    y, x = np.mgrid[:90, :90]
    step = np.arange(16)[:, None, None] % 5
    masks = {
        "noise": random.random((16, 90, 90)) < 0.5,
        "bars": np.broadcast_to(x + step < 80, (16, 90, 90)),
        "tall bars": (x > step) & (y > 0),
        "dots": random.random((16, 90, 90)) < 0.02,
    }[kind]
    strings, sizes_N2 = strategies.to_strings(masks), strategies.sizes_of(masks)
    zeros = np.zeros(16, np.int64)
    n_items, n_chars = 2_000, len(strings.bytes_B)
    monkeypatch.setattr(_torch_arrays, "CPU_SHARE", 1)
    monkeypatch.setattr(torch_backend, "ITEMS_AT_ONCE", n_items)
    torch_backend.from_coco(strings, sizes_N2, device=device)  # makes the host's buffers
    with Calls() as calls:
        found = torch_backend.group_masks(
            strings, sizes_N2, np.array([0, 16]), zeros, zeros > 0, None,
            threshold=0.2, group=policy, device=device,
        )  # fmt: skip
    n_items += found.n_candidate_pairs
    bound = torch_backend.BYTES_PER_CHAR * n_chars + torch_backend.BYTES_PER_ITEM * n_items
    assert 0 < calls.peak_bytes <= bound
    with Calls() as calls:
        torch_backend.to_coco(rle.from_coco(strings, sizes_N2), device=device)
    assert calls.peak_bytes <= torch_backend.BYTES_PER_CHAR * n_chars + 4096
