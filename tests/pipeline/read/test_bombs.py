"""Small files that stand for much: refused with their place, in bounded time and memory."""

from __future__ import annotations

import gzip
import io
import json
import re
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import zstandard

from tests.pipeline.read.files import make_row

ROOT = Path(__file__).resolve().parents[3]
MAX_MB = 1024
GUARD_S = 280.0
MB = 1 << 20


def spaces(n_mb: int) -> Iterator[bytes]:
    return (b" " * MB for _ in range(n_mb))


def write_gzip(path: Path) -> None:
    path.write_bytes(gzip.compress(b" " * (100 * MB), 6) * 11)


def write_zstd(path: Path) -> None:
    with path.open("wb") as stream, zstandard.ZstdCompressor().stream_writer(stream) as writer:
        for data in spaces(1_100):
            writer.write(data)


def write_nested(path: Path) -> None:
    path.write_bytes(b'[{"image_id": ' + b"[" * 20_000_000)


def write_long_string(path: Path) -> None:
    """A row of 100 MB between two good ones."""
    good = json.dumps(make_row()).encode()
    long = good.replace(b'"52207"', b'"' + b"0" * (100 * MB) + b'"')
    path.write_bytes(b"[" + b",".join([good, long, good]) + b"]")


def write_dictionary(path: Path) -> None:
    """One value of 1 MB, repeated two million times by a run-length code: 2 TB."""
    n = 2_000_000
    ones = {name: pa.array(np.ones(n, np.int64)) for name in ("image_id", "height", "width")}
    values = pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, np.int32)), pa.array(["x" * MB]))
    pq.write_table(pa.table({**ones, "counts": values}), path, compression="zstd")
    assert path.stat().st_size < 50_000


def write_pages(path: Path) -> None:
    """0.6 GB of zeros in one column of one row group."""
    n = 30
    counts = pa.DictionaryArray.from_arrays(pa.array([0] * n), pa.array(["0" * (20 * MB)]))
    columns = {"image_id": list(range(n)), "counts": counts, "height": [4] * n, "width": [5] * n}
    pq.write_table(pa.table(columns), path, compression="zstd", use_dictionary=False)
    assert path.stat().st_size < 200_000


def write_long_value(path: Path) -> None:
    counts = ["52207", "0" * (100 * MB), "52207"]
    columns = {"image_id": [1, 2, 3], "counts": counts, "height": [4] * 3, "width": [5] * 3}
    pq.write_table(pa.table(columns), path, use_dictionary=False, compression="none")


def write_nulls(path: Path) -> None:
    """One image with a list of 150 million strings that are not there: 0.6 GB of offsets."""
    n = 150_000_000
    strings = pa.DictionaryArray.from_arrays(pa.nulls(n, pa.int8()), pa.array(["x"]))
    lists = pa.LargeListArray.from_arrays(pa.array([0, n], pa.int64()), strings)
    columns = {"image_id": pa.array([1]), "counts": lists, "height": [4], "width": [5]}
    pq.write_table(pa.table(columns), path, compression="zstd", store_schema=False)


