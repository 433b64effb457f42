"""How units of work are done: on Ray Data, or one small unit in the driver.

On Ray a unit is read, meets the rest of its images in a shuffle where the plan has bounds,
is deduplicated and encoded by an actor, and written: one row that holds its tables all the way.
With `flow.py`, which looks at many inputs in tasks, and `cluster.py`, all that knows Ray.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import pyarrow as pa
import ray
import ray.exceptions
from ray.util.annotations import RayDeprecationWarning

from pipeline import cluster, estimate, runs, storage, tasks
from pipeline.config import CompactConfig, EncodeConfig
from pipeline.estimate import EncodingTrial
from pipeline.plan import Plan
from pipeline.records import MaskSample, UnitRecord

HERE_BYTES = 16 << 20
"""A run of one unit and no more input than this is done without Ray."""

_WHOLE: dict[str, Any] = {"batch_format": "pyarrow", "batch_size": None}
_TASK: dict[str, Any] = {**_WHOLE, "max_retries": 2}
ACTOR: dict[str, Any] = {**_WHOLE, "max_task_retries": 2}
"""Whole blocks, and finite retries: Ray's default is to retry for ever."""

_PASSES = 4
"""How often units are given to Ray: once, and with care after workers died again and again."""

_ENCODINGS_S = 600.0
"""How long a worker may take for other encodings, kernels that it has to compile included."""

_LOG = logging.getLogger("maskpress")


def fits_here(plan: Plan, config: CompactConfig) -> bool:
    """Return whether a run is one small unit, which the driver has done before Ray has started.

    Never where a Ray is there already or is named, nor where workers or a device are asked for.
    """
    is_small = plan.n_units == 1 and plan.bounds is None and plan.input_bytes <= HERE_BYTES
    return is_small and may_run_here(config)


def may_run_here(config: CompactConfig) -> bool:
    """Return whether nothing asks for Ray: none is there or named, nor workers or a device."""
    is_free = not ray.is_initialized() and not os.environ.get("RAY_ADDRESS")
    return is_free and config.run.workers is None and config.device != "cuda"


def execute_here(
    plan: Plan, config: CompactConfig, output: str, done: frozenset[int]
) -> Iterator[UnitRecord]:
    """Do the units of work without Ray, through the same steps as `execute`.

    Reading and compacting are done in a process of its own, which may die; writing here.
    """
    context = tasks.UnitContext.of(plan, config, output, done, is_careful=True)
    # Clients of stores keep threads, which a copy of this process does not have.
    is_local = all(storage.is_local(file.uri) for file in plan.inventory)
    context = context._replace(can_fork=sys.platform == "linux" and is_local)
    units = [pa.table({"task": [task]}) for task in tasks.read_tasks(plan, done)]
    try:
        yield from compact_here(units, context, lambda unit: tasks.read_units(unit, context))
    finally:
        tasks.end_careful()


def compact_here(
    units: Sequence[pa.Table],
    context: tasks.UnitContext,
    read: Callable[[pa.Table], Iterator[pa.Table]],
) -> Iterator[UnitRecord]:
    """Do units of work in this process; `read` gives messages of rows for a unit."""
    compact = tasks.CompactUnits(context)
    for task in units:
        for rows in read(task):
            for unit in compact(rows):
                for written in tasks.write_units(unit, context):
                    yield msgspec.json.decode(written["notes"][0].as_py(), type=UnitRecord)


def execute(
    plan: Plan, config: CompactConfig, output: str, done: frozenset[int]
) -> Iterator[UnitRecord]:
    """Do all units of work that are not done on Ray Data; yield their records as they come.

    Where the worker of a unit dies again and again, the units that are left are done with
    care: in processes of their own, in which the rows at fault are found and rejected.
    """
    for number in range(_PASSES):
        try:
            for record in stream(plan, config, output, done, is_careful=number > 0):
                done |= {record.unit}
                yield record
        except Exception as error:
            reason = cluster.find_death(error)
            if reason is None or number == _PASSES - 1:
                raise
        else:
            return
        _LOG.warning("a worker died again and again (%s): going on with care", reason)
        cluster.restart(config)
        for record in runs.read_records(output, plan.run_id):
            if record.unit not in done:
                done |= {record.unit}
                yield record


def try_encodings(masks: Sequence[MaskSample], config: EncodeConfig) -> Callable[[], EncodingTrial]:
    """Begin to try some masks in every encoding; return what waits for the result.

    Where Ray is there, one of its workers is asked: it has loaded most of the kernels already,
    and where one of them has to be compiled, or dies of a mask, nothing waits for it but the page.
    """
    if not masks or not ray.is_initialized():
        return lambda: estimate.try_encodings(masks, config)
    ask = ray.remote(num_cpus=0, max_retries=1)(estimate.try_encodings).remote(masks, config)

    def wait() -> EncodingTrial:
        try:
            return ray.get(ask, timeout=_ENCODINGS_S)
        except ray.exceptions.RayError as error:
            _LOG.warning("other encodings were not tried: %s", str(error).partition("\n")[0])
            return EncodingTrial(0, {})

    return wait


def stream(
    plan: Plan, config: CompactConfig, output: str, done: frozenset[int], is_careful: bool
) -> Iterator[UnitRecord]:
    """Do units of work on Ray Data, with care or without; yield their records as they come.

    A keyed shuffle is in the way only where the plan has bounds. What moves
    through Ray is one row per unit (see `pipeline.transfer`).
    """
    pool = cluster.pool_size(config, plan.largest_unit_bytes)
    cluster.require_room(plan, config, pool)
    context = tasks.UnitContext.of(plan, config, output, done, is_careful)
    units = [pa.table({"task": [task]}) for task in tasks.read_tasks(plan, done)]
    if not units:
        return

    def read(rows: Any) -> Any:
        rows = rows.map_batches(
            tasks.read_units,
            fn_args=(context,),
            num_cpus=pool.task_cpus,
            memory=pool.memory_bytes,
            **_TASK,
        )
        if plan.bounds is not None:
            rows = rows.repartition(plan.n_units, keys=["partition"])
        return rows

    yield from compact_rows(units, context, pool, read)


def compact_rows(
    units: Sequence[pa.Table],
    context: tasks.UnitContext,
    pool: cluster.PoolSize,
    read: Callable[[Any], Any],
) -> Iterator[UnitRecord]:
    """Do units of work on Ray Data; `read` puts its own steps between units and their rows.

    Raises
    ------
    StorageError
        If an object store is full, and the disk behind it.
    """
    with warnings.catch_warnings():
        # Finite retries have no other door yet: Ray means to close this one in 2.64.
        warnings.simplefilter("ignore", RayDeprecationWarning)
        rows = read(ray.data.from_arrow(list(units)))
        rows = rows.map_batches(
            tasks.CompactUnits,
            fn_constructor_args=(context, pool.actor_gpus),
            compute=ray.data.ActorPoolStrategy(size=pool.actors),
            num_cpus=pool.actor_cpus,
            num_gpus=pool.actor_gpus,
            memory=pool.memory_bytes,
            **ACTOR,
        )
        rows = rows.map_batches(
            tasks.write_units, fn_args=(context,), num_cpus=pool.task_cpus, **_TASK
        )
    try:
        for batch in rows.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            for data in batch["notes"].to_pylist():
                yield msgspec.json.decode(data, type=UnitRecord)
    except ray.exceptions.RayError as error:
        full = cluster.find_full_disk(error)
        if full is None:
            raise
        raise full from error
