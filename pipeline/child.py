"""A process of its own for work that may not come back: killed, endless, or out of memory.

The parent calls module-level functions in it, one at a time, and learns either their result or
how the process ended. It is kept from call to call and started anew after a death.
"""

from __future__ import annotations

import faulthandler
import os
import pickle
import selectors
import signal
import struct
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pipeline import child_main

COMMAND = (sys.executable, "-m", "pipeline.child_main")
"""Starts the process."""

START_S = 300.0
"""How long it may take to start."""

_ROOT = Path(__file__).resolve().parents[1]
_POLL_S = 0.05
_HEADER = struct.Struct("<Q")
_PIECE_BYTES = 1 << 20

Result = TypeVar("Result")


class Died(Exception):
    """The process ended, or was ended, before it answered.

    Parameters
    ----------
    code : str
        ``CRASH``, ``TIMEOUT`` or ``MEMORY``.
    how : str
        Half a sentence, the same whenever the same happens.
    """

    def __init__(self, code: str, how: str) -> None:
        super().__init__(code, how)
        self.code = code
        self.how = how


class _Process(NamedTuple):
    """A started process, the ends of the pipes to it and from it, and what it began with.

    A copy begins with all memory of its parent, which is not of its own making.
    """

    pid: int
    requests: int
    answers: int
    inherited_bytes: int = 0


class Child:
    """Calls functions in another process.

    Parameters
    ----------
    memory_bytes : int
        Resident memory at which it is ended (where /proc tells it); of a copy, what it takes
        beyond that of this process when it was made.
    is_forked : bool
        The process is a copy of this one, which takes no time to start; only where few threads
        run that could hold a lock. After one that did not end in time it is started from nothing.
    command : sequence of str
        Starts it from nothing; speaks as `pipeline.child_main` does.
    """

    def __init__(
        self, memory_bytes: int, is_forked: bool = False, command: tuple[str, ...] = COMMAND
    ) -> None:
        self._memory_bytes = memory_bytes
        self._is_forked = is_forked
        self._command = command
        self._process: _Process | None = None

    def call(self, timeout_s: float, function: Callable[..., Result], *arguments: Any) -> Result:
        """Return ``function(*arguments)``; everything must pickle.

        Raises
        ------
        Died
            If the process ends first, or takes too long or too much memory and is ended.
        Exception
            What the function raises.
        """
        try:
            if self._process is None:
                self._process = _fork() if self._is_forked else _spawn(self._command)
                self._exchange(b"", START_S)
            request = pickle.dumps((timeout_s, function, arguments), protocol=5)
            kind, value = pickle.loads(self._exchange(request, timeout_s))
        except BaseException as error:
            # A copy may wait for ever for a lock that a thread held: then no more copies.
            self._is_forked &= not (isinstance(error, Died) and error.code == "TIMEOUT")
            self.close()
            raise
        if kind == "memory":
            self.close()
            raise Died("MEMORY", "it ran out of memory")
        if kind == "error":
            raise value
        return value

    def close(self) -> None:
        """End the process, if there is one."""
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ChildProcessError):  # its end is known already, its pid may be another's
            if not os.waitpid(process.pid, os.WNOHANG)[0]:
                os.kill(process.pid, signal.SIGKILL)
                os.waitpid(process.pid, 0)
        os.close(process.requests)
        os.close(process.answers)

    def _exchange(self, request: bytes, timeout_s: float) -> bytes:
        """Send a request (none: only listen), return the bytes of the answer."""
        process = self._process
        assert process is not None
        end_s = time.monotonic() + timeout_s
        left = memoryview(_HEADER.pack(len(request)) + request if request else b"")
        answer, answer_bytes = bytearray(), None
        with selectors.DefaultSelector() as selector:
            selector.register(process.answers, selectors.EVENT_READ)
            if left:
                selector.register(process.requests, selectors.EVENT_WRITE)
            while answer_bytes is None or len(answer) < answer_bytes:
                self._require_limits(process, end_s)
                for key, _ in selector.select(_POLL_S):
                    if key.fd == process.requests:
                        left = left[_write(process.requests, left) :]
                        if not left:
                            selector.unregister(process.requests)
                        continue
                    piece = os.read(process.answers, _PIECE_BYTES)
                    if not piece:
                        raise Died("CRASH", _how_ended(process.pid))
                    answer += piece
                    if answer_bytes is None and len(answer) >= _HEADER.size:
                        answer_bytes = _HEADER.unpack(answer[: _HEADER.size])[0] + _HEADER.size
        return bytes(memoryview(answer)[_HEADER.size :])

    def _require_limits(self, process: _Process, end_s: float) -> None:
        if time.monotonic() > end_s:
            raise Died("TIMEOUT", "it did not end in time")
        if _resident_bytes(process.pid) - process.inherited_bytes > self._memory_bytes:
            raise Died("MEMORY", "it took more memory than a worker may")


