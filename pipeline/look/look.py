"""What an input is, without writing anything: every file is scanned, a part of them is read.

The part is chosen by hashes of names and image ids, so that it is the same one
every time. What is counted on it and scaled up is named an estimate.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import time
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline import read, sink, storage, tasks
from pipeline.config import CompactConfig
from pipeline.dedup import image_seeds, mix
from pipeline.errors import CompactionError, ConfigError, SchemaError
from pipeline.estimate import take_images
from pipeline.look.describe import count_images, describe, list_files, row_problems
from pipeline.look.found import Forecast, Look, Part, Problem
from pipeline.order import OrderedRows, order_rows
from pipeline.plan import Plan, make_plan, parse_extras
from pipeline.read.slices import FileScan, ReadResult, Slice
from pipeline.records import UnitRecord
from pipeline.storage import InputFile
from pipeline.unit import UnitResult, compact_unit
from schemas.instances import instances_schema
from schemas.rejects import rejects_schema


class _Found(NamedTuple):
    """The inventory as it can be used."""

    plan: Plan
    scans: list[FileScan]
    problems: list[Problem]
    scan_s: float


def look(config: CompactConfig, part_bytes: int, part_rows: int) -> Look:
    """Say what the inputs are; write nothing.

    Parameters
    ----------
    config : CompactConfig
        Inputs and settings of the main job; the output is not looked at.
    part_bytes : int
        About how many input bytes are read, at least one slice.
    part_rows : int
        About how many rows duplicates are looked for among, at least one image.

    Raises
    ------
    ConfigError
        If a limit is not positive.
    CompactionError
        If there is no input, or none that can be read.
    """
    if part_bytes < 1 or part_rows < 1:
        raise ConfigError(
            f"--part_bytes and --part_rows: expected at least 1, got {part_bytes} and {part_rows}"
        )
    config = dataclasses.replace(
        config, read=dataclasses.replace(config.read, on_invalid="reject", repair=())
    )
    found = _scan_all(config)
    plan = found.plan
    chosen = choose_slices(plan, part_bytes)
    results, read_s = _read_all(chosen, plan, config)
    rows = order_rows(_instances(results, plan), config.dedup)
    sample = take_images(rows, choose_images(rows, part_rows))
    n_read = sum(part.n_rows for part in chosen)
    n_valid = len(rows.table)
    is_read = n_read == plan.n_rows
    part = Part(
        is_read and len(sample.table) == n_valid,
        n_read,
        n_valid,
        len(sample.table),
        len(sample.image_offsets_G1) - 1,
        is_read or plan.bounds is None,
    )
    forecast = None
    if n_valid:
        read_bytes = sum(one.read_bytes for one in chosen)
        forecast = _forecast(sample, part, found, config, read_s / max(read_bytes, 1))
    return Look(
        n_files=len(plan.inventory),
        input_bytes=plan.input_bytes,
        rows=plan.n_rows,
        formats=dict(Counter(plan.formats.values())),
        id_type=plan.id_type,
        images=count_images(found.scans, rows if is_read else None),
        files=list_files(plan, found.scans),
        part=part,
        masks=describe(rows.table, plan) if n_valid else None,
        forecast=forecast,
        problems=found.problems + row_problems(results, found.scans),
    )


def choose_slices(plan: Plan, part_bytes: int) -> list[Slice]:
    """Return slices of about so many bytes: whole units where a unit has whole images."""
    packs = [unit.slices for unit in plan.read_units]
    if plan.bounds is not None:
        packs = [[part] for pack in packs for part in pack]
    packs.sort(key=lambda pack: _hash_slice(pack[0]))
    chosen: list[Slice] = []
    held = 0
    for pack in packs:
        pack_bytes = sum(part.read_bytes for part in pack)
        if chosen and held + pack_bytes > part_bytes:
            continue
        chosen += pack
        held += pack_bytes
    return sorted(chosen, key=lambda part: (part.uri, part.first_row))


def choose_images(rows: OrderedRows, part_rows: int) -> NDArray[np.bool_]:
    """Return which images duplicates are looked for in, bool (G,): the smallest hashes first."""
    sizes_G = np.diff(rows.image_offsets_G1)
    is_in_G = np.zeros(len(sizes_G), np.bool_)
    if len(sizes_G):
        order_G = np.argsort(mix(image_seeds(rows).astype(np.uint64)), kind="stable")
        before_G = np.cumsum(sizes_G[order_G]) - sizes_G[order_G]
        is_in_G[order_G[before_G < part_rows]] = True
    return is_in_G


def _scan_all(config: CompactConfig) -> _Found:
    started = time.perf_counter()
    inventory = storage.list_inputs(config.inputs)
    found = [tasks.try_scan(file, config.read, config.run.unit_bytes) for file in inventory]
    pairs = list(zip(inventory, found, strict=True))
    good = [(file, scan) for file, scan in pairs if isinstance(scan, FileScan)]
    errors = [(file, scan) for file, scan in pairs if isinstance(scan, CompactionError)]
    if not good:
        raise errors[0][1]
    problems = [Problem("file", file.uri, 1, error.message) for file, error in errors]
    scan_s = time.perf_counter() - started
    try:
        plan = _plan(good, config)
    except SchemaError as error:
        problems.append(Problem("inputs", good[0][0].uri, len(good), error.message))
        plan = _plan(good[:1], config)
        good = good[:1]
    return _Found(plan, [scan for _, scan in good], problems, scan_s)


def _plan(good: Sequence[tuple[InputFile, FileScan]], config: CompactConfig) -> Plan:
    return make_plan([file for file, _ in good], [scan for _, scan in good], config)


def _read_all(
    chosen: Sequence[Slice], plan: Plan, config: CompactConfig
) -> tuple[list[ReadResult], float]:
    """Read slices; return what they gave, and the seconds once the kernels are compiled."""
    results: list[ReadResult] = []
    started = time.perf_counter()
    for n, part in enumerate([*chosen[:1], *chosen]):
        if n == 1:
            started = time.perf_counter()
            results.clear()
        results.append(read.read(part, plan.contexts[part.uri], config.read, plan.id_type))
    return results, time.perf_counter() - started


def _instances(results: Sequence[ReadResult], plan: Plan) -> pa.Table:
    schema = instances_schema(plan.id_type, parse_extras(plan.extras))
    tables = [schema.empty_table(), *(result.instances for result in results)]
    return pa.concat_tables(tables, promote_options="default").select(schema.names).cast(schema)


def _forecast(
    sample: OrderedRows, part: Part, found: _Found, config: CompactConfig, read_s_per_byte: float
) -> Forecast:
    plan = found.plan
    first = sample.table.slice(0, int(sample.image_offsets_G1[1]))
    _compact(first, config)
    started = time.perf_counter()
    result = _compact(sample.table, config)
    compact_s = time.perf_counter() - started
    counts = dict.fromkeys(("kept", "merged", "filtered", "rejected"), 0)
    for source in result.record.sources.values():
        for name in counts:
            counts[name] += getattr(source, name)
    valid_rows = plan.n_rows * part.valid_rows / max(part.read_rows, 1)
    scale = valid_rows / part.rows
    compacted = sink.parquet_bytes(result.compacted, config).size
    slices = [one for unit in plan.read_units for one in unit.slices]
    work_s = read_s_per_byte * sum(one.read_bytes for one in slices) + compact_s * scale
    cpus = len(os.sched_getaffinity(0))
    return Forecast(
        merged_fraction=counts["merged"] / part.rows,
        filtered_fraction=counts["filtered"] / part.rows,
        rejected_fraction=(part.read_rows - part.valid_rows) / part.read_rows
        + counts["rejected"] / part.rows,
        kept_rows=round(counts["kept"] * scale),
        compacted_bytes=round(compacted * scale),
        lineage_bytes=round(sink.parquet_bytes(result.lineage, config).size * scale),
        ratio=compacted * scale / plan.input_bytes if plan.input_bytes else None,
        work_s=work_s,
        time_s=found.scan_s + work_s / min(cpus, max(plan.n_units, 1)),
        cpus=cpus,
        units=plan.n_units,
        is_shuffled=plan.bounds is not None,
    )


def _compact(instances: pa.Table, config: CompactConfig) -> UnitResult:
    record = UnitRecord(0, "0" * 16)
    none = rejects_schema().empty_table()
    return compact_unit(
        instances, none, record, config, 0.0, lambda uri, rows: [(None, b"")] * len(rows)
    )


def _hash_slice(part: Slice) -> bytes:
    name = f"{part.uri} {part.first_row}".encode()
    return hashlib.blake2b(name, digest_size=8).digest()
