"""Whole runs by torch are the runs of the compiled kernels, byte for byte in every column."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pytest
import torch

from jobs import compact
from pipeline import flow, publish, tasks
from pipeline.config import CompactConfig, DedupConfig, EncodeConfig, RunConfig
from pipeline.errors import ConfigError
from tests import stand_in
from tests.outputs import run_inline

RESULTS = "detectron2_mask_rcnn_coco_instances_results.json"
TABLES = ("compacted", "lineage", "rejects")

POLICIES: list[tuple[dict[str, Any], str]] = [
    ({}, "rle"),
    ({"merge": "union", "per_category": False, "threshold": 0.3}, "crack"),
    ({"group": "component", "merge": "vote", "overlap": "ios", "threshold": 0.5}, "crack"),
    ({"group": "component", "merge": "union", "threshold": 0.4}, "polygon"),
    ({"group": "none"}, "crack"),
]


def small(shared_data: Path, folder: Path, n_images: int) -> Path:
    """Write the rows of a real file's first images, one of them broken."""
    rows = json.loads((shared_data / RESULTS).read_text())
    ids = sorted({row["image_id"] for row in rows})[:n_images]
    rows = [row for row in rows if row["image_id"] in ids]
    rows.append({**rows[0], "segmentation": {"size": [4, 4], "counts": "!"}})
    path = folder / "results.json"
    path.write_text(json.dumps(rows))
    return path


def files(output: Path) -> dict[str, pa.Table]:
    """Return the tables as they lie on disk, rows and columns in their order."""
    opened = publish.open_tables(f"file://{output}")
    return {name: opened[name].to_pyarrow_table().combine_chunks() for name in TABLES}


def run_both(
    path: Path,
    folder: Path,
    do: Callable[[CompactConfig], Any],
    device: Literal["cpu", "cuda"] = "cpu",
    **steps: Any,
) -> Any:
    """Do a run with each backend, compare the tables, and return what `do` gave."""
    found: list[Any] = []
    for name in ("numba", "torch"):
        config = CompactConfig(
            inputs=(str(path),),
            output=str(folder / name),
            device="cpu" if name == "numba" else device,
            run=RunConfig(backend=name),  # pyright: ignore
            **steps,
        )
        found.append(do(config))
    ours, theirs = (files(folder / name) for name in ("numba", "torch"))
    for name in TABLES:
        assert ours[name].schema.equals(theirs[name].schema, check_metadata=True)
        assert ours[name].equals(theirs[name]), name
    return found


@pytest.mark.parametrize(("policy", "encoding"), POLICIES)
def test_runs_are_the_same(
    shared_data: Path, tmp_path: Path, policy: dict[str, Any], encoding: Any
) -> None:
    path = small(shared_data, tmp_path, 12)
    steps = {"dedup": DedupConfig(**policy), "encode": EncodeConfig(encoding=encoding)}
    ours, theirs = run_both(path, tmp_path, run_inline, **steps)
    assert ours == theirs


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a real CUDA device")
@pytest.mark.parametrize(("policy", "encoding"), POLICIES[1:3])
def test_runs_on_the_stand_in_for_a_gpu_are_the_same(
    shared_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    policy: dict[str, Any],
    encoding: Any,
) -> None:
    path = small(shared_data, tmp_path, 3)
    steps = {"dedup": DedupConfig(**policy), "encode": EncodeConfig(encoding=encoding)}
    monkeypatch.setattr(tasks, "CompactUnits", partial(tasks.CompactUnits, gpus=1.0))
    with stand_in.in_place() as device:
        ours, theirs = run_both(path, tmp_path, run_inline, "cuda", **steps)
    assert ours == theirs
    assert device.timeline.n_copies > 0


@pytest.mark.usefixtures("ray_local")
def test_runs_through_ray_are_the_same(shared_data: Path, tmp_path: Path) -> None:
    path = small(shared_data, tmp_path, 12)
    policy, encoding = POLICIES[1]
    ours, theirs = run_both(
        path,
        tmp_path,
        flow.run,
        dedup=DedupConfig(**policy),
        encode=EncodeConfig(encoding=encoding),
    )
    assert ours.run_id == theirs.run_id
    assert ours.report["rows"]["rejected"] == 1
    assert ours.report["rows"]["merged"] > 0
    assert [list(one.report["backend"]) for one in (ours, theirs)] == [["numba.cpu"], ["torch.cpu"]]
    assert [one.report["backend_reason"] for one in (ours, theirs)] == ["asked for"] * 2


def test_the_last_lines_say_what_auto_chose(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = small(shared_data, tmp_path, 1)
    assert compact.main([str(path), "--output", str(tmp_path / "out")]) == 0
    assert "masks compared by: numba on cpu (no GPU is there)\n" in capsys.readouterr().out


@pytest.mark.usefixtures("ray_local")
def test_cuda_without_a_gpu_ends_at_once_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text("[]")
    config = CompactConfig(inputs=(str(path),), output=str(tmp_path / "out"), device="cuda")
    with pytest.raises(ConfigError, match=r"found none; use --device auto or cpu"):
        flow.run(config)
    assert not (tmp_path / "out").exists()