def _spawn(command: tuple[str, ...]) -> _Process:
    """Start a process from nothing."""
    paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    requests_read, requests = os.pipe()
    answers, answers_write = os.pipe()
    try:
        started = subprocess.Popen(
            command,
            stdin=requests_read,
            stdout=answers_write,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )
    finally:
        os.close(requests_read)
        os.close(answers_write)
    started.returncode = 0  # its end is waited for here, by its pid
    return _nonblocking(_Process(started.pid, requests, answers))


def _fork() -> _Process:
    """Start a process as a copy of this one."""
    requests_read, requests = os.pipe()
    answers, answers_write = os.pipe()
    inherited_bytes = _resident_bytes(os.getpid())
    with warnings.catch_warnings():
        # Python warns of locks that other threads hold; a call that waits for one has a limit.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        try:
            os.close(requests)
            os.close(answers)
            faulthandler.disable()  # the parent says how it ended
            for signum in (signal.SIGTERM, signal.SIGVTALRM):
                signal.signal(signum, signal.SIG_DFL)
            child_main.serve(requests_read, answers_write)
        finally:
            os._exit(1)
    os.close(requests_read)
    os.close(answers_write)
    return _nonblocking(_Process(pid, requests, answers, inherited_bytes))


def _nonblocking(process: _Process) -> _Process:
    os.set_blocking(process.requests, False)
    os.set_blocking(process.answers, False)
    return process


def _write(descriptor: int, data: memoryview) -> int:
    try:
        return os.write(descriptor, data[:_PIECE_BYTES])
    except BrokenPipeError:
        return len(data)  # it is dead: reading its answer will say how


def _how_ended(pid: int) -> str:
    """Say how a process ended that closed its answers."""
    end_s = time.monotonic() + 10
    while time.monotonic() < end_s:
        done, status = os.waitpid(pid, os.WNOHANG)
        if not done:
            time.sleep(0.01)
            continue
        code = os.waitstatus_to_exitcode(status)
        if code >= 0:
            return f"it ended with code {code}"
        names = {signum.value: signum.name for signum in signal.Signals}
        return f"it was ended by {names.get(-code, f'signal {-code}')}"
    return "it stopped answering"


def _resident_bytes(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/statm").read_bytes().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0


@contextmanager
def ends_after(timeout_s: float) -> Generator[Callable[[], None]]:
    """End this very process if the block takes longer, even if it never lets Python run.

    For workers: whoever gave them their work sees them die. The block may call what it is given
    to have its time start anew; that is done once a second at most, since it waits for a thread.
    """
    started = time.monotonic()

    def renew() -> None:
        nonlocal started
        if time.monotonic() - started >= 1:
            started = time.monotonic()
            faulthandler.dump_traceback_later(timeout_s, exit=True, file=2)

    faulthandler.dump_traceback_later(timeout_s, exit=True, file=2)
    try:
        yield renew
    finally:
        faulthandler.cancel_dump_traceback_later()
