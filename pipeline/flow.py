"""The pipeline on one screen: plan -> read -> (shuffle) -> dedup + encode -> write -> publish.

With `sink.py`, which writes what this module moves, the only module that knows Ray.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import pyarrow as pa
import ray

from pipeline import publish, report, sink, storage, tasks
from pipeline.config import CompactConfig
from pipeline.errors import CompactionError, ConfigError, GateError, StorageError
from pipeline.plan import Plan, make_plan, name_run
from pipeline.read import scan
from pipeline.read.slices import FileScan
from pipeline.records import TABLES, DataFile, UnitRecord
from pipeline.storage import InputFile

SCAN_HERE_BYTES = 256 << 20
"""Inputs up to this size are scanned by the driver, larger ones by tasks."""

REJECTS_ALLOWED = 100
"""Rejects up to this number never stop a run, whatever their share."""

_RETRIES = 3
"""How often a task or an actor that died is tried again; Ray's default is for ever."""

Progress = Callable[[Plan, Sequence[UnitRecord]], None]


class Outcome(msgspec.Struct):
    """How a run ended: what its report says, and what the tables are now.

    Attributes
    ----------
    state : str
        ``published``, ``already`` (nothing to do) or ``planned`` (dry run).
    run_id : str
        The run.
    report : dict
        As in report.json; empty unless published.
    versions : dict of str to int
        Delta version of each table; empty unless published.
    plan : Plan or None
        None where nothing had to be planned.
    """

    state: str
    run_id: str
    report: dict[str, Any] = {}
    versions: dict[str, int] = {}
    plan: Plan | None = None


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
    timer = report.Timer()
    output = storage.to_uri(config.output)
    inventory = storage.list_inputs(config.inputs)
    given = [storage.to_uri(text) for text in config.inputs]
    target = publish.inspect_target(output, [*given, *(file.uri for file in inventory)])
    run_id = name_run(inventory, config)
    if is_live(target, run_id):
        return Outcome("already", run_id)
    timer.done("inventory")
    start_ray(config)
    timer.done("ray_start")
    plan, records = resume(output, run_id) if config.run.resume else (None, [])
    if plan is None:
        plan = make_plan(inventory, scan_all(inventory, config), config)
    timer.done("plan")
    if config.dry_run:
        return Outcome("planned", run_id, plan=plan)
    if not records:
        begin(plan, output)
    for record in execute(plan, config, output, frozenset(r.unit for r in records)):
        records.append(record)
        check_rejects(records, plan.n_rows, config)
        progress(plan, records)
    timer.done("execute")
    records.sort(key=lambda record: record.unit)
    files = check(plan, records, output)
    timer.done("verify")
    document = report.build(plan, records, config, timer)
    report.write(output, run_id, document)
    token = secrets.token_hex(8)
    versions = publish.publish(target, run_id, token, files, tasks.schemas(plan), {})
    timer.done("publish")
    return Outcome("published", run_id, document, versions, plan)


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


def resume(output: str, run_id: str) -> tuple[Plan | None, list[UnitRecord]]:
    """Return the plan and the finished units of a run of the same name that died, if one did.

    The run_id names content and settings, so its plan and its files are this run's own.
    """
    uri = tasks.plan_uri(output, run_id)
    if not storage.exists(uri):
        return None, []
    plan = msgspec.json.decode(storage.read_bytes(uri), type=Plan)
    return plan, sink.read_records(output, run_id)


def begin(plan: Plan, output: str) -> None:
    """Write the plan, after the records of an older attempt are gone."""
    sink.remove_records(output, plan.run_id)
    storage.write_bytes(tasks.plan_uri(output, plan.run_id), msgspec.json.encode(plan))


def execute(
    plan: Plan, config: CompactConfig, output: str, done: frozenset[int]
) -> Iterator[UnitRecord]:
    """Do all units of work that are not done on Ray Data; yield their records as they come.

    A keyed shuffle is in the way only where the plan has bounds. What moves
    through Ray is one row per unit (see `pipeline.transfer`).
    """
    pool = pool_size(config)
    context = tasks.UnitContext.of(plan, config, output, done)
    units = [pa.table({"task": [task]}) for task in tasks.read_tasks(plan, done)]
    if not units:
        return
    whole: dict[str, Any] = {"batch_format": "pyarrow", "batch_size": None, "zero_copy_batch": True}
    rows: Any = ray.data.from_arrow(units)
    rows = rows.map_batches(
        tasks.read_units,
        fn_args=(context,),
        num_cpus=pool.task_cpus,
        ray_remote_args_fn=lambda: {"max_retries": _RETRIES},
        **whole,
    )
    if plan.bounds is not None:
        rows = rows.repartition(plan.n_units, keys=["partition"])
    rows = rows.map_batches(
        tasks.CompactUnits,
        fn_constructor_args=(context,),
        compute=ray.data.ActorPoolStrategy(size=pool.actors),
        num_cpus=pool.actor_cpus,
        ray_remote_args_fn=lambda: {"max_restarts": _RETRIES, "max_task_retries": _RETRIES},
        **whole,
    )
    rows = rows.map_batches(
        tasks.write_units,
        fn_args=(context,),
        num_cpus=pool.task_cpus,
        ray_remote_args_fn=lambda: {"max_retries": _RETRIES},
        **whole,
    )
    for batch in rows.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        for data in batch["notes"].to_pylist():
            yield msgspec.json.decode(data, type=UnitRecord)


