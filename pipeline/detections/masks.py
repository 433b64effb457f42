"""The masks of a detector's rows, whatever their form, as the parser of files has them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain, groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.backend import Kernels
from pipeline.detections.batch import Batch, on_host
from pipeline.errors import InputError, MaskError, SchemaError
from pipeline.masks import rle
from pipeline.masks.batch import MaskBatch
from pipeline.read.mask_columns import Rle, mask_columns
from pipeline.read.raw_rows import STRING_MASK, RawCounts, RawPolygons


def mask_fields(
    rows: Batch, listed_N2: NDArray[np.int64], box_N4: NDArray[np.float64], kernels: Kernels
) -> dict[str, Any]:
    """Return the fields of RawRows that hold masks."""
    cells = _mask_cells(rows)
    forms = {_form(cell, rows.mask_name) for cell in cells if len(cell)}
    if len(forms) > 1:
        raise SchemaError(
            f"detections: column {rows.mask_name!a}: expected masks of one form in a batch, got "
            f"{' and '.join(sorted(forms))}"
        )
    form = next(iter(forms), "runs")
    filled = [cell for cell in cells if len(cell)]
    if form == "runs":
        return mask_columns(_coco_masks(rows, filled, listed_N2))
    try:
        if form == "bitmaps":
            batches = [_read_bitmaps(cell, kernels) for cell in filled]
        else:
            batches = [_paste(rows, filled, listed_N2, box_N4, kernels)]
    except MaskError as error:
        raise InputError(f"detections: column {rows.mask_name!a}: {error.message}") from error
    zero = np.zeros(1, np.int64)
    return {
        "size_hw_N2": np.concatenate([batch.size_hw_N2 for batch in batches]).astype(np.int64),
        "mask_kind_N": np.full(len(listed_N2), STRING_MASK, np.uint8),
        "strings": rle.concat_strings([rle.to_coco(batch) for batch in batches]),
        "counts": RawCounts(np.empty(0, np.int64), zero),
        "polygons": RawPolygons(np.empty(0, np.float64), zero, zero),
    }


def _mask_cells(rows: Batch) -> list[Any]:
    """Return stacks of masks, or lists of what COCO writes, in the order of the instances."""
    column = rows.batch[rows.mask_name]
    if rows.is_per_image:
        return [_stacked(cell) for cell in column]
    if isinstance(column, np.ndarray) and column.dtype != object:
        return [column]
    alike = groupby(column, key=_shape)
    return [_stacked(list(own)) for _, own in alike]


def _shape(value: Any) -> Any:
    return tuple(value.shape) if _is_numeric(value) else None


def _is_numeric(value: Any) -> bool:
    """Return whether this is a tensor or an array of numbers."""
    is_array = isinstance(value, np.ndarray) and value.dtype.kind in "biuf"
    return is_array or hasattr(value, "detach")


def _stacked(cell: Any) -> Any:
    """Return masks that are arrays of their own as one stack."""
    if _is_numeric(cell) or not len(cell) or not _is_numeric(cell[0]):
        return cell
    if np.ndim(cell[0]) < 2:
        return cell
    arrays = [on_host(mask) for mask in cell]
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        raise InputError(
            f"detections: expected masks of one height and width in an image, got {sorted(shapes)}"
        )
    return np.stack(arrays)


def _form(cell: Any, name: str) -> str:
    if not _is_numeric(cell):
        return "runs"
    dtype = str(cell.dtype).removeprefix("torch.")
    if dtype in ("bool", "uint8") and len(cell.shape) == 3:
        return "bitmaps"
    if "float" in dtype and len(cell.shape) in (3, 4):
        return "soft masks"
    raise SchemaError(
        f"detections: column {name!a}: expected bool or uint8 (n, H, W), soft masks as float "
        f"(n, h, w) with boxes, or what COCO writes; got {dtype} of shape {tuple(cell.shape)}"
    )


def _read_bitmaps(cell: Any, kernels: Kernels) -> MaskBatch:
    if getattr(cell, "is_cuda", False):
        from pipeline.masks import torch_dense

        return torch_dense.from_bitmaps(cell, device=str(cell.device))
    return kernels.from_bitmaps(cell if kernels.name == "torch" else on_host(cell))


def _paste(
    rows: Batch,
    cells: Sequence[Any],
    listed_N2: NDArray[np.int64],
    box_N4: NDArray[np.float64],
    kernels: Kernels,
) -> MaskBatch:
    """Paste all soft masks of a batch."""
    if not {"height", "width"} <= set(rows.batch) or not ({"boxes", "bbox"} & set(rows.batch)):
        raise SchemaError(
            f"detections: column {rows.mask_name!a}: expected 'boxes' (or 'bbox'), 'height' and "
            "'width' beside soft masks, got none; for masks of whole images give bool, not "
            "probabilities"
        )
    squares = [on_host(cell) for cell in cells]
    squares = [one[:, 0] if one.ndim == 4 and one.shape[1] == 1 else one for one in squares]
    shapes = {one.shape[1:] for one in squares}
    if len(shapes) > 1 or len(next(iter(shapes))) != 2:
        raise SchemaError(
            f"detections: column {rows.mask_name!a}: expected soft masks of one height and width "
            f"in a batch, got {sorted(shapes)}"
        )
    soft_NHW = np.concatenate(squares).astype(np.float32)
    return kernels.from_roi(soft_NHW, box_N4.astype(np.float32), listed_N2.astype(np.int32))


def _coco_masks(rows: Batch, cells: Sequence[Any], listed_N2: NDArray[np.int64]) -> list[Any]:
    """Return every mask as the parser of JSON has it."""
    masks = list(chain.from_iterable(cells))
    if any(isinstance(mask, str | bytes) for mask in masks) and (listed_N2 == -1).any():
        raise SchemaError(
            f"detections: column {rows.mask_name!a}: expected 'height' and 'width' beside bare "
            "COCO strings, got none; add them, or give {'size': [h, w], 'counts': ...}"
        )
    row_N = rows.row_N
    return [
        _coco_mask(mask, size, lambda n=n: rows.image_id[row_N[n]])
        for n, (mask, size) in enumerate(zip(masks, listed_N2.tolist(), strict=True))
    ]


def _coco_mask(mask: Any, size: list[int], image_id: Callable[[], Any]) -> Any:
    if mask is None:
        return None
    if isinstance(mask, str | bytes):
        return Rle((size[0], size[1]), _text(mask))
    try:
        if isinstance(mask, dict):
            height, width = (int(side) for side in mask["size"])
            counts = mask["counts"]
            if isinstance(counts, str | bytes):
                return Rle((height, width), _text(counts))
            return Rle((height, width), [int(count) for count in counts])
        return [[float(value) for value in ring] for ring in mask]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"detections: image {image_id()!a}: expected a mask as {{'size': [h, w], 'counts': "
            f"...}}, a COCO string, or polygons, got {ascii(mask)[:80]}"
        ) from error


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")
