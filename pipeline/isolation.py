"""Which rows a step dies at, found by trying parts of them in a process that may die.

A step is tried whole, tried again where it crashed, and then searched: the shortest run of rows
at which it dies ends with the row at fault. That row goes to REJECTS, and the rest is tried again.
Only what dies is searched for; an error that a step raises is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.child import Died
from pipeline.errors import CompactionError
from pipeline.read import ReadResult, Slice
from pipeline.read.raw_rows import Fault
from pipeline.read.reject_table import Reject, reject_table
from schemas.rejects import rejects_schema

MAX_PER_IMAGE = 3
"""Rows of one image that are found one by one; then all of its rows are at fault."""

MAX_SEARCHES = 50
"""Rows of a unit, or of a slice, that are searched for before the run is ended."""

ATTEMPTS = 2
"""How often a step is tried whole, where it does not just take too long."""

ROWS_BY_BYTES = ("coco_results", "coco_lines", "coco_annotations")
"""Formats whose slices are byte ranges of rows, so that a part of a slice is a slice."""

_WORDS = {
    "CRASH": "the process that worked on this row to come back",
    "TIMEOUT": "the work on this row to end in time",
    "TOO_MANY_MASKS": "the rows of this image to fit into the memory of a worker",
}

Attempt = Callable[[pa.Table, float], object]
"""(some rows, the share of all rows that they are) -> anything; raises `Died`."""

RowBytes = Callable[[str, Sequence[int]], Sequence[tuple[int | None, bytes | None]]]
"""(source URI, source rows) -> byte offset and original bytes of those rows."""


class Culprit(NamedTuple):
    """A row that a step dies at; `place` is its row in the table, `how` half a sentence."""

    place: int
    code: str
    how: str


def try_whole(attempt: Callable[[], object]) -> Died | None:
    """Try a step; return how it died, None if it came back in one of its attempts."""
    died = None
    for _ in range(ATTEMPTS):
        try:
            attempt()
        except Died as error:
            died = error
            if error.code != "CRASH":
                break
        else:
            return None
    return died


def order_for_search(instances: pa.Table) -> pa.Table:
    """Return rows by image, and within an image by source and row, whatever unit they are in."""
    keys = [("image_id", "ascending"), ("source", "ascending"), ("source_row", "ascending")]
    return instances.sort_by(keys).combine_chunks()


def find_culprits(rows: pa.Table, attempt: Attempt) -> list[Culprit]:
    """Return the rows at which a step dies, so that it comes back with the others.

    Images are independent of each other: what passed is not tried again with what follows it.

    Parameters
    ----------
    rows : pa.Table
        From `order_for_search`.
    attempt : callable
        Tries some of the rows.

    Raises
    ------
    CompactionError
        If it dies at too many places, or only now and then: that is no fault of rows.
    """
    image_N = rows["image_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    alive = np.arange(len(rows))
    culprits: list[Culprit] = []
    start = 0
    for _ in range(MAX_SEARCHES):
        search = _Search(rows, image_N, alive, attempt)
        died = search.tries(start, len(alive))
        if died is None:
            return culprits
        place, died = search.bisect(start, died)
        if died is None:
            continue  # it came back this time
        own = np.array([place])
        known = sum(image_N[culprit.place] == image_N[place] for culprit in culprits)
        if died.code == "MEMORY" or known >= MAX_PER_IMAGE:
            own = alive[image_N[alive] == image_N[place]]
        code = "TOO_MANY_MASKS" if died.code == "MEMORY" else died.code
        culprits += [Culprit(int(row), code, died.how) for row in own]
        start = int(np.searchsorted(image_N[alive], image_N[place]))
        alive = np.setdiff1d(alive, own)
    raise CompactionError(
        f"expected few rows that end the process that works on them, got {len(culprits)} in one "
        f"unit of work after {MAX_SEARCHES} searches"
        + (f", the last as {culprits[-1].how}" if culprits else ", each time at another place")
        + "; nothing was published. Look at the machine's memory and at --run.unit_timeout, "
        "and run again"
    )


class _Search:
    """Tries consecutive ones of the rows that are left."""

    def __init__(
        self, rows: pa.Table, image_N: NDArray[np.int32], alive: NDArray[np.int64], attempt: Attempt
    ) -> None:
        self._rows = rows
        self._image_A = image_N[alive]
        self._alive = alive
        self._attempt = attempt

    def tries(self, start: int, stop: int) -> Died | None:
        if start == stop:
            return None
        part = self._rows.take(pa.array(self._alive[start:stop]))
        try:
            self._attempt(part, (stop - start) / len(self._rows))
        except Died as died:
            return died
        return None

    def bisect(self, start: int, died: Died) -> tuple[int, Died | None]:
        """Return the row that ends the shortest run from `start` that dies, and how; None: none."""
        passes, dies = start, len(self._alive)
        while dies - passes > 1:
            middle = (passes + dies) // 2
            found = self.tries(self._image_start(passes), middle)
            if found is None:
                passes = middle
            else:
                dies, died = middle, found
        # Once more, so that nobody's row is blamed for what happens now and then.
        again = self.tries(self._image_start(passes), dies)
        return int(self._alive[passes]), again and died

    def _image_start(self, place: int) -> int:
        return int(np.searchsorted(self._image_A, self._image_A[place]))


def reject_culprits(rows: pa.Table, culprits: Sequence[Culprit], row_bytes: RowBytes) -> pa.Table:
    """Return the REJECTS of rows that a step dies at."""
    tables = [rejects_schema().empty_table()]
    sources, source_rows = rows["source"].to_pylist(), rows["source_row"].to_pylist()
    for uri in sorted({sources[culprit.place] for culprit in culprits}):
        own = sorted(
            (source_rows[culprit.place], culprit)
            for culprit in culprits
            if sources[culprit.place] == uri
        )
        found = row_bytes(uri, [row for row, _ in own])
        tables.append(
            reject_table(
                uri,
                [
                    Reject(row, offset, _fault(culprit.code, culprit.how), payload)
                    for (row, culprit), (offset, payload) in zip(own, found, strict=True)
                ],
            )
        )
    return pa.concat_tables(tables)


def read_slice(
    part: Slice,
    read: Callable[[Slice, float], ReadResult],
    row_bytes: Callable[[Slice], Sequence[tuple[int | None, bytes]]],
    empty: Callable[[], pa.Table],
) -> ReadResult:
    """Read a slice; rows at which reading dies go to its rejects.

    Parameters
    ----------
    part : Slice
        The slice.
    read : callable
        Reads a part of it, which is the given share of it; may raise `Died`.
    row_bytes : callable
        Byte offset and original bytes of all of its rows; may raise `Died`.
    empty : callable
        INSTANCES without rows.

    Notes
    -----
    A slice of a format whose rows have no bytes of their own is rejected whole.
    """
    results: list[ReadResult] = []
    died = try_whole(lambda: results.append(read(part, 1.0)))
    if died is None:
        return results[-1]
    rows: Sequence[tuple[int | None, bytes]] | None = None
    if part.format in ROWS_BY_BYTES:
        try:
            rows = row_bytes(part)
        except Died:
            rows = None
    search = _SliceSearch(part, rows, read, empty)
    search.split(0, part.n_rows, died)
    return search.result()


class _SliceSearch:
    """Reads halves of what dies, down to single rows."""

    def __init__(
        self,
        part: Slice,
        rows: Sequence[tuple[int | None, bytes]] | None,
        read: Callable[[Slice, float], ReadResult],
        empty: Callable[[], pa.Table],
    ) -> None:
        self._part = part
        self._rows = rows
        self._read = read
        self._empty = empty
        self._found: list[ReadResult] = []
        self._n_deaths = 0

    def split(self, start: int, stop: int, died: Died) -> None:
        """Read the two halves of rows that died; reject a row that did."""
        self._n_deaths += 1
        if self._n_deaths > MAX_SEARCHES * 20:
            raise CompactionError(
                f"{self._part.uri}: expected few rows that end the process that reads them; "
                f"gave up after {self._n_deaths} deaths, the last as {died.how}"
            )
        if stop - start == 1 or self._rows is None:
            self._reject(start, stop, died)
            return
        middle = (start + stop) // 2
        for begin, end in ((start, middle), (middle, stop)):
            try:
                share = (end - begin) / self._part.n_rows
                self._found.append(self._read(self._slice(begin, end), share))
            except Died as error:
                self.split(begin, end, error)

    def result(self) -> ReadResult:
        """Return what all parts gave, as one."""
        counters: dict[str, int] = {}
        for found in self._found:
            for name, count in found.counters.items():
                counters[name] = counters.get(name, 0) + count
        return ReadResult(
            pa.concat_tables([found.instances for found in self._found]).combine_chunks(),
            pa.concat_tables([found.rejects for found in self._found]),
            counters,
            pa.concat_tables([found.repairs for found in self._found]),
        )

    def _slice(self, start: int, stop: int) -> Slice:
        assert self._rows is not None
        first, _ = self._rows[start]
        last, data = self._rows[stop - 1]
        assert first is not None
        assert last is not None
        return Slice(
            uri=self._part.uri,
            format=self._part.format,
            first_row=self._part.first_row + start,
            n_rows=stop - start,
            start=first,
            stop=last + len(data),
            read_bytes=last + len(data) - first,
            min_image_id=self._part.min_image_id,
            max_image_id=self._part.max_image_id,
        )

    def _reject(self, start: int, stop: int, died: Died) -> None:
        code = "VALUE_TOO_LARGE" if died.code == "MEMORY" else died.code
        fault = _fault(code, died.how)
        rows = self._rows or [(None, None)] * self._part.n_rows
        rejects = [
            Reject(self._part.first_row + place, rows[place][0], fault, rows[place][1])
            for place in range(start, stop)
        ]
        nothing = rejects_schema().empty_table()
        self._found.append(
            ReadResult(self._empty(), reject_table(self._part.uri, rejects), {}, nothing)
        )


def _fault(code: str, how: str) -> Fault:
    expected = _WORDS.get(code, "this row to fit into the memory of a worker")
    return Fault(code, "", f"expected {expected}, but in a process of its own {how}")
