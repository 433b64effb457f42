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
    publish_run(storage.to_uri(str(output)), 2, {"compacted": (5,)})
    return output


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Run the job in this process as its last lines do."""
    monkeypatch.syspath_prepend(str(JOBS))
    monkeypatch.setattr(sys, "argv", ["restore.py", *map(str, arguments)])
    import restore

    return run_job(restore.main)


def test_lists_by_default(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, out) == 0
    header, newest, oldest = capsys.readouterr().out.splitlines()
    assert header.split() == ["version", "published", "(UTC)", "run_id", "rows"]
    assert newest.split()[0::2] == ["1", run_name(2), "live"]
    assert oldest.split()[0] == "0"
    assert oldest.split()[2:] == [run_name(1), "7"]


def test_rolls_back(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, out, "--version", 0, "--list") == 0
    first, _, newest, *_ = capsys.readouterr().out.splitlines()
    assert first == "version 0 is live, as version 2"
    assert newest.endswith("live, restored from 0")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("--version", 9), "expected a version from 0 to 1, got 9"), (("nowhere",), "")],
)
def test_errors_are_one_line(
    out: Path,
    arguments: tuple[object, ...],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = (out, *arguments) if message else (out.parent / "nowhere",)
    assert run(monkeypatch, *given) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1


def test_works_as_a_script_from_another_folder(out: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(JOBS / "restore.py"), "out"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert run_name(2) in done.stdout
