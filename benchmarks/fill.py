"""Filling polygons, ours beside pycocotools: ``python -m benchmarks.fill [FILE ...]``.

Of COCO annotations with polygons (files that are named) and of generated masks as their exact
polygons: rings in, COCO strings out. pycocotools takes each mask's rings as Python lists, makes a
string of every ring and merges these; ours takes all coordinates as one array. Lists and arrays
are made before the clock starts. Strings are compared. One thread, warm, CPU time.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks import measure
from benchmarks.workload import make_workload
from pipeline.masks import rle
from pipeline.masks.batch import CocoStrings
from pipeline.masks.polygon import exact_polygon
from pipeline.masks.polygon_fill import fill_polygons

N_IMAGES = 40


class Polygons(NamedTuple):
    """Masks as lists of rings, and the same as arrays."""

    name: str
    rings: list[list[list[float]]]
    xy_V: NDArray[np.float64]
    ring_offsets_K1: NDArray[np.int64]
    mask_ring_offsets_N1: NDArray[np.int64]
    size_hw_N2: NDArray[np.int64]


def main() -> None:
    """Measure every set and print a table."""
    arguments = _parse()
    measure.use_one_thread("benchmarks.fill")
    sets = [from_file(path) for path in arguments.files] + [generated(arguments.images)]
    table = Table("set", "masks", "vertices a mask", "pycocotools ms", "ours ms", "theirs / ours")
    for polygons in sets:
        row = compare(polygons, arguments.repeat)
        table.add_row(*map(str, row))
    Console(width=110).print(table)
    facts = measure.machine()
    Console().print(f"{facts['processor']}, load {facts['load_average']:.1f}; CPU time, medians")


def compare(polygons: Polygons, repeat: int) -> list[Any]:
    """Time both, one right after the other; return a row of the table.

    Raises
    ------
    SystemExit
        If a string differs.
    """
    pair = measure.paired(
        lambda: fill_by_pycocotools(polygons), {"ours": lambda: fill(polygons)}, repeat
    )["ours"]
    if fill_by_pycocotools(polygons) != split(fill(polygons)):
        raise SystemExit(f"{polygons.name}: expected the strings of pycocotools, got others")
    n_masks = len(polygons.rings)
    return [
        polygons.name,
        f"{n_masks:,}",
        f"{len(polygons.xy_V) / 2 / n_masks:.0f}",
        f"{1e3 * pair.reference.summary()['cpu_s']:.1f}",
        f"{1e3 * pair.other.summary()['cpu_s']:.1f}",
        f"{1 / pair.ratios(1.0)['cpu_ratio']:.1f}",
    ]


def fill(polygons: Polygons) -> CocoStrings:
    """Fill all masks at once; return their strings."""
    return rle.to_coco(fill_polygons(*polygons[2:]).batch)


def fill_by_pycocotools(polygons: Polygons) -> list[bytes]:
    """Fill mask by mask; return their strings."""
    mask = importlib.import_module("pycocotools.mask")
    sizes = polygons.size_hw_N2.tolist()
    return [
        mask.merge(mask.frPyObjects(rings, height, width))["counts"]
        for rings, (height, width) in zip(polygons.rings, sizes, strict=True)
    ]


def split(strings: CocoStrings) -> list[bytes]:
    """Return each string by itself."""
    data, ends = strings.bytes_B.tobytes(), strings.offsets_N1.tolist()
    return [data[start:end] for start, end in itertools.pairwise(ends)]


def from_file(path: Path) -> Polygons:
    """Read the polygons of an annotation file."""
    document = json.loads(path.read_text())
    sizes = {image["id"]: (image["height"], image["width"]) for image in document["images"]}
    rows = [row for row in document["annotations"] if isinstance(row["segmentation"], list)]
    rings = [[[float(v) for v in ring] for ring in row["segmentation"]] for row in rows]
    return to_polygons(path.stem, rings, [sizes[row["image_id"]] for row in rows])


def generated(n_images: int) -> Polygons:
    """Return masks of the benchmark as polygons along the corners of their pixels."""
    workload = make_workload(n_images=n_images)
    strings = CocoStrings(workload.bytes_B, workload.offsets_N1)
    values, ring_ends, row_ends = (
        array.tolist() for array in exact_polygon(rle.from_coco(strings, workload.size_hw_N2))
    )
    rings = [
        [[float(v) for v in values[ring_ends[k] : ring_ends[k + 1]]] for k in range(first, last)]
        for first, last in itertools.pairwise(row_ends)
    ]
    pairs = zip(rings, workload.size_hw_N2.tolist(), strict=True)
    some = [(mask, size) for mask, size in pairs if mask]  # pycocotools refuses what has no ring
    return to_polygons("benchmark, exact polygons", [m for m, _ in some], [s for _, s in some])


def to_polygons(
    name: str, rings: list[list[list[float]]], sizes: Sequence[Sequence[int]]
) -> Polygons:
    """Return masks in both forms."""
    all_rings = [ring for mask in rings for ring in mask]
    return Polygons(
        name,
        rings,
        np.array([value for ring in all_rings for value in ring], np.float64),
        np.cumsum([0, *map(len, all_rings)]),
        np.cumsum([0, *map(len, rings)]),
        np.array(sizes, np.int64).reshape(-1, 2),
    )


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.fill")
    parser.add_argument("files", nargs="*", type=Path, help="COCO annotations with polygons")
    parser.add_argument("--images", type=int, default=N_IMAGES, help="images of 100 masks each")
    parser.add_argument("--repeat", type=int, default=7)
    return parser.parse_args()


if __name__ == "__main__":
    main()
