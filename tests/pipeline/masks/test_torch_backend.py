"""The kernels on a device against the compiled ones: every number, every decision.

Everything runs on "cpu", and once more on "cuda" where there is one.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import ConfigError, MaskError
from pipeline.masks import group, merge, rle, torch_backend
from pipeline.masks.batch import CocoStrings
from tests import model, strategies
from tests.devices import DEVICES, Calls

pytestmark = pytest.mark.parametrize("device", DEVICES)


def assert_same(found: Any, expected: Any) -> None:
    """Compare arrays with their dtypes; counters of pairs may differ."""
    for one, other in zip(found, expected, strict=True):
        if isinstance(other, np.ndarray):
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)


# --- Grouping ------------------------------------------------------------------------------------


@st.composite
def near_copies(draw: st.DrawFn, max_images: int = 4) -> tuple[list[Any], Any]:
    """Draw masks of several images, most of them nearly or quite the same as another."""
    masks: list[Any] = []
    image_offsets = [0]
    for _ in range(draw(st.integers(0, max_images))):
        size_hw = draw(strategies.sizes(14))
        originals = draw(st.lists(strategies.bitmaps_of(size_hw), min_size=1, max_size=3))
        for _ in range(draw(st.integers(0, 9))):
            mask = draw(st.sampled_from(originals)).copy()
            for _ in range(draw(st.integers(0, 2))):
                y, x = (draw(st.integers(0, side - 1)) for side in size_hw)
                mask[y, x] = not mask[y, x]
            masks.append(mask)
        image_offsets.append(len(masks))
    return masks, np.array(image_offsets, np.int64)


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


def strip(starts: list[int], length: int, width: int) -> tuple[Any, ...]:
    """Return rows of one image 1 px high: stretches of ``length`` px."""
    runs = [[s, length, width - s - length][: 2 + (s + length < width)] for s in starts]
    batch = strategies.batch_of_runs([(1, width)] * len(runs), runs)
    n_rows = len(runs)
    return (
        rle.to_coco(batch),
        batch.size_hw_N2,
        np.array([0, n_rows], np.int64),
        np.zeros(n_rows, np.int64),
        np.zeros(n_rows, bool),
        None,
    )


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


def load(path: Path) -> tuple[Any, ...]:
    """Return a file of results as the arguments of `group_masks`, rows in the total order."""
    ordered = sorted(
        model.load_results(path),
        key=lambda row: (row.image_id, model.order_key(row, model.Policy())),
    )
    image_N = np.array([row.image_id for row in ordered])
    starts_G = np.flatnonzero(np.diff(image_N, prepend=image_N[0] - 1))
    return (
        strategies.strings_of([row.mask for row in ordered]),
        np.array([(row.height, row.width) for row in ordered], np.int32),
        np.append(starts_G, len(ordered)),
        np.array([row.category_id for row in ordered]),
        np.zeros(len(ordered), bool),
        None,
    )


FILES = [
    "detectron2_mask_rcnn_coco_instances_results.json",
    "instances_val2014_fakesegm100_results.json",
]


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
    for function in (torch_backend.group_masks, group.group_masks):
        with pytest.raises(MaskError, match=f"row {place}:"):
            function(*given_rows, threshold=0.5)


def test_sizes_that_differ_in_an_image_are_refused(device: str) -> None:
    texts = [b"321O1", b"321O1", b"6", b"!"]
    sizes_N2 = np.array([(3, 3), (3, 3), (2, 3), (3, 3)], np.int32)
    zeros = np.zeros(4, np.int64)
    arguments = (strategies.strings_of(texts), sizes_N2, np.array([0, 4]), zeros, zeros > 0, None)
    with pytest.raises(MaskError, match="row 2:"):
        torch_backend.group_masks(*arguments, threshold=0.5, device=device)


@given(texts=st.lists(st.binary(max_size=12), min_size=1, max_size=4))
@settings(max_examples=80)
def test_any_bytes_end_as_with_the_compiled_reader(device: str, texts: list[bytes]) -> None:
    strings = strategies.strings_of(texts)
    sizes_N2 = np.full((len(texts), 2), 3, np.int32)
    if not rle.inspect_coco(strings, sizes_N2).code_N.any():
        expected = rle.from_coco(strings, sizes_N2)
        assert_same(torch_backend.from_coco(strings, sizes_N2, device=device), expected)
        return
    with pytest.raises(MaskError) as ours:
        torch_backend.from_coco(strings, sizes_N2, device=device)
    with pytest.raises(MaskError) as theirs:
        rle.from_coco(strings, sizes_N2)
    assert str(ours.value) == str(theirs.value)


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
        torch_backend.group_masks(*good[:2], np.array([0, 1]), *good[3:], threshold=0.5)


# --- Strings and merging -------------------------------------------------------------------------


@given(stacks=strategies.images())
@settings(max_examples=60)
def test_strings_parity(device: str, stacks: list[Any]) -> None:
    masks = strategies.flat(stacks)
    batch, strings = strategies.to_batch(masks), strategies.to_strings(masks)
    assert_same(torch_backend.to_coco(batch, device=device), strings)
    assert_same(torch_backend.from_coco(strings, batch.size_hw_N2, device=device), batch)


LOOSE = [b"3o01O1", b"30221", b"0020221", b"03N00003", b"0900000", b"90", b"00009000", b"321O10"]


def test_strings_that_are_valid_but_not_canonical(device: str) -> None:
    sizes_N2 = np.full((1, 2), 3, np.int32)
    for text in LOOSE:
        strings = strategies.strings_of([text])
        if rle.inspect_coco(strings, sizes_N2).code_N[0] == 0:
            expected = rle.from_coco(strings, sizes_N2)
            assert_same(torch_backend.from_coco(strings, sizes_N2, device=device), expected)


def test_the_longest_numbers(device: str) -> None:
    # Written as differences, these take every length from one character to seven.
    steps = [0, 15, 16, 31, 32, 511, 512, 2**14 - 1, 2**14, 2**19, 2**24, 2**29, 2**30]
    runs = [[1, 1, 1, 1 + step, 1, 1, 2**31 - 1 - 5 - step - 1] for step in steps]
    batch = strategies.batch_of_runs([(1, 2**31 - 1)] * len(runs), runs)
    strings = torch_backend.to_coco(batch, device=device)
    assert_same(strings, rle.to_coco(batch))
    assert_same(torch_backend.from_coco(strings, batch.size_hw_N2, device=device), batch)


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


# --- Launches and memory -------------------------------------------------------------------------


def many(given_rows: tuple[Any, ...], n_images: int) -> tuple[Any, ...]:
    """Repeat one image's rows as so many images."""
    strings, sizes_N2, _, category_N, is_crowd_N, _ = given_rows
    n_rows = len(sizes_N2)
    return (
        rle.take_strings(strings, np.tile(np.arange(n_rows), n_images)),
        np.tile(sizes_N2, (n_images, 1)),
        np.arange(n_images + 1) * n_rows,
        np.tile(category_N, n_images),
        np.tile(is_crowd_N, n_images),
        None,
    )


@pytest.mark.parametrize("policy", ["leader", "component"])
def test_calls_do_not_grow_with_images(device: str, policy: Any) -> None:
    one = strip([0, 1, 2, 8, 9, 20, 20], 4, 24)
    counted: list[int] = []
    for n_images in (10, 10_000):
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
    assert counted[0] == counted[1] < 1500


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
    for function in (torch_backend.group_masks, group.group_masks):
        with pytest.raises(MaskError, match="row 30:"):
            function(broken, *given_rows[1:], threshold=0.5)
