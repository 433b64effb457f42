"""Reading beside plain decoding: ``python -m benchmarks.reading [--repeat N] [--json FILE]``.

Of one workload as results JSON, as annotation JSON with polygons, and as
Parquet: our scan and read (validated, canonical, areas and boxes measured)
beside what only decodes: `msgspec.json.decode` into plain objects,
`pyarrow.parquet.read_table`. Each is timed right after its reference, in one
thread, and the peak of memory over what it was before is given as a multiple of
the file. Filling polygons is part of our time, and of no reference's.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from benchmarks import measure
from benchmarks.files import to_table, write_parquet, write_results_json
from benchmarks.workload import CACHE, cached, make_workload
from pipeline import read, storage
from pipeline.config import ReadConfig
from pipeline.masks import rle
from pipeline.masks.batch import CocoStrings
from pipeline.masks.polygon import exact_polygon

UNIT_BYTES = 64 << 20

Result = dict[str, Any]


def main() -> None:
    """Measure every file, print a table, write JSON."""
    arguments = _parse()
    measure.use_one_thread("benchmarks.reading")
    pa.set_cpu_count(1)
    files = make_files(arguments.images)
    result: Result = {
        "machine": measure.machine(),
        "files": [compare(name, path, arguments.repeat) for name, path in files.items()],
    }
    _print(result)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1))


def make_files(n_images: int) -> dict[str, Path]:
    """Write the workload in every form, once."""
    workload = cached(f"dense-{n_images}", lambda: make_workload(n_images=n_images))
    names = ("results.json", "annotations.json", "rows.parquet")
    paths = {name: CACHE / f"reading-{n_images}-{name}" for name in names}
    if not paths["results.json"].exists():
        write_results_json(workload, paths["results.json"])
    if not paths["rows.parquet"].exists():
        write_parquet(to_table(workload), paths["rows.parquet"])
    if not paths["annotations.json"].exists():
        strings = CocoStrings(workload.bytes_B, workload.offsets_N1)
        rings = exact_polygon(rle.from_coco(strings, workload.size_hw_N2))
        write_annotations(workload, rings, paths["annotations.json"])
    return paths


def write_annotations(workload: Any, rings: Any, path: Path) -> None:
    """Write COCO annotations with a polygon per mask."""
    values, ring_ends, row_ends = (array.tolist() for array in rings)
    sizes = dict(zip(workload.image_id.tolist(), workload.size_hw_N2.tolist(), strict=True))
    annotations = [
        {
            "id": n,
            "image_id": image_id,
            "category_id": category_id,
            "iscrowd": 0,
            "bbox": [float(side) for side in bbox],
            "segmentation": [
                values[ring_ends[k] : ring_ends[k + 1]] for k in range(row_ends[n], row_ends[n + 1])
            ],
        }
        for n, (image_id, category_id, bbox) in enumerate(
            zip(
                workload.image_id.tolist(),
                workload.category_id.tolist(),
                workload.bbox_xywh_N4.tolist(),
                strict=True,
            )
        )
    ]
    images = [{"id": key, "height": h, "width": w} for key, (h, w) in sizes.items()]
    content = {"images": images, "annotations": annotations}
    path.write_bytes(msgspec.json.encode(content))


def compare(name: str, path: Path, repeat: int) -> Result:
    """Time scan and read of a file beside its reference."""
    file = storage.inspect_file(storage.to_uri(str(path)))
    config = ReadConfig()
    scan = read.scan(file, config, UNIT_BYTES)

    def read_all() -> int:
        parts = (read.read(part, scan.source, config, "int") for part in scan.slices)
        return sum(len(part.instances) for part in parts)

    calls: dict[str, Callable[[], Any]] = {
        "read": read_all,
        "scan": lambda: read.scan(file, config, UNIT_BYTES),
    }
    pairs = measure.paired(_reference(path), calls, repeat)
    return {
        "name": name,
        "rows": read_all(),
        "file_bytes": file.file_bytes,
        "peak_per_file_byte": measure.peak_bytes(read_all) / file.file_bytes,
        "reference": pairs["read"].reference.summary(),
        **{kind: pair.other.summary() | pair.ratios(1.0) for kind, pair in pairs.items()},
    }


def _reference(path: Path) -> Callable[[], Any]:
    if path.suffix == ".parquet":
        return lambda: pq.read_table(path, use_threads=False)
    # The file is read in the reference too, as it is in ours.
    return lambda: msgspec.json.decode(path.read_bytes())


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--images", type=int, default=1_000, help="images of 100 masks each")
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def _print(result: Result) -> None:
    table = Table("file", "MB", "rows", "decode ms", "read ms", "ratio", "scan ms", "ratio", "peak")
    for found in result["files"]:
        table.add_row(
            found["name"],
            f"{found['file_bytes'] / 1e6:.1f}",
            f"{found['rows']:,}",
            f"{found['reference']['cpu_s'] * 1e3:.0f}",
            f"{found['read']['cpu_s'] * 1e3:.0f}",
            f"{found['read']['cpu_ratio']:.2f}",
            f"{found['scan']['cpu_s'] * 1e3:.0f}",
            f"{found['scan']['cpu_ratio']:.2f}",
            f"{found['peak_per_file_byte']:.1f} x file",
        )
    Console().print(table)
    machine = result["machine"]
    Console().print(
        f"{machine['processor']}, load {machine['load_average']:.1f}; CPU time, medians"
    )


if __name__ == "__main__":
    main()
