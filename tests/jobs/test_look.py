"""The job as a person and as a machine call it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.cli import run_job
from tests.scene import rectangles, write_results

JOBS = Path(__file__).resolve().parents[2] / "jobs"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_results(tmp_path / "in.json", rectangles(3))
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Run the job in this process as its last lines do."""
    monkeypatch.syspath_prepend(str(JOBS))
    monkeypatch.setattr(sys, "argv", ["look.py", *map(str, arguments)])
    import look

    return run_job(look.main)


def test_table_for_people(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, folder / "in.json", "--dedup.threshold", 0.5) == 0
    out = capsys.readouterr().out
    n_rows = len(rectangles(3))
    names = {"files", "images", "image_id", "categories", "area", "runs", "scores", "time"}
    firsts = {line.split()[0].rstrip(",") for line in out.splitlines() if line.strip()}
    assert names <= firsts
    assert f"{n_rows} " in out
    assert "30x32" in out
    assert out.splitlines()[-1].startswith("no problem found")


def test_json_for_machines(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, folder / "in.json", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["formats"] == {"coco_results": 1}
    assert found["images"] == 3
    assert found["part"]["is_all"] is True
    assert found["forecast"]["kept_rows"] > 0
    assert found["problems"] == []


def test_a_bad_file_is_listed_and_gives_3(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "torn.json").write_text("[{")
    assert run(monkeypatch, folder) == 3
    assert "torn.json" in capsys.readouterr().out


def test_what_the_data_say_does_nothing_to_a_terminal(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {"image_id": 1, "category_id": "\x1b[31m[red]x", "score": 1}
    row["segmentation"] = {"size": [2, 2], "counts": "04"}
    (folder / "bad.json").write_text(json.dumps([row]))
    assert run(monkeypatch, folder / "bad.json") == 0
    out = capsys.readouterr().out
    assert "CATEGORY" in out
    assert "\x1b" not in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.json"], "no such file"),
        ([], "INPUT"),
        (["in.json", "--part_rows", "0"], "--part_rows"),
        (["in.json", "--part_rows", "many"], "part_rows"),
        (["in.json", "--dedup.threshold", "2"], "--dedup.threshold"),
        (["in.json", "--output", "out"], "--output"),
    ],
)
def test_wrong_use_exits_2(folder: Path, arguments: list[str], message: str) -> None:
    command = [sys.executable, str(JOBS / "look.py"), *arguments]
    wrong = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=folder)
    assert wrong.returncode == 2
    assert message in wrong.stderr
    assert "Traceback" not in wrong.stderr
    assert [path.name for path in folder.iterdir()] == ["in.json"]
