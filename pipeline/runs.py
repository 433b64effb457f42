"""The state of a run, outside the tables: its plan and a record per finished unit.

``OUT/runs/<run_id>/plan.json`` is written before the first unit,
``OUT/runs/<run_id>/units/<unit>.json`` after the files of a unit. The run_id
names content and settings, so what a run of the same name left is this run's own.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import msgspec

from pipeline import storage
from pipeline.plan import Plan
from pipeline.records import UnitRecord


def plan_uri(output: str, run_id: str) -> str:
    """Return where a run's plan lies."""
    return storage.join(output, "runs", run_id, "plan.json")


def record_uri(output: str, run_id: str, unit: int) -> str:
    """Return where a unit's record lies."""
    return storage.join(output, "runs", run_id, "units", f"{unit:05d}.json")


def begin(plan: Plan, output: str) -> None:
    """Write the plan, after the records of an older attempt are gone."""
    folder = storage.join(output, "runs", plan.run_id, "units")
    for name in storage.list_names(folder):
        storage.remove(storage.join(folder, name))
    storage.write_bytes(plan_uri(output, plan.run_id), msgspec.json.encode(plan))


def read_plan(output: str, run_id: str) -> Plan | None:
    """Return the plan of a run that has begun, or None."""
    uri = plan_uri(output, run_id)
    if not storage.exists(uri):
        return None
    return msgspec.json.decode(storage.read_bytes(uri), type=Plan)


def write_record(output: str, record: UnitRecord) -> None:
    """Say that a unit is done; nothing of it may be written after."""
    uri = record_uri(output, record.run_id, record.unit)
    storage.write_bytes(uri, msgspec.json.encode(record))


def read_record(output: str, run_id: str, unit: int) -> UnitRecord:
    """Return the record of one unit, whatever became of its files."""
    return msgspec.json.decode(
        storage.read_bytes(record_uri(output, run_id, unit)), type=UnitRecord
    )


def read_records(output: str, run_id: str) -> list[UnitRecord]:
    """Return the records that a run has left so far, by unit, if the files they name are there."""
    records = all_records(output, run_id)
    with ThreadPoolExecutor(max_workers=16) as pool:
        is_whole = list(pool.map(lambda record: _has_files(output, record), records))
    return [record for record, whole in zip(records, is_whole, strict=True) if whole]


def all_records(output: str, run_id: str) -> list[UnitRecord]:
    """Return the records that a run has left so far, by unit, whatever became of their files."""
    folder = storage.join(output, "runs", run_id, "units")
    uris = [storage.join(folder, name) for name in storage.list_names(folder) if name[0] != "."]
    with ThreadPoolExecutor(max_workers=16) as pool:
        found = list(pool.map(storage.read_bytes, uris))
    return [msgspec.json.decode(data, type=UnitRecord) for data in found]


def _has_files(output: str, record: UnitRecord) -> bool:
    for file in record.files:
        uri = storage.join(output, file.table, file.name)
        if not storage.exists(uri) or storage.file_bytes(uri) != file.file_bytes:
            return False
    return True
