"""Whole runs without Ray, in this process: plan, read, compact, write, publish.

The tasks are plain generators over Arrow tables, so a small output takes as long as its masks do.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pyarrow as pa
import pytest

from pipeline import checks, publish, runs, storage, tasks
from pipeline.config import CompactConfig
from pipeline.plan import Plan, make_plan
from pipeline.read import scan
from pipeline.records import TABLES, UnitRecord
from pipeline.transfer import cell, from_ipc, to_ipc

Tables = dict[str, pa.Table]


def run_inline(config: CompactConfig, alter: Callable[[Tables], Tables] | None = None) -> str:
    """Do what a run does, publish it, and return its run_id.

    `alter` takes the tables of each unit before they are written, and returns others: so a
    table can be wrong while log, records and checksums agree with it.
    """
    output = storage.to_uri(config.output)
    inventory = storage.list_inputs(config.inputs)
    target = publish.inspect_target(output, [file.uri for file in inventory])
    scans = [scan(file, config.read, config.run.unit_bytes) for file in inventory]
    plan = make_plan(inventory, scans, config)
    runs.begin(plan, output)
    records = execute(plan, config, output, alter)
    schemas = tasks.schemas(plan)
    with pytest.MonkeyPatch.context() as patch:
        if alter is not None:  # a run that lost rows and did not count what it wrote
            patch.setattr(checks, "_require_conservation", lambda plan, records: None)
        files = checks.before_commit(plan, records, output, schemas)
    publish.publish(target, plan.run_id, secrets.token_hex(8), files, schemas, {})
    return plan.run_id


def execute(
    plan: Plan,
    config: CompactConfig,
    output: str,
    alter: Callable[[Tables], Tables] | None = None,
) -> list[UnitRecord]:
    """Read, compact and write all units of a plan; return their records, by unit."""
    records = list(execute_rest(plan, config, output, frozenset(), alter))
    return sorted(records, key=lambda record: record.unit)


def execute_rest(
    plan: Plan,
    config: CompactConfig,
    output: str,
    done: frozenset[int],
    alter: Callable[[Tables], Tables] | None = None,
) -> Iterator[UnitRecord]:
    """Read, compact and write the units that are not done; yield each record when it is written."""
    context = tasks.UnitContext.of(plan, config, output, done)
    messages = [
        message
        for task in tasks.read_tasks(plan, done)
        for message in tasks.read_units(pa.table({"task": [task]}), context)
    ]
    for unit in tasks.CompactUnits(context)(pa.concat_tables(messages)) if messages else []:
        altered = unit if alter is None else _alter(unit, alter)
        for written in tasks.write_units(altered, context):
            notes: Any = written["notes"][0].as_py()
            yield msgspec.json.decode(notes, type=UnitRecord)


def _alter(unit: pa.Table, alter: Callable[[Tables], Tables]) -> pa.Table:
    tables = alter({name: from_ipc(cell(unit, name, 0)) for name in TABLES})
    for name, table in tables.items():
        place = unit.schema.get_field_index(name)
        unit = unit.set_column(place, name, pa.array([to_ipc(table)], pa.large_binary()))
    return unit
