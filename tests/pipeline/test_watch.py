"""Limits on a run: what they end, when, and what they say."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from pipeline import watch
from pipeline.config import RunConfig
from pipeline.errors import CompactionError, DeadlineError


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_deadline_ends_a_wait_in_the_main_thread() -> None:
    def wait() -> None:
        with watch.bounded(RunConfig(deadline="0.01s")) as limits:
            limits.progress(3, 7)
            threading.Event().wait(60)

    handler = signal.getsignal(watch.SIGNAL)
    expected = r"deadline of 0.01s .* with 3 of 7 units .*same command continues"
    with pytest.raises(DeadlineError, match=expected) as caught:
        wait()
    assert caught.value.exit_code == 124
    assert signal.getsignal(watch.SIGNAL) is handler


def test_no_step_takes_the_end_for_a_failure_of_its_own() -> None:
    clock, handled = Clock(), list[Exception]()

    def step() -> None:
        with watch.bounded(RunConfig(deadline="8h"), clock) as limits:
            limits.check()
            clock.now += 8 * 3600
            try:
                limits.check()
            except Exception as error:
                handled.append(error)

    with pytest.raises(DeadlineError):
        step()
    assert handled == []


def test_no_progress_counts_from_the_last_unit_and_only_while_units_are_done() -> None:
    clock = Clock()

    def work() -> None:
        with watch.bounded(RunConfig(no_progress="1h30m"), clock) as limits:
            assert limits.next_s() is None
            clock.now += 10_000
            limits.check()
            limits.progress(0, 2)
            clock.now += 5399
            limits.check()
            limits.progress(1, 2)
            clock.now += 5399
            limits.check()
            assert limits.next_s() == 1
            clock.now += 1
            limits.check()

    with pytest.raises(CompactionError, match=r"finish within 1h30m .*with 1 of 2") as caught:
        work()
    assert caught.value.exit_code == 5


def test_what_has_begun_to_end_is_not_ended() -> None:
    clock = Clock()
    with watch.bounded(RunConfig(deadline="1m"), clock) as limits:
        limits.progress(1, 1)
        limits.executed()
        limits.hold()
        clock.now += 1e6
        limits.check()
        os.kill(os.getpid(), watch.SIGNAL)
        assert limits.next_s() is None


def test_in_another_thread_limits_are_checked_where_it_asks() -> None:
    clock, seen = Clock(), list[str]()

    def work() -> None:
        try:
            with watch.bounded(RunConfig(deadline="1m"), clock) as limits:
                clock.now += 61
                limits.check()
        except DeadlineError as error:
            seen.append(error.message)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert len(seen) == 1
