"""The choice of kernels, and that it changes no byte of a unit's tables."""

from __future__ import annotations

import importlib.util
import pickle
from typing import Any, Literal, cast

import pytest
import ray
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import backend, cluster
from pipeline.config import CompactConfig, DedupConfig, RunConfig
from pipeline.errors import CompactionError, ConfigError
from pipeline.masks import torch_backend, torch_contour, torch_dense
from pipeline.records import UnitRecord
from pipeline.unit import compact_unit
from schemas.rejects import rejects_schema
from tests import model
from tests.instances import to_instances
from tests.pipeline.test_unit import POLICIES, model_rows, no_payloads

Backend = Literal["auto", "numba", "torch"]
Device = Literal["auto", "cpu", "cuda"]


def config(name: Backend = "auto", device: Device = "auto", **dedup: Any) -> CompactConfig:
    return CompactConfig(
        inputs=("x",),
        output="y",
        run=RunConfig(backend=name),
        device=device,
        dedup=DedupConfig(**dedup),
    )


@pytest.mark.parametrize(
    ("name", "device", "has_gpu", "expected"),
    [
        ("auto", "auto", False, ("numba", "cpu")),
        ("auto", "auto", True, ("torch", "cuda")),
        ("auto", "cpu", True, ("numba", "cpu")),
        ("auto", "cuda", True, ("torch", "cuda")),
        ("numba", "auto", True, ("numba", "cpu")),
        ("numba", "cpu", True, ("numba", "cpu")),
        ("torch", "auto", False, ("torch", "cpu")),
        ("torch", "auto", True, ("torch", "cuda")),
        ("torch", "cpu", True, ("torch", "cpu")),
        ("torch", "cuda", True, ("torch", "cuda")),
    ],
)
def test_choices(
    monkeypatch: pytest.MonkeyPatch,
    name: Backend,
    device: Device,
    has_gpu: bool,
    expected: tuple[str, str],
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    choice = backend.decide(config(name, device), has_gpu=has_gpu)
    assert choice[:2] == expected
    assert choice.reason
    kernels = backend.choose(config(name, device), has_gpu=has_gpu)
    assert (kernels.name, kernels.device) == expected


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match="--device cuda: expected a GPU"):
        backend.decide(config(device="cuda"), has_gpu=False)
    with pytest.raises(ConfigError, match="beside --run"):
        config("numba", "cuda")


@pytest.mark.parametrize(("is_built", "why"), [(True, "no driver"), (False, "without CUDA")])
def test_a_torch_that_cannot_use_the_gpu_is_refused(
    monkeypatch: pytest.MonkeyPatch, is_built: bool, why: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: is_built)
    with pytest.raises(ConfigError, match=f"{why}; install a torch that can, or take --device cpu"):
        backend.choose(config(), has_gpu=True)


def test_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        assert name == "torch"

    monkeypatch.setattr(importlib.util, "find_spec", missing)
    for name, device in (("torch", "auto"), ("torch", "cpu"), ("auto", "cuda")):
        with pytest.raises(ConfigError, match=r"pip install 'maskpress\[gpu\]'"):
            backend.decide(config(name, device), has_gpu=True)
    choice = backend.decide(config(), has_gpu=True)
    assert choice[:2] == ("numba", "cpu")
    assert "maskpress[gpu]" in choice.reason
    assert backend.choose(config(), has_gpu=False) is backend.NUMBA


@pytest.mark.parametrize("policy", POLICIES, ids=repr)
@settings(max_examples=8)
@given(rows=model_rows(), threshold=st.sampled_from([0.3, 0.5, 0.8, 1.0]))
def test_tables_are_the_same(
    policy: dict[str, Any], rows: list[model.Row], threshold: float
) -> None:
    across = {"source_column": "origin"} if policy.get("across") else {}
    settings = config("torch", "cpu", threshold=threshold, **policy, **across)
    instances = to_instances(rows, "origin")
    results = [
        compact_unit(
            instances,
            rejects_schema().empty_table(),
            UnitRecord(0, "run"),
            settings,
            1.0,
            no_payloads,
            kernels,
        )
        for kernels in (backend.NUMBA, backend.choose(settings, has_gpu=False))
    ]
    ours, theirs = results
    assert ours.compacted.equals(theirs.compacted)
    assert ours.lineage.equals(theirs.lineage)
    assert ours.rejects.equals(theirs.rejects)
    assert [result.record.numbers.get("backend.torch.cpu") for result in results] == [None, 1]
    assert [result.record.numbers.get("backend.numba.cpu") for result in results] == [1, None]


def test_a_full_device_ends_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore.")

    for module, name in (
        (torch_backend, "group_masks"),
        (torch_backend, "vote"),
        (torch_dense, "from_bitmaps"),
        (torch_dense, "from_roi"),
        (torch_contour, "encode_crack"),
    ):
        monkeypatch.setattr(module, name, full)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    kernels = backend.choose(config("torch", "cuda"), has_gpu=True)
    rows = [None] * 6
    for call in (
        lambda: kernels.group_masks(*rows, threshold=0.5),
        lambda: kernels.group_and_merge(*rows, threshold=0.5, vote_fraction=0.5),
        lambda: kernels.from_bitmaps(None),
        lambda: kernels.from_roi(None, None, None),
        lambda: kernels.encode_crack(cast(Any, None)),
    ):
        with pytest.raises(CompactionError, match=r"allocate 2.00 GiB. Let fewer") as caught:
            call()
        again = pickle.loads(pickle.dumps(caught.value))
        assert again.message == caught.value.message


# --- Actors and GPUs -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gpus", "device", "run", "actors", "actor_gpus"),
    [
        (2.0, "auto", {}, 2, 1.0),
        (1.0, "auto", {"workers": 4}, 4, 0.25),
        (4.0, "cuda", {"workers": 2}, 2, 1.0),
        (2.0, "auto", {"backend": "numba"}, 4, 0.0),
        (2.0, "auto", {"backend": "torch"}, 2, 1.0),
        (2.0, "cpu", {}, 4, 0.0),
        (0.0, "auto", {}, 4, 0.0),
    ],
)
def test_an_actor_for_each_gpu(
    monkeypatch: pytest.MonkeyPatch,
    gpus: float,
    device: Device,
    run: dict[str, Any],
    actors: int,
    actor_gpus: float,
) -> None:
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 8.0, "GPU": gpus})
    settings = CompactConfig(inputs=("x",), output="y", device=device, run=RunConfig(**run))
    monkeypatch.setattr(cluster, "_node_memory", lambda: [1 << 50])
    pool = cluster.pool_size(settings)
    assert (pool.actors, pool.actor_gpus) == (actors, actor_gpus)
    assert pool.actors * pool.actor_cpus <= 4
