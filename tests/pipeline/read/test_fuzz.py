"""Parsers of outside bytes, fuzzed: a few seeds in each run, minutes with checked indices."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pipeline.read import fuzz

ROOT = Path(__file__).resolve().parents[3]
SECONDS = 120

FOUND = [
    ("parquet_files", 569),  # a footer that names a column which Arrow does not find
    ("parquet_files", 1135),  # text of a mask that is no UTF-8, in a row that is rejected
    ("torch_files", 7043),  # an error of torch that says nothing
    ("json_files", 13),  # a message that did not say what was expected
]
"""Targets and seeds whose failures led to a repair."""


@pytest.mark.parametrize("target", fuzz.TARGETS)
def test_a_few_seeds(target: str) -> None:
    assert fuzz.run(target, lambda n: n < 15) == 15


@pytest.mark.parametrize(("target", "seed"), FOUND)
def test_seeds_that_once_failed(target: str, seed: int) -> None:
    assert fuzz.run(target, lambda n: n < 1, seed) == 1


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("target", fuzz.TARGETS)
def test_minutes_with_checked_indices(target: str) -> None:
    command = [sys.executable, "-m", "tests.pipeline.read.fuzz", target, str(SECONDS), "1000"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "NUMBA_BOUNDSCHECK": "1"},
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4_000:]
    assert done.stdout.startswith(f"{target}: ")
