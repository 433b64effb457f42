"""Bytes that nobody wrote, read by kernels that check every index."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.long
@pytest.mark.timeout(1500)
@pytest.mark.parametrize(
    ("module", "chosen"),
    [
        ("test_contour.py", "fuzz or golden or giants or memory or every_small or buffers"),
        ("test_polygon_bytes.py", "fuzz or golden"),
        ("test_polygon.py", "any_bytes or damaged or any_mask or shapes or large_images"),
    ],
)
def test_no_index_is_out_of_bounds(module: str, chosen: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-x", str(HERE / module), "-k", chosen]
    done = subprocess.run(
        [*command, "--timeout=1400"],
        capture_output=True,
        text=True,
        check=False,
        cwd=HERE.parents[2],
        env={**os.environ, "NUMBA_BOUNDSCHECK": "1"},
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert " passed" in done.stdout
