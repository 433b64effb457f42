"""Whole jobs from and to the stores of Azure and Google, by `make test-stores`.

Google's emulator does not speak the API by which Delta writes, so from there it is read only.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import pipeline
from pipeline import storage
from tests.stores.emulators import ROOT, azure, google

__all__ = ["azure", "google"]

pytestmark = pytest.mark.stores

RESULTS = "detectron2_mask_rcnn_coco_instances_results.json"


def job(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, str(ROOT / "jobs" / f"{name}.py"), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def rows(output: str) -> list[dict[str, object]]:
    """Return the kept rows without what names the run and the place of the input."""
    own = ("run_id", "source")
    return [
        {key: value for key, value in row.items() if key not in own}
        for image in pipeline.load(output)
        for row in image.rows.to_pylist()
    ]


@pytest.fixture
def expected(shared_data: Path, tmp_path: Path) -> list[dict[str, object]]:
    job("compact", str(shared_data / RESULTS), "--output", str(tmp_path / "local"))
    return rows(str(tmp_path / "local"))


def test_from_and_to_azure(
    azure: str, expected: list[dict[str, object]], shared_data: Path
) -> None:
    data = (shared_data / RESULTS).read_bytes()
    storage.write_bytes(f"{azure}/in/a.json", data)
    done = job("compact", f"{azure}/in", "--output", f"{azure}/out")
    assert rows(f"{azure}/out") == expected
    assert "all is well" in job("verify", f"{azure}/out", "--all").stdout
    again = job("compact", f"{azure}/in", "--output", f"{azure}/out")
    assert "already" in again.stdout
    job("compact", f"{azure}/in", "--output", f"{azure}/out", "--encode.encoding", "crack")
    assert len(rows(f"{azure}/out")) == len(expected)
    secret = os.environ["AZURE_STORAGE_CONNECTION_STRING"].split("AccountKey=")[1].split(";")[0]
    assert secret not in done.stdout + done.stderr


def test_from_google(
    google: str, expected: list[dict[str, object]], shared_data: Path, tmp_path: Path
) -> None:
    storage.write_bytes(f"{google}/in/a.json", (shared_data / RESULTS).read_bytes())
    job("compact", f"{google}/in", "--output", str(tmp_path / "out"))
    assert rows(str(tmp_path / "out")) == expected
