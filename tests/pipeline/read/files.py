"""Small input files, and reading them whole: scan, read every slice, put together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from pipeline import read, storage
from pipeline.config import ReadConfig
from pipeline.read.slices import FileScan, Slice

SIZE_HW = [4, 5]
SQUARE = "52207"
"""The pixels [1, 3) x [1, 3) of an image of 4 x 5: runs 5, 2, 2, 2, 9."""


class Whole(NamedTuple):
    """All that reading a file gave."""

    scan: FileScan
    instances: pa.Table
    rejects: pa.Table
    counters: dict[str, int]

    def fault(self) -> tuple[str, str]:
        """Code and field of the only reject."""
        [row] = self.rejects.to_pylist()
        return row["code"], row["field"]


def write_file(folder: Path, content: Any, name: str = "input.json") -> storage.InputFile:
    """Write bytes, text, or anything else as JSON; return the file's place in an inventory."""
    path = folder / name
    if isinstance(content, str):
        content = content.encode()
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return storage.inspect_file(storage.to_uri(str(path)))


def read_whole(
    file: storage.InputFile, config: ReadConfig | None = None, unit_bytes: int = 1 << 26
) -> Whole:
    config = config or ReadConfig()
    scan = read.scan(file, config, unit_bytes)
    results = [read.read(part, scan.source, config, scan.id_type or "int") for part in scan.slices]
    counters: dict[str, int] = dict(scan.counters)
    for result in results:
        result.instances.validate(full=True)
        result.rejects.validate(full=True)
        for name, count in result.counters.items():
            counters[name] = counters.get(name, 0) + count
    n_rows = sum(part.n_rows for part in scan.slices)
    assert n_rows == sum(len(r.instances) + len(r.rejects) for r in results)
    _check_slices(scan, results)
    if not results:
        return Whole(scan, pa.table({}), pa.table({}), counters)
    instances = pa.concat_tables([result.instances for result in results])
    rejects = pa.concat_tables([result.rejects for result in results])
    return Whole(scan, instances, rejects, counters)


def _check_slices(scan: FileScan, results: list[read.ReadResult]) -> None:
    """Slices follow each other, and their bounds hold what was read."""
    row = 0
    for part, result in zip(scan.slices, results, strict=True):
        assert part.first_row == row
        row += part.n_rows
        assert part.n_rows > 0
        _check_bounds(part, result)


def _check_bounds(part: Slice, result: read.ReadResult) -> None:
    ids = result.instances["image_id"].to_pylist()
    if ids:
        assert part.min_image_id is not None
        assert part.min_image_id <= min(ids)
        assert part.max_image_id >= max(ids)
    rows = result.instances["source_row"].to_pylist() + result.rejects["source_row"].to_pylist()
    assert sorted(rows) == list(range(part.first_row, part.first_row + part.n_rows))


def make_row(**fields: Any) -> dict[str, Any]:
    """Return a good row, with these fields instead; a field of `...` is left out."""
    row: dict[str, Any] = {
        "image_id": 7,
        "category_id": 1,
        "segmentation": {"size": SIZE_HW, "counts": SQUARE},
        "score": 0.5,
        "bbox": [1, 1, 2, 2],
    }
    return {key: value for key, value in (row | fields).items() if value is not ...}


def make_rle(counts: Any, height: Any = 4, width: Any = 5) -> dict[str, Any]:
    """Return a `segmentation` by runs."""
    return {"size": [height, width], "counts": counts}


def make_annotations(*rows: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Return an annotation file with one image of 10 x 10 and the categories 1 and 2."""
    return {
        "images": [{"id": 7, "height": 10, "width": 10, "file_name": "7.jpg"}],
        "annotations": list(rows),
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    } | fields


def make_annotation(segmentation: Any, **fields: Any) -> dict[str, Any]:
    """Return a good annotation of the image of `make_annotations`, with this mask."""
    row = {"id": 1, "image_id": 7, "category_id": 1, "iscrowd": 0, "segmentation": segmentation}
    return {key: value for key, value in (row | fields).items() if value is not ...}
