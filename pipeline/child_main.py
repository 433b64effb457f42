"""What runs in the process that `pipeline.child` starts: answers calls until its parent is gone.

A message is its length in 8 bytes, little-endian, and a pickle; the first one says "ready".
"""

from __future__ import annotations

import faulthandler
import os
import pickle
import queue
import resource
import signal
import struct
import threading
import time
from typing import Any, BinaryIO

_HEADER = struct.Struct("<Q")
_ORPHAN_S = 60
"""Time beyond a call's limit after which the process ends, should its parent be gone."""


def main() -> None:
    """Answer calls on the standard pipes."""
    requests, answers = os.dup(0), os.dup(1)
    os.dup2(2, 1)  # what a library prints is no answer
    serve(requests, answers)


def serve(requests_fd: int, answers_fd: int) -> None:
    """Answer calls; ends when the parent does."""
    requests, answers = os.fdopen(requests_fd, "rb"), os.fdopen(answers_fd, "wb")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    waiting: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests, waiting), daemon=True).start()
    _send(answers, b"ready")
    clock = _Clock()
    while True:
        try:
            request = waiting.get(timeout=1)
        except queue.Empty:
            clock.stop()
            request = waiting.get()
        _send(answers, _answer(request, clock))


def _listen(requests: BinaryIO, waiting: queue.SimpleQueue[bytes]) -> None:
    """Take requests; beside the work, so that the end of the parent ends it too."""
    while True:
        header = requests.read(_HEADER.size)
        if len(header) < _HEADER.size:
            os._exit(0)
        waiting.put(requests.read(_HEADER.unpack(header)[0]))


class _Clock:
    """Ends the process at a time, by a thread that needs no interpreter, which may be locked.

    Set anew once a second at most, since that waits for the thread.
    """

    def __init__(self) -> None:
        self._nowhere = os.open(os.devnull, os.O_WRONLY)
        self._limit_s = 0.0
        self._started_s = 0.0

    def start(self, limit_s: float) -> None:
        now_s = time.monotonic()
        if limit_s != self._limit_s or now_s - self._started_s >= 1:
            faulthandler.dump_traceback_later(limit_s, exit=True, file=self._nowhere)
            self._limit_s, self._started_s = limit_s, now_s

    def stop(self) -> None:
        faulthandler.cancel_dump_traceback_later()
        self._limit_s = 0.0


def _answer(request: bytes, clock: _Clock) -> bytes:
    try:
        timeout_s, function, arguments = pickle.loads(request)
        _limit_processor(timeout_s)
        clock.start(timeout_s + _ORPHAN_S)
        return pickle.dumps(("value", function(*arguments)), protocol=5)
    except MemoryError:
        return pickle.dumps(("memory", None))
    except Exception as error:
        return _pickle_error(error)


def _pickle_error(error: Exception) -> bytes:
    try:
        data = pickle.dumps(("error", error))
        pickle.loads(data)
    except Exception:  # an exception of another package may not survive the way
        return pickle.dumps(("error", RuntimeError(f"{type(error).__name__}: {error}")))
    return data


def _limit_processor(timeout_s: float) -> None:
    """Let the system end a loop without end, should the parent be gone before it."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    threads = os.cpu_count() or 1
    limit = int(used.ru_utime + used.ru_stime + threads * (timeout_s + _ORPHAN_S)) + 1
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    if hard == resource.RLIM_INFINITY or limit < hard:
        resource.setrlimit(resource.RLIMIT_CPU, (limit, hard))


def _send(answers: Any, data: bytes) -> None:
    answers.write(_HEADER.pack(len(data)))
    answers.write(data)
    answers.flush()


if __name__ == "__main__":
    main()
