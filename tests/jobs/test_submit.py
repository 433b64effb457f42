"""The main job as a submitted job: the code is a copy, and ``jobs/`` is what Python sees first."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import polars as pl

from tests.ray_head import ENVIRONMENT, running_head

ROOT = Path(__file__).resolve().parents[2]


def test_submitted_job_compacts(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "detectron2_mask_rcnn_coco_instances_results.json"
    with running_head() as head:
        done = subprocess.run(
            [
                *(str(Path(sys.executable).parent / "ray"), "job", "submit"),
                *("--address", head.dashboard, "--working-dir", ".", "--"),
                *("python", "jobs/compact.py", str(path), "--output", str(tmp_path / "out")),
            ],
            env=ENVIRONMENT,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "is published" in done.stdout + done.stderr
    assert len(pl.read_delta(str(tmp_path / "out" / "compacted"))) == 196
