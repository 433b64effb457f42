"""Encodings beside each other, in time and bytes: ``python -m benchmarks.encode [FILE ...]``.

Time: COCO string -> counts -> COCO string by our own kernels is the unit; runs
to crack code, crack code to runs and the polygon encoder are given as multiples
of it, pycocotools' dense encode and decode beside them. Bytes: what each mask
column costs in Parquet at zstd 3. Inputs are the dense workload and a detector's
(larger masks) at 640 and at 1,500 px, and any COCO results or annotation files that
are named; the polygons of annotation files once more, in images enlarged to ``--side``
pixels.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks import measure
from benchmarks.files import to_binary, write_parquet
from benchmarks.workload import Kind, cached, make_workload
from pipeline.masks import contour, polygon, rle
from pipeline.masks import measure as mask_measure
from pipeline.masks.batch import CocoStrings, MaskBatch

Result = dict[str, Any]

FIDELITY = 0.98
_SLOW_MASKS = 200
_TIMED_MASKS = 10_000


class Masks(NamedTuple):
    """A named set of masks as strings."""

    name: str
    strings: CocoStrings
    size_hw_N2: NDArray[np.int32]


def main() -> None:
    """Measure every set that the command line names, print tables, write JSON."""
    arguments = _parse()
    measure.use_one_thread("benchmarks.encode")
    pa.set_cpu_count(1)
    sets = [
        generated("dense", 640, 200),
        generated("dense", 1500, 20),
        generated("detector", 640, 20),
        generated("detector", 1500, 20),
    ]
    for path in arguments.files:
        sets.append(from_file(path))
        if has_polygons(path):
            sets.append(from_file(path, arguments.side))
    result: Result = {
        "machine": measure.machine(),
        "fidelity": FIDELITY,
        "sets": [compare(masks, arguments.repeat) for masks in sets],
    }
    print_sets(Console(width=130), result["sets"])
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.encode")
    parser.add_argument("files", nargs="*", type=Path, help="COCO results or annotation files")
    parser.add_argument("--side", type=int, default=1500, help="longer side of enlarged images")
    parser.add_argument("--repeat", type=int, default=7, help="rounds over all encodings")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    return parser.parse_args()


def generated(kind: Kind, side: int, n_images: int) -> Masks:
    """Return the workload of a kind and size."""
    name = f"{kind}-{n_images}x100-{side}px-seed0"
    workload = cached(name, lambda: make_workload(kind, n_images=n_images, side=side))
    return Masks(name, CocoStrings(workload.bytes_B, workload.offsets_N1), workload.size_hw_N2)


def has_polygons(path: Path) -> bool:
    """Return whether a COCO file is a document of annotations with polygons."""
    document = json.loads(path.read_text())
    return isinstance(document, dict) and any(
        isinstance(row["segmentation"], list) for row in document["annotations"]
    )


def from_file(path: Path, side: int | None = None) -> Masks:
    """Read a COCO file; polygons are filled by pycocotools.

    With `side` only polygons are read, each image enlarged to that longer side.
    """
    mask = importlib.import_module("pycocotools.mask")
    document = json.loads(path.read_text())
    rows = document if isinstance(document, list) else document["annotations"]
    sizes: dict[Any, tuple[int, int]] = {}
    if isinstance(document, dict):
        sizes = {image["id"]: (image["height"], image["width"]) for image in document["images"]}
    strings: list[bytes] = []
    size_hw: list[tuple[int, int]] = []
    for row in rows:
        segmentation = row["segmentation"]
        if isinstance(segmentation, list):
            height, width = sizes[row["image_id"]]
            scale = side / max(height, width) if side else 1.0
            rings = [[scale * value for value in ring] for ring in segmentation]
            height, width = round(scale * height), round(scale * width)
            segmentation = mask.merge(mask.frPyObjects(rings, height, width))
        elif side:
            continue
        elif isinstance(segmentation["counts"], list):
            segmentation = mask.frPyObjects(segmentation, *segmentation["size"])
        counts = segmentation["counts"]
        strings.append(counts.encode() if isinstance(counts, str) else counts)
        size_hw.append(tuple(segmentation["size"]))
    offsets_N1 = np.cumsum([0, *(len(string) for string in strings)])
    sizes_N2 = np.array(size_hw, np.int32).reshape(-1, 2)
    coded = CocoStrings(np.frombuffer(b"".join(strings), np.uint8), offsets_N1)
    name = f"{path.stem}, enlarged to {side} px" if side else path.stem
    return Masks(name, rle.canonical_coco(coded, sizes_N2), sizes_N2)


def compare(masks: Masks, repeat: int) -> Result:
    """Measure bytes and times of one set."""
    batch = rle.from_coco(masks.strings, masks.size_hw_N2)
    n_masks = len(masks.size_hw_N2)
    return {
        "name": masks.name,
        "masks": n_masks,
        "mean_runs": len(batch.counts_R) / n_masks,
        "bytes_per_mask": compare_bytes(masks, batch),
        "times": compare_times(masks, repeat),
    }


def compare_bytes(masks: Masks, batch: MaskBatch) -> Result:
    """Return what each encoding costs a mask in a Parquet column, and how polygons fared."""
    crack = contour.encode_crack(batch)
    coded = polygon.encode_polygon(batch, FIDELITY, None, max_bytes_N=np.diff(crack.offsets_N1) - 1)
    n_masks = len(batch.size_hw_N2)
    crack_column = to_binary(crack.bytes_B, crack.offsets_N1)
    is_polygon = pa.array(coded.is_encoded_N)
    polygons = to_binary(coded.bytes_B, coded.offsets_N1).filter(is_polygon)
    rest = crack_column.filter(pa.array(~coded.is_encoded_N))
    fidelity_M = coded.fidelity_N[coded.is_encoded_N]
    return {
        "rle": column_bytes(to_binary(*masks.strings)) / n_masks,
        "crack": column_bytes(crack_column) / n_masks,
        "polygon": (column_bytes(polygons) + column_bytes(rest)) / n_masks,
        "polygon_share": float(coded.is_encoded_N.mean()),
        "polygon_min_fidelity": float(fidelity_M.min(initial=1.0)),
    }


def column_bytes(column: pa.Array) -> int:
    """Return the bytes of a mask column in Parquet, as the product writes it."""
    if len(column) == 0:
        return 0
    sink = pa.BufferOutputStream()
    write_parquet(pa.table({"mask": column}), sink)
    return (
        pq.read_metadata(pa.BufferReader(sink.getvalue()))
        .row_group(0)
        .column(0)
        .total_compressed_size
    )


def compare_times(masks: Masks, repeat: int) -> list[Result]:
    """Time each coder beside strings -> counts -> strings of the same masks."""
    n_masks = len(masks.size_hw_N2)
    index_M = np.arange(max(n_masks, min(_TIMED_MASKS, 20 * n_masks))) % n_masks
    first_M = np.arange(min(_SLOW_MASKS, len(index_M)))
    strings, sizes_N2 = rle.take_strings(masks.strings, index_M), masks.size_hw_N2[index_M]
    batch = rle.from_coco(strings, sizes_N2)
    crack = contour.encode_crack(batch)
    bbox_N4 = mask_measure.bbox_xywh(batch)
    calls: dict[str, Callable[[], Any]] = {
        "runs to crack": lambda: contour.encode_crack(batch),
        "crack to runs": lambda: contour.decode_crack(*crack, bbox_N4, sizes_N2),
        "strings to runs": lambda: rle.from_coco(strings, sizes_N2),
        "runs to strings": lambda: rle.to_coco(batch),
    }
    decoded = contour.decode_crack(*crack, bbox_N4, sizes_N2)
    assert np.array_equal(decoded.counts_R, batch.counts_R), "crack code must be lossless"
    slow = _slow_calls(rle.take_strings(strings, first_M), sizes_N2[first_M])
    scale = dict.fromkeys(calls, 1.0) | dict.fromkeys(slow, len(index_M) / len(first_M))
    calls |= slow

    def reference() -> CocoStrings:
        return rle.to_coco(rle.from_coco(strings, sizes_N2))

    pairs = measure.paired(reference, calls, repeat)
    unit = next(iter(pairs.values())).reference.summary()
    rows = [{"name": "strings to runs to strings", "wall_ratio": 1.0, "cpu_ratio": 1.0, **unit}]
    for name, pair in pairs.items():
        times = {key: value * scale[name] for key, value in pair.other.summary().items()}
        rows.append({"name": name, **times, **pair.ratios(scale[name])})
    for row in rows:
        row["masks_per_s"] = len(sizes_N2) / row["cpu_s"]
    return rows


def _slow_calls(strings: CocoStrings, sizes_N2: NDArray[np.int32]) -> dict[str, Callable[[], Any]]:
    """Return the polygon encoder, and pycocotools' way from and to pixels."""
    batch = rle.from_coco(strings, sizes_N2)
    calls: dict[str, Callable[[], Any]] = {
        "runs to polygon": lambda: polygon.encode_polygon(batch, FIDELITY, None)
    }
    if not importlib.util.find_spec("pycocotools"):
        return calls
    mask = importlib.import_module("pycocotools.mask")
    data = strings.bytes_B.tobytes()
    rles = [
        {"size": size, "counts": data[start:end]}
        for size, (start, end) in zip(
            sizes_N2.tolist(), itertools.pairwise(strings.offsets_N1.tolist()), strict=True
        )
    ]
    pixels = [mask.decode(one) for one in rles]
    return calls | {
        "pycocotools string to pixels": lambda: [mask.decode(one) for one in rles],
        "pycocotools pixels to string": lambda: [mask.encode(one) for one in pixels],
    }


