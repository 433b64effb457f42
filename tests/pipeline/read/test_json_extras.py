"""Keys of JSON rows are carried through by name and type; what is another type is null."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.config import ReadConfig
from pipeline.errors import ConfigError
from tests.pipeline.read.files import (
    make_annotation,
    make_annotations,
    make_row,
    read_whole,
    write_file,
)

RING = [1, 1, 4, 1, 4, 4, 1, 4]
EXTRAS = {"model": "string", "n": "int", "my-key": "float", "ok": "bool"}
VALUES: list[dict[str, Any]] = [
    {"model": "a", "n": 1, "my-key": 0.5, "ok": True},
    {"model": "é\n", "n": -(2**63), "my-key": 2},
    {},
    {"model": 5, "n": "1", "my-key": "x", "ok": 1},
    {"model": None, "n": 2**63, "my-key": None, "ok": False},
    {"model": ["a"], "n": 1.5, "my-key": True, "ok": None},
]
EXPECTED = {
    "model": ["a", "é\n", None, None, None, None],
    "n": [1, -(2**63), None, None, None, None],
    "my-key": [0.5, 2.0, None, None, None, None],
    "ok": [True, None, None, None, False, None],
}


@pytest.mark.parametrize("size", [0, 1 << 60])
@pytest.mark.parametrize("form", ["array", "lines", "annotations", "dicts"])
@pytest.mark.parametrize("n_values", [2, 6])
def test_values_are_carried_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, form: str, n_values: int
) -> None:
    monkeypatch.setattr("pipeline.read.json_read.COMPILED_BYTES", size)
    values = VALUES[:n_values]
    rows = [make_row(**own) for own in values]
    annotations = [make_annotation([RING], **own) for own in values]
    forms: dict[str, Any] = {
        "array": rows,
        "lines": "\n".join(map(json.dumps, rows)),
        "annotations": make_annotations(*annotations),
        "dicts": [{"image_id": 7, "height": 10, "width": 10, "annotations": annotations}],
    }
    whole = read_whole(write_file(tmp_path, forms[form]), ReadConfig(extras=EXTRAS), 300)
    for name, expected in EXPECTED.items():
        assert whole.instances[name].to_pylist() == expected[:n_values]
    schema = pa.ipc.read_schema(pa.py_buffer(whole.scan.source.extras))
    assert schema.names == list(EXTRAS)
    assert whole.instances.schema.names[-4:] == list(EXTRAS)


def test_rows_at_fault_do_not_shift_them(tmp_path: Path) -> None:
    rows = [make_row(n=n, score="x" if n % 2 else 0.5) for n in range(6)]
    rows[4]["segmentation"] = {"size": [4, 5], "counts": "5"}
    file = write_file(tmp_path, [*rows, 7, make_row(n=9)])
    whole = read_whole(file, ReadConfig(extras={"n": "int"}))
    assert whole.instances["n"].to_pylist() == [0, 2, 9]
    config = ReadConfig(extras={"n": "int"}, on_invalid="repair", repair=("rle_tail",))
    assert read_whole(file, config).instances["n"].to_pylist() == [0, 2, 4, 9]


def test_row_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("row_scan", "json_read"):
        monkeypatch.setattr(f"pipeline.read.{module}.MAX_VALUE_BYTES", 1_000)
    rows = [make_row(n=1), make_row(n=2, note="x" * 2_000)]
    whole = read_whole(write_file(tmp_path, rows), ReadConfig(extras={"n": "int"}))
    assert whole.instances["n"].to_pylist() == [1]


@pytest.mark.parametrize(
    "extras", [{"score": "float"}, {"Run_ID": "int"}, {"a": "int", "A": "int"}]
)
def test_names_that_clash_are_refused(tmp_path: Path, extras: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"--read.extras"):
        read_whole(write_file(tmp_path, [make_row()]), ReadConfig(extras=extras))


def test_unknown_types_are_refused() -> None:
    with pytest.raises(ConfigError, match="one of the types"):
        ReadConfig(extras={"n": "number"})
