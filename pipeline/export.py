"""A published table in other people's formats: streamed, one row group in memory.

``bbox`` and ``area`` are what came in with the row where its mask is unchanged,
since COCO's ``area`` decides which size class a mask counts for; where merging,
cleaning or the encoding changed the mask they are measured on what is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import dataset
from pipeline.arrow import pc
from pipeline.columns import one_chunk
from pipeline.config import FORMAT_VERSION, EncodeConfig, WriteConfig
from pipeline.sink import writer_options
from pipeline.stored import store_masks
from schemas.metadata import FORMAT_KEY

_SIDES = tuple(enumerate("xywh"))

XYWH_ABS = 1
"""detectron2's BoxMode of a box as left, top, width, height in pixels."""

Rows = Iterable[tuple[pa.Table, list[dict[str, Any]]]]


def export_json(output: str, to: str, stream: BinaryIO, version: int | None = None) -> int:
    """Write a table as JSON.

    Parameters
    ----------
    output : str
        What was ``--output`` of the run.
    to : str
        ``coco`` (annotations with images and categories), ``results`` (a list of
        detections) or ``detectron2`` (dataset dicts, one per image).
    stream : binary file
        Where to write.
    version : int, optional
        Of the table; default the newest.

    Returns
    -------
    int
        Masks written.
    """
    writers: dict[str, Callable[[Rows, BinaryIO], int]] = {
        "coco": _write_coco,
        "results": _write_results,
        "detectron2": _write_dicts,
    }
    return writers[to](_annotated(output, version), stream)


def export_parquet(
    output: str, encoding: EncodeConfig, stream: BinaryIO, version: int | None = None
) -> int:
    """Write a table's rows into one Parquet file, with masks in another encoding.

    ``fidelity`` is measured against the masks of the table, so for a table of
    polygons it does not speak of the masks that were read once.

    Returns
    -------
    int
        Masks written.
    """
    n_masks = 0
    writer: pq.ParquetWriter | None = None
    for rows in dataset.read_row_groups(output, version):
        stored = store_masks(one_chunk(rows["counts"]), rows, encoding)
        columns: dict[str, Any] = {
            **dict(zip(rows.column_names, rows.columns, strict=True)),
            **stored.columns,
            **{
                f"bbox_{name}": pa.array(stored.bbox_xywh_M4[:, n]) for n, name in enumerate("xywh")
            },
            "area": pa.array(stored.area_M),
            "fidelity": pa.array(stored.fidelity_M),
        }
        schema = rows.schema.set(
            rows.schema.get_field_index("counts"),
            rows.schema.field("counts").with_type(pa.binary()).with_nullable(True),
        ).with_metadata({FORMAT_KEY: FORMAT_VERSION})
        table = pa.table([columns[name] for name in schema.names], names=schema.names).cast(schema)
        if writer is None:
            writer = pq.ParquetWriter(stream, schema, **writer_options(schema, WriteConfig()))
        writer.write_table(table)
        n_masks += len(table)
    if writer is not None:
        writer.close()
    return n_masks


def choose_ids(output: str, version: int | None = None) -> str:
    """Return the column that can serve as annotation id: ``input_id`` if it is unique and whole."""
    opened = dataset.publish.open_tables(dataset.storage.to_uri(output), version)["compacted"]
    ids = one_chunk(opened.to_pyarrow_dataset().to_table(["input_id"])["input_id"])
    is_unique = ids.null_count == 0 and len(pc.unique(ids)) == len(ids)
    return "input_id" if is_unique else "instance_id"


def _annotated(output: str, version: int | None) -> Rows:
    """Yield row groups and annotations: ids and boxes as they came, where they still hold."""
    uris = dataset.file_uris(output, version)
    if not uris:
        return
    id_column = choose_ids(output, version)
    settings = dataset.read_config(uris[0])
    for rows in dataset.read_row_groups(output, version):
        annotations = dataset.to_annotations(rows)
        ids = rows[id_column].to_pylist()
        boxes = rows.select([f"input_bbox_{name}" for name in "xywh"]).to_pylist()
        areas = rows["input_area"].to_pylist()
        unchanged = is_unchanged(rows, settings)
        for n, annotation in enumerate(annotations):
            annotation["id"] = ids[n]
            box = list(boxes[n].values())
            if unchanged[n] and None not in box:
                annotation["bbox"] = box
            if unchanged[n] and areas[n] is not None:
                annotation["area"] = areas[n]
        yield rows, annotations


def is_unchanged(rows: pa.Table, settings: dict[str, dict[str, Any]]) -> list[bool]:
    """Return for each row whether its stored mask is the one that came in."""
    clean = settings["clean"]
    if clean["min_part_area"] > 1 or clean["max_hole_area"] > 0:
        return [False] * len(rows)
    is_exact = pc.equal(rows["fidelity"], 1.0)
    if settings["dedup"]["merge"] == "best":
        return is_exact.to_pylist()
    return pc.and_(is_exact, pc.equal(rows["n_merged"], 0)).to_pylist()


def _write_coco(rows: Rows, stream: BinaryIO) -> int:
    images: dict[Any, tuple[int, int]] = {}
    categories: set[int] = set()

    def annotations() -> Iterator[dict[str, Any]]:
        for _, group in rows:
            for annotation in group:
                height, width = annotation["segmentation"]["size"]
                images[annotation["image_id"]] = (height, width)
                if annotation["category_id"] is not None:
                    categories.add(annotation["category_id"])
                yield annotation

    stream.write(b'{"annotations":')
    n_masks = _write_list(annotations(), stream)
    stream.write(b',"images":')
    _write_list(({"id": key, "height": h, "width": w} for key, (h, w) in images.items()), stream)
    stream.write(b',"categories":')
    _write_list(({"id": key, "name": str(key)} for key in sorted(categories)), stream)
    stream.write(b"}\n")
    return n_masks


def _write_results(rows: Rows, stream: BinaryIO) -> int:
    names = ("image_id", "category_id", "segmentation", "score", "bbox")
    found = (
        {name: annotation[name] for name in names if name in annotation}
        for _, group in rows
        for annotation in group
    )
    n_masks = _write_list(found, stream)
    stream.write(b"\n")
    return n_masks


def _write_dicts(rows: Rows, stream: BinaryIO) -> int:
    n_masks = 0

    def dicts() -> Iterator[dict[str, Any]]:
        nonlocal n_masks
        for _, group in rows:
            by_image: dict[Any, dict[str, Any]] = {}
            for annotation in group:
                n_masks += 1
                key, size = annotation["image_id"], annotation["segmentation"]["size"]
                image = by_image.setdefault(
                    key,
                    {"image_id": key, "height": size[0], "width": size[1], "annotations": []},
                )
                own = ("bbox", "category_id", "segmentation", "iscrowd", "score", "id")
                kept = {name: annotation[name] for name in own if name in annotation}
                image["annotations"].append({**kept, "bbox_mode": XYWH_ABS})
            yield from by_image.values()

    _write_list(dicts(), stream)
    stream.write(b"\n")
    return n_masks


def _write_list(items: Iterable[dict[str, Any]], stream: BinaryIO) -> int:
    encoder = msgspec.json.Encoder()
    count = 0
    stream.write(b"[")
    for item in items:
        stream.write(b",\n" if count else b"\n")
        stream.write(encoder.encode(item))
        count += 1
    stream.write(b"\n]")
    return count
