"""The Ray that a run uses: started or joined, checked, and shared out to actors and tasks."""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import ray
import ray.exceptions
from ray.util import client
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline import backend, room, storage, watch
from pipeline.config import CompactConfig
from pipeline.errors import ClusterError, CompactionError, ConfigError, StorageError, causes
from pipeline.plan import Plan

_ROOT = Path(__file__).resolve().parents[1]

_KEEP_WORKERS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DATA_LOG_LEVEL": "ERROR",
    "RAY_idle_worker_killing_time_threshold_ms": "600000",
    "RAY_num_workers_soft_limit": "16",
    "RAY_task_oom_retries": "2",
}
"""Settings of a local Ray: it would end idle workers after a second and start them anew,
which costs more than a unit of work."""


_RECONNECT_S = "RAY_gcs_rpc_server_reconnect_timeout_s"
"""Ray's setting: it ends a driver that has not reached its head for so long, by default 60 s."""

_JOIN_S = 20.0
"""How long the head that RAY_ADDRESS names may take to answer; Ray itself tries for 15 minutes."""

SHUFFLE_BATCH_BYTES = 128 << 20
"""Bytes that one task of a shuffle cuts into partitions; Ray's own 1 GB costs it 2.5 GB."""


class PoolSize(msgspec.Struct):
    """How many actors run, and what each actor and task reserves of a CPU, a GPU, and memory."""

    actors: int
    actor_cpus: float
    task_cpus: float
    actor_gpus: float = 0.0
    memory_bytes: int = 0


def start(config: CompactConfig) -> None:
    """Join the cluster that RAY_ADDRESS names, or start a local Ray that ends with this process.

    Raises
    ------
    CompactionError
        If Ray does not start or answer.
    ConfigError
        For ``--device cuda`` without a GPU, and for a local output path on several nodes.
    """
    if not ray.is_initialized():
        try:
            with _own_signals():
                if os.environ.get("RAY_ADDRESS"):
                    _join(os.environ["RAY_ADDRESS"])
                else:
                    start_local()
        except Exception as error:  # Ray raises bare Exceptions here
            where = os.environ.get("RAY_ADDRESS") or "on this machine"
            raise CompactionError(
                f"expected Ray to start or answer ({where}), got: {error}. Check the address, "
                "the machine's free memory and its load, and run again"
            ) from error
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    data = ray.data.DataContext.get_current()
    data.enable_progress_bars = False
    data.print_on_execution_start = False
    data.shuffle_input_batch_bytes = SHUFFLE_BATCH_BYTES
    choose_backend(config)
    _require_shared_output(config)


def choose_backend(config: CompactConfig) -> backend.Choice:
    """Return what compares the masks of a run, by the GPUs of the Ray that is there.

    Raises
    ------
    ConfigError
        As `pipeline.backend.decide`.
    """
    gpus = ray.cluster_resources().get("GPU", 0.0) if ray.is_initialized() else 0.0
    return backend.decide(config, has_gpu=gpus > 0)


@contextmanager
def _own_signals() -> Generator[None]:
    """Keep Python's handlers: Ray installs one of its own for SIGTERM, which ends the process."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {signum: signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for signum, handler in before.items():
            if handler is not None:
                signal.signal(signum, handler)


def leave(error: ClusterError) -> None:
    """Leave a Ray whose head is lost, before it ends this process; or end it with this error.

    Leaving takes some seconds, now and then as long as it takes Ray to end the process itself.
    """
    with watch.or_exit(error, _limit_s() / 6):
        ray.shutdown()


def head() -> watch.Head | None:
    """Return the head of the Ray that is joined; None for none and for one behind a Ray client.

    Where Ray is left and joined again, it answers for the new one.
    """
    address = _joined()
    if address is None:
        return None
    return watch.Head(address, _head_answers, _limit_s() / 2, _limit_s() / 6)


def _limit_s() -> float:
    """Return after how long Ray ends a driver whose head is silent."""
    return float(os.environ.get(_RECONNECT_S, 60))


def _joined() -> str | None:
    """Return host:port of the head of the Ray that is joined."""
    if not ray.is_initialized() or client.ray.is_connected():
        return None
    address: str = ray.get_runtime_context().gcs_address
    return address


def _head_answers() -> bool:
    """Return whether the head is there, from the thread of a watch; also while Ray is changed."""
    try:
        address = _joined()
    except ray.exceptions.RaySystemError:  # it was left this very moment
        return True
    return address is None or _answers(address)


def _answers(address: str) -> bool:
    """Return whether anybody takes connections at host:port."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=2.0).close()
    except OSError:
        return False
    return True


def _join(address: str) -> None:
    """Join the cluster that RAY_ADDRESS names."""
    _require_head(address)
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        ray.init(**quiet)
    except (ConnectionError, RuntimeError):  # its head is there, its first node may not be yet
        ray.shutdown()
        ray.init(**quiet)


def _require_head(address: str) -> None:
    """Wait a little for the head at host:port; other forms of an address are Ray's business."""
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdigit():
        return
    end_s = time.monotonic() + _JOIN_S
    while not _answers(address):
        if time.monotonic() > end_s:
            raise ConnectionError(f"nobody takes connections there for {_JOIN_S:.0f} s")
        time.sleep(0.5)


def restart(config: CompactConfig) -> None:
    """Leave Ray and start or join it again.

    The actors of a dataset that failed are started again after it and keep their CPUs, so
    that the next one waits for ever; they end with the connection.
    """
    ray.shutdown()
    start(config)


