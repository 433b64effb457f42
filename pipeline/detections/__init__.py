"""Rows of a detector, in memory -> INSTANCES and REJECTS, by the validating parser of files.

A row is an image, with lists of what was found in it, or an instance. The names are
COCO's, in the plural where a cell is a list::

    a row per image      image_id  masks          scores  category_ids  boxes  ids  iscrowd
    a row per instance   image_id  mask,          score   category_id   bbox   id   iscrowd
                                   segmentation,
                                   counts
    both, where needed   height  width

``boxes`` are corners (x1, y1, x2, y2), as detectors have them, ``bbox`` is COCO's x, y, width,
height. Other columns are left alone. The masks of a batch have one form:

- bitmaps: bool or uint8, (n, H, W) an image or (H, W) an instance, array or tensor;
- soft masks: float (n, h, w) or (n, 1, h, w), pasted into their boxes by detectron2's rule;
- what COCO writes: ``{"size": [h, w], "counts": …}``, polygons, or bare strings with height
  and width beside them.

Shape suffixes: R rows of the batch, N instances, G images.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.backend import NUMBA, Kernels
from pipeline.config import CompactConfig
from pipeline.detections.batch import Batch, column, corners, has_column, image_sizes, open_batch
from pipeline.detections.masks import mask_fields
from pipeline.errors import InputError
from pipeline.masks.batch import CocoStrings
from pipeline.read.category_space import resolve_category_space
from pipeline.read.finish import RawGroup, finish_slice
from pipeline.read.image_ids import convert_id
from pipeline.read.raw_rows import STRING_MASK, RawRows
from pipeline.read.slices import Slice
from pipeline.read.validate import FileFacts

__all__ = ["Detected", "read_detections"]

FORMAT = "detections"


class Detected(NamedTuple):
    """What a batch holds.

    Attributes
    ----------
    id_type : str
        ``"int"`` or ``"string"``.
    image_id : pa.Array
        Distinct images, int64 or large_string (G,), in order of appearance; those in
        which nothing was found too.
    image_N : int64 (N,)
        Image of each instance.
    place_N : int64 (N,)
        Place of each instance among those of its image.
    instances, rejects : pa.Table
        INSTANCES and REJECTS; ``source_row`` is the place in the batch, 0 to N - 1.
    counters : dict of str to int
        As `pipeline.read.ReadResult` has them.
    row_bytes : callable
        Place in the batch -> None and the row as JSON.
    """

    id_type: str
    image_id: pa.Array
    image_N: NDArray[np.int64]
    place_N: NDArray[np.int64]
    instances: pa.Table
    rejects: pa.Table
    counters: dict[str, int]
    row_bytes: Callable[[int], tuple[int | None, bytes]]


def read_detections(
    batch: Mapping[str, Any], source: str, config: CompactConfig, kernels: Kernels = NUMBA
) -> Detected:
    """Validate a batch of a detector's rows.

    Parameters
    ----------
    batch : mapping of str to array or list
        Columns of R rows, as the module says.
    source : str
        What the rows' ``source`` says.
    config : CompactConfig
        `read` decides on ids, categories and faults; ``dedup.source_column`` is carried along.
    kernels : Kernels
        What turns pixels into runs; tensors on a GPU are read there in any case.

    Returns
    -------
    Detected
        No rows in, none out. Cost: linear in pixels, or in runs.

    Raises
    ------
    SchemaError
        If columns are missing, or of no usable type.
    InputError
        If an image's lists differ in length, or a value is none of what is expected; with
        ``--read.on_invalid fail`` also for the first row that cannot be used.
    """
    rows = open_batch(batch)
    id_type, image_id = _image_ids(rows, config.read.id_mode)
    encoded: Any = image_id.dictionary_encode()
    image_N = encoded.indices.to_numpy().astype(np.int64)[rows.row_N]
    raw = _raw_rows(rows, image_id, config, kernels)
    n_rows = len(image_N)
    part = Slice(source, FORMAT, 0, n_rows, 0, 0, 0, None, None)
    groups = [RawGroup(raw, np.arange(n_rows))]
    row_bytes = _bytes_of(raw)
    _, category_map = resolve_category_space(source, FORMAT, config.read)
    facts = FileFacts(
        has_category=has_column(rows, "category_id"),
        category_map=category_map,
    )
    found = finish_slice(part, groups, {}, {}, config.read, id_type, facts, row_bytes)
    return Detected(
        id_type,
        encoded.dictionary,
        image_N,
        _places(image_N),
        found.instances,
        pa.concat_tables([found.rejects, found.repairs]),
        found.counters,
        row_bytes,
    )


def _image_ids(rows: Batch, id_mode: str) -> tuple[str, pa.Array]:
    """Return the type of the ids, and the id of each row of the batch."""
    is_text = any(isinstance(value, str) for value in rows.image_id)
    id_type = id_mode if id_mode != "auto" else ("string" if is_text else "int")
    ids = [convert_id(value, id_type, id_mode) for value in rows.image_id]
    if None in ids:
        row = ids.index(None)
        expected = "an integer" if id_type == "int" else "a string"
        raise InputError(
            f"detections: row {row}: image_id: expected {expected}, as the others or "
            f"--read.id_mode have it, got {rows.image_id[row]!a}"
        )
    return id_type, pa.array(ids, pa.int64() if id_type == "int" else pa.large_string())


def _places(image_N: NDArray[np.int64]) -> NDArray[np.int64]:
    """Place of each row among those of its image, in order."""
    order_N = np.argsort(image_N, kind="stable")
    first_N = np.flatnonzero(np.diff(image_N[order_N], prepend=-1))
    lengths = np.diff(np.append(first_N, len(image_N)))
    place_N = np.empty(len(image_N), np.int64)
    place_N[order_N] = np.arange(len(image_N)) - np.repeat(first_N, lengths)
    return place_N


def _raw_rows(rows: Batch, image_id: pa.Array, config: CompactConfig, kernels: Kernels) -> RawRows:
    """Return the instances as columns whose values have the right types."""
    row_N = rows.row_N
    n_rows = len(row_N)
    sides = [image_sizes(rows, name) for name in ("height", "width")]
    listed_N2 = np.stack(sides, axis=1)[row_N]
    box_N4 = corners(rows)
    crowd = column(rows, "iscrowd", pa.int64())
    source_column = config.dedup.source_column
    extras = pa.table({})
    if source_column is not None:
        extras = pa.table({source_column: column(rows, source_column, pa.large_string(), True)})
    masks = mask_fields(rows, listed_N2, box_N4, kernels)
    return RawRows(
        source_row_N=np.arange(n_rows),
        image_id=image_id.take(pa.array(row_N)),
        input_id=column(rows, "id", pa.int64()),
        category_id=column(rows, "category_id", pa.int64()),
        score=column(rows, "score", pa.float64()),
        iscrowd_N=crowd.fill_null(0).to_numpy() != 0,
        has_bbox_N=np.asarray(~np.isnan(box_N4).all(axis=1)),
        bbox_xywh_N4=np.hstack([box_N4[:, :2], box_N4[:, 2:] - box_N4[:, :2]]),
        area=pa.nulls(n_rows, pa.float64()),
        listed_hw_N2=listed_N2,
        extras=extras,
        **masks,
    )


def _bytes_of(raw: RawRows) -> Callable[[int], tuple[int | None, bytes]]:
    """Return what gives a row as JSON, for REJECTS; the mask where it is a string."""
    is_text_N = raw.mask_kind_N == STRING_MASK
    place_N = np.cumsum(is_text_N) - 1

    def row_bytes(row: int) -> tuple[int | None, bytes]:
        found: dict[str, Any] = {
            "image_id": raw.image_id[row].as_py(),
            "category_id": raw.category_id[row].as_py(),
            "score": _to_json(raw.score[row].as_py()),
            "bbox": [_to_json(side) for side in raw.bbox_xywh_N4[row].tolist()],
        }
        if is_text_N[row]:
            counts = _string(raw.strings, int(place_N[row]))
            found["segmentation"] = {"size": raw.size_hw_N2[row].tolist(), "counts": counts}
        return None, json.dumps(found).encode()

    return row_bytes


def _to_json(value: float | None) -> float | str | None:
    """Return a number, as text where JSON has none of the kind."""
    return value if value is None or np.isfinite(value) else str(value)


def _string(strings: CocoStrings, row: int) -> str:
    first, end = strings.offsets_N1[row : row + 2]
    return strings.bytes_B[first:end].tobytes().decode("latin-1")
