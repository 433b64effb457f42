"""Repairs on request: what they make, what they leave alone, and that they are recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import read, storage
from pipeline.config import ReadConfig
from pipeline.errors import ConfigError, InputError
from pipeline.read.repair import CODES
from pipeline.read.slices import ReadResult
from tests import oracle
from tests.pipeline.read.files import (
    SQUARE,
    make_annotation,
    make_annotations,
    make_rle,
    make_row,
    read_whole,
    write_file,
)
from tests.strategies import bitmaps_of

RING = [1, 1, 4, 1, 4, 4, 1, 4]
ALL = tuple(CODES)


def repaired(file: storage.InputFile, *names: str) -> ReadResult:
    config = ReadConfig(on_invalid="repair", repair=names)
    scan = read.scan(file, config, 1 << 20)
    [part] = scan.slices
    return read.read(part, scan.source, config, "int")


CASES: list[tuple[str, str, Any, bytes]] = [
    ("2 odd", "rle_tail", make_rle("5"), oracle.to_string([20])),
    ("2 even", "rle_tail", make_rle("52"), oracle.to_string([5, 2, 13])),
    ("2 longer", "rle_tail", make_rle("5220"), oracle.to_string([5, 2, 2, 2, 9])),
    ("2 counts", "rle_tail", make_rle([5, 2, 3]), oracle.to_string([5, 2, 13])),
    ("8 literal", "rle_escape", make_rle(f"b'{SQUARE}'"), SQUARE.encode()),
    ("8 quotes", "rle_escape", make_rle(f'b"{SQUARE}"'), SQUARE.encode()),
]
POLYGONS: list[tuple[str, str, Any, list[Any]]] = [
    ("22 box", "poly_box", [[1, 1, 3, 3]], [RING]),
    ("22 two", "poly_box", [[1, 1, 3, 3], [6, 6, 2, 2]], [RING, [6, 6, 8, 6, 8, 8, 6, 8]]),
    ("25 flat", "poly_wrap", RING, [RING]),
    ("32 text", "poly_text", [[str(value) for value in RING]], [RING]),
]


@pytest.mark.parametrize(
    ("name", "mask", "expected"), [pytest.param(*c[1:], id=c[0]) for c in CASES]
)
def test_runs(tmp_path: Path, name: str, mask: Any, expected: bytes) -> None:
    rows = [make_row(), make_row(segmentation=mask, bbox=...), make_row(score=0.25)]
    result = repaired(write_file(tmp_path, rows), name)
    assert result.instances["source_row"].to_pylist() == [0, 1, 2]
    assert result.instances["counts"][1].as_py() == expected
    assert len(result.rejects) == 0
    assert result.counters[f"repaired_{name}"] == 1
    [note] = result.repairs.to_pylist()
    assert note["code"] in CODES[name]
    assert note["message"].startswith(f"repaired by {name}: expected ")
    assert json.loads(note["payload"]) == rows[1]
    after = make_row(segmentation=json.loads(note["repaired"]), bbox=...)
    assert read_whole(write_file(tmp_path, [after])).instances["counts"][0].as_py() == expected


@pytest.mark.parametrize(
    ("name", "mask", "rings"), [pytest.param(*c[1:], id=c[0]) for c in POLYGONS]
)
def test_polygons(tmp_path: Path, name: str, mask: Any, rings: Any) -> None:
    rows = [make_annotation([RING]), make_annotation(mask), make_annotation([RING])]
    file = write_file(tmp_path, make_annotations(*rows))
    result = repaired(file, name)
    assert result.instances["counts"][1].as_py() == oracle.from_polygons(rings, 10, 10)
    assert result.repairs["code"].to_pylist() == [*CODES[name]]
    [after] = result.repairs["repaired"].to_pylist()
    assert oracle.from_polygons(json.loads(after), 10, 10) == oracle.from_polygons(rings, 10, 10)
    others = tuple(other for other in ALL if other != name)
    result = repaired(file, *others)
    assert result.instances["source_row"].to_pylist() == [0, 2]
    assert result.rejects["code"].to_pylist() == [*CODES[name]]
    assert len(result.repairs) == 0


def test_8_doubled_backslashes(tmp_path: Path) -> None:
    # 44 is the one group 01100, so the character 48 + 12 + 32; 92 is the backslash.
    runs = [12 + 32, 2, 2, 2, 350]
    text = oracle.to_string(runs).decode()
    assert "\\" in text
    row = make_row(segmentation=make_rle(text.replace("\\", "\\\\"), 1, 400), bbox=...)
    file = write_file(tmp_path, [row])
    assert len(read_whole(file).rejects) == 1
    result = repaired(file, *ALL)
    assert result.instances["counts"].to_pylist() == [text.encode()]
    assert result.counters == {"repaired_rle_escape": 1}


UNREPAIRABLE: list[Any] = [
    make_rle(""),
    make_rle("88", 2, 2),
    make_rle("O"),
    make_rle("P"),
    make_rle("0 @"),
    make_rle("b'x"),
    make_rle("b'\\x'"),
    make_rle("5", 0, 5),
    [["1", "x", "4", "1", "4", "4"]],
    [1, "x"],
    [[1, 1]],
    [[]],
    None,
]


@pytest.mark.parametrize("mask", UNREPAIRABLE)
def test_what_cannot_be_repaired_keeps_its_fault(tmp_path: Path, mask: Any) -> None:
    file = write_file(tmp_path, make_annotations(make_annotation(mask), make_annotation([RING])))
    before = read_whole(file)
    after = repaired(file, *ALL)
    assert after.rejects == before.rejects
    assert len(after.repairs) == 0


def test_other_faults_of_a_repaired_row_count(tmp_path: Path) -> None:
    rows = [make_annotation([RING]), make_annotation(RING, category_id=99)]
    result = repaired(write_file(tmp_path, make_annotations(*rows)), *ALL)
    assert result.rejects["code"].to_pylist() == ["CATEGORY"]
    assert len(result.repairs) == 0


def test_parquet_rows(tmp_path: Path) -> None:
    columns = {
        "image_id": [1, 2, 3],
        "height": [4] * 3,
        "width": [5] * 3,
        "counts": [SQUARE, "5", SQUARE],
        "model": ["a", "b", "c"],
    }
    pq.write_table(pa.table(columns), tmp_path / "input.parquet")
    file = storage.inspect_file(storage.to_uri(str(tmp_path / "input.parquet")))
    result = repaired(file, "rle_tail")
    assert result.instances["model"].to_pylist() == ["a", "b", "c"]
    assert result.instances["area"].to_pylist() == [4, 0, 4]
    assert result.repairs["source_row"].to_pylist() == [1]


@given(bitmaps_of((6, 7)), st.integers(1, 42))
def test_tail_gives_back_the_background(
    tmp_path_factory: pytest.TempPathFactory, bitmap: Any, n_cleared: int
) -> None:
    bitmap = bitmap.copy()
    bitmap.T.reshape(-1)[42 - n_cleared :] = False
    runs = oracle.parse((6, 7), oracle.encode(bitmap))
    cut = [*runs[:-1], runs[-1] - 1] if len(runs) % 2 else runs
    if sum(cut) == 42 or cut[-1] == 0:
        return
    row = make_row(segmentation=make_rle(oracle.to_string(cut).decode(), 6, 7), bbox=...)
    result = repaired(write_file(tmp_path_factory.mktemp("tail"), [row]), "rle_tail")
    assert result.instances["counts"].to_pylist() == [oracle.encode(bitmap)]


def test_fail_stops_at_the_first_fault(tmp_path: Path) -> None:
    rows = [make_row(), make_row(score="x"), make_row(category_id=None)]
    file = write_file(tmp_path, rows)
    offset = json.dumps(rows).index("{", 5 + len(json.dumps(rows[0])) - 3)
    with pytest.raises(InputError, match=rf"row 1 \(byte {offset}\): SCORE: score: .*'x'.*reject"):
        read_whole(file, ReadConfig(on_invalid="fail"))
    good = write_file(tmp_path, [make_row()])
    assert len(read_whole(good, ReadConfig(on_invalid="fail")).instances) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"repair": ("rle_tail",)},
        {"on_invalid": "repair"},
        {"on_invalid": "fail", "repair": ("rle_tail",)},
        {"on_invalid": "repair", "repair": ("magic",)},
    ],
)
def test_config_is_checked(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"--read.repair"):
        ReadConfig(**fields)