def write_png(path: Path) -> None:
    """A PNG of 16384 x 16384 pixels of 16 bits: 0.5 GB from 0.5 MB."""
    side = 1 << 14
    packer = zlib.compressobj(9)
    row = bytes(1 + 2 * side)
    data = b"".join(packer.compress(row * 64) for _ in range(side // 64)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 16, 0, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n"
    for name, content in ((b"IHDR", header), (b"IDAT", data), (b"IEND", b"")):
        crc = zlib.crc32(name + content)
        png += struct.pack(">I", len(content)) + name + content + struct.pack(">I", crc)
    pq.write_table(pa.table({"image_id": [1], "mask": [png]}), path)


def write_checkers(path: Path) -> None:
    """Packed bits that change at each pixel: a run for each of 2**28 pixels."""
    side = 1 << 14
    even, odd = b"\x55" * (side // 8), b"\xaa" * (side // 8)
    columns = {"image_id": [1], "mask": [(even + odd) * (side // 2)]}
    table = pa.table(columns | {"height": [side], "width": [side]})
    pq.write_table(table, path, compression="zstd")


def write_torch(path: Path, value: Any) -> None:
    stream = io.BytesIO()
    torch.save(value, stream)
    path.write_bytes(stream.getvalue())


def write_repeated(path: Path) -> None:
    """Lists of lists of the same list, 30 deep: 10**30 rows from a few hundred bytes."""
    value: Any = [make_row()]
    for _ in range(30):
        value = [value] * 10
    write_torch(path, [{"image_id": 1, "instances": value}])


def write_tensor(path: Path) -> None:
    """A tensor of a million times a million numbers, all of them one that is stored."""
    tensor = torch.zeros(1).expand(10**6, 10**6)
    write_torch(path, [{"image_id": 1, "instances": [make_row(score=tensor)]}])


def write_archive(path: Path) -> None:
    """A torch file whose members are compressed, which torch itself never does."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", b"\x80\x02].")
        with archive.open("x/data/0", "w") as member:
            for data in spaces(64):
                member.write(data)


BOMBS: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "40-gzip": (write_gzip, "InputError", "byte 1[0-9]{9}: VALUE_TOO_LARGE: .*bomb"),
    "40-zstd": (write_zstd, "InputError", "byte 1[0-9]{9}: VALUE_TOO_LARGE: .*bomb"),
    "40-nested": (write_nested, "InputError", "byte 213: .*nested"),
    "42-json-value": (write_long_string, "VALUE_TOO_LARGE", ""),
    "42-dictionary": (write_dictionary, "InputError", "'counts': VALUE_TOO_LARGE: .*bomb"),
    "42-pages": (write_pages, "InputError", "'counts': VALUE_TOO_LARGE: .*bomb"),
    "42-parquet-value": (write_long_value, "VALUE_TOO_LARGE", ""),
    "42-nulls": (write_nulls, "InputError", "VALUE_TOO_LARGE: .*bomb"),
    "42-png": (write_png, "IMAGE_TOO_LARGE", ""),
    "42-bits": (write_checkers, "VALUE_TOO_LARGE", ""),
    "42-pth-lists": (write_repeated, "InputError", "VALUE_TOO_LARGE: .* stand for"),
    "42-pth-tensor": (write_tensor, "InputError", "VALUE_TOO_LARGE: .* stand for"),
    "42-pth-archive": (write_archive, "InputError", "VALUE_TOO_LARGE: .*in a file of"),
}


def write_good(folder: Path) -> None:
    """One good file of each kind."""
    rows = [make_row()]
    (folder / "0-results").write_text(json.dumps(rows))
    (folder / "0-gzip").write_bytes(gzip.compress(json.dumps(rows).encode()))
    size = {"image_id": [1], "height": [8], "width": [8]}
    pq.write_table(pa.table(size | {"counts": ["P2"]}), folder / "0-strings")
    pq.write_table(pa.table(size | {"mask": [bytes(8)]}), folder / "0-bits")
    write_torch(folder / "0-torch", [{"image_id": 1, "instances": rows}])


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """What reading each bomb came to, and the peak memory, in one process for all."""
    folder = tmp_path_factory.mktemp("bombs")
    write_good(folder)
    for name, (write, _, _) in BOMBS.items():
        write(folder / name)
    done = subprocess.run(
        [sys.executable, "-m", "tests.pipeline.read.bombs", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=GUARD_S,
        check=False,
    )
    assert done.returncode == 0, f"{done.returncode} after:\n{done.stdout}\n{done.stderr}"
    lines: list[list[Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    return {name: rest for name, *rest in lines}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_in_bounds(outcomes: dict[str, list[Any]], name: str) -> None:
    _, expected, message = BOMBS[name]
    outcome, found, _ = outcomes[name]
    assert outcome == expected, found
    assert re.search(message, found)


def test_no_bomb_takes_more_than_a_gigabyte(outcomes: dict[str, list[Any]]) -> None:
    assert outcomes["peak"][0] < MAX_MB
