"""Parts that are sent ahead: pinned buffers that take turns, a stream of copies, waits by event."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.masks import _torch_streams, dense, group, torch_backend, torch_dense
from pipeline.masks._torch_streams import send_ahead
from tests import stand_in, strategies

ON = torch.device("cuda")


@pytest.fixture
def device() -> Iterator[stand_in.StandIn]:
    """Let there be a CUDA device."""
    if torch.cuda.is_available():
        pytest.skip("there is a real CUDA device")
    with stand_in.in_place() as one:
        yield one


def parts(n: int, events: list[str]) -> Any:
    """Return so many parts, and what gathers one: arrays of several dtypes and shapes."""

    def gather(part: int) -> list[Any]:
        events.append(f"gather {part}")
        numbers = np.arange(part + 5)
        return [
            numbers.astype(np.uint8),
            numbers * 10**12,
            numbers[::2] % 2 == 0,
            np.empty((0, 3), np.float32),
            np.outer(numbers, numbers).astype(np.float32).T,
        ]

    return range(n), gather


@pytest.mark.parametrize("n_parts", [0, 1, 2, 7])
def test_all_arrays_arrive(device: stand_in.StandIn, n_parts: int) -> None:
    given, gather = parts(n_parts, [])
    for part, sent in zip(given, send_ahead(given, gather, ON), strict=True):
        for one, expected in zip(sent, gather(part), strict=True):
            assert one.device.type == "cuda"
            np.testing.assert_array_equal(one.cpu().numpy(), expected, strict=True)
    assert device.timeline.n_copies == n_parts


def test_the_next_part_is_sent_before_work_on_this_one_begins(device: stand_in.StandIn) -> None:
    events: list[str] = []
    given, gather = parts(3, events)
    for part, sent in zip(given, send_ahead(given, gather, ON), strict=True):
        events.append(f"work {part}")
        sent[0] + 1
    assert events == ["gather 0", "gather 1", "work 0", "gather 2", "work 1", "work 2"]
    # The host waited for copies of two parts before, never for work.
    assert device.waits == {}


def test_two_buffers_serve_all_parts_and_calls(
    device: stand_in.StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    n_bytes = 2**12
    monkeypatch.setattr(_torch_streams, "PINNED_BYTES", n_bytes)
    pinned = _torch_streams._pinned
    monkeypatch.setattr(_torch_streams, "_pinned", lambda n: made.append(n) or pinned(n))
    for _ in range(3):
        for sent in send_ahead(*parts(5, []), ON):
            sent[0] + 1
    assert made == [n_bytes] * 2
    large = np.arange(n_bytes + 1).astype(np.uint8)
    for sent in send_ahead(range(3), lambda _: [large], ON):
        assert torch.equal(sent[0], torch.from_numpy(large).to(ON))
    assert made == [n_bytes] * 2 + [-(-len(large) // 16) * 16] * 2
    assert device.timeline.n_copies == 18


def test_a_buffer_that_is_filled_too_early_is_found(
    device: stand_in.StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda.Event, "synchronize", lambda self: None)
    for sent in send_ahead(*parts(4, []), ON):
        del sent
    with pytest.raises(RuntimeError, match="overwritten before its copy"):
        device.finish()
    device.timeline.faults.clear()


def test_what_is_not_waited_for_is_found(
    device: stand_in.StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(torch.cuda.current_stream()), "wait_stream", lambda *_: None)
    sent = next(send_ahead(*parts(1, []), ON))
    with pytest.raises(RuntimeError, match="may not be done"):
        sent[0] + 1
    assert device.timeline.faults == []


def test_on_a_cpu_parts_are_gathered_when_they_are_asked_for() -> None:
    events: list[str] = []
    sent = send_ahead(*parts(3, events), torch.device("cpu"))
    assert (len(next(sent)), events) == (5, ["gather 0"])
    assert (len(list(sent)), events) == (2, ["gather 0", "gather 1", "gather 2"])


def rows() -> tuple[Any, ...]:
    """Return rows of ten images, half of them copies, from two sources."""
    masks = np.random.default_rng(0).random((60, 9, 9)) < 0.7
    masks[1::2] = masks[::2]
    zeros = np.zeros(60, np.int64)
    return (
        strategies.to_strings(masks),
        strategies.sizes_of(masks),
        np.arange(0, 61, 6),
        zeros,
        zeros > 0,
        zeros.astype(np.int32) + np.arange(60, dtype=np.int32) % 2,
    )


def test_groups_of_many_stretches_are_the_same(
    device: stand_in.StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_backend, "CHARS_AT_ONCE", 200)
    found = torch_backend.group_masks(*rows(), threshold=0.5, device="cuda")
    for one, other in zip(found[:5], group.group_masks(*rows(), threshold=0.5), strict=False):
        np.testing.assert_array_equal(one, other)
    assert device.timeline.n_copies > 5


def test_bitmaps_are_sent_in_stretches_that_fit_into_a_buffer(
    device: stand_in.StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_dense, "SENT_AT_ONCE", 250)
    stack = np.random.default_rng(1).random((11, 9, 11)) < 0.5
    found = torch_dense.from_bitmaps(stack, device="cuda")
    for one, other in zip(found, dense.from_bitmaps(stack), strict=True):
        np.testing.assert_array_equal(one, other)
    assert device.timeline.n_copies == 6
