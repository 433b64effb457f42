"""Grouping on a device against the compiled kernels: every number, every decision.

Everything runs on "cpu", on the stand-in for a GPU, and on "cuda" where there is one.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import ConfigError, MaskError
from pipeline.masks import group, merge, rle, torch_backend
from tests import strategies
from tests.devices import DEVICES
from tests.masks_on_devices import FILES, assert_same, load, near_copies, strip

pytestmark = pytest.mark.parametrize("device", DEVICES)


@st.composite
def rows(draw: st.DrawFn) -> tuple[Any, ...]:
    """Draw the arguments of `group_masks` that are arrays."""
    masks, image_offsets_G1 = draw(near_copies())
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_rows = len(masks)
    is_agnostic, has_sources = draw(st.booleans()), draw(st.booleans())
    return (
        strategies.to_strings(masks),
        strategies.sizes_of(masks),
        image_offsets_G1,
        np.zeros(n_rows, np.int64) if is_agnostic else random.integers(0, 2, n_rows),
        random.random(n_rows) < 0.1,
        random.integers(0, 3, n_rows).astype(np.int32) if has_sources else None,
    )


@pytest.mark.parametrize("overlap", ["iou", "ios"])
@pytest.mark.parametrize("policy", ["leader", "component"])
@settings(max_examples=60)
@given(given_rows=rows(), threshold=st.sampled_from([0.2, 0.5, 0.8, 1.0]))
def test_group_parity(
    device: str, policy: Any, overlap: Any, given_rows: tuple[Any, ...], threshold: float
) -> None:
    options: dict[str, Any] = {"threshold": threshold, "overlap": overlap, "group": policy}
    found = torch_backend.group_masks(*given_rows, **options, device=device)
    assert_same(found, group.group_masks(*given_rows, **options))


@pytest.mark.parametrize("policy", ["leader", "component"])
@pytest.mark.parametrize("is_shuffled", [False, True])
def test_a_chain_in_which_every_row_waits_for_the_one_before(
    device: str, policy: Any, is_shuffled: bool
) -> None:
    starts = list(range(60))
    if is_shuffled:
        starts = np.random.default_rng(5).permutation(starts).tolist()
    given_rows = strip(starts, 4, 64)
    options: dict[str, Any] = {"threshold": 0.6, "group": policy}
    found = torch_backend.group_masks(*given_rows, **options, device=device)
    assert_same(found, group.group_masks(*given_rows, **options))
    if policy == "component":
        assert set(found.leader_N) == {0}
    elif not is_shuffled:
        assert found.leader_N[:6].tolist() == [0, 0, 2, 2, 4, 4]


def test_the_parent_is_first_in_the_queue_and_not_the_smallest_row(device: str) -> None:
    # Links: 0-2, 0-4, 2-3, 1-4, 1-3. The queue is 0, 2, 4, 3, 1: row 1 is reached
    # through 4, which comes before 3 in the queue though 3 is the smaller row.
    links = [(0, 2), (0, 4), (2, 3), (1, 4), (1, 3)]
    bitmaps = np.zeros((5, 1, 5 * len(links)), bool)
    for n, (a, b) in enumerate(links):
        bitmaps[a, 0, 5 * n : 5 * n + 5] = bitmaps[b, 0, 5 * n : 5 * n + 5] = True
    given_rows = (
        strategies.to_strings(bitmaps),
        strategies.sizes_of(bitmaps),
        np.array([0, 5]),
        np.zeros(5, np.int64),
        np.zeros(5, bool),
        None,
    )
    found = torch_backend.group_masks(
        *given_rows, threshold=0.3, overlap="iou", group="component", device=device
    )
    assert found.linked_N.tolist() == [0, 4, 0, 2, 0]
    assert_same(
        found, group.group_masks(*given_rows, threshold=0.3, overlap="iou", group="component")
    )


def test_masks_of_two_thousand_million_pixels(device: str) -> None:
    n = 2**31 - 1
    runs = [[0, n], [1, n - 1], [0, n - 1, 1], [n], [n - 1, 1], [2**30 - 1, 2**30]]
    batch = strategies.batch_of_runs([(1, n)] * 6, runs)
    tall = batch._replace(size_hw_N2=batch.size_hw_N2[:, ::-1].copy())
    for one in (batch, tall):
        given_rows = (
            torch_backend.to_coco(one, device=device),
            one.size_hw_N2,
            np.array([0, 6]),
            np.zeros(6, np.int64),
            np.zeros(6, bool),
            None,
        )
        found = torch_backend.group_masks(*given_rows, threshold=0.5, device=device)
        assert_same(found, group.group_masks(*given_rows, threshold=0.5))
        assert found.leader_N.tolist() == [0, 0, 0, 3, 4, 0]


@pytest.mark.parametrize("name", FILES)
def test_real_files(device: str, shared_data: Path, name: str) -> None:
    given_rows = load(shared_data / name)
    batch = torch_backend.from_coco(given_rows[0], given_rows[1], device=device)
    assert_same(batch, rle.from_coco(given_rows[0], given_rows[1]))
    assert_same(torch_backend.to_coco(batch, device=device), given_rows[0])
    for policy in ("leader", "component"):
        for overlap in ("iou", "ios"):
            options: dict[str, Any] = {"threshold": 0.5, "overlap": overlap, "group": policy}
            found = torch_backend.group_masks(*given_rows, **options, device=device)
            assert_same(found, group.group_masks(*given_rows, **options))
    order = np.argsort(found.leader_N, kind="stable")
    offsets_G1 = np.append(np.flatnonzero(np.diff(found.leader_N[order], prepend=-1)), len(order))
    united = torch_backend.union(batch, offsets_G1, order, device=device)
    assert_same(united, merge.union(batch, offsets_G1, order))


def test_nothing_to_group(device: str) -> None:
    none = np.zeros(0, np.int64)
    sizes_N2 = np.zeros((0, 2), np.int32)
    for images_G1 in (np.zeros(1, np.int64), np.zeros(3, np.int64)):
        found = torch_backend.group_masks(
            strategies.strings_of([]), sizes_N2, images_G1, none, none.astype(bool), None,
            threshold=0.5, device=device,
        )  # fmt: skip
        assert all(len(column) == 0 for column in found[:5])


REFUSED = {
    "padded": b"3o01O1",
    "zero run": b"30220",
    "short": b"321O",
    "long": b"321O2",
    "empty": b"",
    "open": b"321Oa",
    "alphabet": b"32!O1",
    "high byte": b"32\xff1O1",
    "negative": b"5O",
    "long number": b"pppppppp0",
    "wrapping": b"ooooooooo?" * 3,
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_refused_row_is_named(device: str, name: str, place: int) -> None:
    texts = [b"321O1"] * 3
    texts[place] = REFUSED[name]
    # A later row that is at fault as well changes nothing.
    texts += [b"321O1", b"!"]
    given_rows = (
        strategies.strings_of(texts),
        np.full((5, 2), 3, np.int32),
        np.array([0, 2, 5]),
        np.zeros(5, np.int64),
        np.zeros(5, bool),
        None,
    )
    for function in (partial(torch_backend.group_masks, device=device), group.group_masks):
        with pytest.raises(MaskError, match=f"row {place}:"):
            function(*given_rows, threshold=0.5)


def test_sizes_that_differ_in_an_image_are_refused(device: str) -> None:
    texts = [b"321O1", b"321O1", b"6", b"!"]
    sizes_N2 = np.array([(3, 3), (3, 3), (2, 3), (3, 3)], np.int32)
    zeros = np.zeros(4, np.int64)
    arguments = (strategies.strings_of(texts), sizes_N2, np.array([0, 4]), zeros, zeros > 0, None)
    with pytest.raises(MaskError, match="row 2:"):
        torch_backend.group_masks(*arguments, threshold=0.5, device=device)


def test_wrong_options_are_refused(device: str) -> None:
    good = strip([0, 1], 2, 4)
    for options in ({"threshold": 0.0}, {"threshold": 1.1}, {"threshold": float("nan")}):
        with pytest.raises(ConfigError, match="threshold"):
            torch_backend.group_masks(*good, **options, device=device)
    for options in ({"overlap": "box"}, {"group": "none"}):
        with pytest.raises(ConfigError, match="unknown"):
            torch_backend.group_masks(*good, threshold=0.5, **options, device=device)  # type: ignore
    with pytest.raises(MaskError, match="rows each"):
        torch_backend.group_masks(*good[:4], np.zeros(3, bool), None, threshold=0.5, device=device)
    with pytest.raises(MaskError, match="image offsets end"):
        torch_backend.group_masks(
            *good[:2], np.array([0, 1]), *good[3:], threshold=0.5, device=device
        )
