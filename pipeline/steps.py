"""What is done with the rows of a unit, from what every worker knows: plain calls, no messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa

from pipeline import backend, runs
from pipeline.config import CompactConfig
from pipeline.estimate import mask_fraction
from pipeline.plan import Plan
from pipeline.read import payloads
from pipeline.records import UnitRecord
from pipeline.unit import UnitResult, compact_unit
from schemas.rejects import rejects_schema


class UnitContext(NamedTuple):
    """What every worker needs to know of the run.

    `done` has the units a dead run finished; `is_published` says that the files of others are
    live, `is_careful` says that steps are done in a process
    of their own, `can_fork` that it may be a copy of the worker's.
    """

    run_id: str
    output: str
    config: CompactConfig
    id_type: str
    extras: bytes
    bounds: list[int | str] | None
    n_read_units: int
    sample_fraction: float
    mask_fraction: float
    done: frozenset[int]
    is_careful: bool = False
    can_fork: bool = False
    is_published: bool = False

    @classmethod
    def of(
        cls,
        plan: Plan,
        config: CompactConfig,
        output: str,
        done: frozenset[int],
        is_careful: bool = False,
    ) -> UnitContext:
        """Take from a plan what workers need."""
        return cls(
            plan.run_id,
            output,
            config,
            plan.id_type,
            plan.extras,
            plan.bounds,
            len(plan.read_units),
            plan.sample_fraction,
            mask_fraction(plan.n_rows, plan.sample_fraction),
            done,
            is_careful,
            is_published=plan.is_published,
        )


class Originals:
    """Reads the original bytes of rows again; needs the whole plan, which few units do."""

    def __init__(self, context: UnitContext) -> None:
        self._context = context
        self._plan: Plan | None = None

    def __call__(self, uri: str, rows: Sequence[int]) -> list[tuple[int | None, bytes]]:
        """Return byte offset and original bytes of some rows of a source."""
        if self._plan is None:
            self._plan = runs.read_plan(self._context.output, self._context.run_id)
            assert self._plan is not None
        found: dict[int, tuple[int | None, bytes]] = {}
        for unit in self._plan.read_units:
            for part in unit.slices:
                own = [row for row in rows if 0 <= row - part.first_row < part.n_rows]
                if part.uri == uri and own:
                    source = self._plan.contexts[uri]
                    found |= dict(zip(own, payloads(part, source, own), strict=True))
        return [found[row] for row in rows]


def compact_rows(
    context: UnitContext,
    has_gpu: bool,
    instances: pa.Table,
    rejects: pa.Table,
    record: UnitRecord,
) -> UnitResult:
    """Deduplicate and encode the rows of a unit (see `pipeline.unit.compact_unit`)."""
    return compact_unit(
        instances,
        rejects,
        record,
        context.config,
        context.sample_fraction,
        Originals(context),
        backend.choose(context.config, has_gpu=has_gpu),
        context.mask_fraction,
    )


def try_rows(context: UnitContext, has_gpu: bool, instances: pa.Table) -> None:
    """Do the same with some rows, for nothing but to see that it comes back."""
    nothing = rejects_schema().empty_table()
    compact_rows(context, has_gpu, instances, nothing, UnitRecord(0, context.run_id))


def original_bytes(
    context: UnitContext, uri: str, rows: Sequence[int]
) -> list[tuple[int | None, bytes]]:
    """Return byte offset and original bytes of some rows of a source."""
    return Originals(context)(uri, rows)
