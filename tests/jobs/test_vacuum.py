from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import storage
from pipeline.cli import run_job
from tests.published import publish_run, run_name

JOBS = Path(__file__).resolve().parents[2] / "jobs"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    output = tmp_path / "out"
    publish_run(storage.to_uri(str(output)), 1)
    publish_run(storage.to_uri(str(output)), 2)
    return output


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Run the job in this process as its last lines do."""
    monkeypatch.syspath_prepend(str(JOBS))
    monkeypatch.setattr(sys, "argv", ["vacuum.py", *map(str, arguments)])
    import vacuum

    return run_job(vacuum.main)


def test_keeps_a_week_by_default(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, out) == 0
    assert capsys.readouterr().out == "0 files would be deleted (--delete true does it)\n"


def test_lists_first_and_deletes_when_told_to(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, out, "--retention_hours", 0) == 0
    *names, summary = capsys.readouterr().out.splitlines()
    assert len(names) == 4
    assert all(run_name(1) in name and (out / name).exists() for name in names)
    assert summary == "4 files would be deleted (--delete true does it)"
    assert run(monkeypatch, out, "--retention_hours", 0, "--delete", "true") == 0
    assert capsys.readouterr().out.splitlines() == [*names, "4 files deleted"]
    assert not any((out / name).exists() for name in names)


def test_errors_are_one_line(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, out, "--retention_hours", -1) == 2
    assert capsys.readouterr().err == "error: --retention_hours: expected >= 0, got -1\n"


def test_works_as_a_script_from_another_folder(out: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(JOBS / "vacuum.py"), "out"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("0 files")
