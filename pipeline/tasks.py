"""What runs on workers: read a unit, deduplicate and encode it, write it.

Plain functions and one small class over messages (`pipeline.transfer`); Ray
calls them, they do not know Ray.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext

import msgspec
import numpy as np
import pyarrow as pa

from pipeline import sink
from pipeline.careful import Careful, seconds
from pipeline.child import ends_after
from pipeline.config import ReadConfig
from pipeline.errors import InputError, SchemaError
from pipeline.oversize import split_oversize
from pipeline.plan import Plan, ReadUnit, parse_extras, partition_rows
from pipeline.read import FileScan, ReadResult, Slice, SourceContext, read, scan
from pipeline.records import SourceCounts, UnitRecord
from pipeline.steps import UnitContext, compact_rows
from pipeline.storage import InputFile
from pipeline.transfer import cell, from_ipc, message, to_ipc
from pipeline.unit import UnitResult
from schemas.compacted import compacted_schema
from schemas.instances import instances_schema
from schemas.lineage import lineage_schema
from schemas.rejects import rejects_schema

SCAN_FILES = 500
"""Files that one task looks at, at most."""

SCAN_BYTES = 64 << 20
"""Bytes of these files together, unless it is one."""

_HELPERS: dict[str, Careful] = {}

Reads = Callable[[Slice, SourceContext, ReadConfig, str], ReadResult]
"""`pipeline.read.read`, or what does the same with care."""


class ReadTask(msgspec.Struct):
    """A read unit, with what its files need beside their own bytes."""

    unit: ReadUnit
    contexts: dict[str, SourceContext]


class ReadNotes(msgspec.Struct):
    """What reading one message's rows counted."""

    sources: dict[str, int]
    counters: dict[str, int]
    read_s: float
    read_bytes: int


def try_scan(
    file: InputFile, config: ReadConfig, unit_bytes: int
) -> FileScan | InputError | SchemaError:
    """Look at a file; return the error of one that cannot be read instead of raising it."""
    try:
        return scan(file, config, unit_bytes)
    except (InputError, SchemaError) as error:
        return error


def scan_all(
    files: Sequence[InputFile], config: ReadConfig, unit_bytes: int
) -> list[FileScan | InputError | SchemaError]:
    """Look at some files one after the other, see `try_scan`."""
    return [try_scan(file, config, unit_bytes) for file in files]


def scan_batches(inventory: Sequence[InputFile]) -> list[list[InputFile]]:
    """Return the files in their order, as many together as one task looks at.

    That is at most `SCAN_FILES`, and beside a large file none: a task costs a few milliseconds, as
    much as looking at a dozen small files.
    """
    batches: list[list[InputFile]] = []
    n_bytes = 0
    for file in inventory:
        n_bytes += file.file_bytes
        if not batches or n_bytes > SCAN_BYTES or len(batches[-1]) == SCAN_FILES:
            batches.append([])
            n_bytes = file.file_bytes
        batches[-1].append(file)
    return batches


def schemas(plan: Plan) -> dict[str, pa.Schema]:
    """Return the schema of every table that the run writes."""
    return {
        "compacted": compacted_schema(plan.id_type, parse_extras(plan.extras)),
        "lineage": lineage_schema(plan.id_type),
        "rejects": rejects_schema(),
    }


def read_tasks(plan: Plan, done: frozenset[int]) -> list[bytes]:
    """Return a message for every read unit that is still needed.

    Where rows are shuffled every unit is read again as long as a partition is missing.
    """
    is_shuffled = plan.bounds is not None
    needed = [unit for unit in plan.read_units if is_shuffled or unit.unit not in done]
    if len(done) == plan.n_units:
        return []
    return [
        msgspec.json.encode(
            ReadTask(unit, {part.uri: plan.contexts[part.uri] for part in unit.slices})
        )
        for unit in needed
    ]


def read_units(table: pa.Table, context: UnitContext) -> Iterator[pa.Table]:
    """Read the slices of each task; yield a message per unit, or per partition of it."""
    reads = _careful(context, False).read if context.is_careful else read
    names = ("partition", "unit", "instances", "rejects", "notes")
    for data in table["task"].to_pylist():
        task = msgspec.json.decode(data, type=ReadTask)
        for row in _read_unit(task, context, reads):
            yield message([row], names)


def _read_unit(task: ReadTask, context: UnitContext, reads: Reads) -> Iterator[dict[str, object]]:
    started = time.perf_counter()
    schema = instances_schema(context.id_type, parse_extras(context.extras))
    instances: list[pa.Table] = [schema.empty_table()]
    rejects: list[pa.Table] = [rejects_schema().empty_table()]
    notes = ReadNotes({}, {}, 0.0, 0)
    for part, result in _read_slices(task, context, reads):
        instances.append(_with_extras(result.instances, schema))
        rejects += [result.rejects, result.repairs]
        n_rows = len(result.instances) + len(result.rejects)
        notes.sources[part.uri] = notes.sources.get(part.uri, 0) + n_rows
        for name, count in result.counters.items():
            notes.counters[name] = notes.counters.get(name, 0) + count
        notes.read_bytes += part.read_bytes
    rows, bad = pa.concat_tables(instances), pa.concat_tables(rejects)
    notes.read_s = time.perf_counter() - started
    unit = task.unit.unit
    empty = schema.empty_table()
    parts = [(unit, rows)]
    if context.bounds is not None:
        homes = _homes(unit, len(context.bounds) + 1, context.n_read_units)
        parts = [*((home, empty) for home in homes), *_split(rows, context.bounds)]
    for n, (partition, own) in enumerate(parts):
        if partition not in context.done:
            yield {
                "partition": partition,
                "unit": unit,
                "instances": to_ipc(own),
                "rejects": to_ipc(bad if n == 0 else bad.slice(0, 0)),
                "notes": msgspec.json.encode(notes if n == 0 else ReadNotes({}, {}, 0.0, 0)),
            }


