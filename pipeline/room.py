"""What a run needs of memory and of disks, by its plan, and whether it is there before it starts.

All of it is estimated with a reserve. What was measured: a worker of 200,000 masks in 62 MiB of
JSON took 0.8 GB at its most, of which 0.4 GB was there before the first mask.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline import storage
from pipeline.config import CompactConfig
from pipeline.errors import CompactionError, StorageError
from pipeline.plan import Plan

_BASE_BYTES = 1 << 30
_PER_BYTE = 8
_WRITTEN = {"parquet": 1.0, "parquet_images": 1.0, "compacted": 1.0}
_WRITTEN_OF_TEXT = 0.5
_SPILL_LIMIT = 0.95
"""Ray does not spill to a volume that is fuller than this."""


def worker_bytes(config: CompactConfig, unit_bytes: int = 0) -> int:
    """Return the memory that a worker needs for a unit of so many bytes of input.

    Without a number it is that of a unit 4 times as large as asked for, which is the most that
    `pipeline.plan` makes without a shuffle. Images beyond ``--read.max_image_bytes`` are rejected.
    """
    if not unit_bytes:
        return _BASE_BYTES + _PER_BYTE * 4 * config.run.unit_bytes
    largest = max(config.read.max_image_bytes, 4 * config.run.unit_bytes)
    return _BASE_BYTES + _PER_BYTE * min(unit_bytes, largest)


def most_bytes(config: CompactConfig) -> int:
    """Return the memory at which a worker is ended: that of the largest image that is allowed."""
    return max(2 * worker_bytes(config), _BASE_BYTES + _PER_BYTE * config.read.max_image_bytes)


def require_memory(needed: int, nodes: Sequence[int], config: CompactConfig) -> int:
    """Return how many workers of so many bytes the nodes can hold.

    Raises
    ------
    CompactionError
        If not even one, and ``--run.check_space`` asks.
    """
    places = sum(memory // needed for memory in nodes)
    if places or not config.run.check_space:
        return places
    raise CompactionError(
        f"expected {_gb(needed)} of memory for a worker on one node, as the largest unit of work "
        f"needs, Ray has at most {_gb(max(nodes, default=0))} on a node (ray status shows it); "
        f"free memory, take a smaller --run.unit_bytes (now {config.run.unit_bytes}) or "
        f"--read.max_image_bytes (now {config.read.max_image_bytes}), or try all the same with "
        "--run.check_space false"
    )


def moving_bytes(plan: Plan, actors: int) -> int:
    """Return the bytes that are between the steps of a run at one time.

    In a shuffle all rows, since the last one may belong to the first unit; else some units
    that were read and wait, and some that wait to be written.
    """
    waiting = 2 * (actors + 1) * plan.largest_unit_bytes
    if plan.bounds is None:
        return min(waiting, 2 * plan.read_bytes)
    return plan.read_bytes + waiting


def require_spill(needed: int, stores: int, volumes: dict[str, tuple[int, int]]) -> None:
    """Refuse where object stores and the volumes behind them cannot hold what moves.

    Parameters
    ----------
    needed, stores : int
        Bytes: what moves, and what the object stores of all nodes hold.
    volumes : dict of str to (int, int)
        By volume: its free bytes and all of them.

    Raises
    ------
    StorageError
        Naming them.
    """
    rooms = {
        name: max(0, int(free - (1 - _SPILL_LIMIT) * total))
        for name, (free, total) in volumes.items()
    }
    if needed <= stores + sum(rooms.values()):
        return
    listed = ", ".join(f"{name} has {_gb(free)} free for it" for name, free in rooms.items())
    raise StorageError(
        f"expected {_gb(needed)} for rows between the steps of the run, the object stores hold "
        f"{_gb(stores)}, and where they spill, {listed}; free space there, start Ray with a larger "
        "--object-store-memory, take a smaller --run.unit_bytes or fewer --run.workers, or try all "
        "the same with --run.check_space false"
    )


def require_output(plan: Plan, output: str, config: CompactConfig) -> None:
    """Refuse a local output whose volume cannot hold what the run will write at the most.

    That is as much as Parquet inputs have, half of the text of others; less what an earlier
    attempt wrote. Object stores do not say what is free.

    Raises
    ------
    StorageError
        Naming the volume, and what is needed and free.
    """
    if not config.run.check_space or not storage.is_local(output) or plan.is_published:
        return
    folder = storage.join(output, "runs", plan.run_id, "units")
    n_done = min(len(storage.list_names(folder)), plan.n_units) if config.run.resume else 0
    needed = int(written_bytes(plan) * (1 - n_done / max(plan.n_units, 1)))
    free, _ = storage.free_bytes(storage.local_path(output))
    if needed > free:
        raise StorageError(
            f"{output}: expected {_gb(needed)} for the tables of this run, its volume has "
            f"{_gb(free)} free; nothing was written. Free space there (python jobs/vacuum.py lists "
            "files that no version needs), choose another --output, or try all the same with "
            "--run.check_space false"
        )


def written_bytes(plan: Plan) -> int:
    """Return about how many bytes the tables of a run have where nothing is merged."""
    total = 0.0
    for file in plan.inventory:
        if plan.formats[file.uri] in _WRITTEN:
            total += _WRITTEN[plan.formats[file.uri]] * file.file_bytes
    for unit in plan.read_units:
        for part in unit.slices:
            if part.format not in _WRITTEN:
                total += _WRITTEN_OF_TEXT * part.read_bytes
    return int(total)


def _gb(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:,.2f} GB"
