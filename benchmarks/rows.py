"""Files of any number of masks: ``python -m benchmarks.rows --masks 1000000 --output FILE``.

What comes out is the workload of `benchmarks.workload`, written image by image as it is made, so
that memory stays small whatever the size. The first ``--distinct`` masks are made (about 5,000 a
second); after them the same images come again under new ids, which costs a reader what new ones
would. The same arguments give the same bytes.

Formats: ``json`` (results, as detectron2 writes them), ``lines`` (one object a line),
``annotations`` (images, then annotations with a polygon per mask, then categories) and
``parquet``. Text whose name ends in ``.gz`` or ``.zst`` is compressed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.files import parquet_options, to_table
from benchmarks.workload import Kind, Workload, make_workload
from pipeline.masks import rle
from pipeline.masks.batch import CocoStrings
from pipeline.masks.polygon import exact_polygon

FORMATS = ("json", "lines", "annotations", "parquet")

_BATCH_MASKS = 10_000
_COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}


class Recipe(NamedTuple):
    """What decides the rows.

    Attributes
    ----------
    n_masks : int
        Rows of the file.
    kind : str
        Of scene, see `benchmarks.workload`.
    masks_per_image, side, seed : int
        As for `make_workload`; the last image may have fewer masks.
    n_distinct : int
        Masks after which the same images come again.
    n_passes : int
        How often the file goes through all images, each time with a part of their masks; more
        than one: images do not lie together.
    """

    n_masks: int
    kind: Kind = "dense"
    masks_per_image: int = 100
    side: int = 640
    seed: int = 0
    n_distinct: int = 100_000
    n_passes: int = 1


def write(recipe: Recipe, format: str, path: Path) -> None:
    """Write the rows as a file."""
    if format == "parquet":
        _write_parquet(recipe, path)
        return
    compression = _COMPRESSIONS.get(path.suffix)
    with pa.output_stream(str(path), compression=compression, buffer_size=1 << 20) as stream:
        _TEXTS[format](recipe, stream.write)


def batches(recipe: Recipe) -> Iterator[Workload]:
    """Yield the rows of images, some at a time, under image ids from 1 on, ascending in a pass."""
    n_images = max(1, _BATCH_MASKS // recipe.masks_per_image)
    size = n_images * recipe.masks_per_image
    n_distinct = max(1, recipe.n_distinct // size)
    n_batches = -(-recipe.n_masks // size)
    for n_pass, number in product(range(recipe.n_passes), range(n_batches)):
        found = _make(recipe, n_images, number % n_distinct)
        rows = np.arange(n_pass, min(size, recipe.n_masks - number * size), recipe.n_passes)
        if len(rows) < size:
            found = found.take(rows)
        yield replace(found, image_id=found.image_id + number * n_images)


@lru_cache(maxsize=200)
def _make(recipe: Recipe, n_images: int, number: int) -> Workload:
    return make_workload(
        recipe.kind,
        n_images=n_images,
        masks_per_image=recipe.masks_per_image,
        side=recipe.side,
        seed=recipe.seed * 1_000_003 + number,
    )


def _write_parquet(recipe: Recipe, path: Path) -> None:
    writer = None
    for batch in batches(recipe):
        table = to_table(batch)
        writer = writer or pq.ParquetWriter(path, table.schema, **parquet_options(table.schema))
        writer.write_table(table)
    if writer:
        writer.close()


def _write_json(recipe: Recipe, write: Callable[[bytes], Any]) -> None:
    write(b"[")
    for n, batch in enumerate(batches(recipe)):
        write(b", " if n else b"")
        write(b", ".join(result_rows(batch)))
    write(b"]")


def _write_lines(recipe: Recipe, write: Callable[[bytes], Any]) -> None:
    for batch in batches(recipe):
        write(b"\n".join(result_rows(batch)) + b"\n")


def _write_annotations(recipe: Recipe, write: Callable[[bytes], Any]) -> None:
    write(b'{"images": [')
    for n, batch in enumerate(batches(recipe)):
        first_N = np.unique(batch.image_id, return_index=True)[1]
        keys, sizes = batch.image_id[first_N].tolist(), batch.size_hw_N2[first_N].tolist()
        pairs = zip(keys, sizes, strict=True)
        images = [{"id": key, "height": h, "width": w} for key, (h, w) in pairs]
        write(b", " if n else b"")
        write(json.dumps(images)[1:-1].encode())
    write(b'], "annotations": [')
    own_id = 0
    categories: set[int] = set()
    for n, batch in enumerate(batches(recipe)):
        write(b", " if n else b"")
        write(b", ".join(_annotation_rows(batch, own_id)))
        own_id += len(batch)
        categories.update(batch.category_id.tolist())
    named = [{"id": key, "name": f"category {key}"} for key in sorted(categories)]
    write(b'], "categories": ' + json.dumps(named).encode() + b"}")


def result_rows(batch: Workload) -> list[bytes]:
    """Return every row as an object of a results file."""
    ids = batch.image_id.tolist()
    return [
        b'{"image_id": %d, %b' % pair for pair in zip(ids, _result_rests(_Same(batch)), strict=True)
    ]


def _annotation_rows(batch: Workload, first_id: int) -> list[bytes]:
    """Return every row as an object under ``annotations``."""
    rests = _annotation_rests(_Same(batch))
    rows = zip(range(first_id, first_id + len(batch)), batch.image_id.tolist(), rests, strict=True)
    return [b'{"id": %d, "image_id": %d, %b' % row for row in rows]


class _Same:
    """A batch as a key: those that share their strings are the same but for their ids."""

    def __init__(self, batch: Workload) -> None:
        self.batch = batch

    def __hash__(self) -> int:
        return id(self.batch.bytes_B)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.batch.bytes_B is other.batch.bytes_B


@lru_cache(maxsize=20)
def _result_rests(same: _Same) -> list[bytes]:
    """Return the rows as JSON without their beginning."""
    batch = same.batch
    return [
        json.dumps(
            {
                "category_id": category_id,
                "bbox": bbox,
                "score": score,
                "segmentation": {"size": size, "counts": counts.decode()},
            }
        )[1:].encode()
        for category_id, score, bbox, size, counts in zip(
            batch.category_id.tolist(),
            batch.score.tolist(),
            batch.bbox_xywh_N4.tolist(),
            batch.size_hw_N2.tolist(),
            batch.strings(),
            strict=True,
        )
    ]


@lru_cache(maxsize=20)
def _annotation_rests(same: _Same) -> list[bytes]:
    """Return the rows as JSON without their beginning.

    The rings are the outlines of the pixels; a mask without a pixel has none and stays a string.
    """
    batch = same.batch
    strings = CocoStrings(batch.bytes_B, batch.offsets_N1)
    values, ring_ends, row_ends = (
        array.tolist() for array in exact_polygon(rle.from_coco(strings, batch.size_hw_N2))
    )
    return [
        json.dumps(
            {
                "category_id": category_id,
                "iscrowd": 0,
                "bbox": bbox,
                "segmentation": [
                    values[ring_ends[k] : ring_ends[k + 1]]
                    for k in range(row_ends[n], row_ends[n + 1])
                ]
                or {"size": size, "counts": counts.decode()},
            }
        )[1:].encode()
        for n, (category_id, bbox, size, counts) in enumerate(
            zip(
                batch.category_id.tolist(),
                batch.bbox_xywh_N4.tolist(),
                batch.size_hw_N2.tolist(),
                batch.strings(),
                strict=True,
            )
        )
    ]


_TEXTS = {"json": _write_json, "lines": _write_lines, "annotations": _write_annotations}


def main() -> None:
    """Write one file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--masks", type=int, required=True, help="rows of the file")
    parser.add_argument("--output", type=Path, required=True, help="the file")
    parser.add_argument("--format", choices=FORMATS, default="json")
    parser.add_argument("--kind", choices=get_args(Kind), default="dense")
    parser.add_argument("--masks_per_image", type=int, default=100)
    parser.add_argument("--side", type=int, default=640, help="longer side of an image, pixels")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--distinct", type=int, default=100_000, help="masks that are not repeated")
    parser.add_argument("--passes", type=int, default=1, help="2 or more: images are scattered")
    given = parser.parse_args()
    recipe = Recipe(
        given.masks,
        given.kind,
        given.masks_per_image,
        given.side,
        given.seed,
        given.distinct,
        given.passes,
    )
    write(recipe, given.format, given.output)
    print(f"{given.output}: {given.masks:,} masks, {given.output.stat().st_size / 1e6:,.1f} MB")


if __name__ == "__main__":
    main()
