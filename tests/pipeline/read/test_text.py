"""JSON Lines and compressed files give the rows of the plain array, however they are cut."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline import read
from pipeline.config import ReadConfig
from pipeline.errors import CompactionError, InputError
from tests.pipeline.read.files import (
    Whole,
    make_annotation,
    make_annotations,
    make_row,
    read_whole,
    write_file,
)

ROWS = [make_row(image_id=n, score=n / 100, note="é" * n) for n in range(40)]
ROWS[7] = make_row(image_id=7, score="x")


def zstd(data: bytes) -> bytes:
    return pa.compress(data, "zstd", asbytes=True)


def two_members(data: bytes) -> bytes:
    return gzip.compress(data[:100]) + gzip.compress(data[100:])


def lines(rows: list[dict[str, Any]]) -> bytes:
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode()


def content(whole: Whole) -> tuple[Any, ...]:
    rejects = whole.rejects.drop_columns(["byte_offset", "payload"])
    return whole.instances, rejects, whole.scan.image_id_sample, whole.scan.n_images


PACKERS = [bytes, gzip.compress, two_members, zstd]


@pytest.mark.parametrize("pack", PACKERS)
@pytest.mark.parametrize("is_lines", [False, True])
@pytest.mark.parametrize("unit_bytes", [1, 700, 1 << 20])
def test_rows_are_those_of_the_plain_array(
    tmp_path: Path, pack: Callable[[bytes], bytes], is_lines: bool, unit_bytes: int
) -> None:
    plain = read_whole(write_file(tmp_path, ROWS))
    data = lines(ROWS) + b"\n\n" if is_lines else json.dumps(ROWS).encode()
    file = write_file(tmp_path, pack(data))
    whole = read_whole(file, unit_bytes=unit_bytes)
    assert whole.scan.format == ("coco_lines" if is_lines else "coco_results")
    assert content(whole) == content(plain)
    [reject] = whole.rejects.to_pylist()
    assert data[reject["byte_offset"] :].startswith(reject["payload"])
    assert json.loads(reject["payload"]) == ROWS[7]
    last = whole.scan.slices[-1]
    [(offset, payload)] = read.payloads(last, whole.scan.source, [39])
    assert offset is not None
    assert data[offset : offset + len(payload)] == payload
    assert json.loads(payload) == ROWS[39]


@pytest.mark.parametrize("is_reversed", [False, True])
def test_compressed_slices_are_read_in_any_order(tmp_path: Path, is_reversed: bool) -> None:
    ring = [1, 1, 4, 1, 4, 4, 1, 4]
    rows = [make_annotation([ring], id=n) for n in range(20)]
    file = write_file(tmp_path, gzip.compress(json.dumps(make_annotations(*rows)).encode()))
    scan = read.scan(file, ReadConfig(), 300)
    ids: dict[int, list[int]] = {}
    for part in sorted(scan.slices, key=lambda p: p.first_row, reverse=is_reversed):
        result = read.read(part, scan.source, ReadConfig(), "int")
        ids[part.first_row] = result.instances["input_id"].to_pylist()
    assert [n for row in sorted(ids) for n in ids[row]] == list(range(20))


def test_lines_may_be_spread_or_joined(tmp_path: Path) -> None:
    rows = [make_row(image_id=n) for n in range(3)]
    data = json.dumps(rows[0], indent=2) + "  " + json.dumps(rows[1]) + json.dumps(rows[2])
    whole = read_whole(write_file(tmp_path, data))
    assert whole.instances["image_id"].to_pylist() == [0, 1, 2]


def test_one_line_is_enough(tmp_path: Path) -> None:
    assert len(read_whole(write_file(tmp_path, make_row())).instances) == 1


DAMAGED = {
    "cut line": (lines(ROWS)[:-10], r"cut off"),
    "bad line": (lines(ROWS[:2]).replace(b"0.01", b"01.0"), r"byte \d+: expected a row in JSON"),
    "NaN": (lines(ROWS[:2]).replace(b"0.01", b"NaN"), r"byte \d+: .*NaN"),
    "cut gzip": (gzip.compress(json.dumps(ROWS).encode())[:-40], r"byte \d+: .*gzip.*cut off"),
    "cut zstd": (zstd(json.dumps(ROWS).encode())[:-9], r"byte \d+: .*cut off"),
    "no gzip": (b"\x1f\x8b" + b"x" * 99, r"byte 0: expected gzip data"),
    "empty gzip": (gzip.compress(b""), r"byte 0: .*empty"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_files(tmp_path: Path, name: str) -> None:
    data, message = DAMAGED[name]
    with pytest.raises(InputError, match=message):
        read_whole(write_file(tmp_path, data))


@pytest.mark.parametrize("pack", [gzip.compress, zstd])
def test_40_bombs_are_refused(
    tmp_path: Path, pack: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.read.text.FREE_BYTES", 1 << 20)
    file = write_file(tmp_path, pack(b" " * (100 << 20)))
    with pytest.raises(InputError, match=r"byte \d+: VALUE_TOO_LARGE.*bomb"):
        read_whole(file)


@pytest.mark.parametrize("format", ["coco_results", "coco_lines", "coco_annotations", "parquet"])
def test_format_can_be_stated(tmp_path: Path, format: Any) -> None:
    inputs = {
        "coco_results": json.dumps(ROWS).encode(),
        "coco_lines": lines(ROWS),
        "coco_annotations": json.dumps(make_annotations()).encode(),
    }
    for name, data in inputs.items():
        file = write_file(tmp_path, data)
        if name == format:
            assert read_whole(file, ReadConfig(format=format)).scan.format == name
        elif (name, format) != ("coco_annotations", "coco_lines"):
            with pytest.raises(CompactionError):
                read_whole(file, ReadConfig(format=format))
