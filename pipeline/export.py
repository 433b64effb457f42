"""A published table in other people's formats: streamed, one row group in memory.

What is needed of all rows first, which ids to write and which images there are, is read
from those columns alone, in passes of bounded memory.

``bbox`` and ``area`` are what came in with the row where its mask is unchanged,
since COCO's ``area`` decides which size class a mask counts for; where merging,
cleaning or the encoding changed the mask they are measured on what is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import dataset, storage
from pipeline.arrow import pc
from pipeline.columns import one_chunk
from pipeline.config import FORMAT_VERSION, EncodeConfig, WriteConfig
from pipeline.errors import InputError
from pipeline.sink import writer_options
from pipeline.stored import store_masks
from schemas.metadata import FORMAT_KEY

_SIDES = tuple(enumerate("xywh"))

XYWH_ABS = 1
"""detectron2's BoxMode of a box as left, top, width, height in pixels."""

ID_OF_ZERO = (1 << 24) - 1
"""Written as annotation id for the instance_id 0: pycocotools takes a mask that was matched with
an annotation of id 0 for unmatched. The first image's last place, which no mask has."""

IDS_A_PASS = 1 << 22
"""Ids that are compared with each other in memory: 32 MB of them."""

_MIXER = np.uint64(0x9E3779B97F4A7C15)

Rows = Iterable[tuple[pa.Table, list[dict[str, Any]]]]


class Document(msgspec.Struct, omit_defaults=True):
    """What a dataset's JSON says beside its annotations, each section as it came."""

    images: msgspec.Raw
    categories: msgspec.Raw = msgspec.Raw(b"[]")
    info: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    licenses: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _Image(msgspec.Struct):
    """An image of such a JSON, as far as it is read."""

    id: int | str
    height: int
    width: int
    file_name: str | None = None


def read_document(uri: str) -> Document:
    """Read images and categories of an annotation JSON; its annotations are skipped.

    Raises
    ------
    InputError
        If it is not such a document.
    """
    data = storage.read_bytes(uri)
    try:
        return msgspec.json.decode(data, type=Document)
    except msgspec.DecodeError as error:
        raise InputError(
            f"{uri}: expected an annotation JSON with images and categories, got: {error}"
        ) from error


