"""Conservation: every row of every source is in exactly one of the three tables, once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.arrow import pc
from pipeline.columns import one_chunk, rejected_rows
from pipeline.dedup import mix
from pipeline.plan import Plan
from pipeline.records import TABLES
from pipeline.verify.findings import Findings, read_row_groups, short_name
from pipeline.verify.published import Published

_WINDOW = 1 << 26
_SHOWN = 5


class Tally(NamedTuple):
    """A set of row numbers, so summed that order does not matter and memory is constant."""

    rows: int = 0
    total: int = 0
    hashes: int = 0

    def add(self, row_N: NDArray[np.int64]) -> Tally:
        """Return the tally with more rows; a row counts as often as it comes."""
        hashed = int(mix(row_N.astype(np.uint64)).sum(dtype=np.uint64))
        return Tally(
            self.rows + len(row_N), self.total + int(row_N.sum()), (self.hashes + hashed) % 2**64
        )


def check_conservation(published: Published, plan: Plan, findings: Findings, is_all: bool) -> None:
    """Check that the tables hold each row of the plan's sources exactly once.

    Parameters
    ----------
    published : Published
        All files sound.
    plan : Plan
        Of the same run: says how many rows each source has.
    findings : Findings
        Takes a problem for every source that is off.
    is_all : bool
        Also name the first rows that are missing or come twice: reads again what
        it needs.
    """
    planned: dict[str, Tally] = {}
    for unit in plan.read_units:
        for part in unit.slices:
            tally = planned.get(part.uri, Tally())
            for first in range(part.first_row, part.first_row + part.n_rows, _WINDOW):
                stop = min(first + _WINDOW, part.first_row + part.n_rows)
                tally = tally.add(np.arange(first, stop))
            planned[part.uri] = tally
    found: dict[str, Tally] = {}
    for table in TABLES:
        for source, row_N in _source_rows(published, table, findings):
            found[source] = found.get(source, Tally()).add(row_N)
            findings.count(f"rows {table}", len(row_N))
    findings.count("sources", len(planned))
    for source in sorted(planned.keys() | found.keys()):
        ours, theirs = planned.get(source, Tally()), found.get(source, Tally())
        if ours == theirs:
            continue
        hint = "" if not is_all else _first_faults(published, source, ours.rows)
        differs = "" if ours.rows != theirs.rows else ", some of them twice and others missing"
        findings.add(
            f"source {source}",
            f"each of its {ours.rows} rows once in compacted, lineage and rejects together",
            f"{theirs.rows} rows{differs}" + (hint if is_all else "; --all names the first"),
        )


def _source_rows(
    published: Published, table: str, findings: Findings | None
) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """Yield the source rows of a table, by source; findings also take foreign run_ids."""
    columns = ["source", "source_row", "run_id"]
    for uri in published.files[table]:
        for group in read_row_groups(uri, columns + ["repaired"] * (table == "rejects")):
            if findings is not None:
                is_foreign = pc.not_equal(group.rows["run_id"], published.run_id)
                is_foreign_N = is_foreign.to_numpy()
                run_id = group.rows["run_id"]
                findings.add_rows(
                    short_name(uri),
                    is_foreign_N,
                    f"run_id {published.run_id}",
                    lambda row, run_id=run_id: str(run_id[row]),
                    group.first_row + np.arange(len(is_foreign_N)),
                )
            rows = rejected_rows(group.rows) if table == "rejects" else group.rows
            source = one_chunk(rows["source"]).dictionary_encode()
            code_N = source.indices.to_numpy()
            row_N = rows["source_row"].to_numpy()
            order_N = np.argsort(code_N, kind="stable")
            ends = np.cumsum(np.bincount(code_N, minlength=len(source.dictionary)))[:-1]
            parts = np.split(row_N[order_N], ends)
            yield from zip(source.dictionary.to_pylist(), parts, strict=True)


def _first_faults(published: Published, source: str, n_rows: int) -> str:
    """Return in words the first rows of a source that are missing or come more than once."""
    highest = -1
    for first in range(0, n_rows, _WINDOW):
        stop = min(first + _WINDOW, n_rows)
        times_W = np.zeros(stop - first, np.int32)
        for table in TABLES:
            for name, row_N in _source_rows(published, table, None):
                if name == source:
                    highest = max(highest, int(row_N.max(initial=-1)))
                    inside = row_N[(row_N >= first) & (row_N < stop)] - first
                    np.add.at(times_W, inside, 1)
        parts: list[str] = []
        for word, is_bad_W in (("missing", times_W == 0), ("more than once", times_W > 1)):
            bad = np.flatnonzero(is_bad_W)[:_SHOWN] + first
            if len(bad):
                parts.append(f"; {word}: rows {', '.join(map(str, bad.tolist()))}")
        if parts:
            return "".join(parts)
    return f"; rows beyond its end, up to {highest}"
