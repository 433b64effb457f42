"""The command line of the job that runs a detector."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]

DETECTOR = """
def find(images):
    return [{"masks": (image[None, ..., 0] > 9), "scores": [0.5]} for image in images]
"""

FLAGS = """
--detect.arguments --detect.batch_images --detect.callable --detect.gpus --detect.unit_images
--detect.workers
"""
"""Those that compact.py has not; a new flag extends this list, none may go."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pixels = np.zeros((8, 9, 3), np.uint8)
    pixels[2:5, 3:7] = 200
    (tmp_path / "images").mkdir()
    Image.fromarray(pixels).save(tmp_path / "images" / "one.png")
    (tmp_path / "mine.py").write_text(DETECTOR)
    return tmp_path


def job(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "jobs" / "predict_and_compact.py"), *arguments]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=240, check=False
    )


def flags(name: str) -> set[str]:
    sys.path.insert(0, str(ROOT / "jobs"))
    try:
        module = __import__(name)
    finally:
        sys.path.pop(0)
    return {name for action in module.build_parser()._actions for name in action.option_strings}


def test_surface_is_frozen() -> None:
    ours, theirs = flags("predict_and_compact"), flags("compact")
    assert ours - theirs - {"--detect"} == set(FLAGS.split())
    assert {name.partition(".")[0] for name in theirs - ours} == {"--report"}


def test_a_detector_of_the_present_folder(folder: Path) -> None:
    done = job(folder, "images", "--output", "out", "--detect.callable", "mine:find")
    assert done.returncode == 0, done.stderr
    assert "is published (compacted version 0)" in done.stdout
    again = job(folder, "images", "--output", "out", "--detect.callable", "mine:find")
    assert "has already landed" in again.stdout


def test_a_dry_run_says_what_would_be_done(folder: Path) -> None:
    arguments = ("images", "--output", "out", "--detect.callable", "mine:find", "--dry_run")
    done = job(folder, *arguments)
    assert done.returncode == 0, done.stderr
    assert "1 images in 1 units of work for mine:find" in done.stdout
    assert not (folder / "out").exists()


WRONG = [
    (["--detect.callable", "mine"], "expected an import path module:callable"),
    (["--detect.callable", "mine:lost"], "AttributeError"),
    (["--detect.callable", "mine:find", "--detect.workers", "0"], "--detect.workers: expected"),
    (["--detect.callable", "mine:find", "--detect.worker", "1"], "unrecognized arguments"),
    (["--detect.callable", "mine:find", "--dedup.threshold", "2"], "--dedup.threshold"),
    ([], "detect.callable"),
]


@pytest.mark.parametrize(("extra", "message"), WRONG, ids=str)
def test_wrong_flags_exit_2_and_say_which(folder: Path, extra: list[str], message: str) -> None:
    done = job(folder, "images", "--output", "out", *extra)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_without_images_exits_2(folder: Path) -> None:
    (folder / "none").mkdir()
    done = job(folder, "none", "--output", "out", "--detect.callable", "mine:find")
    assert done.returncode == 2
    assert "expected files ending in .jpg" in done.stderr
