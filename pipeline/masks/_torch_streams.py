"""Parts sent to a device while the one before is worked on (public names: `torch_backend`).

Three things make a copy overlap with work: it comes from pinned memory, it is queued on a stream
of its own, and the work waits for it by an event on the device, not on the host. The pinned
memory is two buffers that take turns, made once for each thread that works with a device: the
arrays of a part lie one behind the other in one of them, and go over in one copy. The host
waits before it fills a buffer again until its last copy is done, which was two parts ago. On a
CPU there is nothing to overlap: a part is made when it is asked for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.masks._torch_arrays import dtype_of, upload

One = TypeVar("One")

Arrays = Sequence[NDArray[Any]]

PINNED_BYTES = 2**25
"""What each of the two buffers holds from the start; a part that is larger makes it grow."""

ALIGNMENT = 16
"""Arrays start at multiples of it, so that the bytes of a buffer can be taken for any dtype."""


def send_ahead(
    parts: Sequence[One], gather: Callable[[One], Arrays], device: torch.device
) -> Iterator[list[Tensor]]:
    """Yield what `gather` gives for each part, on the device, the next part being sent already.

    So the input of two parts is there at once. On a CPU each part is gathered when it is asked for.
    """
    if device.type != "cuda":
        for part in parts:
            yield [upload(array, device) for array in gather(part)]
        return
    sender = _sender(device)
    ahead = [sender.send(gather(part)) for part in parts[:1]]
    for place in range(len(parts)):
        sent = ahead.pop()
        sender.hand_over(sent)
        ahead += [sender.send(gather(part)) for part in parts[place + 1 : place + 2]]
        yield sent.arrays


class _Sent(NamedTuple):
    """Arrays on the device, which are views of its bytes there."""

    arrays: list[Tensor]
    bytes_B: Tensor


class _Sender:
    """A copy stream and two pinned buffers."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._buffers = [_pinned(PINNED_BYTES) for _ in range(2)]
        self._copied = [torch.cuda.Event() for _ in range(2)]
        self._turn = 0

    def send(self, arrays: Arrays) -> _Sent:
        """Queue a copy of the arrays."""
        turn, self._turn = self._turn, 1 - self._turn
        self._copied[turn].synchronize()
        starts_K1 = np.cumsum([0, *(-(-array.nbytes // ALIGNMENT) * ALIGNMENT for array in arrays)])
        n_bytes = int(starts_K1[-1])
        if len(self._buffers[turn]) < n_bytes:
            self._buffers[turn] = _pinned(n_bytes)
        host_B = self._buffers[turn][:n_bytes]
        for array, start in zip(arrays, starts_K1.tolist(), strict=False):
            room_B = host_B.numpy()[start : start + array.nbytes]
            room_B.view(array.dtype).reshape(array.shape)[...] = array
        with torch.cuda.stream(self._stream):
            bytes_B = host_B.to(self._device, non_blocking=True)
            self._copied[turn].record(self._stream)
            views = [
                bytes_B[start : start + array.nbytes].view(dtype_of(array)).view(array.shape)
                for array, start in zip(arrays, starts_K1.tolist(), strict=False)
            ]
        return _Sent(views, bytes_B)

    def hand_over(self, sent: _Sent) -> None:
        """Let the work wait for what was sent, and keep the copies off its memory meanwhile."""
        work = torch.cuda.current_stream(self._device)
        work.wait_stream(self._stream)
        sent.bytes_B.record_stream(work)


_SENDERS = threading.local()


def _sender(device: torch.device) -> _Sender:
    """Return the sender that this thread has for a device; made at its first use."""
    senders: dict[str, _Sender] = _SENDERS.__dict__
    if str(device) not in senders:
        senders[str(device)] = _Sender(device)
    return senders[str(device)]


def _pinned(n_bytes: int) -> Tensor:
    return torch.empty(n_bytes, dtype=torch.uint8, pin_memory=True)
