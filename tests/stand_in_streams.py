"""The streams of `tests.stand_in`: who has waited for what, and which memory may be touched.

Every call is a tick of the stream that it is queued on. A stream's clock says up to which
tick it has waited for each other one; so has an event's, and the host's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch

Clock = dict["Stream", int]


class Stream:
    """Work that is done in order."""

    def __init__(self, timeline: Timeline, name: str) -> None:
        self.timeline = timeline
        self.name = name
        self.clock: Clock = {self: 0}

    def tick(self) -> int:
        """Queue one more call."""
        self.clock[self] += 1
        return self.clock[self]

    def has_waited(self, stream: Stream, tick: int) -> bool:
        """Return whether a call of a stream is done before what is queued here from now on."""
        return self.clock.get(stream, 0) >= tick

    def wait_stream(self, other: Stream) -> None:
        """Do what is queued from now on after all that is queued on another stream."""
        _advance(self.clock, other.clock)

    def wait_event(self, event: Event) -> None:
        """Do what is queued from now on after an event."""
        _advance(self.clock, event.clock)

    def record_event(self, event: Event | None = None) -> Event:
        """Note what is queued so far."""
        event = event or Event()
        event.record(self)
        return event

    def synchronize(self) -> None:
        """Let the host wait for all that is queued."""
        self.timeline.host_waits_for(self.clock)


class Event:
    """What was queued on a stream at a time."""

    def __init__(self, **_: Any) -> None:
        self.clock: Clock = {}
        self._timeline: Timeline | None = None

    def record(self, stream: Stream) -> None:
        """Note what is queued so far."""
        self.clock, self._timeline = dict(stream.clock), stream.timeline

    def synchronize(self) -> None:
        """Let the host wait for that."""
        if self._timeline is not None:
            self._timeline.host_waits_for(self.clock)


class _Copy(NamedTuple):
    """Pinned memory that a copy reads, and what it must still hold when the copy is done."""

    stream: Stream
    tick: int
    source: torch.Tensor
    expected: torch.Tensor


class Timeline:
    """All streams, what the host knows to be done, and what was wrong."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.host: Clock = {}
        self.streams = [Stream(self, "the stream of work")]
        self.current = self.streams[0]
        self.copies: list[_Copy] = []
        self.n_copies = 0

    def new_stream(self, *_: Any, **__: Any) -> Stream:
        """Return one more stream."""
        self.streams.append(Stream(self, f"stream {len(self.streams)}"))
        return self.streams[-1]

    @contextmanager
    def on(self, stream: Stream) -> Iterator[None]:
        """Queue what is asked for in the block on a stream."""
        before, self.current = self.current, stream
        try:
            yield
        finally:
            self.current = before

    def copy_from(self, source: torch.Tensor) -> None:
        """Note that a copy from pinned memory was queued."""
        self.n_copies += 1
        stream = self.current
        held = source.reshape(-1).view(torch.uint8)
        self.copies.append(_Copy(stream, stream.clock[stream], held, held.clone()))

    def host_waits_for(self, clock: Clock) -> None:
        """Let the host know that something is done; copies must have read what they were to."""
        _advance(self.host, clock)
        left: list[_Copy] = []
        for copy in self.copies:
            if self.host.get(copy.stream, 0) < copy.tick:
                left.append(copy)
            elif not torch.equal(copy.source, copy.expected):
                self.faults.append("pinned memory was overwritten before its copy was done")
        self.copies = left

    def synchronize(self) -> None:
        """Let the host wait for everything."""
        for stream in self.streams:
            stream.synchronize()


class Memory:
    """One allocation of the device, shared by a tensor and its views."""

    def __init__(self, home: Stream) -> None:
        self.home = home
        self.recorded: set[Stream] = set()
        self._written: tuple[Stream, int] = (home, home.clock[home])
        self._used: Clock = {}

    def use(self, stream: Stream, *, is_written: bool) -> None:
        """Let the present call of a stream read, or write too."""
        if not stream.has_waited(*self._written):
            raise RuntimeError(
                f"{stream.name} uses what {self._written[0].name} may not be done with"
            )
        if is_written and not all(stream.has_waited(*use) for use in self._used.items()):
            raise RuntimeError(f"{stream.name} writes what another stream may not have read yet")
        self._used[stream] = stream.clock[stream]
        if is_written:
            self._written = (stream, stream.clock[stream])

    def __del__(self) -> None:
        """Let go: the next tensor of the home stream may lie here."""
        for stream, tick in self._used.items():
            if stream not in self.recorded and not self.home.has_waited(stream, tick):
                self.home.timeline.faults.append(
                    f"memory of {self.home.name} was let go while {stream.name} may use it"
                )


def patches(timeline: Timeline) -> dict[str, Callable[..., Any]]:
    """Return what takes the place of names of `torch.cuda`."""
    return {
        "Stream": timeline.new_stream,
        "Event": Event,
        "stream": timeline.on,
        "current_stream": lambda *_: timeline.current,
        "is_available": lambda: True,
        "_lazy_init": lambda: None,
    }


def _advance(clock: Clock, other: Clock) -> None:
    for stream, tick in other.items():
        clock[stream] = max(clock.get(stream, 0), tick)
