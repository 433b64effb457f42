"""A process that may die: what its parent learns, and that the next call works."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.child import Child, Died, ends_after
from pipeline.errors import InputError

LIMIT_S = 60.0


@pytest.fixture(params=["copy", "new"])
def child(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Child]:
    # A new process finds the functions of this file by its own name for it.
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
    made = Child(1 << 30, is_forked=request.param == "copy")
    yield made
    made.close()


def add(left: int, right: int) -> int:
    return left + right


def pid_of_the_process() -> int:
    return os.getpid()


def size_of(data: bytes) -> bytes:
    return data[::-1]


def refuse() -> None:
    raise InputError("in.json: is no JSON")


def refuse_oddly() -> None:
    class OddError(Exception):
        def __init__(self, *, where: str) -> None:
            super().__init__(where)

    raise OddError(where="here")


def kill_itself() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def leave() -> None:
    os._exit(3)


def never_end() -> None:
    ctypes.PyDLL(None).pause()  # keeps the interpreter's lock


def hoard() -> None:
    kept = []
    while True:
        kept.append(b"x" * (32 << 20))


def raise_memory_error() -> None:
    raise MemoryError


def print_something() -> int:
    sys.stdout.write("what a library says")
    sys.stdout.flush()
    return 1


def test_calls_are_answered_by_one_process(child: Child) -> None:
    assert child.call(LIMIT_S, add, 2, 3) == 5
    pid = child.call(LIMIT_S, pid_of_the_process)
    assert pid != os.getpid()
    assert child.call(LIMIT_S, pid_of_the_process) == pid
    assert child.call(LIMIT_S, print_something) == 1
    data = os.urandom(5 << 20)
    assert child.call(LIMIT_S, size_of, data) == data[::-1]


def test_the_process_sees_the_devices_that_its_worker_was_given(
    child: Child, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert child.call(LIMIT_S, os.getenv, "CUDA_VISIBLE_DEVICES") == "3"


def test_errors_come_back_and_the_process_goes_on(child: Child) -> None:
    pid = child.call(LIMIT_S, pid_of_the_process)
    with pytest.raises(InputError, match=r"in\.json: is no JSON"):
        child.call(LIMIT_S, refuse)
    with pytest.raises(RuntimeError, match="OddError: here"):
        child.call(LIMIT_S, refuse_oddly)
    assert child.call(LIMIT_S, pid_of_the_process) == pid


def test_what_a_copy_shares_with_a_large_parent_is_not_its_own() -> None:
    ballast = b"x" * (512 << 20)
    child = Child(256 << 20, is_forked=True)
    try:
        assert child.call(LIMIT_S, add, len(ballast), 1) == len(ballast) + 1
        with pytest.raises(Died, match="it took more memory than a worker may"):
            child.call(LIMIT_S, hoard)
    finally:
        child.close()


@pytest.mark.parametrize(
    ("function", "code", "how"),
    [
        (kill_itself, "CRASH", "it was ended by SIGSEGV"),
        (leave, "CRASH", "it ended with code 3"),
        (hoard, "MEMORY", "it took more memory than a worker may"),
        (raise_memory_error, "MEMORY", "it ran out of memory"),
    ],
)
def test_a_death_is_told_and_the_next_call_works(
    child: Child, function: object, code: str, how: str
) -> None:
    pid = child.call(LIMIT_S, pid_of_the_process)
    with pytest.raises(Died) as caught:
        child.call(LIMIT_S, function)  # pyright: ignore
    assert (caught.value.code, caught.value.how) == (code, how)
    assert child.call(LIMIT_S, pid_of_the_process) != pid
    assert_is_gone(pid)


def test_a_call_that_does_not_end_is_ended(child: Child) -> None:
    pid = child.call(LIMIT_S, pid_of_the_process)
    with pytest.raises(Died) as caught:
        child.call(0.2, never_end)
    assert caught.value.code == "TIMEOUT"
    assert_is_gone(pid)
    assert child.call(LIMIT_S, add, 1, 1) == 2


def test_closing_ends_the_process(child: Child) -> None:
    pid = child.call(LIMIT_S, pid_of_the_process)
    child.close()
    assert_is_gone(pid)
    child.close()


def orphan_of(code: str) -> int:
    """Run a process that prints the pid of its child and is killed; return that pid."""
    root = Path(__file__).resolve().parents[2]
    read, write = os.pipe()
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, "-c", code],
        {**os.environ, "PYTHONPATH": str(root)},
        file_actions=[(os.POSIX_SPAWN_DUP2, write, 1)],
    )
    os.close(write)
    with os.fdopen(read) as lines:
        child = int(lines.readline())
        assert lines.read() == ""
    os.waitpid(pid, 0)
    return child


def test_an_orphan_ends_by_itself() -> None:
    """The parent is killed: its end of the pipe closes, and the process sees it."""
    orphan = orphan_of(
        "import os, signal, sys; from pipeline.child import Child; child = Child(1 << 30);"
        "print(child.call(60, os.getpid), flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert_is_gone(orphan)


def test_an_orphan_that_hangs_ends_after_its_time() -> None:
    """It keeps the interpreter's lock and takes no processor time, so only a clock can end it."""
    orphan = orphan_of(
        "import os, sys, threading; from pipeline.child import Child\n"
        "main = 'from pipeline import child_main as c; c._ORPHAN_S = 0; c.main()'\n"
        "child = Child(1 << 30, command=(sys.executable, '-c', main))\n"
        "print(child.call(60, os.getpid), flush=True)\n"
        "threading.Timer(0.5, os.kill, (os.getpid(), 9)).start()\n"
        "child.call(2, exec, 'import ctypes; ctypes.PyDLL(None).pause()')"
    )
    assert_is_gone(orphan)


def assert_is_gone(pid: int) -> None:
    end_s = time.monotonic() + 30
    while time.monotonic() < end_s:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return
        if state == "Z":  # nobody here has asked for its end
            return
    pytest.fail(f"process {pid} is still there")


def test_the_time_of_a_block_starts_anew_when_it_asks_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, calls = [0.0], list[str]()
    monkeypatch.setattr("pipeline.child.time", SimpleNamespace(monotonic=lambda: now[0]))
    fake = SimpleNamespace(
        dump_traceback_later=lambda timeout_s, exit, file: calls.append(f"start {timeout_s}"),
        cancel_dump_traceback_later=lambda: calls.append("stop"),
    )
    monkeypatch.setattr("pipeline.child.faulthandler", fake)
    with ends_after(9) as renew:
        for now[0] in (0.2, 0.9, 1.1, 1.2, 2.5):
            renew()
    assert calls == ["start 9", "start 9", "start 9", "stop"]
