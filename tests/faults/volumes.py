"""File systems of their own that are small, and what fills them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def mounted(folder: Path, n_bytes: int) -> Iterator[Path]:
    """Mount a file system of so many bytes at a new folder; skip where that is not allowed."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={n_bytes}", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a file system of its own cannot be mounted: {done.stderr}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill_up(volume: Path, free_bytes: int) -> Path:
    """Leave this much room on a file system; return the file that takes the rest."""
    filler = volume / "filler"
    left = shutil.disk_usage(volume).free - free_bytes
    filler.write_bytes(bytes(max(0, left)))
    return filler
