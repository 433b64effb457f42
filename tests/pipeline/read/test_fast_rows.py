"""Compiled or not, what becomes of a row is the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import read
from pipeline.config import ReadConfig
from pipeline.errors import InputError
from pipeline.read.fast_rows import read_fast
from tests.pipeline.read.files import SQUARE, make_rle, make_row, read_whole, write_file
from tests.pipeline.read.test_json_stream import SCALARS, VALUES

RING = [1, 1, 4, 1, 4, 4, 1, 4]
FLOATS = st.floats(-1e6, 1e6) | st.floats(width=32, allow_nan=False, allow_infinity=False)
NUMBERS = st.integers(-3, 99) | FLOATS | st.sampled_from([0.1, -0.0, 1e22, 1e-30, 2**70])
STRINGS = st.sampled_from([SQUARE, "", "P", "é", "\\", "\\\\5", 'a"b', "\n", "5\u20ac", "52\x7f07"])
MASKS = st.one_of(
    STRINGS.map(make_rle),
    st.lists(st.integers(-1, 2**33) | NUMBERS, max_size=4).map(make_rle),
    st.lists(st.lists(NUMBERS, max_size=8), max_size=3),
    st.builds(make_rle, STRINGS, NUMBERS, NUMBERS),
    st.just({"counts": SQUARE, "size": [4, 5]}),
    st.just({"counts": SQUARE, "size": [4, 5], "x": 1}),
    SCALARS,
)
FIELDS = {
    "image_id": st.sampled_from([7, 7, 8, -1, 2**63 - 1, 2**63, None, 7.0, True]),
    "category_id": st.sampled_from([1, 1, None, 2**70, 1.0, "1"]),
    "segmentation": MASKS,
    "score": NUMBERS | SCALARS,
    "bbox": st.lists(NUMBERS, min_size=3, max_size=5) | SCALARS,
    "id": NUMBERS | SCALARS,
    "area": NUMBERS | SCALARS,
    "iscrowd": st.sampled_from([0, 1, True, False, None, 2, "1", 1.0]),
    "height": st.sampled_from([4, None, 9]),
    "x": VALUES,
}


def make_row_of(fields: dict[str, Any]) -> dict[str, Any]:
    """Return a good row, with these fields instead."""
    return make_row(**fields)


ROWS = st.one_of(
    st.fixed_dictionaries({}, optional=FIELDS),
    st.fixed_dictionaries({}, optional=FIELDS).map(make_row_of),
    SCALARS,
)


@pytest.fixture(scope="module", params=["int", "string"])
def id_type(request: pytest.FixtureRequest) -> str:
    return request.param


def read_both(file: Any, config: ReadConfig, id_type: str) -> list[Any]:
    """Return what reading gives with compiled code, and without it."""
    out: list[Any] = []
    for size in (0, 1 << 60):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("pipeline.read.json_read.COMPILED_BYTES", size)
            scan = read.scan(file, config, 1 << 20)
            [part] = scan.slices
            out.append(read.read(part, scan.source, config, id_type))
    return out


@given(st.lists(ROWS, max_size=5), st.sampled_from([None, 1]), st.booleans(), st.booleans())
@settings(max_examples=200)
def test_both_ways_agree(
    tmp_path_factory: pytest.TempPathFactory,
    id_type: str,
    rows: list[Any],
    indent: int | None,
    is_ascii: bool,
    is_repaired: bool,
) -> None:
    # So many good rows that compiled code is not given up for the others.
    rows = [make_row(), *rows, *[make_row(), make_row(segmentation=[RING])] * 4]
    if id_type == "string":
        rows = [
            row | {"image_id": f"a{row['image_id']}é\n"[: 9 - n]}
            if isinstance(row, dict) and isinstance(row.get("image_id"), int)
            else row
            for n, row in enumerate(rows)
        ]
        rows = [
            r for r in rows if not (isinstance(r, dict) and isinstance(r.get("image_id"), bool))
        ]
    data = json.dumps(rows, indent=indent, ensure_ascii=is_ascii).encode("utf-8", "surrogatepass")
    repair = ("rle_tail", "poly_wrap") if is_repaired else ()
    config = ReadConfig(on_invalid="repair" if repair else "reject", repair=repair)
    file = write_file(tmp_path_factory.mktemp("fast"), data)
    compiled, decoded = read_both(file, config, id_type)
    assert compiled.instances.equals(decoded.instances, check_metadata=True)
    assert compiled.rejects == decoded.rejects
    assert compiled.repairs == decoded.repairs
    assert compiled.counters == decoded.counters


def bits(table: pa.Table, name: str) -> bytes:
    return table[name].combine_chunks().to_numpy().tobytes()


def test_floats_have_the_same_bits(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [
        make_row(score=float(value), bbox=[1, 1, *(float(side) for side in rng.random(2))])
        for value in [*rng.random(300), *rng.random(300).astype(np.float32)]
    ]
    file = write_file(tmp_path, rows)
    compiled, decoded = read_both(file, ReadConfig(), "int")
    for name in ("score", "input_bbox_w", "input_bbox_h"):
        assert bits(compiled.instances, name) == bits(decoded.instances, name)


def test_usual_rows_are_read_and_others_left() -> None:
    rows: list[Any] = [
        make_row(segmentation=make_rle("5\\2")),
        make_row(segmentation=[RING], id=5, area=3.5, iscrowd=0, ignored="x", other=None),
        make_row(segmentation=make_rle([0, 20])),
        make_row(segmentation={"counts": SQUARE, "size": [4, 5]}),
        make_row(segmentation=None),
        make_row(nested=[1]),
        make_row(height=4),
        make_row(score="x"),
        7,
    ]
    found = read_fast(json.dumps(rows).encode()[1:-1], len(rows), 100, "int", False)
    assert found is not None
    assert found.left_M.tolist() == [4, 5, 6, 7, 8]
    raw = found.group.raw
    assert raw.source_row_N.tolist() == [100, 101, 102, 103]
    assert raw.strings.bytes_B.tobytes() == b"5\\2" + SQUARE.encode()
    assert raw.counts.counts.tolist() == [0, 20]
    assert raw.polygons.xy_V.tolist() == RING
    assert raw.input_id.to_pylist() == [None, 5, None, None]


@pytest.mark.parametrize(
    "text", [b"[1 2]", b"[1,]", b"[,1]", b"[{]", b'[{"a":NaN}]', b"[]", b"[1,1,1]"]
)
def test_what_is_no_slice_is_not_read(text: bytes) -> None:
    assert read_fast(text[1:-1], 2, 0, "int", False) is None


@given(st.binary(max_size=80) | st.text('{}[]",:\\ 01e.-aimge_dsn', max_size=80), st.booleans())
@settings(max_examples=300)
def test_any_bytes_end(noise: bytes | str, is_lines: bool) -> None:
    data = noise if isinstance(noise, bytes) else noise.encode()
    start = b'{"image_id":1,"segmentation":'
    for text in (
        data,
        start + data,
        start + b"[[1,2" + data,
        start + b'{"size":[1,2],"counts":"' + data,
    ):
        for n_rows in (0, 1, 3):
            read_fast(text, n_rows, 0, "int", is_lines)


def test_changed_file_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.read.json_read.COMPILED_BYTES", 0)
    file = write_file(tmp_path, [make_row(), make_row()])
    scan = read.scan(file, ReadConfig(), 1 << 20)
    path = tmp_path / "input.json"
    path.write_text(path.read_text().replace("}, {", "} , {").replace("52207", "[2207"))
    path.write_text(json.dumps([make_row(score=0.25), 5, 5, 5, 5])[: file.file_bytes])
    with pytest.raises(InputError):
        read.read(scan.slices[0], scan.source, ReadConfig(), "int")


def test_whole_file_is_read_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.read.json_read.COMPILED_BYTES", 0)
    rows = [make_row(image_id=n, score=None if n % 3 else n) for n in range(100)]
    whole = read_whole(write_file(tmp_path, rows), unit_bytes=1_000)
    assert whole.instances["image_id"].to_pylist() == list(range(100))
    assert whole.counters == {"score_out_of_range": 33}