def print_sets(console: Console, sets: list[Result]) -> None:
    """Print one table of bytes for all sets and one of times for each."""
    table = Table(title="bytes per mask in Parquet, zstd 3")
    columns = ("", "masks", "runs", "rle", "crack", "polygon", "crack / rle", "polygon / rle")
    for column in (*columns, "are polygons"):
        table.add_column(column, justify="left" if column == "" else "right")
    for row in sets:
        cost = row["bytes_per_mask"]
        values = [f"{cost[key]:.1f}" for key in ("rle", "crack", "polygon")]
        ratios = [f"{cost[key] / cost['rle']:.3f}" for key in ("crack", "polygon")]
        counts = [f"{row['masks']:,}", f"{row['mean_runs']:.0f}"]
        table.add_row(row["name"], *counts, *values, *ratios, f"{cost['polygon_share']:.1%}")
    console.print(table)
    for row in sets:
        table = Table(title=f"{row['name']}: time as a multiple of strings to runs to strings")
        for column in ("", "masks per CPU s", "wall ratio", "CPU ratio"):
            table.add_column(column, justify="left" if column == "" else "right")
        for line in row["times"]:
            ratios = [f"{line[key]:.2f}" for key in ("wall_ratio", "cpu_ratio")]
            table.add_row(line["name"], f"{line['masks_per_s']:,.0f}", *ratios)
        console.print(table)


if __name__ == "__main__":
    main()
