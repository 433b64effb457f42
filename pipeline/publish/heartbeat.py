"""Whether a run is alive: it says so in `OUT/runs/<run_id>/heartbeat.json`, again and again."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress

import msgspec

from pipeline import storage
from pipeline.errors import InputError, StorageError

PERIOD_S = 60.0
"""How often a run says that it lives."""

SKEW_S = 86_400
"""By how much clocks of two machines may differ before a decision here could be wrong."""

SILENCE_S = 86_400
"""How long a run must have been silent, beyond that, to count as dead."""


class Heartbeat(msgspec.Struct, frozen=True):
    """When a run last said that it lives, by its own clock, and how often it means to."""

    time_s: float
    period_s: float


def write_heartbeat(output_uri: str, run_id: str, period_s: float) -> None:
    """Say that a run is alive; before its first file, then every `period_s` seconds."""
    beat = Heartbeat(time.time(), period_s)
    storage.write_bytes(_uri(output_uri, run_id), msgspec.json.encode(beat))


@contextmanager
def beating(output_uri: str, run_id: str, period_s: float = PERIOD_S) -> Generator[None]:
    """Write heartbeats while the block runs, the first before it starts.

    A later beat that the store refuses is left out: what reads them allows for many.
    """
    write_heartbeat(output_uri, run_id, period_s)
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(period_s):
            with suppress(StorageError):
                write_heartbeat(output_uri, run_id, period_s)

    thread = threading.Thread(target=beat, daemon=True, name="heartbeat")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def read_heartbeat(output_uri: str, run_id: str) -> Heartbeat | None:
    """Return a run's last heartbeat, None if it has left none.

    Raises
    ------
    StorageError
        If there is one that cannot be read.
    """
    uri = _uri(output_uri, run_id)
    try:
        return msgspec.json.decode(storage.read_bytes(uri), type=Heartbeat)
    except InputError:
        return None
    except msgspec.DecodeError as error:
        raise StorageError(f"{uri}: expected a heartbeat, got other bytes: {error}") from error


def is_silent(beat: Heartbeat, now_s: float) -> bool:
    """Return whether a run with this last heartbeat is dead, clocks a day apart allowed for."""
    return now_s - beat.time_s > SKEW_S + max(SILENCE_S, 10 * beat.period_s)


def _uri(output_uri: str, run_id: str) -> str:
    return storage.join(output_uri, "runs", run_id, "heartbeat.json")