def scan_all(inventory: Sequence[InputFile], config: CompactConfig) -> list[FileScan]:
    """Look at every input file once: on the driver where that is quick, else in tasks."""
    total = sum(file.file_bytes for file in inventory)
    if total <= SCAN_HERE_BYTES:
        return [scan(file, config.read, config.run.unit_bytes) for file in inventory]
    remote = ray.remote(num_cpus=1, max_retries=3)(scan)
    pending = [remote.remote(file, config.read, config.run.unit_bytes) for file in inventory]
    return ray.get(pending)


def check_rejects(records: Sequence[UnitRecord], n_rows: int, config: CompactConfig) -> None:
    """Stop the run when more rows were rejected than allowed.

    Raises
    ------
    GateError
        Above 100 rejects and the fraction of ``--read.max_reject_fraction``.
    """
    by_code: dict[str, int] = {}
    for record in records:
        for code, count in record.rejects.items():
            by_code[code] = by_code.get(code, 0) + count
    rejected = sum(by_code.values())
    limit = config.read.max_reject_fraction
    if rejected > REJECTS_ALLOWED and rejected > limit * n_rows:
        reasons = ", ".join(f"{code} {count}" for code, count in sorted(by_code.items()))
        raise GateError(
            f"expected at most {limit:.2%} of {n_rows} rows to be rejected, got {rejected} so far "
            f"({reasons}); nothing was published. Mend the input, or raise "
            "--read.max_reject_fraction"
        )


def check(plan: Plan, records: Sequence[UnitRecord], output: str) -> dict[str, list[DataFile]]:
    """Check before the commit that every row is accounted for and nothing has changed.

    Returns
    -------
    dict
        The files to publish, by table.

    Raises
    ------
    StorageError
        If rows were lost, inputs changed, or a file is not what its record says.
    """
    totals = report.total_sources(records)
    read = sum(counts.read for counts in totals.values())
    if read != plan.n_rows or not all(counts.is_conserved() for counts in totals.values()):
        raise StorageError(
            f"expected every row of the input once: {plan.n_rows} were planned, {read} were read; "
            f"by file: {totals}. Nothing was published; this is a fault of the run: run it again"
        )
    changed = storage.changed_files(plan.inventory)
    if changed:
        raise ConfigError(
            "expected the inputs to stay as they were during the run, but "
            + "; ".join(changed)
            + ". Nothing was published; run again when they are complete"
        )
    files: dict[str, list[DataFile]] = {name: [] for name in TABLES}
    for record in records:
        for file in record.files:
            files[file.table].append(file)
    publish.verify_files(
        output, [f for group in files.values() for f in group], tasks.schemas(plan)
    )
    return files


class PoolSize(msgspec.Struct):
    """How many actors run, and what each actor and task reserves of a CPU."""

    actors: int
    actor_cpus: float
    task_cpus: float


def pool_size(config: CompactConfig) -> PoolSize:
    """Size the actor pool so that reads and writes always find a CPU.

    Actors take half of the CPUs; a pool that takes all of them waits for ever
    for reads that cannot start.
    """
    cpus = ray.cluster_resources().get("CPU", 1.0)
    actors = config.run.workers or max(1, int(cpus // 2))
    task_cpus = 1.0 if cpus >= 4 else 0.5
    return PoolSize(actors, min(1.0, cpus / (2 * actors)) - 0.01, task_cpus)


def start_ray(config: CompactConfig) -> None:
    """Join the cluster that RAY_ADDRESS names, or start a local Ray that ends with this process.

    Raises
    ------
    CompactionError
        If Ray does not start or answer.
    ConfigError
        For ``--device cuda`` without a GPU, and for a local output path on several nodes.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    if not ray.is_initialized():
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        if not os.environ.get("RAY_ADDRESS"):
            options |= {"address": "local", "include_dashboard": False}
        try:
            ray.init(**options)
        except Exception as error:  # Ray raises bare Exceptions here
            where = os.environ.get("RAY_ADDRESS", "on this machine")
            raise CompactionError(
                f"expected Ray to start or answer ({where}), got: {error}. Check the address, "
                "the machine's free memory and its load, and run again"
            ) from error
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    data = ray.data.DataContext.get_current()
    data.enable_progress_bars = False
    data.print_on_execution_start = False
    if config.device == "cuda" and not ray.cluster_resources().get("GPU", 0):
        raise ConfigError(
            "--device cuda: expected a GPU in the cluster, found none; "
            "use --device auto or cpu, or add a node with a GPU"
        )
    n_nodes = sum(node["Alive"] for node in ray.nodes())
    is_local = storage.is_local(storage.to_uri(config.output))
    if n_nodes > 1 and is_local and not config.run.shared_path:
        raise ConfigError(
            f"--output {config.output}: expected a URI that all {n_nodes} nodes reach, got a "
            "local path; use object storage, or state --run.shared_path true"
        )
