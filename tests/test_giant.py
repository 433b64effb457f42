"""Files of gigabytes: looking at them and reading them takes no more memory, the larger they are.

Each case can be run alone. The files lie in pytest's folder and are deleted at once; the two of a
case take 4 GB of disk.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from benchmarks.rows import Recipe, write

pytestmark = [pytest.mark.long, pytest.mark.timeout(3_600)]

ROOT = Path(__file__).resolve().parents[1]

LIMIT_BYTES = 2 << 30

MASKS_PER_GB = {"json": 3_060_000, "lines": 3_060_000, "annotations": 665_000}

PROGRAM = """
import sys
from benchmarks.measure import status_bytes
from pipeline import read, storage
from pipeline.config import ReadConfig
file = storage.inspect_file(storage.to_uri(sys.argv[1]))
scan = read.scan(file, ReadConfig(), 64 << 20)
scan_bytes = status_bytes("VmHWM")
n_rows = 0
for part in scan.slices:
    found = read.read(part, scan.source, ReadConfig(), "int")
    n_rows += len(found.instances) + len(found.rejects)
print("[%d, %d, %d]" % (n_rows, scan_bytes, status_bytes("VmHWM")))
"""


def peaks(folder: Path, name: str, format: str, gigabytes: int) -> tuple[int, int]:
    """Return the peak of a process of its own after it looked at a file, and after it read it."""
    n_masks = gigabytes * MASKS_PER_GB[format]
    path = folder / name
    write(Recipe(n_masks, n_distinct=50_000), format, path)
    try:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(path)], cwd=ROOT, capture_output=True, check=True
        )
    finally:
        path.unlink()
    n_rows, scan_bytes, read_bytes = msgspec.json.decode(done.stdout)
    assert n_rows == n_masks
    return scan_bytes, read_bytes


@pytest.mark.parametrize(
    ("name", "format"),
    [
        ("rows.json", "json"),
        ("rows.jsonl", "lines"),
        ("rows.json.gz", "json"),
        ("rows.json.zst", "json"),
        ("annotations.json", "annotations"),
    ],
)
def test_memory_is_bounded_and_flat(tmp_path: Path, name: str, format: str) -> None:
    small = peaks(tmp_path, name, format, 1)
    large = peaks(tmp_path, name, format, 3)
    assert max(large) <= LIMIT_BYTES
    for one, three in zip(small, large, strict=True):
        assert three <= 1.2 * one
