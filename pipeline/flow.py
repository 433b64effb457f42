"""The pipeline on one screen: plan -> read -> (shuffle) -> dedup + encode -> write -> publish.

With `sink.py`, which writes what this module moves, the only module that knows Ray.
"""

from __future__ import annotations

import logging
import os
import secrets
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import pyarrow as pa
import ray
from ray.util.annotations import RayDeprecationWarning

from pipeline import (
    checks,
    cluster,
    evaluate,
    publish,
    report,
    room,
    runs,
    storage,
    tasks,
    watch,
)
from pipeline.checks import RejectLimit
from pipeline.config import CompactConfig
from pipeline.errors import CompactionError, ConfigError
from pipeline.plan import Plan, SkippedFile, make_plan, name_run
from pipeline.read.slices import FileScan
from pipeline.records import UnitRecord
from pipeline.storage import InputFile
from pipeline.totals import Totals

SCAN_HERE_BYTES = 256 << 20
"""Inputs up to this size are scanned by the driver, larger ones by tasks."""

SCAN_HERE_FILES = 10_000
"""And as many files."""

HERE_BYTES = 16 << 20
"""A run of one unit and no more input than this is done without Ray."""

_WHOLE: dict[str, Any] = {"batch_format": "pyarrow", "batch_size": None}
_TASK: dict[str, Any] = {**_WHOLE, "max_retries": 2}
ACTOR: dict[str, Any] = {**_WHOLE, "max_task_retries": 2}
"""Whole blocks, and finite retries: Ray's default is to retry for ever."""

_PASSES = 4
"""How often units are given to Ray: once, and with care after workers died again and again."""

_LOG = logging.getLogger("maskpress")

Progress = Callable[[Plan, Sequence[UnitRecord]], None]


class Outcome(msgspec.Struct):
    """How a run ended: what its report says, and what the tables are now.

    Attributes
    ----------
    state : str
        ``published``, ``already`` (nothing to do), ``rebuilt`` (already, but files were damaged) or
        ``planned`` (dry run).
    run_id : str
        The run.
    report : dict
        As in report.json; empty unless published.
    versions : dict of str to int
        Delta version of each table; empty unless published.
    plan : Plan or None
        None where nothing had to be planned.
    page : str
        Where report.html is, or why it was not made; empty unless published.
    damaged : dict of str to str
        What was wrong with live files, by table/name; they were written anew.
    """

    state: str
    run_id: str
    report: dict[str, Any] = {}
    versions: dict[str, int] = {}
    plan: Plan | None = None
    page: str = ""
    damaged: dict[str, str] = {}


def run(config: CompactConfig, progress: Progress = lambda plan, records: None) -> Outcome:
    """Compact the inputs into the output's tables.

    Parameters
    ----------
    config : CompactConfig
        What to do.
    progress : callable
        Called with the plan and the records so far whenever a unit is done.

    Raises
    ------
    CompactionError
        See `pipeline.errors`; nothing was published then, but for `CommitUnknownError`.
    """
    with watch.bounded(config.run) as limits:
        return _run(config, progress, limits)


def _run(config: CompactConfig, progress: Progress, limits: watch.Watch) -> Outcome:
    timer = report.Timer()
    output = storage.to_uri(config.output)
    inventory = storage.list_inputs(config.inputs)
    given = [storage.to_uri(text) for text in config.inputs]
    target = publish.inspect_target(output, [*given, *(file.uri for file in inventory)])
    run_id = name_run(inventory, config)
    if is_live(target, run_id):
        damaged = publish.damaged_files(target)
        if damaged:
            return rebuild(target, run_id, damaged, config, progress, limits)
        if not config.dry_run:
            report.render_missing(output, run_id, config.report)
        return Outcome("already", run_id)
    truth_file = config.report.ground_truth
    truth = evaluate.read_truth(truth_file) if truth_file else None
    images = report.find_folder(config.report)
    timer.done("inventory")
    old_plan = runs.read_plan(output, run_id) if config.run.resume else None
    if old_plan is None and is_large(inventory):
        cluster.start(config)
        timer.done("ray_start")
    plan = old_plan or look(inventory, config)
    timer.done("plan")
    if config.dry_run:
        return Outcome("planned", run_id, plan=plan)
    if not fits_here(plan, config):
        cluster.start(config)
        timer.done("ray_start")
    room.require_output(plan, output, config)
    if old_plan is None:
        runs.begin(plan, output)
        timer.done("begin")
    with publish.beating(output, run_id):
        records = compact_units(plan, config, output, progress, limits)
        timer.done("execute")
        schemas = tasks.schemas(plan)
        files = checks.before_commit(plan, records, output, schemas)
        timer.done("verify")
        metrics = evaluate.compare(truth, plan, records, config, output) if truth else None
        timer.done("metrics")
        document = report.build(plan, records, config, timer, metrics, truth)
        document["backend_reason"] = cluster.choose_backend(config).reason
        report.write(output, document, records, report.file_namer(images, plan, truth))
        if report.failed_gates(document):
            report.render(output, run_id, images)
            report.require_gates(document)
        limits.check()
        limits.hold()
        versions = publish.publish(target, run_id, secrets.token_hex(8), files, schemas, {})
        timer.done("publish")
    report.finish(output, document, plan, records, timer)
    page = report.render(output, run_id, images)
    return Outcome("published", run_id, document, versions, plan, page)


