"""What a check has to say: problems with what to do, remarks, and counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline import storage
from pipeline.errors import InputError

FILE_ADVICE = (
    "bring the file back from a backup, go back with jobs/restore.py, or run again into another "
    "--output"
)
"""What to do about a file that is not the one that was written."""

ROW_ADVICE = (
    "the file is as it was written, so this is a fault of the program: keep the table, report "
    "this, and go back with jobs/restore.py or run again into another --output"
)
"""What to do about rows that were wrong from the start."""


class Problem(NamedTuple):
    """One thing that is wrong.

    Attributes
    ----------
    where : str
        Table, file and row, as far as they are known.
    expected, found : str
        What was expected there, and what is there.
    advice : str
        What to do.
    """

    where: str
    expected: str
    found: str
    advice: str

    def __str__(self) -> str:
        return f"{self.where}: expected {self.expected}, found {self.found}. {self.advice}"


class Findings:
    """What all checks together found.

    Attributes
    ----------
    problems : list of Problem
        In the order of the checks; empty where all is well.
    notes : list of str
        What could not be checked, and why.
    counts : dict of str to int
        What was checked, by name.
    """

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.notes: list[str] = []
        self.counts: dict[str, int] = {}

    def add(self, where: str, expected: str, found: str, advice: str = ROW_ADVICE) -> None:
        """Add a problem."""
        self.problems.append(Problem(where, expected, found, advice))

    def add_rows(
        self,
        where: str,
        is_bad_N: NDArray[np.bool_],
        expected: str,
        describe: Callable[[int], str],
        row_N: NDArray[np.int64] | None = None,
    ) -> None:
        """Add one problem for all rows that are bad, if any; it describes the first.

        Parameters
        ----------
        where : str
            The file.
        is_bad_N : bool (N,)
            Which rows are.
        expected : str
            Of each of them.
        describe : callable
            Place of a row in `is_bad_N` -> what was found.
        row_N : int64 (N,), optional
            Row of the file of each; default its place.
        """
        bad_M = np.flatnonzero(is_bad_N)
        if not len(bad_M):
            return
        first = int(bad_M[0])
        row = first if row_N is None else int(row_N[first])
        more = f" (and {len(bad_M) - 1} more such rows)" if len(bad_M) > 1 else ""
        self.add(f"{where} row {row}", expected, describe(first) + more)

    def count(self, name: str, number: int) -> None:
        """Add to a count."""
        self.counts[name] = self.counts.get(name, 0) + number


class RowGroup(NamedTuple):
    """Some columns of one row group; `first_row` is the file's row that it starts with."""

    number: int
    first_row: int
    rows: pa.Table


def read_row_groups(
    uri: str, columns: list[str] | None = None, numbers: set[int] | None = None
) -> Iterator[RowGroup]:
    """Yield a file's row groups, one at a time, each in one chunk.

    Parameters
    ----------
    uri : str
        The file.
    columns : list of str, optional
        Default all.
    numbers : set of int, optional
        The row groups; default all.

    Raises
    ------
    InputError
        If a row group cannot be read.
    """
    number = -1
    first_row = 0
    try:
        with storage.open_input(uri) as stream:
            file = pq.ParquetFile(stream)
            for number in range(file.num_row_groups):
                if numbers is None or number in numbers:
                    rows = file.read_row_group(number, columns).combine_chunks()
                    yield RowGroup(number, first_row, rows)
                first_row += file.metadata.row_group(number).num_rows
    except (pa.ArrowException, OSError) as error:
        place = "its footer" if number < 0 else f"row group {number}"
        raise InputError(f"{uri}: {place} cannot be read: {error}") from error


def count_row_groups(uri: str) -> int:
    """Return how many row groups a file has.

    Raises
    ------
    InputError
        If it is no Parquet file.
    """
    try:
        with storage.open_input(uri) as stream:
            return pq.ParquetFile(stream).num_row_groups
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{uri}: its footer cannot be read: {error}") from error


def short_name(uri: str) -> str:
    """Return ``table/file`` of a data file's URI."""
    return "/".join(uri.split("/")[-2:])
