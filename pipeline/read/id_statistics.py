"""What is gathered of the ids of one file while its rows pass by: of images, and of the rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

SAMPLE_SIZE = 1_000
"""Image ids of a file that are kept for quantiles, at most."""

MAX_DISTINCT = 1_000_000
"""Distinct image ids that are counted; beyond, their number stays unknown."""


class IdStatistics:
    """Sample and number of distinct values of image ids that come in batches.

    The sample depends on the rows alone, not on how they are cut into batches.
    """

    def __init__(self) -> None:
        self._n_rows = 0
        self._stride = 1
        self._sample: list[tuple[int, int | str]] = []
        self._distinct: set[int | str] = set()
        self._has_seen_all = True

    def add(
        self, ids: NDArray[np.int64] | list[str | None], is_usable_N: NDArray[np.bool_]
    ) -> None:
        """Take in the ids of the next rows."""
        # As if row by row: no more are taken than a stride that keeps few enough would take.
        while (self._n_rows + len(ids)) // self._stride > 2 * SAMPLE_SIZE:
            self._stride *= 2
        first = -self._n_rows % self._stride
        rows_M = np.arange(first, len(ids), self._stride)
        rows_M = rows_M[is_usable_N[rows_M]]
        if isinstance(ids, list):
            values: list[Any] = [ids[row] for row in rows_M.tolist()]
        else:
            values = ids[rows_M].tolist()
        self._sample += zip((rows_M + self._n_rows).tolist(), values, strict=True)
        self._n_rows += len(ids)
        self._thin()
        if self._has_seen_all:
            if isinstance(ids, list):
                self._distinct.update(value for value in ids if value is not None)
            else:
                self._distinct.update(np.unique(ids[is_usable_N]).tolist())
            self._has_seen_all = len(self._distinct) <= MAX_DISTINCT

    def add_range(self, low: int | str, high: int | str, n_rows: int) -> None:
        """Take in rows of which only the smallest and the largest id are known."""
        while (self._n_rows + n_rows) // self._stride > 2 * SAMPLE_SIZE:
            self._stride *= 2
        for place in range(-self._n_rows % self._stride, n_rows, self._stride):
            value = high if 2 * place > n_rows else low
            if isinstance(low, int) and isinstance(high, int):
                value = low + (high - low) * place // n_rows
            self._sample.append((self._n_rows + place, value))
        self._n_rows += n_rows
        self._has_seen_all = False
        self._thin()

    def sample(self) -> Any:
        """Return ids of rows at even distances, sorted (strings by code points, as UTF-8 is)."""
        step = -(-len(self._sample) // SAMPLE_SIZE) or 1
        values: list[Any] = [value for _, value in self._sample[::step]]
        return sorted(values)

    def n_distinct(self) -> int | None:
        """Return how many ids there are, or None if they were too many to count."""
        return len(self._distinct) if self._has_seen_all else None

    def _thin(self) -> None:
        self._sample = [pair for pair in self._sample if pair[0] % self._stride == 0]


class KeyIds:
    """Counts the ids that come again, of rows that come in batches.

    Ids that count up are kept as ranges, so that rows numbered one after the other take no
    memory; others take 8 bytes each, and as much again while they are counted.
    """

    def __init__(self) -> None:
        self._n_rows = 0
        self._ranges: list[tuple[int, int]] = []
        self._others: list[NDArray[np.int64]] = []

    def add(self, ids: NDArray[np.int64]) -> None:
        """Take in the ids of the next rows."""
        if len(ids) == 0:
            return
        self._n_rows += len(ids)
        start, stop = int(ids[0]), int(ids[-1]) + 1
        if stop - start != len(ids) or not (ids[1:] > ids[:-1]).all():
            self._others.append(ids)
        elif self._ranges and self._ranges[-1][1] == start:
            self._ranges[-1] = (self._ranges[-1][0], stop)
        else:
            self._ranges.append((start, stop))

    def n_repeated(self) -> int:
        """Return how many rows have the id of an earlier row; asked once, after the last row."""
        others = np.concatenate([np.empty(0, np.int64), *self._others])
        self._others.clear()
        others.sort()
        n_distinct = _count_sorted(others)
        for start, stop in _united(self._ranges):
            low, high = np.searchsorted(others, start), np.searchsorted(others, stop - 1, "right")
            n_distinct += stop - start - _count_sorted(others[low:high])
        return self._n_rows - n_distinct


def _count_sorted(ids: NDArray[np.int64]) -> int:
    """Return how many different ids there are among sorted ones."""
    return int(np.count_nonzero(ids[1:] != ids[:-1])) + (len(ids) > 0)


def _united(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return ranges that do not meet and hold the same numbers, in order."""
    found: list[tuple[int, int]] = []
    for start, stop in sorted(ranges):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], stop))
        else:
            found.append((start, stop))
    return found
