"""What a unit of work leaves behind: its files and its numbers, as small JSON.

Records are the only way in which counters travel: a retried task overwrites its
own record, so nothing is ever counted twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

TABLES = ("lineage", "rejects", "compacted")
"""The three tables, in the order in which they are committed."""


class DataFile(msgspec.Struct, frozen=True):
    """One Parquet file of one table.

    Attributes
    ----------
    table : str
        One of `TABLES`.
    name : str
        File name below the table's directory; holds the run_id.
    rows : int
        Rows in it.
    file_bytes : int
        Its size.
    digest : str
        blake2b-128 of its bytes, in hex.
    minimum, maximum : dict
        Smallest and largest value of the columns with statistics (plain JSON values).
    null_count : dict
        Nulls of the same columns.
    """

    table: str
    name: str
    rows: int
    file_bytes: int
    digest: str
    minimum: dict[str, Any] = {}
    maximum: dict[str, Any] = {}
    null_count: dict[str, int] = {}


class SourceCounts(msgspec.Struct):
    """What became of the rows of one input file; read = the sum of the other four."""

    read: int = 0
    kept: int = 0
    merged: int = 0
    filtered: int = 0
    rejected: int = 0

    def is_conserved(self) -> bool:
        """Return whether every row that was read is accounted for, once."""
        return self.read == self.kept + self.merged + self.filtered + self.rejected


class UnitRecord(msgspec.Struct):
    """All that the driver learns of one unit of work.

    Attributes
    ----------
    unit : int
        Its number in the plan.
    run_id : str
        The run it belongs to.
    files : list of DataFile
        What it wrote.
    sources : dict of str to SourceCounts
        By source URI: rows that the unit read, and what became of the rows that met in
        it; where rows are shuffled only the sums over all units are equal.
    reasons : dict of str to int
        Rows by LINEAGE reason.
    rejects : dict of str to int
        Rows by REJECTS code.
    numbers : dict of str to float
        Sums by name: bytes, pairs, estimates (see `pipeline.report`).
    histograms : dict of str to list of int
        Counts per bin, by name; equal names have equal bins in every unit.
    stage_s : dict of str to float
        Seconds by stage.
    """

    unit: int
    run_id: str
    files: list[DataFile] = []
    sources: dict[str, SourceCounts] = {}
    reasons: dict[str, int] = {}
    rejects: dict[str, int] = {}
    numbers: dict[str, float] = {}
    histograms: dict[str, list[int]] = {}
    stage_s: dict[str, float] = {}


def total_sources(records: Sequence[UnitRecord]) -> dict[str, SourceCounts]:
    """Return by source URI what became of its rows, over all units."""
    totals: dict[str, SourceCounts] = {}
    for record in records:
        for source, counts in record.sources.items():
            total = totals.setdefault(source, SourceCounts())
            for name in SourceCounts.__struct_fields__:
                setattr(total, name, getattr(total, name) + getattr(counts, name))
    return totals
