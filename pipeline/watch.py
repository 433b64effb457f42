"""Limits on a whole run: a deadline, how long no unit may finish, or no head of Ray answer.

A run waits in many places: in Ray, in a store, in a step of its own. So a thread keeps the
time and sends the main thread a signal, which ends the wait as SIGTERM does.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import NamedTuple, NoReturn

from pipeline.config import RunConfig, parse_duration
from pipeline.errors import ClusterError, CompactionError, DeadlineError

CONTINUES = "the same command continues where it stopped"
"""What most messages end with; a run that cannot be continued says something else."""

SIGNAL = signal.SIGVTALRM
"""Wakes the main thread. SIGALRM is left to whoever runs us."""


class _Expired(BaseException):
    """A limit was reached; not an Exception, so that no step takes it for a failure."""

    def __init__(self, error: CompactionError) -> None:
        super().__init__(error)
        self.error = error


class Head(NamedTuple):
    """The head of the Ray that a run needs."""

    address: str
    """As messages name it."""
    answers: Callable[[], bool]
    """Whether it is there now."""
    patience_s: float
    """For how long it may not be."""
    grace_s: float
    """How long the end of the run may take then."""


class Watch:
    """How far a run is, and whether it may go on.

    Parameters
    ----------
    config : RunConfig
        `deadline` counts from now; `no_progress` while units of work are done.
    clock : callable
        Seconds that only grow.
    again : str
        What the same command does when it is given again.
    """

    def __init__(
        self,
        config: RunConfig,
        clock: Callable[[], float] = time.monotonic,
        again: str = CONTINUES,
    ) -> None:
        self._config = config
        self._clock = clock
        self._again = again
        self._is_held = False
        deadline_s = parse_duration(config.deadline) if config.deadline else None
        self._end_s = None if deadline_s is None else clock() + deadline_s
        self._no_progress_s = parse_duration(config.no_progress) or 0.0
        self._progress_s: float | None = None
        self._state = "before the first unit of work"
        self._head: Head | None = None
        self.grace_s = 0.0
        self.is_committing = False
        self._silent_s: float | None = None

    def rely(self, head: Head | None) -> None:
        """Say which head of Ray the run needs from here on; None: none that can be looked at."""
        self._head, self._silent_s = head, None
        self.grace_s = head.grace_s if head else 0.0

    def look(self) -> None:
        """See whether the head answers; takes as long as that does."""
        if self._head is None or self._is_held:
            return
        if self._head.answers():
            self._silent_s = None
        elif self._silent_s is None:
            self._silent_s = self._clock()

    def progress(self, done: int, total: int) -> None:
        """Say that units of work are being done, and that so many are finished now."""
        self._progress_s = self._clock()
        self._state = f"with {done} of {total} units of work done"

    def executed(self) -> None:
        """Say that all units of work are finished: the limit on their progress is off."""
        self._progress_s = None

    def hold(self) -> None:
        """Let the run come to its end: from here on no limit counts."""
        self._is_held = self.is_committing = True

    def next_s(self) -> float | None:
        """Return in how many seconds a limit could be reached; None: never."""
        ends = [self._end_s]
        if self._progress_s is not None:
            ends.append(self._progress_s + self._no_progress_s)
        if self._head is not None and self._silent_s is not None:
            ends.append(self._silent_s + self._head.patience_s)
        known = [end for end in ends if end is not None]
        return None if self._is_held or not known else min(known) - self._clock()

    def lost(self) -> ClusterError | None:
        """Return what to say of a head that has been silent for too long, None for any other."""
        now, head, silent_s = self._clock(), self._head, self._silent_s
        if self._is_held or head is None or silent_s is None:
            return None
        if now < silent_s + head.patience_s:
            return None
        return ClusterError(
            f"the head of Ray at {head.address} is lost: it has not answered for "
            f"{now - silent_s:.0f} s, {self._state}; nothing was published, and what is in the "
            "output stays as it was. Start the cluster again, or look whether this machine "
            f"reaches it; {self._again}"
        )

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
                    f"{self._state}; nothing was published, {self._again}"
                )
            )
        lost = self.lost()
        if lost is not None:
            self._is_held = True
            raise _Expired(lost)
        if self._progress_s is not None and now >= self._progress_s + self._no_progress_s:
            self._is_held = True
            raise _Expired(
                CompactionError(
                    f"expected a unit of work to finish within {self._config.no_progress} "
                    f"(--run.no_progress), none did, {self._state}; nothing was published. Look "
                    "whether the cluster has free CPUs and memory (ray status) and whether the "
                    f"storage answers; {self._again}"
                )
            )


@contextmanager
def bounded(
    config: RunConfig, clock: Callable[[], float] = time.monotonic, again: str = CONTINUES
) -> Generator[Watch]:
    """Keep the limits of a run while the block runs.

    In another thread than the main one, which no signal reaches, they are
    checked only where the block calls `Watch.check`, and nobody looks after the head.

    Raises
    ------
    DeadlineError
        When the deadline has passed.
    CompactionError
        When no unit was finished for too long.
    ClusterError
        When the head of Ray has not answered for too long.
    """
    watch = Watch(config, clock, again)
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
            watch.look()
            left_s = watch.next_s()
            if left_s is not None and left_s <= 0:
                lost, grace_s = watch.lost(), watch.grace_s
                signal.pthread_kill(thread_id, SIGNAL)
                if lost is not None and not ended.wait(grace_s) and not watch.is_committing:
                    _exit(lost)

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


@contextmanager
def or_exit(error: CompactionError, after_s: float) -> Generator[None]:
    """End the process with an error's message and code where the block takes longer than this."""
    ended = threading.Event()

    def wait() -> None:
        if not ended.wait(after_s):
            _exit(error)

    threading.Thread(target=wait, daemon=True, name="or_exit").start()
    try:
        yield
    finally:
        ended.set()


def _exit(error: CompactionError) -> NoReturn:
    """End the process as a job ends, whatever its main thread waits for."""
    sys.stderr.write(f"error: {error.message}\n")
    sys.stderr.flush()
    os._exit(error.exit_code)
