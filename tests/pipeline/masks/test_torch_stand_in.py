"""The kernels on the stand-in for a GPU: same results, few waits, nothing that CUDA refuses.

`make test-long` runs the kernels' own tests on it too (`pytest -m stand_in`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.masks import (
    contour,
    dense,
    group,
    merge,
    rle,
    torch_backend,
    torch_contour,
    torch_dense,
)
from tests import stand_in
from tests.masks_on_devices import FILES, assert_same, load, many, strip

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a real CUDA device")


@pytest.fixture
def device() -> Iterator[stand_in.StandIn]:
    """Let there be a CUDA device."""
    with stand_in.in_place() as one:
        yield one


# --- What the stand-in refuses and does ----------------------------------------------------------


def on_device(values: Any) -> torch.Tensor:
    return torch.tensor(values).to(torch.device("cuda"))


def test_its_tensors_say_where_they_are(device: stand_in.StandIn) -> None:
    one = on_device([3, 1, 2])
    assert (one.device, one.is_cuda, one.tolist()) == (torch.device("cuda:0"), True, [3, 1, 2])
    more = torch.arange(3, device="cuda") + one
    assert (more.device.type, int(more[1:].sum())) == ("cuda", 6)
    assert device.waits == {"copy from pageable memory": 1, "copy to the host": 1} | {
        "_local_scalar_dense": 1
    }


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize(
    "call",
    [
        lambda one, other: one + other,
        lambda one, other: torch.index_select(one, 0, other),
        lambda one, other: torch.index_select(other, 0, one),
        lambda one, other: torch.cat([one, other]),
        lambda one, other: torch.searchsorted(one, other),
        lambda one, other: one.index_copy_(0, one, other),
        lambda one, other: torch.cumsum(one, 0, out=other),
        lambda one, other: torch.where(one > 0, one, other),
    ],
)
def test_tensors_of_the_cpu_are_refused(call: Callable[..., Any]) -> None:
    with pytest.raises(RuntimeError, match="one device"):
        call(on_device([0, 1, 2]), torch.arange(3))


@pytest.mark.usefixtures("device")
def test_arrays_need_a_copy_to_the_host() -> None:
    one = on_device([0, 1, 2])
    with pytest.raises(TypeError, match="can't convert"):
        one.numpy()
    with pytest.raises(TypeError, match="as an index"):
        one[one > 0]
    assert one.cpu().numpy().tolist() == [0, 1, 2]


@pytest.mark.usefixtures("device")
def test_it_takes_the_freedoms_that_cuda_has() -> None:
    keys, index, values = torch.zeros(99, dtype=torch.int64), torch.arange(99), torch.arange(99)
    keys, index, values = (one.to("cuda") for one in (keys, index, values))
    assert torch.sort(keys)[1].tolist() != index.tolist()
    assert torch.sort(keys, stable=True)[1].tolist() == index.tolist()
    found = {int(keys.new_zeros(1).index_copy_(0, keys, values)) for _ in range(9)}
    assert len(found) > 1
    assert {*torch.empty(99, dtype=torch.int64, device="cuda").tolist()} != {0}
    strange = on_device([float("nan"), 1e30, -1e30, 2.5])
    assert strange.long().tolist() == [0, 2**63 - 1, -(2**63), 2]
    assert strange.int().tolist() == [0, 2**31 - 1, -(2**31), 2]


def pinned(n: int) -> torch.Tensor:
    return torch.zeros(n, dtype=torch.uint8, pin_memory=True)


def test_pinned_memory_must_stay_until_its_copy_is_done(device: stand_in.StandIn) -> None:
    host = pinned(8)
    for is_early in (False, True):
        host.to("cuda", non_blocking=True)
        event = torch.cuda.Event()
        event.record(torch.cuda.current_stream())
        if not is_early:
            event.synchronize()
        host.numpy()[:] += 1
        device.timeline.synchronize()
        assert len(device.timeline.faults) == is_early
    with pytest.raises(RuntimeError, match="overwritten"):
        device.finish()
    device.timeline.faults.clear()


def test_streams_must_wait_for_each_other(device: stand_in.StandIn) -> None:
    copies = torch.cuda.Stream()
    with torch.cuda.stream(copies):
        one = pinned(8).to("cuda", non_blocking=True)
    with pytest.raises(RuntimeError, match="may not be done"):
        one + 1
    torch.cuda.current_stream().wait_stream(copies)
    assert (one + 1).tolist() == [1] * 8
    with torch.cuda.stream(copies), pytest.raises(RuntimeError, match="may not have read"):
        one.fill_(2)
    del one
    assert device.timeline.faults == [
        "memory of stream 1 was let go while the stream of work may use it"
    ]
    device.timeline.faults.clear()
    with torch.cuda.stream(copies):
        one = pinned(8).to("cuda", non_blocking=True)
    torch.cuda.current_stream().wait_stream(copies)
    one.record_stream(torch.cuda.current_stream())
    one + 1
    del one
    assert device.timeline.faults == []


# --- The kernels on it ---------------------------------------------------------------------------


@pytest.mark.usefixtures("device")
def test_real_masks(shared_data: Path) -> None:
    rows = load(shared_data / FILES[0])
    strings, sizes_N2 = rows[:2]
    batch = torch_backend.from_coco(strings, sizes_N2, device="cuda")
    assert_same(batch, rle.from_coco(strings, sizes_N2))
    assert_same(torch_backend.to_coco(batch, device="cuda"), strings)
    for options in ({"group": "leader"}, {"group": "component", "overlap": "ios"}):
        found = torch_backend.group_masks(*rows, **options, threshold=0.5, device="cuda")
        assert_same(found, group.group_masks(*rows, **options, threshold=0.5))
        order = np.argsort(found.leader_N, kind="stable")
        first_G = np.flatnonzero(np.diff(found.leader_N[order], prepend=-1))
        groups = np.append(first_G, len(order)), order
        half_G = (np.diff(groups[0]) + 1) // 2
        voted = torch_backend.vote(batch, *groups, half_G, device="cuda")
        assert_same(voted, merge.vote(batch, *groups, half_G))
        written = torch_contour.encode_crack(voted, device="cuda")
        assert_same(written, contour.encode_crack(voted))


@pytest.mark.usefixtures("device")
def test_pixels() -> None:
    random = np.random.default_rng(0)
    stack = random.random((9, 30, 41)) < 0.5
    expected = dense.from_bitmaps(stack)
    for given in (stack, torch.from_numpy(stack).to("cuda"), stack.astype(np.uint8) * 7):
        assert_same(torch_dense.from_bitmaps(given, device="cuda"), expected)
    bits = np.packbits(stack, axis=-1)
    assert_same(torch_dense.from_packed(bits, 41, device="cuda"), expected)
    soft = random.random((60, 28, 28), np.float32)
    corner = random.uniform(-30, 50, (60, 2))
    boxes = np.concatenate([corner, corner + random.uniform(0.1, 60, (60, 2))], axis=1)
    boxes = boxes.astype(np.float32)
    soft[::7, 3], boxes[::9, 2] = np.nan, np.inf
    boxes[1::9, 2] = np.nextafter(boxes[1::9, 0], np.float32(np.inf))
    given = (soft, boxes, random.integers(1, 60, (60, 2)).astype(np.int32))
    assert_same(torch_dense.from_roi(*given, device="cuda"), dense.from_roi(*given))


# --- Waits and dtypes ----------------------------------------------------------------------------


def run_all(n_images: int, policy: Any = "leader") -> None:
    """Run every kernel on so many images of seven masks."""
    rows = many(strip([0, 1, 2, 8, 9, 20, 20], 4, 24), n_images)
    strings, sizes_N2 = rows[:2]
    torch_backend.group_masks(*rows, threshold=0.5, group=policy, device="cuda")
    batch = torch_backend.from_coco(strings, sizes_N2, device="cuda")
    members = np.arange(n_images + 1) * 7, np.arange(7 * n_images)
    united = torch_backend.union(batch, *members, device="cuda")
    torch_backend.to_coco(united, device="cuda")
    torch_contour.encode_crack(united, device="cuda")
    torch_dense.from_bitmaps(np.ones((n_images, 3, 4), bool), device="cuda")
    torch_dense.from_packed(np.ones((n_images, 3, 1), np.uint8), 4, device="cuda")
    soft, boxes = np.ones((n_images, 2, 2), np.float32), np.ones((n_images, 4), np.float32)
    boxes[:, 2:] = 4
    torch_dense.from_roi(soft, boxes, np.full((n_images, 2), 5, np.int32), device="cuda")


@pytest.mark.parametrize("policy", ["leader", "component"])
def test_the_host_waits_as_often_for_few_images_as_for_many(
    device: stand_in.StandIn, policy: Any
) -> None:
    found: list[Any] = []
    for n_images in (10, 2_000):
        device.waits.clear()
        run_all(n_images, policy)
        found.append(dict(device.waits))
    assert found[0] == found[1]
    assert "copy from pageable memory" not in found[0]
    assert sum(found[0].values()) < 100


INTEGERS = {torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64}

VIEWS = {
    "detach",
    "expand",
    "slice",
    "split",
    "squeeze",
    "unbind",
    "unsqueeze",
    "view",
    "alias",
    "select",
}

COMPARED = {
    "": """
        full
    """,
    "bool": """
        any bitwise_not where
    """,
    "bool float32 float64 int16 int32 int64 int8 uint8": """
        _to_copy
    """,
    "bool float32 int32 int64 int8 uint8": """
        index_select
    """,
    "bool int32 int64": """
        clone sum
    """,
    "bool int32 int64 int8": """
        index_fill zeros
    """,
    "bool int32 int64 int8 uint8": """
        new_zeros
    """,
    "bool int32 int64 uint8": """
        bitwise_and ones_like
    """,
    "bool int64": """
        _local_scalar_dense copy
    """,
    "bool int64 int8 uint8": """
        eq nonzero
    """,
    "bool int64 uint8": """
        bitwise_xor
    """,
    "bool uint8": """
        bitwise_or
    """,
    "float32": """
        constant_pad_nd floor
    """,
    "float32 float64": """
        div
    """,
    "float32 float64 int32 int64 int8": """
        clamp
    """,
    "float32 float64 int64 uint8": """
        ge
    """,
    "float32 int16 int32 int64 int8": """
        add
    """,
    "float32 int16 int32 int64 uint8": """
        mul
    """,
    "float32 int32 int64 uint8": """
        sub
    """,
    "float32 int64": """
        rsub
    """,
    "int32": """
        fill min neg new_ones
    """,
    "int32 int64": """
        __lshift cumsum minimum ne remainder repeat_interleave scatter_add
        scatter_reduce stack
    """,
    "int32 int64 int8": """
        scalar_tensor zeros_like
    """,
    "int32 int64 int8 uint8": """
        cat gt index_copy
    """,
    "int32 int64 uint8": """
        __rshift lt
    """,
    "int32 uint8": """
        arange
    """,
    "int64": """
        abs empty_like equal floor_divide le maximum scatter searchsorted sort
    """,
    "int64 int8": """
        new_full
    """,
    "int64 uint8": """
        max
    """,
}
"""Calls by the dtypes that they were asked for, all of them in the table by which torch 2.13 tests
its CUDA kernels (`torch.testing._internal`: `op_db`, `dtypesIfCUDA`); look up what is new."""


def test_the_order_in_which_cuda_writes_decides_no_sum(device: stand_in.StandIn) -> None:
    run_all(10)
    run_all(10, "component")
    adding = {"scatter_add", "scatter_reduce", "index_add", "cumsum", "bincount", "index_reduce"}
    assert {dtype for name, dtype in device.seen if name in adding} <= INTEGERS


def test_cuda_has_every_call_for_the_dtypes_that_it_is_asked_for(device: stand_in.StandIn) -> None:
    run_all(10)
    run_all(10, "component")
    compared = {
        (name, dtype)
        for dtypes, names in COMPARED.items()
        for name in names.split()
        for dtype in dtypes.split()
    }
    asked = {(name, str(dtype).removeprefix("torch.")) for name, dtype in device.seen if dtype}
    assert {pair for pair in asked if pair[0] not in VIEWS} - compared == set()
    assert len(asked) > 50
