"""Limits on a whole run: a deadline, and how long it may go on without finishing a unit.

A run waits in many places: in Ray, in a store, in a step of its own. So a thread keeps the
time and sends the main thread a signal, which ends the wait as SIGTERM does.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

from pipeline.config import RunConfig, parse_duration
from pipeline.errors import CompactionError, DeadlineError

SIGNAL = signal.SIGVTALRM
"""Wakes the main thread. SIGALRM is left to whoever runs us."""


class _Expired(BaseException):
    """A limit was reached; not an Exception, so that no step takes it for a failure."""

    def __init__(self, error: CompactionError) -> None:
        super().__init__(error)
        self.error = error


class Watch:
    """How far a run is, and whether it may go on.

    Parameters
    ----------
    config : RunConfig
        `deadline` counts from now; `no_progress` while units of work are done.
    clock : callable
        Seconds that only grow.
    """

    def __init__(self, config: RunConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._clock = clock
        self._is_held = False
        deadline_s = parse_duration(config.deadline) if config.deadline else None
        self._end_s = None if deadline_s is None else clock() + deadline_s
        self._no_progress_s = parse_duration(config.no_progress) or 0.0
        self._progress_s: float | None = None
        self._state = "before the first unit of work"

    def progress(self, done: int, total: int) -> None:
        """Say that units of work are being done, and that so many are finished now."""
        self._progress_s = self._clock()
        self._state = f"with {done} of {total} units of work done"

    def executed(self) -> None:
        """Say that all units of work are finished: the limit on their progress is off."""
        self._progress_s = None

    def hold(self) -> None:
        """Let the run come to its end: from here on no limit counts."""
        self._is_held = True

    def next_s(self) -> float | None:
        """Return in how many seconds a limit could be reached; None: never."""
        ends = [self._end_s]
        if self._progress_s is not None:
            ends.append(self._progress_s + self._no_progress_s)
        known = [end for end in ends if end is not None]
        return None if self._is_held or not known else min(known) - self._clock()

    def check(self) -> None:
        """End the run if a limit is reached; once, so that its end is not cut short."""
        now = self._clock()
        if self._is_held:
            return
        if self._end_s is not None and now >= self._end_s:
            self._is_held = True
            raise _Expired(
                DeadlineError(
                    f"the deadline of {self._config.deadline} (--run.deadline) has passed, "
                    f"{self._state}; nothing was published, the same command continues where "
                    "it stopped"
                )
            )
        if self._progress_s is not None and now >= self._progress_s + self._no_progress_s:
            self._is_held = True
            raise _Expired(
                CompactionError(
                    f"expected a unit of work to finish within {self._config.no_progress} "
                    f"(--run.no_progress), none did, {self._state}; nothing was published. Look "
                    "whether the cluster has free CPUs and memory (ray status) and whether the "
                    "storage answers; the same command continues where it stopped"
                )
            )


@contextmanager
def bounded(config: RunConfig, clock: Callable[[], float] = time.monotonic) -> Generator[Watch]:
    """Keep the limits of a run while the block runs.

    In another thread than the main one, which no signal reaches, they are
    checked only where the block calls `Watch.check`.

    Raises
    ------
    DeadlineError
        When the deadline has passed.
    CompactionError
        When no unit was finished for too long.
    """
    watch = Watch(config, clock)
    try:
        if threading.current_thread() is threading.main_thread():
            with _reminders(watch):
                yield watch
        else:
            yield watch
    except _Expired as expired:
        raise expired.error from None


@contextmanager
def _reminders(watch: Watch) -> Generator[None]:
    ended = threading.Event()
    thread_id = threading.get_ident()

    def remind() -> None:
        while not ended.wait(1.0):
            left_s = watch.next_s()
            if left_s is not None and left_s <= 0:
                signal.pthread_kill(thread_id, SIGNAL)

    before = signal.signal(SIGNAL, lambda signum, frame: watch.check())
    thread = threading.Thread(target=remind, daemon=True, name="watch")
    thread.start()
    try:
        yield
    finally:
        watch.hold()
        ended.set()
        thread.join()
        signal.signal(SIGNAL, before)