def start_local(**options: Any) -> None:
    """Start a Ray on this machine that ends with this process; options go to `ray.init`.

    Its workers run this very copy of the code, whichever one is installed.
    """
    for name, value in _KEEP_WORKERS.items():
        os.environ.setdefault(name, value)
    paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        ray.init(address="local", include_dashboard=False, **quiet, **options)
    except Exception:  # Ray gives its processes 30 s, too little on a loaded machine
        ray.shutdown()
        ray.init(address="local", include_dashboard=False, **quiet, **options)


def pool_size(config: CompactConfig, largest_unit_bytes: int = 0) -> PoolSize:
    """Size the actor pool so that reads and writes always find a CPU.

    Actors take half of the CPUs; a pool that takes all of them waits for ever
    for reads that cannot start. An actor reserves a little less than a task, so
    that Ray does not fuse reading into it. Where masks are compared on GPUs there
    is one actor for each, or `run.workers` actors share them. Every actor and task reserves
    what the largest unit needs, so that no node is given more of them than it can hold; where
    a node could not hold an actor and a task, there are fewer actors.

    Raises
    ------
    CompactionError
        If no node can hold a single one.
    """
    resources = ray.cluster_resources()
    cpus, gpus = resources.get("CPU", 1.0), resources.get("GPU", 0.0)
    is_on_gpu = backend.decide(config, has_gpu=gpus > 0).device == "cuda"
    actors = config.run.workers or max(1, int(gpus if is_on_gpu else cpus // 2))
    task_cpus = 1.0 if cpus >= 4 else 0.5
    actor_cpus = min(1.0, cpus / (2 * actors)) - 0.01
    actor_gpus = min(1.0, gpus / actors) if is_on_gpu else 0.0
    memory_bytes = room.worker_bytes(config, largest_unit_bytes)
    places = room.require_memory(memory_bytes, _node_memory(), config)
    # At least one place is a task's: without it nothing would be read.
    actors = max(1, min(actors, places - 1))
    if places < 2:
        memory_bytes = memory_bytes // 2 if places else 0
    return PoolSize(actors, actor_cpus, task_cpus, actor_gpus, memory_bytes)


def require_room(plan: Plan, config: CompactConfig, pool: PoolSize) -> None:
    """Refuse a run whose rows have no place between its steps: in object stores or on disks.

    Raises
    ------
    StorageError
        Naming the volumes, and what is needed and free.
    """
    if not config.run.check_space:
        return
    stores = int(ray.cluster_resources().get("object_store_memory", 0))
    needed = room.moving_bytes(plan, pool.actors)
    if needed > stores:
        room.require_spill(needed, stores, _spill_volumes())


def _node_memory() -> list[int]:
    """Return the memory that each node gives to actors and tasks."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [int(resources.get("memory", 0)) for resources in nodes]


def _spill_volumes() -> dict[str, tuple[int, int]]:
    """Return free and all bytes of where each node spills what its object store cannot hold."""
    look = ray.remote(num_cpus=0, max_retries=1)(storage.free_bytes)
    found: dict[str, Any] = {}
    for node in ray.nodes():
        if node["Alive"]:
            session = Path(node["ObjectStoreSocketName"].removeprefix("unix:")).parents[1]
            here = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            place = f"{session} on {node['NodeManagerAddress']}"
            found[place] = look.options(scheduling_strategy=here).remote(session)
    return dict(zip(found, ray.get(list(found.values())), strict=True))


def detector_gpus(config: CompactConfig, workers: int) -> float:
    """Return the GPUs of each of so many detectors: their share of all, half of it with cuda."""
    gpus = ray.cluster_resources().get("GPU", 0.0)
    if config.device == "cpu" or not gpus:
        return 0.0
    return min(1.0, gpus / workers) * (0.5 if config.device == "cuda" else 1.0)


def find_death(error: BaseException) -> str | None:
    """Return how a worker died, if that is why a run on Ray ended; None for any other error.

    Also where a node and the blocks on it were lost more often than work is done again.
    """
    kinds = (
        ray.exceptions.WorkerCrashedError,
        ray.exceptions.RayActorError,
        ray.exceptions.OutOfMemoryError,
        ray.exceptions.NodeDiedError,
        ray.exceptions.ObjectLostError,
        MemoryError,
    )
    for cause in causes(error):
        if isinstance(cause, CompactionError):
            return None
        if isinstance(cause, kinds):
            return type(cause).__name__
    return None


def find_full_disk(error: BaseException) -> StorageError | None:
    """Return what to say where rows between two steps had no place; None for any other error."""
    for cause in causes(error):
        if isinstance(cause, ray.exceptions.OutOfDiskError | ray.exceptions.ObjectStoreFullError):
            place = re.search(r"\bip=([0-9a-f.:]+)", str(error))  # as Ray words it, nowhere else
            return StorageError(
                "expected room for rows between the steps of the run, the object store of Ray is "
                f"full{f' at {place[1]}' if place else ''}, and so is the disk to which it spills "
                "(95 % of it count as all); nothing was published. Free space there, or start Ray "
                "with a larger --object-store-memory or another --object-spilling-directory, and "
                "give the same command again"
            )
    return None


def _require_shared_output(config: CompactConfig) -> None:
    n_nodes = sum(node["Alive"] for node in ray.nodes())
    is_local = storage.is_local(storage.to_uri(config.output))
    if n_nodes > 1 and is_local and not config.run.shared_path:
        raise ConfigError(
            f"--output {config.output}: expected a URI that all {n_nodes} nodes reach, got a "
            "local path; use object storage, or state --run.shared_path true"
        )
