"""Limits on a run: what they end, when, and what they say."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from pipeline import watch
from pipeline.config import RunConfig
from pipeline.errors import ClusterError, CompactionError, DeadlineError


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


def test_a_head_may_be_silent_for_a_while_and_no_longer() -> None:
    clock, answers = Clock(), [True]

    def work() -> None:
        with watch.bounded(RunConfig(), clock) as limits:
            limits.rely(watch.Head("10.0.0.1:6379", lambda: answers[0], 40.0, 60.0))
            limits.progress(3, 7)
            for is_there, wait_s in ((False, 39.0), (True, 1e4), (False, 39.0)):
                answers[0] = is_there
                limits.look()
                clock.now += wait_s
                limits.progress(3, 7)
                limits.check()
            clock.now += 1
            limits.check()

    expected = "head of Ray at 10.0.0.1:6379 is lost.*40 s, with 3 of 7 units .*same command"
    with pytest.raises(ClusterError, match=expected) as caught:
        work()
    assert caught.value.exit_code == 5


def test_a_lost_head_ends_a_wait_in_the_main_thread() -> None:
    def wait() -> None:
        with watch.bounded(RunConfig()) as limits:
            limits.rely(watch.Head("10.0.0.1:6379", lambda: False, 0.0, 60.0))
            threading.Event().wait(60)

    with pytest.raises(ClusterError, match="before the first unit of work; nothing was published"):
        wait()


def test_a_process_that_does_not_end_after_its_head_is_ended() -> None:
    script = """
import threading
from pipeline import watch
from pipeline.config import RunConfig
with watch.bounded(RunConfig()) as limits:
    limits.rely(watch.Head("10.0.0.1:6379", lambda: False, 0.3, 0.1))
    try:
        threading.Event().wait()
    finally:
        threading.Event().wait()  # as a client may that waits for the head
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 5
    assert done.stderr.startswith("error: the head of Ray at 10.0.0.1:6379 is lost")
    assert done.stderr.endswith("continues where it stopped\n")


def test_what_takes_too_long_ends_the_process_and_nothing_else_does() -> None:
    script = """
import threading
from pipeline import watch
from pipeline.errors import ClusterError
with watch.or_exit(ClusterError("first"), 60):
    pass
with watch.or_exit(ClusterError("second"), 0.1):
    threading.Event().wait()
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (5, "error: second\n")


def test_a_head_that_is_lost_during_the_commit_ends_nothing() -> None:
    clock = Clock()
    with watch.bounded(RunConfig(), clock) as limits:
        limits.rely(watch.Head("10.0.0.1:6379", lambda: False, 40.0, 60.0))
        limits.look()
        limits.executed()
        assert limits.next_s() == 40
        limits.hold()
        clock.now += 1e6
        limits.check()
        assert limits.next_s() is None
        assert limits.lost() is None


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
