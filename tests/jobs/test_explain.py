"""Where a mask went, from the command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import explain, storage
from tests.scene import rectangles, run_here, write_results

ROOT = Path(__file__).resolve().parents[2]


def job(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "jobs" / "explain.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explain")
    path = write_results(folder / "in.json", rectangles(4))
    run_here(path, storage.to_uri(str(folder / "out")))
    return folder


def test_merged_row_is_told_and_drawn(folder: Path) -> None:
    output = storage.to_uri(str(folder / "out"))
    merged = [row for _, rows in explain.explain_image(output, "1") for row in rows]
    row = str(merged[0]["source_row"])
    source = ["--source", str(folder / "in.json"), "--row", row]
    done = job(str(folder / "out"), *source, "--png", str(folder / "row.png"))
    assert done.returncode == 0, done.stderr
    assert f"merged into instance {merged[0]['kept_instance_id']}, IoU" in done.stdout
    assert "█" in done.stdout
    assert (folder / "row.png").read_bytes().startswith(b"\x89PNG")


def test_image_is_listed(folder: Path) -> None:
    done = job(str(folder / "out"), "--image_id", "1")
    assert done.returncode == 0, done.stderr
    assert "of image 1 (row" in done.stdout


def test_half_a_question_exits_2(folder: Path) -> None:
    done = job(str(folder / "out"), "--row", "1")
    assert done.returncode == 2
    assert "expected either --source FILE with --row N, or --image_id ID" in done.stderr
