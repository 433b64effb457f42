"""How the cluster is shared out; no Ray is started."""

from __future__ import annotations

from typing import Any

import pytest
import ray

from pipeline import cluster
from pipeline.config import CompactConfig, RunConfig
from pipeline.errors import ConfigError


def sized(
    monkeypatch: pytest.MonkeyPatch, resources: dict[str, float], device: Any = "auto", **run: Any
) -> cluster.PoolSize:
    monkeypatch.setattr(ray, "cluster_resources", lambda: resources)
    config = CompactConfig(inputs=("x",), output="y", device=device, run=RunConfig(**run))
    return cluster.pool_size(config)


def test_cpus_are_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = sized(monkeypatch, {"CPU": 8.0})
    assert (pool.actors, pool.actor_gpus, pool.task_cpus) == (4, 0.0, 1.0)
    assert pool.actors * pool.actor_cpus <= 4


@pytest.mark.parametrize(
    ("gpus", "run", "actors", "actor_gpus"),
    [
        (2.0, {}, 2, 1.0),
        (1.0, {"workers": 4}, 4, 0.25),
        (4.0, {"workers": 2}, 2, 1.0),
        (2.0, {"backend": "numba"}, 4, 0.0),
        (2.0, {"backend": "torch"}, 2, 1.0),
    ],
)
def test_an_actor_for_each_gpu(
    monkeypatch: pytest.MonkeyPatch,
    gpus: float,
    run: dict[str, Any],
    actors: int,
    actor_gpus: float,
) -> None:
    pool = sized(monkeypatch, {"CPU": 8.0, "GPU": gpus}, **run)
    assert (pool.actors, pool.actor_gpus) == (actors, actor_gpus)


def test_gpus_are_left_alone_where_the_cpu_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = sized(monkeypatch, {"CPU": 8.0, "GPU": 2.0}, device="cpu")
    assert (pool.actors, pool.actor_gpus) == (4, 0.0)


def test_a_gpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="expected a GPU"):
        sized(monkeypatch, {"CPU": 8.0}, device="cuda")
