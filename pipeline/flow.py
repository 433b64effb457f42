"""The pipeline on one screen: look -> plan -> do the units -> end (check, report, publish).

`pipeline.execution` moves the units through Ray: read -> (shuffle) -> dedup + encode -> write.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
import ray

from pipeline import (
    checks,
    cluster,
    ending,
    evaluate,
    execution,
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
from pipeline.errors import ClusterError, CompactionError, ConfigError
from pipeline.plan import Plan, SkippedFile, make_plan, name_run
from pipeline.read.slices import FileScan
from pipeline.records import UnitRecord
from pipeline.storage import InputFile
from pipeline.totals import Totals

SCAN_HERE_BYTES = 256 << 20
"""Inputs up to this size are scanned by the driver, larger ones by tasks."""

SCAN_HERE_FILES = 10_000
"""And as many files."""

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
    with bounded(config) as limits:
        return _run(config, progress, limits)


@contextmanager
def bounded(config: CompactConfig, again: str = watch.CONTINUES) -> Generator[watch.Watch]:
    """Keep the limits of a run while the block runs; leave a Ray whose head is lost.

    Raises
    ------
    DeadlineError, ClusterError, CompactionError
        As `pipeline.watch.bounded`.
    """
    try:
        with watch.bounded(config.run, again=again) as limits:
            yield limits
    except ClusterError as error:
        cluster.leave(error)
        raise


def start_ray(config: CompactConfig, limits: watch.Watch) -> None:
    """Start or join Ray; from here on the run ends where its head is lost.

    Raises
    ------
    CompactionError, ConfigError
        As `pipeline.cluster.start`.
    """
    cluster.start(config)
    limits.rely(cluster.head())


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
        start_ray(config, limits)
        timer.done("ray_start")
    plan = old_plan or look(inventory, config)
    timer.done("plan")
    if config.dry_run:
        return Outcome("planned", run_id, plan=plan)
    if not execution.fits_here(plan, config):
        start_ray(config, limits)
        timer.done("ray_start")
    room.require_output(plan, output, config)
    if old_plan is None:
        runs.begin(plan, output)
        timer.done("begin")
    with publish.beating(output, run_id):
        records = compact_units(plan, config, output, progress, limits)
        timer.done("execute")
        done = ending.Done(output, plan, config, records, timer, truth, images)
        reported = ending.write_report(done)
        versions = ending.commit(done, reported, target, limits)
    page = ending.write_page(done, reported)
    return Outcome("published", run_id, reported.document, versions, plan, page)


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
    if not execution.fits_here(plan, config):
        start_ray(config, limits)
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
    is_here = execution.fits_here(plan, config)
    do = execution.execute_here if is_here else execution.execute
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