def export_json(
    output: str, to: str, stream: BinaryIO, version: int | None = None, like: str | None = None
) -> int:
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
    like : str, optional
        URI of an annotation JSON that tells of the images and categories: ``coco``
        takes over its sections whole, images without masks included, ``detectron2``
        the file names.

    Returns
    -------
    int
        Masks written.

    Raises
    ------
    InputError
        If `like` is no annotation JSON, or lacks an image of the table or has it in another size.
    """
    version = dataset.find_version(output, version)
    rows = _annotated(output, version)
    if to == "results":
        return _write_results(rows, stream)
    document = read_document(like) if like else None
    images = _read_images(like, document) if like and document else {}
    if like:
        rows = _check_images(like, images, rows)
    if to == "detectron2":
        return _write_dicts(rows, stream, images)
    return _write_coco(rows, _table_images(output, version), stream, document)


def _read_images(uri: str, document: Document) -> dict[Any, _Image]:
    try:
        images = msgspec.json.decode(document.images, type=list[_Image])
    except msgspec.DecodeError as error:
        raise InputError(
            f"{uri}: images: expected objects with id, height and width, got: {error}"
        ) from error
    return {image.id: image for image in images}


def _check_images(uri: str, images: dict[Any, _Image], rows: Rows) -> Rows:
    for group, found in rows:
        for annotation in found:
            key, size = annotation["image_id"], annotation["segmentation"]["size"]
            image = images.get(key)
            if image is None or [image.height, image.width] != size:
                got = "none" if image is None else f"{image.height} x {image.width}"
                raise InputError(
                    f"{uri}: image {key!a}: expected one of {size[0]} x {size[1]} pixels, as in "
                    f"the table, got {got}; name the dataset that the masks belong to"
                )
        yield group, found


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
    version = dataset.find_version(output, version)
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
    if writer is None:
        tables = dataset.publish.open_tables(storage.to_uri(output), version)
        schema = tables["compacted"].to_pyarrow_dataset().schema
        writer = pq.ParquetWriter(stream, schema.with_metadata({FORMAT_KEY: FORMAT_VERSION}))
    writer.close()
    return n_masks


def choose_ids(output: str, version: int) -> str:
    """Return the column that can serve as annotation id: ``input_id`` if it is unique and whole.

    Memory: 8 bytes for each of `IDS_A_PASS` rows. A table of more is read in several
    passes over the column, each of which compares its share of the ids by their hash.
    """
    uris = dataset.file_uris(output, version)
    n_passes = max(1, -(-sum(map(_count_rows, uris)) // IDS_A_PASS))
    for number in range(n_passes):
        if not _are_unique(output, version, n_passes, number):
            return "instance_id"
    return "input_id"


def _count_rows(uri: str) -> int:
    with storage.open_input(uri) as stream:
        return pq.read_metadata(stream).num_rows


def _are_unique(output: str, version: int, n_passes: int, number: int) -> bool:
    """Return whether no id of a pass is missing or there twice."""
    parts: list[np.ndarray] = []
    n_ids, n_allowed = 0, 2 * IDS_A_PASS
    for rows in dataset.read_columns(output, ["input_id"], version):
        column = one_chunk(rows["input_id"])
        if column.null_count:
            return False
        new = column.to_numpy()
        if n_passes > 1:
            hashed = (new.astype(np.uint64) * _MIXER) >> np.uint64(32)
            new = new[hashed % np.uint64(n_passes) == number]
        parts.append(new)
        n_ids += len(new)
        if n_ids > n_allowed:  # more than a share: one id many times, or a rare whim of the hash
            if _has_repeats(parts):
                return False
            n_allowed = 2 * n_ids
    return not _has_repeats(parts)


def _has_repeats(parts: list[np.ndarray]) -> bool:
    ids = np.sort(np.concatenate([np.empty(0, np.int64), *parts]))
    return bool((ids[1:] == ids[:-1]).any())


def _table_images(output: str, version: int) -> Iterator[dict[str, Any]]:
    """Yield the images of a table; its rows are in their order."""
    before = None
    for rows in dataset.read_columns(output, ["image_id", "height", "width"], version):
        code_N = one_chunk(rows["image_id"]).dictionary_encode().indices.to_numpy()
        starts = pa.array(np.flatnonzero(np.diff(code_N, prepend=-1)))
        for image in rows.take(starts).to_pylist():
            if image["image_id"] != before:
                before = image["image_id"]
                yield {"id": before, "height": image["height"], "width": image["width"]}


def _annotated(output: str, version: int) -> Rows:
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
            annotation["id"] = ids[n] if ids[n] or id_column == "input_id" else ID_OF_ZERO
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


def _write_coco(
    rows: Rows, images: Iterable[dict[str, Any]], stream: BinaryIO, document: Document | None
) -> int:
    categories: set[int] = set()

    def annotations() -> Iterator[dict[str, Any]]:
        for _, group in rows:
            for annotation in group:
                if annotation["category_id"] is not None:
                    categories.add(annotation["category_id"])
                yield annotation

    stream.write(b'{"annotations":')
    n_masks = _write_list(annotations(), stream)
    if document is not None:
        stream.write(b"," + msgspec.json.encode(document)[1:] + b"\n")
        return n_masks
    stream.write(b',"images":')
    _write_list(images, stream)
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


def _write_dicts(rows: Rows, stream: BinaryIO, images: dict[Any, _Image]) -> int:
    n_masks = 0

    def dicts() -> Iterator[dict[str, Any]]:
        nonlocal n_masks
        for _, group in rows:
            by_image: dict[Any, dict[str, Any]] = {}
            for annotation in group:
                n_masks += 1
                key, size = annotation["image_id"], annotation["segmentation"]["size"]
                file_name = images[key].file_name if images else None
                image = by_image.setdefault(
                    key,
                    {
                        **({} if file_name is None else {"file_name": file_name}),
                        **{"image_id": key, "height": size[0], "width": size[1]},
                        "annotations": [],
                    },
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
