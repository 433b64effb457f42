"""Odd inputs of the grouping: ``python -m benchmarks.edges`` shows that none costs more per run.

Each case is timed at a size and at four times the size, in turn; a ratio of CPU times beside the
ratio of runs says whether the cost is linear. One thread, warm.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import measure
from benchmarks.runs import counts_to_strings
from pipeline.masks.batch import CocoStrings
from pipeline.masks.group import group_masks

REPEAT = 15
GROWTH = 4

Runs = list[list[int]]


def main() -> None:
    """Time all cases and print a table."""
    measure.use_one_thread("benchmarks.edges")
    table = Table(title="grouping of odd inputs, CPU time")
    for heading in ("case", "masks", "runs", "ms", "runs grow", "time grows", "time a run"):
        table.add_column(heading, justify="left" if heading == "case" else "right")
    for name, (make, size) in CASES.items():
        small, large = prepare(*make(size)), prepare(*make(GROWTH * size))
        pair = measure.paired(small.call, {"": large.call}, REPEAT)[""]
        runs = large.n_runs / small.n_runs
        times = min(pair.other.cpu_s) / min(pair.reference.cpu_s)
        milliseconds = f"{1e3 * min(pair.other.cpu_s):.2f}"
        ratios = [f"{value:.2f}" for value in (runs, times, times / runs)]
        table.add_row(name, f"{large.n_masks:,}", f"{large.n_runs:,}", milliseconds, *ratios)
    Console(width=110).print(table)


class Case:
    """One image's masks, ready to be grouped."""

    def __init__(self, strings: CocoStrings, size_hw: tuple[int, int], n_runs: int) -> None:
        self.n_masks = len(strings.offsets_N1) - 1
        self.n_runs = n_runs
        self._given = (
            strings,
            np.tile(np.array(size_hw, np.int32), (self.n_masks, 1)),
            np.array([0, self.n_masks]),
            np.zeros(self.n_masks, np.int64),
            np.zeros(self.n_masks, bool),
            None,
        )

    def call(self) -> Any:
        """Group the masks."""
        return group_masks(*self._given, threshold=0.8)


def prepare(size_hw: tuple[int, int], runs: Runs) -> Case:
    """Write the strings of masks given as run lengths."""
    lengths_N = np.array([len(one) for one in runs])
    counts_R = np.concatenate([np.asarray(one, np.int64) for one in runs])
    return Case(CocoStrings(*counts_to_strings(counts_R, lengths_N)), size_hw, len(counts_R))


def one_pixel(n: int) -> tuple[tuple[int, int], Runs]:
    """Return n masks of one pixel, no two the same."""
    return (1000, 1000), [[7 * k, 1, 10**6 - 7 * k - 1] for k in range(n)]


def full(n: int) -> tuple[tuple[int, int], Runs]:
    """Return n masks of all pixels but one, no two the same."""
    return (1000, 1000), [[0, k + 1, 1, 10**6 - k - 2] for k in range(n)]


def identical(n: int) -> tuple[tuple[int, int], Runs]:
    """Return one mask n times."""
    return (1000, 1000), [_square(100, 100, 40, 1000)] * n


def apart(n: int) -> tuple[tuple[int, int], Runs]:
    """Return n squares in rows and columns, no two of which meet."""
    side = int(np.ceil(np.sqrt(n)))
    height = 12 * side
    places = [(12 * (k // side), 12 * (k % side)) for k in range(n)]
    return (height, height), [_square(x, y, 10, height) for x, y in places]


def noisy(n: int) -> tuple[tuple[int, int], Runs]:
    """Return two masks of every second pixel, 2 x 2n of them: as many runs as there can be."""
    height = 2 * n // 500
    return (height, 500), [[0] + [1] * (height * 500), [1] * (height * 500)]


def vast(n: int) -> tuple[tuple[int, int], Runs]:
    """Return n squares in an image of nearly 2**31 pixels."""
    places = [(45 * (k % 1000), 40 * (k // 1000)) for k in range(n)]
    return (46340, 46340), [_square(x, y, 30, 46340) for x, y in places]


def _square(x: int, y: int, side: int, height: int, width: int | None = None) -> list[int]:
    first = x * height + y
    runs = [first] + [side, height - side] * side
    runs[-1] = (width or height) * height - first - (side - 1) * height - side
    return runs


CASES: dict[str, tuple[Callable[[int], tuple[tuple[int, int], Runs]], int]] = {
    "masks of one pixel": (one_pixel, 20_000),
    "all but one pixel": (full, 1_000),
    "all identical": (identical, 5_000),
    "no two meet": (apart, 5_000),
    "as many runs as pixels": (noisy, 50_000),
    "an image of 2^31 pixels": (vast, 5_000),
}


if __name__ == "__main__":
    main()
