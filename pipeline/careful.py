"""The steps of a unit with care: in a process of its own, with limits, row by row where it dies."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from pipeline import room, steps
from pipeline.child import Child, Died
from pipeline.config import CompactConfig, ReadConfig, parse_duration
from pipeline.errors import CompactionError
from pipeline.isolation import (
    find_culprits,
    order_for_search,
    read_slice,
    reject_culprits,
    try_whole,
)
from pipeline.plan import parse_extras
from pipeline.read import ReadResult, Slice, SourceContext, payloads, read
from pipeline.records import UnitRecord
from pipeline.unit import UnitResult
from schemas.instances import instances_schema

LEAST_S = 30.0
"""Time that the smallest part of a unit has, a start of compiled code included."""


def seconds(config: CompactConfig) -> float:
    """Return the time that a unit may take to be read, or to be compacted."""
    limit_s = parse_duration(config.run.unit_timeout)
    assert limit_s is not None
    return limit_s


class Careful:
    """Reads and compacts as `pipeline.read.read` and `steps.compact_rows` do; survives both.

    Parameters
    ----------
    context : UnitContext
        Of the run.
    has_gpu : bool
        Whether this worker has one.
    """

    def __init__(self, context: steps.UnitContext, has_gpu: bool) -> None:
        self._context = context._replace(is_careful=False, done=frozenset())
        self._has_gpu = has_gpu
        self._unit_s = seconds(context.config)
        self._child = Child(room.most_bytes(context.config), context.can_fork)

    def read(
        self, part: Slice, source: SourceContext, config: ReadConfig, id_type: str
    ) -> ReadResult:
        """Read a slice; rows at which reading dies are rejected."""

        def read_part(own: Slice, share: float) -> ReadResult:
            return self._child.call(self._limit_s(share), read, own, source, config, id_type)

        def row_bytes(own: Slice) -> Sequence[tuple[int | None, bytes]]:
            rows = list(range(own.first_row, own.first_row + own.n_rows))
            return self._child.call(self._unit_s, payloads, own, source, rows)

        extras = parse_extras(self._context.extras)
        return read_slice(
            part, read_part, row_bytes, lambda: instances_schema(id_type, extras).empty_table()
        )

    def compact(self, instances: pa.Table, rejects: pa.Table, record: UnitRecord) -> UnitResult:
        """Deduplicate and encode a unit; rows at which that dies are rejected."""
        results: list[UnitResult] = []

        def whole(rows: pa.Table, more: pa.Table) -> None:
            results.append(
                self._child.call(
                    self._unit_s,
                    steps.compact_rows,
                    self._context,
                    self._has_gpu,
                    rows,
                    more,
                    record,
                )
            )

        def part(rows: pa.Table, share: float) -> None:
            limit_s = self._limit_s(share)
            self._child.call(limit_s, steps.try_rows, self._context, self._has_gpu, rows)

        if try_whole(lambda: whole(instances, rejects)) is not None:
            rows = order_for_search(instances)
            culprits = find_culprits(rows, part)
            bad = {culprit.place for culprit in culprits}
            good = rows.filter(pa.array([place not in bad for place in range(len(rows))]))
            more = reject_culprits(rows, culprits, self._row_bytes)
            died = try_whole(lambda: whole(good, pa.concat_tables([rejects, more])))
            if died is not None:
                raise CompactionError(
                    f"expected unit {record.unit} to be compacted without {len(bad)} rows at "
                    f"fault, but {died.how}; look at the machine's memory, and run again"
                )
        return results[-1]

    def close(self) -> None:
        """End the process."""
        self._child.close()

    def _row_bytes(
        self, uri: str, rows: Sequence[int]
    ) -> Sequence[tuple[int | None, bytes | None]]:
        try:
            return self._child.call(self._unit_s, steps.original_bytes, self._context, uri, rows)
        except Died:
            return [(None, None)] * len(rows)

    def _limit_s(self, share: float) -> float:
        return min(self._unit_s, max(LEAST_S, share * self._unit_s))
