"""A sweep from the command line, and the main job with the flags that it recommends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.browser import look_at
from tests.scene import rectangles, write_results

ROOT = Path(__file__).resolve().parents[2]


def job(name: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "jobs" / f"{name}.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, cwd=cwd)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tune")
    write_results(folder / "in.json", rectangles(8))
    return folder


@pytest.fixture(scope="module")
def done(folder: Path) -> subprocess.CompletedProcess[str]:
    return job("tune", "in.json", "--sweep.max_drop", "0.1", "--filter.min_area", "6", cwd=folder)


def test_recommended_flags_give_what_was_promised(
    folder: Path, done: subprocess.CompletedProcess[str]
) -> None:
    assert done.returncode == 0, done.stderr
    (line,) = [text for text in done.stdout.splitlines() if text.startswith("recommended: ")]
    flags = line.removeprefix("recommended: ").split()
    assert flags[-2:] == ["--filter.min_area", "6"]
    assert "--dedup.threshold" in flags
    (row,) = [text for text in done.stdout.splitlines() if text.rstrip().endswith("<-")]
    compacted = job("compact", "in.json", "--output", "out", *flags, cwd=folder)
    assert compacted.returncode == 0, compacted.stderr
    n_kept = row.split()[2]
    assert f"kept {n_kept}," in compacted.stdout.splitlines()[-1]


def test_page_asks_for_nothing(
    folder: Path, done: subprocess.CompletedProcess[str], tmp_path: Path
) -> None:
    html = (folder / "tune.html").read_text()
    assert "default-src 'none'" in html
    assert "<script" not in html
    seen = look_at(f"file://{folder}/tune.html", tmp_path / "profile")
    assert seen.console == []
    assert "Bytes against mean IoU" in seen.dom


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["in.json", "--sweep.thresholds", "[0.5,2]"], "--sweep.thresholds: expected numbers"),
        (["in.json", "--dedup.threshold", "0.5"], "dedup.threshold"),
        (["in.json", "--ground_truth", "in.json"], "expected COCO annotations"),
        (["absent.json"], "no such file"),
        ([], "INPUT"),
    ],
)
def test_wrong_use_exits_2(folder: Path, arguments: list[str], message: str) -> None:
    wrong = job("tune", *arguments, cwd=folder)
    assert wrong.returncode == 2
    assert message in wrong.stderr
    assert "Traceback" not in wrong.stderr
