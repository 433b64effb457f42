"""Columns of a detector's rows, made flat: one value per instance, whatever a row is."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.errors import InputError, SchemaError

PER_INSTANCE = ("mask", "segmentation", "counts")
"""Where the masks are with a row per instance; one of them."""

_PLURALS = {
    "score": "scores",
    "category_id": "category_ids",
    "box": "boxes",
    "id": "ids",
}


class Batch(NamedTuple):
    """A batch whose cells are flat: which column is what, and the rows of its instances."""

    batch: Mapping[str, Any]
    mask_name: str
    is_per_image: bool
    image_id: list[Any]
    lengths_R: NDArray[np.int64]

    @property
    def row_N(self) -> NDArray[np.int64]:
        """Row of the batch of each instance."""
        return np.repeat(np.arange(len(self.lengths_R)), self.lengths_R)


def open_batch(batch: Mapping[str, Any]) -> Batch:
    """Find out which shape the rows have."""
    if not hasattr(batch, "keys"):
        raise SchemaError(
            f"detections: expected columns as a dict of arrays (Ray Data's batch_format 'numpy'), "
            f"got {type(batch).__name__}"
        )
    names = [name for name in ("masks", *PER_INSTANCE) if name in batch]
    got = ", ".join(map(ascii, batch)) or "no column"
    if len(names) != 1 or "image_id" not in batch:
        raise SchemaError(
            f"detections: expected the column 'image_id', and masks in one column: 'masks' for a "
            f"row per image, or one of {', '.join(map(repr, PER_INSTANCE))} for a row per "
            f"instance; got {got}; rename or drop columns before this stage"
        )
    is_per_image = names[0] == "masks"
    n_rows = len(batch["image_id"])
    wrong = {name: len(column) for name, column in batch.items() if len(column) != n_rows}
    if wrong:
        raise SchemaError(
            f"detections: expected {n_rows} rows in every column, as in 'image_id', got {wrong}"
        )
    image_id = [plain(value) for value in batch["image_id"]]
    lengths = [_count(cell) for cell in batch["masks"]] if is_per_image else [1] * n_rows
    return Batch(batch, names[0], is_per_image, image_id, np.array(lengths, np.int64))


def has_column(rows: Batch, name: str) -> bool:
    """Return whether the rows say this of their instances."""
    return _name(rows, name) in rows.batch


def _count(cell: Any) -> int:
    """Return the number of masks of an image."""
    if not hasattr(cell, "__len__"):
        raise SchemaError(
            f"detections: column 'masks': expected an array or list of masks for each image, empty "
            f"where there are none, got {cell!r}"
        )
    return len(cell)


def _name(rows: Batch, name: str) -> str:
    return _PLURALS.get(name, name) if rows.is_per_image else name


def image_sizes(rows: Batch, name: str) -> NDArray[np.int64]:
    """Return heights or widths of the rows of the batch; -1 where there are none."""
    if name not in rows.batch:
        return np.full(len(rows.image_id), -1, np.int64)
    column = _to_arrow(f"column {name!a}", list(rows.batch[name]), pa.int64())
    return column.fill_null(-1).to_numpy()


def column(rows: Batch, name: str, dtype: pa.DataType, is_needed: bool = False) -> Any:
    """Return one value per instance, null where there is none."""
    name = _name(rows, name)
    if name not in rows.batch:
        if is_needed:
            raise SchemaError(f"detections: expected the column {name!a}, got none of that name")
        return pa.nulls(int(rows.lengths_R.sum()), dtype)
    return _to_arrow(f"column {name!a}", list(chain.from_iterable(_cells(rows, name))), dtype)


def _cells(rows: Batch, name: str) -> list[Any]:
    """Return the values of each row of the batch, on the host; an image's own value repeated."""
    if not rows.is_per_image:
        return [[on_host(value)] for value in rows.batch[name]]
    cells = [on_host(cell) for cell in rows.batch[name]]
    for row, cell in enumerate(cells):
        n = int(rows.lengths_R[row])
        if np.ndim(cell) == 0:
            cells[row] = [cell] * n
        elif len(cell) != n:
            raise InputError(
                f"detections: image {rows.image_id[row]!a}: expected as many values in {name!a} "
                f"as in 'masks', got {len(cell)} and {n}"
            )
    return cells


def corners(rows: Batch) -> NDArray[np.float64]:
    """Return corners, float64 (N, 4); NaN where there is no box."""
    n_rows = int(rows.lengths_R.sum())
    name = _name(rows, "box") if rows.is_per_image else "bbox"
    if name not in rows.batch:
        return np.full((n_rows, 4), np.nan)
    cells = list(chain.from_iterable(_cells(rows, name)))
    try:
        box_N4 = np.array([np.full(4, np.nan) if c is None else c for c in cells], np.float64)
        box_N4 = box_N4.reshape(n_rows, 4)
    except (TypeError, ValueError) as error:
        raise SchemaError(
            f"detections: column {name!a}: expected 4 numbers a mask, got others: {error}"
        ) from error
    if not rows.is_per_image:
        box_N4[:, 2:] += box_N4[:, :2]
    return box_N4


def _to_arrow(where: str, values: list[Any], dtype: pa.DataType) -> Any:
    values = [plain(value) for value in values]
    if pa.types.is_integer(dtype):
        # pandas has no integer that is missing but NaN.
        values = [None if isinstance(v, float) and v != v else v for v in values]
        values = [int(v) if isinstance(v, bool) else v for v in values]
    try:
        return pa.array(values).cast(dtype) if values else pa.array([], dtype)
    except pa.ArrowException as error:
        raise SchemaError(
            f"detections: {where}: expected values of the type {dtype} or None, got: {error}"
        ) from error


def on_host(value: Any) -> Any:
    """Return a tensor as an array, and other values as they are."""
    return value.detach().cpu().numpy() if hasattr(value, "detach") else value


def plain(value: Any) -> Any:
    """Return a number of NumPy as one of Python."""
    return value.item() if isinstance(value, np.generic) else value
