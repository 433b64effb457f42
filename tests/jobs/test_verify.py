from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline import storage
from pipeline.cli import run_job
from pipeline.config import CompactConfig, RunConfig
from tests import oracle
from tests.outputs import run_inline

JOBS = Path(__file__).resolve().parents[2] / "jobs"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Return an output of two images with a mask each."""
    segmentation = {"size": [4, 6], "counts": oracle.encode(np.eye(4, 6, dtype=bool)).decode()}
    row = {"category_id": 1, "bbox": [0, 0, 4, 4], "score": 0.5, "segmentation": segmentation}
    source = tmp_path / "predictions.json"
    source.write_text(json.dumps([{"image_id": number, **row} for number in (1, 2)]))
    output = tmp_path / "out"
    run_inline(
        CompactConfig(inputs=(str(source),), output=str(output), run=RunConfig(backend="numba"))
    )
    return output


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Run the job in this process as its last lines do."""
    monkeypatch.syspath_prepend(str(JOBS))
    monkeypatch.setattr(sys, "argv", ["verify.py", *map(str, arguments)])
    import verify

    return run_job(verify.main)


def test_all_is_well_is_one_line(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, out, "--all") == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("all is well: checked 1 files, ")
    assert "2 masks compared with their source" in line


def test_problems_are_listed(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (path,) = (out / "compacted").glob("*.parquet")
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)
    assert run(monkeypatch, storage.to_uri(str(out)), "--version", 0) == 6
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"1. compacted/{path.name}"
    assert [line.split(":")[0].strip() for line in lines[1:4]] == ["expected", "found", "to do"]
    assert lines[-1].startswith("1 problem: checked ")


def test_errors_are_one_line(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, out, "--version", 7) == 2
    assert run(monkeypatch, out.parent / "nowhere") == 2
    assert run(monkeypatch, out, "--sample_fraction", 3) == 2
    assert [line.split(":")[0] for line in capsys.readouterr().err.splitlines()] == ["error"] * 3


def test_works_as_a_script_from_another_folder(out: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(JOBS / "verify.py"), "out"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("all is well")
