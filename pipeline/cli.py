"""How every job ends: one clean message on stderr and the exit code that belongs to it."""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Callable
from types import FrameType

from pipeline.errors import CompactionError, causes

INTERRUPTED = 130
TERMINATED = 143
FAILED = 5


class _Terminated(BaseException):
    """SIGTERM arrived; not an Exception, so that no step takes it for a failure."""


def run_job(main: Callable[[], int]) -> int:
    """Run a job and return its exit code; never raises but SystemExit (of the command line).

    Parameters
    ----------
    main : callable
        Returns the exit code of a job that ended as it should.

    Returns
    -------
    int
        That code; 130 after Ctrl-C, 143 after SIGTERM, the error's own code after a
        `CompactionError` (also one that Ray has wrapped); 5 and a traceback after any other.
    """
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        return main()
    except KeyboardInterrupt:
        return _say("interrupted: the same command continues where it stopped", INTERRUPTED)
    except _Terminated:
        return _say("terminated: the same command continues where it stopped", TERMINATED)
    except Exception as error:
        for cause in causes(error):
            if isinstance(cause, CompactionError):
                return _say(f"error: {cause.args[0]}", cause.exit_code)
        traceback.print_exc()
        return FAILED
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(signum: int, frame: FrameType | None) -> None:
    raise _Terminated


def _say(text: str, code: int) -> int:
    sys.stderr.write(text + "\n")
    return code