def is_live(target: publish.Target, run_id: str) -> bool:
    """Return whether the tables already hold exactly this run.

    Raises
    ------
    ConfigError
        If an older version of the tables does: going back is not computing again.
    """
    state = publish.find_run(target, run_id)
    if state.kind == "superseded":
        raise ConfigError(
            f"{target.uri}: version {state.version} already holds this run ({run_id}) and was "
            f"replaced since; to go back: python jobs/restore.py {target.uri} "
            f"--version {state.version}"
        )
    return state.kind == "live"


def rebuild(
    target: publish.Target,
    run_id: str,
    damaged: dict[str, str],
    config: CompactConfig,
    progress: Progress,
    limits: watch.Watch,
) -> Outcome:
    """Write files of a live run anew that are missing or cut, with the very bytes they had.

    Raises
    ------
    StorageError
        If that cannot be, or would give other bytes; nothing was changed then.
    """
    plan = checks.require_rebuildable(target.uri, run_id, damaged)
    if config.dry_run:
        return Outcome("planned", run_id, plan=plan)
    if not fits_here(plan, config):
        cluster.start(config)
    with publish.beating(target.uri, run_id):
        records = compact_units(plan, config, target.uri, progress, limits)
        checks.before_commit(plan, records, target.uri, tasks.schemas(plan))
    return Outcome("rebuilt", run_id, plan=plan, damaged=damaged)


def compact_units(
    plan: Plan, config: CompactConfig, output: str, progress: Progress, limits: watch.Watch
) -> list[UnitRecord]:
    """Do the units that a run of the same name has not done before; return all records, by unit."""
    records = runs.read_records(output, plan.run_id)
    totals = Totals()
    limit = RejectLimit(plan.n_rows, config.read)
    for record in records:
        totals.add(record)
        limit.add(record)
    done = frozenset(record.unit for record in records)
    do = execute_here if fits_here(plan, config) else execute
    limits.progress(len(records), plan.n_units)
    for record in do(plan, config, output, done):
        records.append(record)
        totals.add(record)
        limit.add(record)
        progress(plan, records)
        limits.progress(len(records), plan.n_units)
        limits.check()
    limits.executed()
    totals.end()
    return sorted(records, key=lambda record: record.unit)


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
    """Do units of work on Ray Data; `read` puts its own steps between units and their rows."""
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
    for batch in rows.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        for data in batch["notes"].to_pylist():
            yield msgspec.json.decode(data, type=UnitRecord)


def is_large(inventory: Sequence[InputFile]) -> bool:
    """Return whether input files are looked at by tasks, not by the driver."""
    n_bytes = sum(file.file_bytes for file in inventory)
    return n_bytes > SCAN_HERE_BYTES or len(inventory) > SCAN_HERE_FILES


def look(inventory: Sequence[InputFile], config: CompactConfig) -> Plan:
    """Look at every input file once, on the driver where that is quick, else in tasks; plan.

    Raises
    ------
    InputError, SchemaError
        For the first file that cannot be read, unless ``--read.skip_bad_files``
        leaves it out; also when no file is left.
    """
    ask = (config.read, config.run.unit_bytes)
    if not is_large(inventory):
        found = tasks.scan_all(inventory, *ask)
    else:
        cluster.start(config)
        remote = ray.remote(num_cpus=1, max_retries=3)(tasks.scan_all)
        calls = [remote.remote(files, *ask) for files in tasks.scan_batches(inventory)]
        found = [scan for call in calls for scan in ray.get(call)]
    scans = [scan for scan in found if isinstance(scan, FileScan)]
    errors = [error for error in found if isinstance(error, CompactionError)]
    if errors and not (config.read.skip_bad_files and scans):
        raise errors[0]
    pairs = list(zip(inventory, found, strict=True))
    good = [file for file, scan in pairs if isinstance(scan, FileScan)]
    bad = [SkippedFile(file, e.message) for file, e in pairs if isinstance(e, CompactionError)]
    return make_plan(good, scans, config, bad)
