"""README.md tells the truth: its Python runs as written, and what it names is there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest
import ray

import pipeline
from jobs import demo
from pipeline import flow
from pipeline.config import CompactConfig
from tests.mutations.variants import VARIANTS

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """Return the contents of README's fenced blocks of one language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def demo_folder(ray_local: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder that looks as after `make demo`, with one photograph and fewer proposals."""
    folder = tmp_path_factory.mktemp("readme")
    results = folder / "demo-data" / demo.RESULTS_NAME
    results.parent.mkdir()
    results.write_bytes(msgspec.json.encode(demo.propose("coins.png")[:200]))
    flow.run(CompactConfig(inputs=(str(results),), output=str(folder / "demo-out")))
    return folder


def test_promises_name_tests_that_are_there() -> None:
    rows = re.findall(r"^\| (P\d) \| .+? \| (.+) \|$", README, flags=re.MULTILINE)
    assert [name for name, _ in rows] == [f"P{n}" for n in range(1, 9)]
    for _, named in rows:
        for path in re.findall(r"`([^`]+)`", named):
            found = (ROOT / path).exists() if "/" in path else any(ROOT.glob(f"tests/**/{path}"))
            assert found, path
    (stated,) = re.findall(r"breaks each of them on purpose, in (\d+) ways", README)
    assert int(stated) == len(VARIANTS)


# pycocotools' array wrapper predates NumPy 2 and says so at every decode.
@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")
@pytest.mark.parametrize("block", blocks("python"))
def test_python_runs_as_written(
    block: str,
    demo_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(demo_folder)
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(block, "README.md", "exec"), names)
    assert capsys.readouterr().out.strip()


def test_there_are_examples_for_three_readers() -> None:
    text = "".join(blocks("python"))
    assert all(f"import {name}" in text for name in ("polars", "duckdb"))
    assert "from pycocotools import mask" in text


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = set(re.findall(r"`make ([a-z-]+)`", README)) | set(
        re.findall(r"^make ([a-z-]+)$", "".join(blocks("sh")), flags=re.MULTILINE)
    )
    assert {"demo", "test"} <= named <= targets


def test_files_exist() -> None:
    named = re.findall(r"(?<![\w/])(?:jobs|pipeline|docs|tests)/[\w/-]+\.(?:py|md)\b", README)
    assert named
    assert [path for path in named if not (ROOT / path).is_file()] == []


def test_flags_exist() -> None:
    from jobs.compact import build_parser

    flags = {option for action in build_parser()._actions for option in action.option_strings}
    for job in (ROOT / "jobs").glob("*.py"):
        flags |= set(re.findall(r'"(--[a-z_]+)"', job.read_text()))
    named = set(re.findall(r"`(--[a-z_]+(?:\.[a-z_]+)?)", README))
    assert "--dedup.threshold" in named
    assert named - flags == set()


class Detector:
    """What README's pipeline calls a detector: two near copies of a square per image."""

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        n_images = len(batch["image_id"])
        square = np.zeros((1, 2, 20, 30), bool)
        square[0, 0, 3:13, 5:15] = square[0, 1, 3:13, 5:16] = True
        return {
            "image_id": batch["image_id"],
            "masks": np.repeat(square, n_images, axis=0),
            "scores": np.tile([0.9, 0.8], (n_images, 1)),
        }


def test_pipeline_of_your_own_runs_as_written_but_without_a_gpu(
    ray_local: None, tmp_path: Path
) -> None:
    (block,) = blocks("py")
    for written, here in ((", num_gpus=1", ""), ('"kept"', repr(str(tmp_path / "kept")))):
        assert written in block
        block = block.replace(written, here)
    images = ray.data.from_items([{"image_id": n} for n in range(4)], override_num_blocks=1)
    names = {"images": images, "Detector": Detector, "pipeline": pipeline}
    exec(compile(block, "README.md", "exec"), names)
    kept = pq.read_table(tmp_path / "kept", columns=["image_id", "n_merged", "encoding"])
    expected = [{"image_id": n, "n_merged": 1, "encoding": "crack"} for n in range(4)]
    assert sorted(kept.to_pylist(), key=lambda row: row["image_id"]) == expected
