"""What must hold before anything is published."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec
import pyarrow as pa

from pipeline import publish, runs, storage
from pipeline.config import ReadConfig
from pipeline.errors import GateError, InputError, StorageError
from pipeline.plan import Plan
from pipeline.records import TABLES, DataFile, UnitRecord, total_sources

REJECTS_ALLOWED = 100
"""Rejects up to this number never stop a run, whatever their share."""


class RejectLimit:
    """Counts rejects as units finish, and stops a run that has too many."""

    def __init__(self, n_rows: int, config: ReadConfig) -> None:
        self._n_rows = n_rows
        self._fraction = config.max_reject_fraction
        self._codes: Counter[str] = Counter()

    def add(self, record: UnitRecord) -> None:
        """Count a unit's rejects.

        Raises
        ------
        GateError
            Above 100 rejects and the fraction of ``--read.max_reject_fraction``.
        """
        self._codes.update(record.rejects)
        rejected = self._codes.total()
        if rejected > REJECTS_ALLOWED and rejected > self._fraction * self._n_rows:
            reasons = ", ".join(f"{code} {count}" for code, count in self._codes.most_common())
            raise GateError(
                f"expected at most {self._fraction:.2%} of {self._n_rows} rows to be rejected, "
                f"got {rejected} so far ({reasons}); nothing was published. Mend the input, or "
                "raise --read.max_reject_fraction"
            )


def before_commit(
    plan: Plan, records: Sequence[UnitRecord], output: str, schemas: dict[str, pa.Schema]
) -> dict[str, list[DataFile]]:
    """Check that every row is accounted for and that neither inputs nor files have changed.

    Returns
    -------
    dict
        The files to publish, by table.

    Raises
    ------
    InputError
        If an input is not what it was when the run began.
    StorageError
        If rows were lost, or a file is not what its record says.
    """
    _require_conservation(plan, records)
    changed = storage.changed_files(plan.inventory)
    if changed:
        raise InputError(
            "expected the inputs to stay as they were during the run, but "
            + "; ".join(changed)
            + ". Nothing was published; run again when they are complete"
        )
    files: dict[str, list[DataFile]] = {name: [] for name in TABLES}
    for record in records:
        for file in record.files:
            files[file.table].append(file)
    publish.verify_files(output, [file for own in files.values() for file in own], schemas)
    return files


def require_rebuildable(output: str, run_id: str, damaged: dict[str, str]) -> Plan:
    """Return the plan by which damaged files of a live run can be written anew.

    Raises
    ------
    StorageError
        If the run's plan is gone, or a record that names one of the files: without them nobody
        could say that what would be written is what was published.
    """
    plan = runs.read_plan(output, run_id)
    records = [] if plan is None else runs.all_records(output, run_id)
    known = {f"{file.table}/{file.name}" for record in records for file in record.files}
    if plan is None or not damaged.keys() <= known:
        raise StorageError(
            f"{output}: this run ({run_id}) has already landed, but {describe_damage(damaged)}; "
            "they cannot be written anew, as its plan or records are gone. Bring them back from a "
            f"backup, go back with python jobs/restore.py {output}, or choose another --output"
        )
    return msgspec.structs.replace(plan, is_published=True)


def describe_damage(damaged: dict[str, str]) -> str:
    """Return in words what is wrong with live files, the first few by name."""
    shown = [f"{name} {what}" for name, what in sorted(damaged.items())[:3]]
    return f"{len(damaged)} of its live files are not whole ({', '.join(shown)})"


def _require_conservation(plan: Plan, records: Sequence[UnitRecord]) -> None:
    totals = total_sources(records)
    read = sum(counts.read for counts in totals.values())
    units = [record.unit for record in records]
    is_whole = len(set(units)) == len(units) == plan.n_units
    written = Counter[str]()
    for file in (file for record in records for file in record.files):
        written[file.table] += file.rows
    counted = Counter(
        compacted=sum(counts.kept for counts in totals.values()),
        lineage=sum(counts.merged + counts.filtered for counts in totals.values()),
        rejects=sum(counts.rejected for counts in totals.values())
        + sum(int(record.numbers.get("repaired_rows", 0)) for record in records),
    )
    if (
        is_whole
        and read == plan.n_rows
        and all(counts.is_conserved() for counts in totals.values())
        and all(written[table] == counted[table] for table in TABLES)
    ):
        return
    raise StorageError(
        f"expected every row of the input once: {plan.n_rows} rows in {plan.n_units} units were "
        f"planned, {read} rows in {len(units)} units were done; by file: {totals}; rows of the "
        f"tables by these: {dict(counted)}, as written: {dict(written)}. Nothing was "
        "published; this is a fault of the run: run again with --run.resume false"
    )
