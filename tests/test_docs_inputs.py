"""docs/inputs.md tells the truth: formats, codes and repairs are those there are, its code runs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pipeline import flow, publish, read
from pipeline.config import CompactConfig
from pipeline.read.repair import CODES as REPAIRS
from schemas.rejects import CODES
from tests.pipeline.read.files import make_row

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "inputs.md").read_text()


def first_cells(heading: str) -> set[str]:
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([a-zA-Z0-9_]+)`", row)}


def test_tables_name_what_there_is() -> None:
    assert first_cells("Formats") == set(read.FORMATS)
    assert first_cells("Rows that cannot be used") == set(CODES)
    assert first_cells("Repairs") == set(REPAIRS)


def test_rejects_are_mended_by_the_code_of_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [make_row(image_id=1), make_row(image_id=2, score="0.75"), make_row(image_id=3, bbox=5)]
    (tmp_path / "results.json").write_text(json.dumps(rows))
    monkeypatch.chdir(tmp_path)
    flow.run(CompactConfig(inputs=("results.json",), output="out"))
    [block] = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    exec(compile(block, "docs/inputs.md", "exec"), {})
    flow.run(CompactConfig(inputs=("results.json", "mended.jsonl"), output="out"))
    tables = publish.open_tables(f"file://{tmp_path}/out")
    kept = tables["compacted"].to_pyarrow_table().to_pylist()
    assert [(row["image_id"], row["score"]) for row in kept] == [(1, 0.5), (2, 0.75)]
    assert tables["rejects"].to_pyarrow_table()["code"].to_pylist() == ["SCORE", "BBOX"]