def _read_slices(
    task: ReadTask, context: UnitContext, reads: Reads
) -> Iterator[tuple[Slice, ReadResult]]:
    """Read the slices of a unit; each has the time that a unit may take."""
    with nullcontext() if context.is_careful else ends_after(seconds(context.config)) as renew:
        for part in task.unit.slices:
            source = task.contexts[part.uri]
            yield part, reads(part, source, context.config.read, context.id_type)
            if renew:
                renew()


def _homes(unit: int, n_partitions: int, n_units: int) -> list[int]:
    """Return the partitions that hear from a read unit even if it has no row for them.

    The first keeps its rejects and its counts. Every partition is some unit's
    home, so every partition leaves a record.
    """
    first = unit % n_partitions
    return [first, *(p for p in range(unit, n_partitions, n_units) if p != first)]


def _with_extras(instances: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return the table with all columns of the schema; extra columns it lacks are null."""
    if instances.schema.equals(schema):
        return instances
    for field in schema:
        if field.name not in instances.column_names:
            instances = instances.append_column(field, pa.nulls(len(instances), field.type))
    return instances.select(schema.names).cast(schema)


def _split(rows: pa.Table, bounds: list[int | str]) -> list[tuple[int, pa.Table]]:
    """Return the rows of each partition that has any."""
    partition_N = partition_rows(rows["image_id"], bounds)
    order_N = np.argsort(partition_N, kind="stable")
    rows = rows.take(pa.array(order_N))
    present, starts = np.unique(partition_N[order_N], return_index=True)
    stops = np.append(starts, len(rows))[1:]  # none where there is no row
    return [
        (int(partition), rows.slice(start, stop - start))
        for partition, start, stop in zip(present, starts, stops, strict=True)
    ]


class CompactUnits:
    """Deduplicate and encode units of work; one instance lives in each actor."""

    def __init__(self, context: UnitContext, gpus: float = 0.0) -> None:
        self.context = context
        self.gpus = gpus

    def __call__(self, table: pa.Table) -> Iterator[pa.Table]:
        """Yield a message per partition of the block; a block holds whole partitions."""
        names = ("unit", "compacted", "lineage", "rejects", "notes")
        partition_B = table["partition"].to_numpy()
        for partition in np.unique(partition_B).tolist():
            yield message([self._compact(table, np.flatnonzero(partition_B == partition))], names)

    def _compact(self, table: pa.Table, places: np.ndarray) -> dict[str, object]:
        places = places[np.argsort(table["unit"].to_numpy()[places], kind="stable")]
        own = [from_ipc(cell(table, "instances", n)) for n in places]
        own, oversize = split_oversize(own, self.context.config.read.max_image_bytes)
        instances = pa.concat_tables(own)
        rejects = pa.concat_tables(
            [*(from_ipc(cell(table, "rejects", n)) for n in places), oversize]
        )
        record = UnitRecord(int(table["partition"][int(places[0])].as_py()), self.context.run_id)
        for n in places:
            _take_notes(record, msgspec.json.decode(cell(table, "notes", n), type=ReadNotes))
        result = self._do(instances, rejects, record)
        if self.gpus:
            stage_s = result.record.stage_s
            busy = sum(stage_s[name] for name in ("dedup", "encode", "measure"))
            result.record.numbers["gpu_s"] = self.gpus * busy
        return {
            "unit": result.record.unit,
            "compacted": to_ipc(result.compacted),
            "lineage": to_ipc(result.lineage),
            "rejects": to_ipc(result.rejects),
            "notes": msgspec.json.encode(result.record),
        }

    def _do(self, instances: pa.Table, rejects: pa.Table, record: UnitRecord) -> UnitResult:
        has_gpu = self.gpus > 0
        if self.context.is_careful:
            return _careful(self.context, has_gpu).compact(instances, rejects, record)
        with ends_after(seconds(self.context.config)):
            return compact_rows(self.context, has_gpu, instances, rejects, record)


def _careful(context: UnitContext, has_gpu: bool) -> Careful:
    """Return the helper of this process, which keeps a process of its own."""
    key = repr((context._replace(done=frozenset()), has_gpu))
    if key not in _HELPERS:
        end_careful()
        _HELPERS[key] = Careful(context, has_gpu)
    return _HELPERS[key]


def end_careful() -> None:
    """End the process that this one keeps for work with care, if there is one."""
    while _HELPERS:
        _HELPERS.popitem()[1].close()


def write_units(table: pa.Table, context: UnitContext) -> Iterator[pa.Table]:
    """Write the files and the record of each unit; yield the record."""
    for n in range(len(table)):
        record = msgspec.json.decode(cell(table, "notes", n), type=UnitRecord)
        tables = {
            name: from_ipc(cell(table, name, n)) for name in ("compacted", "lineage", "rejects")
        }
        record = sink.write_unit(
            context.output, tables, record, context.config, context.is_published
        )
        yield message([{"notes": msgspec.json.encode(record)}], ("notes",))


def _take_notes(record: UnitRecord, notes: ReadNotes) -> None:
    for source, count in notes.sources.items():
        record.sources.setdefault(source, SourceCounts()).read += count
    for name, count in notes.counters.items():
        key = f"counter.{name}"
        record.numbers[key] = record.numbers.get(key, 0) + count
    record.numbers["read_bytes"] = record.numbers.get("read_bytes", 0) + notes.read_bytes
    record.stage_s["read"] = record.stage_s.get("read", 0.0) + notes.read_s
