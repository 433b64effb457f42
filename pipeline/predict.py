"""Images -> a detector -> the main job's tables, with nothing but runs in between.

The steps behind the detector, the tables and the way they are published are those of
`pipeline.flow`. What is not: nothing reads the masks again from a source, so the
run leaves no plan, is not continued where it died, and `verify` says that it cannot
compare with sources.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from typing import Any

import msgspec
import pyarrow as pa

from pipeline import (
    checks,
    cluster,
    ending,
    execution,
    flow,
    publish,
    report,
    storage,
    tasks,
    watch,
)
from pipeline.checks import RejectLimit
from pipeline.config import CompactConfig, ReadConfig
from pipeline.detector import DetectConfig, DetectUnits, ImageUnit
from pipeline.errors import ConfigError, InputError
from pipeline.plan import SAMPLE_FRACTION, SAMPLE_IMAGES, Plan, ReadUnit, name_run
from pipeline.read.image_ids import convert_id
from pipeline.records import UnitRecord, total_sources
from pipeline.storage import InputFile
from pipeline.totals import Totals

_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
IMAGE_SUFFIXES = (*_ENDINGS, *(suffix.upper() for suffix in _ENDINGS))
"""Endings by which the files of a directory count as images."""

HERE_IMAGES = 16
"""Up to so many images are done in this process, without Ray."""

STARTS_OVER = "the same command starts over"
"""What is said of going on where a run was ended."""

READ_FIELDS = ("id_mode", "category_space", "on_invalid", "repair", "max_reject_fraction")
"""What of `ReadConfig` means something for predictions."""


def run(
    config: CompactConfig,
    detect: DetectConfig,
    progress: flow.Progress = lambda plan, records: None,
) -> flow.Outcome:
    """Find the instances of images and compact them into the output's tables.

    Parameters
    ----------
    config : CompactConfig
        ``inputs`` are images: files, directories, globs, URIs. ``image_id`` is the name of
        the file without its ending, an integer with ``--read.id_mode int``.
    detect : DetectConfig
        What finds the instances.
    progress : callable
        Called with the plan and the records so far whenever a unit is done.

    Raises
    ------
    CompactionError
        See `pipeline.errors`; nothing was published then, but for `CommitUnknownError`.
    """
    _require_read_settings(config.read)
    with flow.bounded(config, STARTS_OVER) as limits:
        return _run(config, detect, progress, limits)


def _run(
    config: CompactConfig, detect: DetectConfig, progress: flow.Progress, limits: watch.Watch
) -> flow.Outcome:
    timer = report.Timer()
    output = storage.to_uri(config.output)
    inventory = storage.list_inputs(config.inputs, IMAGE_SUFFIXES)
    given = [storage.to_uri(text) for text in config.inputs]
    target = publish.inspect_target(output, [*given, *(file.uri for file in inventory)])
    plan, units = make_plan(inventory, config, detect)
    timer.done("plan")
    if flow.is_live(target, plan.run_id):
        damaged = publish.damaged_files(target)
        if damaged:
            checks.require_rebuildable(output, plan.run_id, damaged)
        return flow.Outcome("already", plan.run_id)
    if config.dry_run:
        return flow.Outcome("planned", plan.run_id, plan=plan)
    with publish.beating(output, plan.run_id):
        records: list[UnitRecord] = []
        totals = Totals()
        n_rows = 0
        limits.progress(0, plan.n_units)
        for record in _do(units, plan, config, detect, output, limits):
            records.append(record)
            totals.add(record)
            n_rows += sum(counts.read for counts in record.sources.values())
            progress(plan, records)
            limits.progress(len(records), plan.n_units)
            limits.check()
        limits.executed()
        totals.end()
        records.sort(key=lambda record: record.unit)
        plan = msgspec.structs.replace(plan, n_rows=n_rows)
        _limit_rejects(plan, records, config)
        timer.done("execute")
        done = ending.Done(output, plan, config, records, timer)
        reported = ending.write_report(done)
        versions = ending.commit(done, reported, target, limits)
    page = ending.write_page(done, reported)
    return flow.Outcome("published", plan.run_id, reported.document, versions, plan, page)


def make_plan(
    inventory: list[InputFile], config: CompactConfig, detect: DetectConfig
) -> tuple[Plan, list[ImageUnit]]:
    """Share the images out to units of work, in order of their ids.

    Raises
    ------
    InputError
        If two images have the same id, or a name is no id of the type asked for.
    """
    id_type = "int" if config.read.id_mode == "int" else "string"
    ids: dict[int | str, str] = {}
    for file in inventory:
        image_id = convert_id(_stem(file.uri), id_type, config.read.id_mode)
        if image_id is None:
            raise InputError(f"{file.uri}: --read.id_mode int: expected a name of digits")
        if ids.setdefault(image_id, file.uri) != file.uri:
            raise InputError(
                f"expected images of different names, got {ids[image_id]} and {file.uri}, both "
                f"of the image_id {image_id!r}; run them apart or rename one"
            )
    ordered: list[Any] = sorted(ids, key=lambda value: str(value).encode())
    if id_type == "int":
        ordered = sorted(ids)
    chunks = range(0, len(ordered), detect.unit_images)
    own = [ordered[first : first + detect.unit_images] for first in chunks]
    units = [ImageUnit(n, [ids[one] for one in some], some) for n, some in enumerate(own)]
    plan = Plan(
        run_id=_name(inventory, config, detect),
        inventory=inventory,
        formats={file.uri: "image" for file in inventory},
        contexts={},
        id_type=id_type,
        extras=b"",
        read_units=[ReadUnit(unit.unit, []) for unit in units],
        bounds=None,
        n_rows=0,
        sample_fraction=min(1.0, max(SAMPLE_FRACTION, SAMPLE_IMAGES / max(len(ids), 1))),
    )
    return plan, units


def _do(
    units: list[ImageUnit],
    plan: Plan,
    config: CompactConfig,
    detect: DetectConfig,
    output: str,
    limits: watch.Watch,
) -> Iterator[UnitRecord]:
    """Do all units, through Ray Data or, where there are few images, here."""
    context = tasks.UnitContext.of(plan, config, output, frozenset())
    messages = [pa.table({"task": [msgspec.json.encode(unit)]}) for unit in units]
    if len(plan.inventory) <= HERE_IMAGES and execution.may_run_here(config):
        yield from execution.compact_here(messages, context, DetectUnits(context, detect))
        return
    flow.start_ray(config, limits)
    gpus = cluster.detector_gpus(config, detect.workers) if detect.gpus is None else detect.gpus
    if gpus and config.device == "auto":
        # The detector has the GPUs; what waits for one beside it would wait for ever.
        context = context._replace(config=dataclasses.replace(config, device="cpu"))
    pool = cluster.pool_size(context.config, config.run.unit_bytes)

    def read(rows: Any) -> Any:
        return rows.map_batches(
            DetectUnits,
            fn_constructor_args=(context, detect),
            concurrency=detect.workers,
            num_cpus=pool.task_cpus / detect.workers,
            num_gpus=gpus,
            **execution.ACTOR,
        )

    yield from execution.compact_rows(messages, context, pool, read)


def _limit_rejects(plan: Plan, records: list[UnitRecord], config: CompactConfig) -> None:
    limit = RejectLimit(plan.n_rows, config.read)
    for record in records:
        limit.add(record)
    assert sum(counts.read for counts in total_sources(records).values()) == plan.n_rows


def _name(inventory: list[InputFile], config: CompactConfig, detect: DetectConfig) -> str:
    """Return the run_id: equal for the same images, settings and detector."""
    parts = [name_run(inventory, config), detect.callable, detect.arguments]
    data = msgspec.json.encode(parts, order="sorted")
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def _stem(uri: str) -> str:
    name = uri.rsplit("/", 1)[-1]
    return name.rsplit(".", 1)[0] if "." in name else name


def _require_read_settings(read: ReadConfig) -> None:
    """Refuse settings of reading files, which would be without effect."""
    default = ReadConfig()
    for field in dataclasses.fields(ReadConfig):
        value = getattr(read, field.name)
        if field.name not in READ_FIELDS and value != getattr(default, field.name):
            raise ConfigError(
                f"--read.{field.name}: expected none of it for predictions, got {value!r}; only "
                f"{', '.join(READ_FIELDS)} apply"
            )
