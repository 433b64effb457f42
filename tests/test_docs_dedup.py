"""Every line of docs/dedup.md, run by the job."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import pipeline
from pipeline.config import CleanConfig, CompactConfig, DedupConfig
from tests import oracle
from tests.outputs import run_inline
from tests.strategies import Bitmap

PAGE = Path(__file__).resolve().parents[1] / "docs" / "dedup.md"


def table(heading: str) -> list[list[str]]:
    """Return the cells of the first table below a heading."""
    section = PAGE.read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def bitmap(picture: str) -> Bitmap:
    return np.array([[char == "X" for char in line] for line in picture.strip("`").split()])


def picture(mask: Bitmap) -> str:
    return " ".join("".join("X" if pixel else "." for pixel in line) for line in mask)


def settings(flags: str, step: str) -> dict[str, object]:
    """Return the fields that flags set, as the command line reads them."""
    words = flags.strip("`").split() if flags.startswith("`") else []
    fields: dict[str, object] = {}
    for flag, value in zip(words[::2], words[1::2], strict=True):
        name = flag.removeprefix(f"--{step}.")
        fields[name] = (value,) if name == "source_priority" else _value(value)
    return fields


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def compact(rows: list[dict[str, object]], folder: Path, **steps: object) -> list[tuple[str, str]]:
    """Return names and masks of what is kept, in order."""
    path = folder / "scene.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    run_inline(CompactConfig(inputs=(str(path),), output=str(folder / "out"), **steps))
    (image,) = pipeline.load(str(folder / "out"))
    return [
        (row["name"], picture(oracle.decode((row["height"], row["width"]), row["counts"])))
        for row in image.rows.to_pylist()
    ]


def row(name: str, mask: Bitmap, score: float, category: int, model: str) -> dict[str, object]:
    height, width = mask.shape
    facts = {"image_id": 1, "category_id": category, "score": score, "model": model, "name": name}
    return {**facts, "height": height, "width": width, "counts": oracle.encode(mask)}


@pytest.mark.parametrize(("flags", "kept"), table("What is kept"))
def test_what_is_kept(flags: str, kept: str, tmp_path: Path) -> None:
    scene = [
        row(name, bitmap(mask), float(score), int(category), model)
        for name, mask, score, category, model in table("The scene")
    ]
    dedup = DedupConfig(threshold=0.5, **settings(flags, "dedup"))
    assert compact(scene, tmp_path, dedup=dedup) == re.findall(r"([A-E]) `([X.]+)`", kept)


@pytest.mark.parametrize(("flags", "before", "after"), table("Specks and holes"))
def test_specks_and_holes(flags: str, before: str, after: str, tmp_path: Path) -> None:
    scene = [row("A", bitmap(before), 0.5, 1, "m")]
    clean = CleanConfig(**settings(flags, "clean"))
    assert compact(scene, tmp_path, clean=clean) == [("A", after.strip("`"))]


def test_every_setting_is_there() -> None:
    text = PAGE.read_text()
    for config, step in ((DedupConfig(), "dedup"), (CleanConfig(), "clean")):
        for name in vars(config):
            assert f"--{step}.{name}" in text or f"`{name}" in text or f"**`{name}" in text
