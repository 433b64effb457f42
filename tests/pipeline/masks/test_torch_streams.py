"""The order in which stretches are sent and worked on; only the fake is run without a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.masks import group, torch_backend
from pipeline.masks._torch_streams import CopyStream, copy_stream, send_ahead
from tests import devices, strategies


def recorded(events: list[str]) -> CopyStream:
    """Return a stream that writes down what is asked of it."""

    @contextmanager
    def copying() -> Iterator[None]:
        events.append("copy")
        yield
        events.append("queued")

    def keep(tensor: Tensor) -> None:
        events.append(f"keep {int(tensor)}")

    return CopyStream(copying, lambda: events.append("wait"), keep)


def test_the_next_part_is_queued_before_work_on_this_one_begins() -> None:
    events: list[str] = []
    for sent, note in send_ahead(
        range(3), lambda n: (torch.tensor(n), f"part {n}"), recorded(events)
    ):
        events.append(f"work {int(sent)}, {note}")
    assert events == [
        *("copy", "queued"),
        *("wait", "keep 0", "copy", "queued", "work 0, part 0"),
        *("wait", "keep 1", "copy", "queued", "work 1, part 1"),
        *("wait", "keep 2", "work 2, part 2"),
    ]


def test_without_a_stream_parts_are_sent_when_they_are_asked_for() -> None:
    sent: list[int] = []
    parts = send_ahead(range(3), lambda n: sent.append(n) or n, copy_stream(torch.device("cpu")))
    assert (next(parts), sent) == (0, [0])
    assert (list(parts), sent) == ([1, 2], [0, 1, 2])


@pytest.mark.parametrize("has_stream", [False, True])
def test_no_parts(has_stream: bool) -> None:
    assert list(send_ahead([], int, recorded([]) if has_stream else None)) == []


@pytest.mark.parametrize("device", devices.DEVICES)
def test_groups_of_many_stretches_are_the_same(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    if device == "cpu":
        fake = recorded(events)._replace(keep=lambda tensor: None)
        monkeypatch.setattr(torch_backend, "copy_stream", lambda on: fake)
    monkeypatch.setattr(torch_backend, "CHARS_AT_ONCE", 16 * 200)
    masks = np.random.default_rng(0).random((60, 9, 9)) < 0.7
    masks[1::2] = masks[::2]
    zeros = np.zeros(60, np.int64)
    rows = (
        strategies.to_strings(masks),
        strategies.sizes_of(masks),
        np.arange(0, 61, 6),
        zeros,
        zeros > 0,
        zeros.astype(np.int32) + np.arange(60, dtype=np.int32) % 2,
    )
    found = torch_backend.group_masks(*rows, threshold=0.5, device=device)
    for one, other in zip(found[:5], group.group_masks(*rows, threshold=0.5), strict=False):
        np.testing.assert_array_equal(one, other)
    assert device != "cpu" or events.count("wait") > 3
