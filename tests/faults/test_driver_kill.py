"""F6, F8: SIGKILL before every system call that changes a file of the output, Delta's own too."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults import small, tracer

ROOT = Path(__file__).resolve().parents[2]
PARTS = 4

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not tracer.CALLS, reason="ptrace and seccomp are Linux's"
)


@pytest.fixture(scope="module")
def reference(undisturbed: small.Undisturbed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("killed") / "reference"
    path.write_bytes(pickle.dumps(undisturbed))
    return path


def kill(reference: Path, kind: str, start: int, step: int) -> int:
    """Let another process run, kill and check; return how often."""
    arguments = [str(reference), kind, str(start), str(step)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.killing", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return int(done.stdout.split()[0])


def test_killed_before_some_changes(reference: Path) -> None:
    assert kill(reference, "second", 5, 12) > 5


@pytest.mark.long
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("kind", ["first", "second"])
def test_killed_before_every_change(reference: Path, kind: str, part: int) -> None:
    assert kill(reference, kind, part, PARTS) > 10
