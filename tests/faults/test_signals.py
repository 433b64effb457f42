"""F8: Ctrl-C, SIGTERM and `ray job stop` while a worker hangs."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests import poisoned
from tests.faults import processes, small
from tests.ray_head import ENVIRONMENT, running_head

QUICK_S = 60
"""Nobody waits longer for a run to end; on a machine that does nothing else it takes seconds."""

ENDS = {
    "ctrl-c": (signal.SIGINT, True, 130, "interrupted"),
    "SIGINT": (signal.SIGINT, False, 130, "interrupted"),
    "SIGTERM": (signal.SIGTERM, False, 143, "terminated"),
}
"""Signal, whether to all processes of the terminal, exit code, word."""


def write_inputs(folder: Path) -> Path:
    """Write an input with a row at which a poisoned process hangs, and never lets Python run."""
    folder.mkdir()
    path = folder / "rows.json"
    path.write_text(json.dumps([*small.rows(1), {**small.rows(2)[0], "note": "poison_loop"}]))
    return path


def wait_until(is_so: Callable[[], bool], what: str, limit_s: float = 200) -> None:
    """Wait for something that another process does."""
    pause = threading.Event()
    end_s = time.monotonic() + limit_s
    while not is_so():
        assert time.monotonic() < end_s, f"waited {limit_s} s in vain for {what}"
        pause.wait(0.05)


def processes_with(token: str) -> list[int]:
    """Return the processes that have a token in their environment."""
    found: list[int] = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if token.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def kill_all(token: str) -> None:
    """Kill what was started with a token, as when the power of a machine goes."""
    for pid in processes_with(token):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def assert_nothing_shows(output: Path) -> None:
    assert small.published(output) is None
    assert not list(output.rglob(".maskpress-tmp-*"))


def assert_run_completes(path: Path, output: Path) -> None:
    """Run again, without the poison, and compare with a run elsewhere that nobody disturbed."""
    clean = output.with_name("clean")
    for place in (output, clean):
        assert small.run(small.configure([path], place)).state == "published"
    small.assert_whole(output, small.content(clean))


def interrupt(tmp_path: Path, how: str, *flags: str) -> None:
    signum, is_for_all, code, word = ENDS[how]
    path, output, token = write_inputs(tmp_path / "in"), tmp_path / "out", secrets.token_hex(8)
    hangs = tmp_path / "hangs"
    environment = {
        "PYTHONPATH": poisoned.python_path(), "TOKEN": token, "POISON_SIGN": str(hangs)
    }  # fmt: skip
    process = processes.start([path], output, *flags, environment=environment)
    try:
        wait_until(lambda: hangs.exists() or process.poll() is not None, "a worker that hangs")
        started_s = time.monotonic()
        (os.killpg if is_for_all else os.kill)(process.pid, signum)
        ended, said = processes.finish(process, QUICK_S)
        assert ended == code, said
        assert time.monotonic() - started_s < QUICK_S
        assert f"{word}: the same command continues where it stopped" in said
        assert "Traceback" not in said
        assert_nothing_shows(output)
        wait_until(lambda: not processes_with(token), "the last process of the run to end")
    finally:
        process.kill()
        process.communicate()
        kill_all(token)
    assert_run_completes(path, output)


def test_a_run_that_is_terminated_says_how_to_go_on(tmp_path: Path) -> None:
    interrupt(tmp_path, "SIGTERM")


@pytest.mark.long
@pytest.mark.parametrize("how", ["ctrl-c", "SIGINT"])
def test_a_run_that_is_interrupted_says_how_to_go_on(tmp_path: Path, how: str) -> None:
    interrupt(tmp_path, how)


@pytest.mark.long
@pytest.mark.parametrize("how", ENDS)
def test_a_run_on_ray_that_is_ended_takes_ray_with_it(tmp_path: Path, how: str) -> None:
    interrupt(tmp_path, how, "--run.workers", "1")


@pytest.mark.long
def test_a_job_that_is_stopped_can_be_submitted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, output, hangs = write_inputs(tmp_path / "in"), tmp_path / "out", tmp_path / "hangs"
    name = f"job-{secrets.token_hex(4)}"
    poison = {"PYTHONPATH": poisoned.python_path(), "POISON_SIGN": str(hangs)}
    with running_head(poison) as head:

        def ray_job(*arguments: str) -> str:
            done = subprocess.run(
                [str(Path(sys.executable).parent / "ray"), "job", *arguments],
                env={**ENVIRONMENT, "RAY_ADDRESS": head.dashboard},
                cwd=processes.ROOT,
                capture_output=True,
                text=True,
                timeout=200,
                check=False,
            )
            return done.stdout + done.stderr

        command = ["python", *processes.command([path], output)[1:]]
        ray_job(
            "submit", "--no-wait", "--submission-id", name, "--working-dir", ".", "--", *command
        )
        wait_until(hangs.exists, "a worker that hangs")
        started_s = time.monotonic()
        ray_job("stop", name)
        assert time.monotonic() - started_s < QUICK_S
        assert "STOPPED" in ray_job("status", name) or "stopped" in ray_job("status", name)
        said = ray_job("logs", name)
        assert "terminated: the same command continues where it stopped" in said
        assert_nothing_shows(output)
    assert_run_completes(path, output)
