"""Cost of crack code by boundary length: ``python -m benchmarks.linear``.

The same masks, each pixel made a block of 2 x 2, 4 x 4 and 8 x 8: the boundary grows with the
side, the area with its square. Cost that is linear in the boundary stays the same per crack.
One thread, warm, every size timed right after the smallest.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks import measure
from benchmarks.workload import make_workload
from pipeline.masks import contour, rle
from pipeline.masks import measure as mask_measure
from pipeline.masks.batch import CocoStrings, MaskBatch

REPEAT = 9
FACTORS = (1, 2, 4, 8)
N_IMAGES = 8


class Case(NamedTuple):
    """Masks of one size, and the two directions of the code."""

    n_cracks: int
    n_pixels: int
    calls: dict[str, Callable[[], Any]]


def main() -> None:
    """Time all sizes and print a table."""
    measure.use_one_thread("benchmarks.linear")
    workload = make_workload(n_images=N_IMAGES)
    strings = CocoStrings(workload.bytes_B, workload.offsets_N1)
    batch = rle.from_coco(strings, workload.size_hw_N2)
    cases = {factor: prepare(enlarge(batch, factor)) for factor in FACTORS}
    table = Table(title=f"crack code of {len(workload):,} masks, CPU time per crack")
    for heading in ("", "side", "area grows", "boundary grows", "ns per crack", "time per crack"):
        table.add_column(heading, justify="left" if heading == "" else "right")
    first = cases[1]
    for name, reference in first.calls.items():
        pairs = measure.paired(reference, {str(f): c.calls[name] for f, c in cases.items()}, REPEAT)
        for factor, case in cases.items():
            longer = case.n_cracks / first.n_cracks
            nanoseconds = 1e9 * min(pairs[str(factor)].other.cpu_s) / case.n_cracks
            ratio = pairs[str(factor)].ratios(1.0)["cpu_ratio"] / longer
            growth = [f"{case.n_pixels / first.n_pixels:.0f}", f"{longer:.0f}"]
            table.add_row(name, f"x {factor}", *growth, f"{nanoseconds:.2f}", f"{ratio:.2f}")
    Console(width=110).print(table)


def prepare(batch: MaskBatch) -> Case:
    """Encode once, and say how much there is to do."""
    crack = contour.encode_crack(batch)
    boxes_N4 = mask_measure.bbox_xywh(batch)
    return Case(
        int(mask_measure.boundary_length(batch).sum()),
        int(mask_measure.area(batch).sum()),
        {
            "runs to crack": lambda: contour.encode_crack(batch),
            "crack to runs": lambda: contour.decode_crack(*crack, boxes_N4, batch.size_hw_N2),
        },
    )


def enlarge(batch: MaskBatch, factor: int) -> MaskBatch:
    """Return masks in which every pixel is a block of factor x factor."""
    counts: list[NDArray[np.int64]] = []
    cuts = itertools.pairwise(batch.offsets_N1.tolist())
    for (start, end), size_hw in zip(cuts, batch.size_hw_N2.tolist(), strict=True):
        counts.append(_enlarge_one(batch.counts_R[start:end].astype(np.int64), size_hw, factor))
    offsets_N1 = np.cumsum([0, *map(len, counts)])
    sizes_N2 = batch.size_hw_N2 * np.int32(factor)
    return MaskBatch(sizes_N2, np.concatenate(counts).astype(np.uint32), offsets_N1)


def _enlarge_one(
    counts: NDArray[np.int64], size_hw: tuple[int, int], factor: int
) -> NDArray[np.int64]:
    height, width = size_hw
    edges = np.cumsum(counts)
    n_runs = len(counts) // 2
    starts, ends = edges[0 : 2 * n_runs : 2], edges[1 : 2 * n_runs : 2]
    first, last = starts // height, (ends - 1) // height
    n_columns = last - first + 1
    run = np.repeat(np.arange(n_runs), n_columns)
    column = (
        first[run] + np.arange(len(run)) - np.repeat(np.cumsum(n_columns) - n_columns, n_columns)
    )
    top = np.where(column == first[run], starts[run] % height, 0)
    bottom = np.where(column == last[run], (ends[run] - 1) % height + 1, height)
    places = (factor * column[:, None] + np.arange(factor)) * height * factor
    start = (places + factor * top[:, None]).ravel()
    end = (places + factor * bottom[:, None]).ravel()
    order = np.argsort(start)
    positions = np.stack([start[order], end[order]], axis=1).ravel()
    # A run that reaches the bottom goes on where one starts at the next column's top.
    meets = np.flatnonzero(positions[1:-1:2] == positions[2::2])
    positions = np.delete(positions, np.concatenate([2 * meets + 1, 2 * meets + 2]))
    total = height * width * factor * factor
    enlarged = np.diff(np.concatenate([[0], positions, [total]]))
    return enlarged if enlarged[-1] or len(enlarged) == 1 else enlarged[:-1]


if __name__ == "__main__":
    main()
