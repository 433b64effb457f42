"""F3, F4, F5: a row at which native code crashes, never ends, or takes all memory: the command."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import CompactConfig, ReadConfig
from tests import poisoned
from tests.faults import processes, small

POISON = {"PYTHONPATH": poisoned.python_path()}

MAX_BYTES = 1_000_000
BOUNDS = (
    *("--run.unit_timeout", "15s", "--run.unit_bytes", "1000000"),
    *("--read.max_image_bytes", str(MAX_BYTES)),
)
"""So that an endless row is ended soon, and a greedy one at 2 GB."""

CASES = {
    "crash": ({"category_id": 666}, "CRASH"),
    "loop": ({"category_id": 667}, "TIMEOUT"),
    "memory": ({"category_id": 668}, "TOO_MANY_MASKS"),
    "read crash": ({"note": "poison_crash"}, "CRASH"),
    "read loop": ({"note": "poison_loop"}, "TIMEOUT"),
    "read memory": ({"note": "poison_memory"}, "VALUE_TOO_LARGE"),
}

ENDS_S = 500
"""An endless row is waited for about six times; the rest is for a machine that is busy."""

IMAGE = 5
"""The poisonous row has an image of its own, between others."""


def write(folder: Path, changes: dict[str, Any]) -> tuple[Path, int]:
    """Write an input with one poisonous row; return the place of that row too."""
    folder.mkdir(parents=True)
    rows = small.rows(IMAGE - 1)[:3]
    place = len(rows)
    rows += [{**small.rows(IMAGE)[0], **changes}, *small.rows(IMAGE + 1)[:3]]
    path = folder / "rows.json"
    path.write_text(json.dumps(rows))
    return path, place


def configure(path: Path, output: Path) -> CompactConfig:
    """Return what the command is told, for a run in this process, which is not poisoned."""
    config = small.configure([path], output)
    return dataclasses.replace(config, read=ReadConfig(max_image_bytes=MAX_BYTES))


def without(output: Path, source_row: int) -> dict[str, list[dict[str, Any]]]:
    """Return all rows of all tables but those of one source row; no column is left out."""
    found = small.content(output)
    return {
        name: [row for row in table.to_pylist() if row["source_row"] != source_row]
        for name, table in found.items()
    }


def survive(tmp_path: Path, case: str, *flags: str) -> None:
    changes, code = CASES[case]
    path, place = write(tmp_path / "in", changes)
    output, clean = tmp_path / "out", tmp_path / "clean"
    process = processes.start([path], output, *BOUNDS, *flags, environment=POISON)
    code_of_run, said = processes.finish(process, ENDS_S)
    assert code_of_run == 0, said
    (reject,) = [
        row for row in small.content(output)["rejects"].to_pylist() if row["source_row"] == place
    ]
    assert reject["code"] == code
    assert json.loads(reject["payload"]) == {**small.rows(IMAGE)[0], **changes}
    assert path.read_bytes()[reject["byte_offset"] :].startswith(reject["payload"])
    assert small.verify(str(output), is_all=True).problems == []
    assert small.run(configure(path, clean)).state == "published"
    assert without(output, place) == without(clean, place)
    assert small.run(configure(path, output)).state == "already"


def test_a_row_that_crashes_is_rejected(tmp_path: Path) -> None:
    survive(tmp_path, "crash")


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("case", CASES)
def test_a_row_at_which_a_step_dies_is_rejected(tmp_path: Path, case: str) -> None:
    survive(tmp_path, case)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("case", CASES)
def test_a_row_at_which_a_worker_of_ray_dies_is_rejected(tmp_path: Path, case: str) -> None:
    survive(tmp_path, case, "--run.workers", "1")
