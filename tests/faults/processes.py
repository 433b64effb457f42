"""Jobs as processes of their own, as a scheduler starts them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def command(inputs: Sequence[Path | str], output: Path | str, *flags: str) -> list[str]:
    """Return the command line of a run of the small job; flags go last."""
    given = [str(path) for path in inputs]
    settings = ["--filter.min_area", "2", "--run.backend", "numba"]
    return [
        *(sys.executable, str(ROOT / "jobs" / "compact.py"), *given),
        *("--output", str(output), *settings, *flags),
    ]


def start(
    inputs: Sequence[Path | str],
    output: Path | str,
    *flags: str,
    environment: dict[str, str] | None = None,
) -> subprocess.Popen[str]:
    """Start a run in a process group of its own; the caller waits for it."""
    return subprocess.Popen(
        command(inputs, output, *flags),
        cwd=ROOT,
        env={**os.environ, "RAY_ADDRESS": "", **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # What is started in the background of a script ignores Ctrl-C, and all that it starts too.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def finish(process: subprocess.Popen[str], timeout_s: float = 240) -> tuple[int, str]:
    """Return the exit code of a run and all that it said; it is killed when it does not end."""
    try:
        said, complained = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return process.returncode, said + complained


def run(
    inputs: Sequence[Path | str],
    output: Path | str,
    *flags: str,
    environment: dict[str, str] | None = None,
) -> tuple[int, str]:
    """Do a run in a process; return its exit code and all that it said."""
    return finish(start(inputs, output, *flags, environment=environment))
