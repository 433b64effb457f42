"""What a run asks of Ray: enough CPUs left for reading, and workers that run this code."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import ray
from ray.exceptions import ObjectStoreFullError, OutOfDiskError, RayError, RayTaskError

import pipeline
from pipeline import cluster, execution
from pipeline.config import CompactConfig, RunConfig
from pipeline.errors import CompactionError, ConfigError, StorageError
from pipeline.plan import make_plan
from pipeline.read.slices import FileScan, Slice
from pipeline.storage import InputFile
from tests.ray_head import free_ports


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
    monkeypatch.setattr(cluster, "_node_memory", lambda: [1 << 50])
    pool = cluster.pool_size(config(workers=workers))
    assert pool.actors >= 1
    assert pool.actor_cpus > 0
    assert pool.actors * pool.actor_cpus + pool.task_cpus <= cpus


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([16 << 30], (3, 3 << 30)),  # 5 places, of which 4 are for actors, more than asked for
        ([10 << 30], (2, 3 << 30)),  # 3 places, one for a task
        ([4 << 30, 4 << 30, 4 << 30], (2, 3 << 30)),
        ([7 << 30], (1, 3 << 30)),
        ([4 << 30], (1, 3 << 29)),  # an actor and a task share the one place
    ],
)
def test_there_are_no_more_actors_than_memory(
    monkeypatch: pytest.MonkeyPatch, nodes: list[int], expected: tuple[int, int]
) -> None:
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 6.0})
    monkeypatch.setattr(cluster, "_node_memory", lambda: nodes)
    pool = cluster.pool_size(config(), largest_unit_bytes=256 << 20)
    assert (pool.actors, pool.memory_bytes) == expected


def test_too_little_memory_is_an_error_with_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 4.0})
    monkeypatch.setattr(cluster, "_node_memory", lambda: [1 << 30, 2 << 30])
    message = r"expected 3\.22 GB .* on one node.*at most 2\.15 GB.*--run\.unit_bytes"
    with pytest.raises(CompactionError, match=message):
        cluster.pool_size(config(), largest_unit_bytes=256 << 20)
    forced = CompactConfig(inputs=("x",), output="out", run=RunConfig(check_space=False))
    pool = cluster.pool_size(forced, largest_unit_bytes=256 << 20)
    assert (pool.actors, pool.memory_bytes) == (1, 0)


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


@pytest.mark.usefixtures("ray_local")
def test_rows_in_flight_need_room_in_the_stores_or_behind_them() -> None:
    unit = 1 << 50
    part = Slice("file:///a", "coco_results", 0, 1, 0, unit, unit, 1, 1)
    plan = make_plan(
        [InputFile("file:///a", unit, "t")],
        [FileScan("coco_results", "int", [part], [1], 1, b"")],
        config(),
    )
    pool = cluster.PoolSize(1, 0.5, 0.5)
    message = r"expected 2,251,799\.81 GB .*object stores hold 0\.27 GB.*session_.* on .* has"
    with pytest.raises(StorageError, match=message):
        cluster.require_room(plan, config(), pool)
    forced = CompactConfig(inputs=("x",), output="out", run=RunConfig(check_space=False))
    cluster.require_room(plan, forced, pool)


def test_ray_does_nothing_again_for_ever() -> None:
    assert 0 < execution.ACTOR["max_task_retries"] < 10
    assert 0 < execution._TASK["max_retries"] < 10


def test_a_head_that_is_not_there_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **options: pytest.fail("Ray tries for 15 minutes"))
    monkeypatch.setattr(cluster, "_JOIN_S", 0.0)
    address = f"127.0.0.1:{free_ports(1)[0]}"
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(
        CompactionError, match=rf"Ray to .* answer \({address}\), got: nobody takes"
    ):
        cluster.start(config())


@pytest.mark.usefixtures("ray_local")
def test_the_head_that_is_joined_answers() -> None:
    head = cluster.head()
    assert head is not None
    assert head.answers()
    assert head.address == ray.get_runtime_context().gcs_address
    assert head.patience_s == 30


def test_without_ray_there_is_no_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    assert cluster.head() is None


@pytest.mark.parametrize("kind", [OutOfDiskError, ObjectStoreFullError])
def test_a_full_object_store_is_an_error_of_storage(kind: type[RayError]) -> None:
    cause = kind("the disk is full")
    said = "\x1b[36mray::read_units()\x1b[39m (pid=7, ip=10.0.0.7)"
    error = RayTaskError("read_units", said, cause).as_instanceof_cause()
    found = cluster.find_full_disk(error)
    assert isinstance(found, StorageError)
    assert "full at 10.0.0.7, and so is the disk" in found.message
    assert cluster.find_full_disk(cause) is not None
    assert cluster.find_full_disk(RayTaskError("read_units", "a traceback", OSError("no"))) is None


def test_joining_is_tried_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[object] = []

    def init(**options: object) -> None:
        tries.append(options)
        raise ConnectionError("no node is there")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises(CompactionError, match="got: no node is there"):
            cluster.start(config())
    assert len(tries) == 2
