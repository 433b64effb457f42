"""What is asked of a device: calls whose number does not grow, memory that is bounded.

Everything runs on "cpu", on the stand-in for a GPU, and on "cuda" where there is one.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

from pipeline.errors import MaskError
from pipeline.masks import group, merge, rle, torch_backend
from pipeline.masks.batch import CocoStrings
from tests import strategies
from tests.devices import DEVICES, Calls
from tests.masks_on_devices import assert_same, many, strip

pytestmark = pytest.mark.parametrize("device", DEVICES)


@pytest.mark.parametrize("policy", ["leader", "component"])
def test_calls_do_not_grow_with_images(device: str, policy: Any) -> None:
    one = strip([0, 1, 2, 8, 9, 20, 20], 4, 24)
    counted: list[int] = []
    for n_images in (10, 10, 10_000):  # buffers are made once
        given_rows = many(one, n_images)
        with Calls() as calls:
            found = torch_backend.group_masks(
                *given_rows, threshold=0.5, group=policy, device=device
            )
            batch = torch_backend.from_coco(given_rows[0], given_rows[1], device=device)
            order = np.argsort(found.leader_N, kind="stable")
            ordered_N = found.leader_N[order]
            offsets_G1 = np.append(np.flatnonzero(np.diff(ordered_N, prepend=-1)), len(order))
            united = torch_backend.union(batch, offsets_G1, order, device=device)
            torch_backend.to_coco(united, device=device)
        counted.append(calls.n_calls)
    assert counted[1] == counted[2] < 1500


def test_stretches_change_nothing(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(3)
    bitmaps = random.random((40, 9, 9)) < 0.7
    bitmaps[::3] = bitmaps[0]
    images_G1 = np.array([0, 9, 9, 22, 23, 40])
    zeros = np.zeros(40, np.int64)
    strings, sizes_N2 = strategies.to_strings(bitmaps), strategies.sizes_of(bitmaps)
    given_rows = (strings, sizes_N2, images_G1, zeros, zeros > 0, None)
    batch = rle.from_coco(strings, sizes_N2)
    arguments = (batch, np.array([0, 3, 9, 22]), np.arange(22), np.array([1, 3, 5]))
    for chars, items in ((10**6, 10**6), (50, 70), (1, 1)):
        monkeypatch.setattr(torch_backend, "CHARS_AT_ONCE", chars)
        monkeypatch.setattr(torch_backend, "ITEMS_AT_ONCE", items)
        for policy in ("leader", "component"):
            options: dict[str, Any] = {"threshold": 0.5, "group": policy}
            found = torch_backend.group_masks(*given_rows, **options, device=device)
            assert_same(found, group.group_masks(*given_rows, **options))
        assert_same(torch_backend.from_coco(strings, sizes_N2, device=device), batch)
        assert_same(torch_backend.to_coco(batch, device=device), strings)
        assert_same(torch_backend.vote(*arguments, device=device), merge.vote(*arguments))
    broken = CocoStrings(strings.bytes_B.copy(), strings.offsets_N1)
    broken.bytes_B[strings.offsets_N1[30]] = 1
    for function in (partial(torch_backend.group_masks, device=device), group.group_masks):
        with pytest.raises(MaskError, match="row 30:"):
            function(broken, *given_rows[1:], threshold=0.5)
