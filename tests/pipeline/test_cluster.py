"""What a run asks of Ray: enough CPUs left for reading, and workers that run this code."""

from __future__ import annotations

from pathlib import Path

import pytest
import ray

import pipeline
from pipeline import cluster
from pipeline.config import CompactConfig, RunConfig
from pipeline.errors import ConfigError


def config(output: str = "out", workers: int | None = None, device: str = "auto") -> CompactConfig:
    return CompactConfig(
        inputs=("x",),
        output=output,
        run=RunConfig(workers=workers),
        device=device,  # pyright: ignore
    )


@pytest.mark.parametrize("cpus", [1.0, 2.0, 3.0, 4.0, 16.0, 640.0])
@pytest.mark.parametrize("workers", [None, 1, 7])
def test_pool_leaves_cpus_for_tasks(
    monkeypatch: pytest.MonkeyPatch, cpus: float, workers: int | None
) -> None:
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": cpus})
    pool = cluster.pool_size(config(workers=workers))
    assert pool.actors >= 1
    assert pool.actor_cpus > 0
    assert pool.actors * pool.actor_cpus + pool.task_cpus <= cpus


def test_local_output_on_several_nodes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True}, {"Alive": True}])
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 4.0})
    with pytest.raises(ConfigError, match=r"all 2 nodes reach.*--run\.shared_path true"):
        cluster.start(config())
    cluster.start(config(output="s3://bucket/out"))


def test_cuda_without_a_gpu_fails_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 4.0})
    with pytest.raises(ConfigError, match="--device"):
        cluster.start(config(device="cuda"))


@pytest.mark.usefixtures("ray_local")
def test_workers_run_this_copy_of_the_code() -> None:
    @ray.remote
    def where() -> str:
        import pipeline

        return str(Path(pipeline.__file__).parent)

    assert ray.get(where.remote()) == str(Path(pipeline.__file__).parent)
