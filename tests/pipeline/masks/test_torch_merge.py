"""Unions and votes on a device against the compiled kernels.

Everything runs on "cpu", on the stand-in for a GPU, and on "cuda" where there is one.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import MaskError
from pipeline.masks import merge, torch_backend
from tests import strategies
from tests.devices import DEVICES
from tests.masks_on_devices import assert_same, near_copies

pytestmark = pytest.mark.parametrize("device", DEVICES)


@st.composite
def groups(draw: st.DrawFn) -> tuple[list[Any], list[list[int]], list[int]]:
    """Draw masks of several images, groups of masks of one image, and votes."""
    masks, image_offsets_G1 = draw(near_copies())
    members: list[list[int]] = []
    for first, end in pairwise(image_offsets_G1.tolist()):
        if end > first:
            rows_of_image = st.integers(first, end - 1)
            members += draw(st.lists(st.lists(rows_of_image, min_size=1, max_size=9), max_size=3))
    votes = [draw(st.integers(1, len(group_) + 1)) for group_ in members]
    return masks, members, votes


@given(drawn=groups())
@settings(max_examples=60)
def test_merge_parity(device: str, drawn: tuple[list[Any], list[list[int]], list[int]]) -> None:
    masks, members, votes = drawn
    batch = strategies.to_batch(masks)
    offsets_G1 = np.concatenate([[0], np.cumsum([len(group_) for group_ in members])]).astype(int)
    member_M = np.array([row for group_ in members for row in group_], np.int64)
    votes_G = np.array(votes, np.int64)
    arguments = (batch, offsets_G1, member_M)
    assert_same(torch_backend.union(*arguments, device=device), merge.union(*arguments))
    voted = torch_backend.vote(*arguments, votes_G, device=device)
    assert_same(voted, merge.vote(*arguments, votes_G))


def test_broken_groups_are_refused(device: str) -> None:
    batch = strategies.batch_of_runs([(2, 2), (2, 2), (1, 4)], [[4], [4], [4]])
    for offsets, members, votes, message in (
        ([0, 2], [0, 2], [1], "one size"),
        ([0, 0, 2], [0, 1], [1, 1], "at least one member"),
        ([0, 2], [0, 1], [0], "votes"),
        ([0, 2], [0, 3], [1], "row numbers"),
    ):
        with pytest.raises(MaskError, match=message):
            torch_backend.vote(batch, offsets, members, votes, device=device)
