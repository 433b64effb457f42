"""One scene of 1,000 masks, written in every format that can be read."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import zstandard

from tests import oracle
from tests.pipeline.read.test_dense_masks import to_png

Rows = list[dict[str, Any]]
N_IMAGES = 20
N_IN_IMAGE = 50


def make_scene(kind: str) -> Rows:
    """Return 1,000 masks with what COCO says of each; many of them overlap another a lot.

    ``bitmap`` is the mask, bool (H, W); `kind` is ``"shapes"``, or ``"boxes"`` for upright
    rectangles, which polygons and ROI masks can say exactly.
    """
    rng = np.random.default_rng(7)
    rows: Rows = []
    for image_id in range(100, 100 + N_IMAGES):
        height, width = (40 + image_id % 7, 57 - image_id % 5)
        for _ in range(N_IN_IMAGE):
            own = [row for row in rows if row["image_id"] == image_id]
            if own and rng.random() < 0.5:
                box = own[rng.integers(len(own)) & ~1]["box"] + [0, 0, *rng.integers(0, 2, 2)]
            else:
                near = rng.integers(0, [width - 12, height - 12])
                box = np.array([*near, *(near + rng.integers(8, 12, 2))])
            x0, y0, x1, y1 = np.clip(box, 0, [width - 3, height - 3, width, height])
            x1, y1 = max(x1, x0 + 2), max(y1, y0 + 2)
            bitmap = np.zeros((height, width), bool)
            bitmap[y0:y1, x0:x1] = True
            if kind == "shapes":
                bitmap[y0:y1, x0:x1] &= rng.random((y1 - y0, x1 - x0)) < 0.97
            rows.append({"image_id": image_id, "box": np.array([x0, y0, x1, y1]), "bitmap": bitmap})
    scores = rng.permutation(len(rows)) / len(rows)
    for n, row in enumerate(rows):
        x0, y0, x1, y1 = row["box"].tolist()
        row |= {"id": 5_000 + n, "category_id": n % 2, "score": float(scores[n])}
        row |= {"bbox": [float(x0), float(y0), float(x1 - x0), float(y1 - y0)]}
        row |= {"area": float(row["bitmap"].sum()) + 0.5}
    return rows


def plain(row: dict[str, Any], *but: str) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in ("bitmap", "box", *but)}


def size_of(row: dict[str, Any]) -> dict[str, int]:
    return dict(zip(("height", "width"), row["bitmap"].shape, strict=True))


def rle(row: dict[str, Any]) -> dict[str, Any]:
    counts = oracle.encode(row["bitmap"]).decode()
    return {"size": list(row["bitmap"].shape), "counts": counts}


def runs(row: dict[str, Any]) -> list[int]:
    return oracle.parse(row["bitmap"].shape, oracle.encode(row["bitmap"]))


def ring(row: dict[str, Any]) -> list[list[float]]:
    x0, y0, x1, y1 = row["box"].tolist()
    return [[x0, y0, x1, y0, x1, y1, x0, y1]]


def by_image(rows: Rows) -> list[tuple[int, dict[str, int], Rows]]:
    groups = [(key, list(own)) for key, own in groupby(rows, key=lambda row: row["image_id"])]
    return [(key, size_of(own[0]), own) for key, own in groups]


def results(rows: Rows) -> bytes:
    return json.dumps([plain(row) | {"segmentation": rle(row)} for row in rows]).encode()


def lines(rows: Rows) -> bytes:
    return b"\n".join(json.dumps(plain(row) | {"segmentation": rle(row)}).encode() for row in rows)


def annotations(rows: Rows, mask: Callable[[dict[str, Any]], Any], **more: Any) -> bytes:
    images = [{"id": key, **size, **more} for key, size, _ in by_image(rows)]
    categories = [{"id": n, "name": str(n)} for n in range(3)]
    found = [plain(row) | {"segmentation": mask(row), "iscrowd": 0} for row in rows]
    content = {"images": images, "annotations": found, "categories": categories}
    return json.dumps(content).encode()


def predictions(rows: Rows, **more: Any) -> bytes:
    stream = io.BytesIO()
    value = [
        {"image_id": key, "instances": [plain(row) | {"segmentation": rle(row)} for row in own]}
        for key, _, own in by_image(rows)
    ]
    torch.save([image | more for image in value], stream)
    return stream.getvalue()


def dicts(rows: Rows) -> bytes:
    return json.dumps(
        [
            {"file_name": f"{key}.jpg", "image_id": key, **size}
            | {"annotations": [dict_of(row) for row in own]}
            for key, size, own in by_image(rows)
        ]
    ).encode()


def dict_of(row: dict[str, Any]) -> dict[str, Any]:
    corners = {"bbox": row["box"].tolist(), "bbox_mode": 0}
    return plain(row, "image_id") | corners | {"segmentation": rle(row)}


def sa1b(rows: Rows) -> list[bytes]:
    return [
        json.dumps(
            {
                "image": {"image_id": key, "file_name": f"sa_{key}.jpg", **size},
                "annotations": [
                    plain(row, "image_id", "score", "category_id")
                    | {"predicted_iou": row["score"], "segmentation": rle(row)}
                    for row in own
                ],
            }
        ).encode()
        for key, size, own in by_image(rows)
    ]


def parquet(rows: Rows, mask: Callable[[dict[str, Any]], dict[str, Any]]) -> bytes:
    return to_parquet([plain(row) | size_of(row) | mask(row) for row in rows])


def images(rows: Rows, shape: str, mask: Callable[[dict[str, Any]], dict[str, Any]]) -> bytes:
    """Write a row per image: ``structs``, a ``struct`` of lists, or ``lists``."""
    out: Rows = []
    for key, size, own in by_image(rows):
        instances = [plain(row, "image_id") | mask(row) for row in own]
        lists = {name: [one[name] for one in instances] for name in instances[0]}
        held = {"structs": {"annotations": instances}, "struct": {"objects": lists}, "lists": lists}
        out.append({"image_id": key, **size, **held[shape]})
    return to_parquet(out)


def to_parquet(rows: Rows) -> bytes:
    stream = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), stream, row_group_size=300)
    return stream.getvalue()


def counts(row: dict[str, Any]) -> dict[str, Any]:
    return {"counts": rle(row)["counts"]}


SHAPES: dict[str, Callable[[Rows], bytes | list[bytes]]] = {
    "results": results,
    "results.gz": lambda rows: gzip.compress(results(rows)),
    "results.zst": lambda rows: zstandard.compress(results(rows)),
    "lines": lines,
    "lines.gz": lambda rows: gzip.compress(lines(rows)),
    "annotations": lambda rows: annotations(rows, rle, file_name="x.jpg"),
    "lvis": lambda rows: annotations(
        rows, rle, coco_url="http://x/1.jpg", neg_category_ids=[1], not_exhaustive_category_ids=[]
    ),
    "uncompressed": lambda rows: annotations(
        rows, lambda row: {"size": list(row["bitmap"].shape), "counts": runs(row)}
    ),
    "coco.pth": predictions,
    "lvis.pth": lambda rows: predictions(rows, proposals=None),
    "dicts": dicts,
    "parquet strings": lambda rows: parquet(rows, counts),
    "parquet bytes": lambda rows: parquet(
        rows, lambda row: {"counts": rle(row)["counts"].encode()}
    ),
    "parquet runs": lambda rows: parquet(rows, lambda row: {"counts": runs(row)}),
    "parquet segmentation": lambda rows: parquet(rows, lambda row: {"segmentation": rle(row)}),
    "parquet bits": lambda rows: parquet(
        rows, lambda row: {"mask": np.packbits(row["bitmap"].ravel()).tobytes()}
    ),
    "parquet png": lambda rows: parquet(rows, lambda row: {"mask": to_png(row["bitmap"])}),
    "images structs": lambda rows: images(rows, "structs", lambda row: {"segmentation": rle(row)}),
    "images struct": lambda rows: images(rows, "struct", counts),
    "images lists": lambda rows: images(rows, "lists", counts),
}
"""Formats of any mask; results come first, the others are compared with them."""

BOXES: dict[str, Callable[[Rows], bytes | list[bytes]]] = {
    "results": results,
    "polygons": lambda rows: annotations(rows, ring),
    "parquet rings": lambda rows: parquet(rows, lambda row: {"segmentation": ring(row)}),
    "images rings": lambda rows: images(rows, "lists", lambda row: {"segmentation": ring(row)}),
    "parquet rois": lambda rows: parquet(rows, lambda _: {"roi_mask": [1.0] * 784}),
}
"""Formats that say upright rectangles exactly."""


def write_files(folder: Path, content: bytes | list[bytes]) -> list[Path]:
    """Write one file, or several in order."""
    contents = content if isinstance(content, list) else [content]
    paths = [folder / f"{n:03}.input" for n in range(len(contents))]
    for path, data in zip(paths, contents, strict=True):
        path.write_bytes(data)
    return paths
