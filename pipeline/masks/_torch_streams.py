"""Stretches sent to a device while the one before is worked on (public names: `torch_backend`).

Two things make a copy overlap with work: it comes from pinned memory (`_torch_arrays.upload`;
PyTorch keeps and reuses such buffers), and it is queued on a stream of its own. The work
waits for the copy by an event on the device, not on the host. On a CPU there is nothing to
overlap: a stretch is made when it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

One = TypeVar("One")
Sent = TypeVar("Sent")


class CopyStream(NamedTuple):
    """A stream beside the one that works, behind three calls.

    Attributes
    ----------
    copying : callable
        Context in which copies are queued on it.
    wait : callable
        Let the work that is queued from now on wait for all that was queued on it.
    keep : callable
        Say of a tensor that was made on it that the work uses it too, so that its memory is
        not given to the next copy while that goes on.
    """

    copying: Callable[[], AbstractContextManager[object]]
    wait: Callable[[], None]
    keep: Callable[[Tensor], None]


def copy_stream(device: torch.device) -> CopyStream | None:
    """Return a new copy stream of a GPU, None for a CPU."""
    if device.type != "cuda":
        return None
    stream = torch.cuda.Stream(device)
    return CopyStream(
        lambda: torch.cuda.stream(stream),
        lambda: torch.cuda.current_stream(device).wait_stream(stream),
        lambda tensor: tensor.record_stream(torch.cuda.current_stream(device)),
    )


def send_ahead(
    parts: Sequence[One], send: Callable[[One], Sent], stream: CopyStream | None
) -> Iterator[Sent]:
    """Yield what `send` gives for each part, having sent the next one already.

    So two parts are on the device at once. Without a stream each is sent when it is asked for.
    """
    if stream is None:
        yield from map(send, parts)
        return
    ahead = _start(parts[0], send, stream) if parts else None
    for place in range(len(parts)):
        sent = ahead
        assert sent is not None
        stream.wait()
        for tensor in tree_leaves(sent):
            if isinstance(tensor, Tensor):
                stream.keep(tensor)
        if place + 1 < len(parts):
            ahead = _start(parts[place + 1], send, stream)
        yield sent


def _start(part: One, send: Callable[[One], Sent], stream: CopyStream) -> Sent:
    with stream.copying():
        return send(part)
