"""Repairs of masks that are asked for by name, each for one kind of fault.

rle_tail
    Runs that end before h*w: what is missing is background.
rle_escape
    A COCO string that went through a printer: ``b'...'`` around it, or every
    backslash doubled.
poly_box
    A ring of 4 numbers: a box [x, y, width, height], as COCO's own code takes it.
poly_wrap
    One flat list of coordinates: a mask of one ring.
poly_text
    Coordinates as strings: the numbers that they spell.

What a repair makes is validated like any mask; what does not pass is rejected
with the fault it had.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.read.raw_rows import POLYGON_MASK, STRING_MASK, Fault, RawRows

_OF_STRINGS = ("RLE_SUM", "RLE_NEGATIVE", "RLE_TRUNCATED", "RLE_VARINT", "RLE_ALPHABET")

CODES: dict[str, tuple[str, ...]] = {
    "rle_escape": _OF_STRINGS,
    "rle_tail": ("RLE_SUM",),
    "poly_box": ("POLY_TOO_SHORT",),
    "poly_wrap": ("POLY_SHAPE",),
    "poly_text": ("POLY_TYPE",),
}
"""Repair -> codes of the faults that it is for; they are tried in this order."""


class Repair(NamedTuple):
    """A repair of one row.

    Attributes
    ----------
    name : str
        A key of `CODES`.
    fault : Fault
        What was wrong.
    mask : dict or list
        The ``segmentation`` that it made.
    """

    name: str
    fault: Fault
    mask: Any


def repair_mask(mask: Any, code: str, names: Sequence[str]) -> tuple[Any, str] | None:
    """Return a ``segmentation`` repaired, and by which repair; None if none is for it.

    Parameters
    ----------
    mask : dict or list
        ``{"size": [h, w], "counts": str or list}``, rings, or what came for them.
    code : str
        Of its fault.
    names : sequence of str
        The repairs that are asked for.
    """
    for name, codes in CODES.items():
        if name in names and code in codes:
            mended = _REPAIRS[name](mask)
            if mended is not None:
                return mended, name
    return None


def mask_of(raw: RawRows, row: int) -> Any:
    """Return the mask of one raw row as a ``segmentation``."""
    kind = raw.mask_kind_N[row]
    rank = int(np.sum(raw.mask_kind_N[:row] == kind))
    if kind == POLYGON_MASK:
        xy_V, ring_offsets_K1, row_offsets_M1 = raw.polygons
        first, last = row_offsets_M1[rank : rank + 2].tolist()
        ends = ring_offsets_K1[first : last + 1].tolist()
        return [xy_V[a:b].tolist() for a, b in pairwise(ends)]
    values, offsets_M1 = raw.strings if kind == STRING_MASK else raw.counts
    own = values[offsets_M1[rank] : offsets_M1[rank + 1]]
    is_text = kind == STRING_MASK
    counts: Any = own.tobytes().decode("utf-8", "replace") if is_text else own.tolist()
    return {"size": raw.size_hw_N2[row].tolist(), "counts": counts}


def take_but_masks(raw: RawRows, rows_M: NDArray[np.int64]) -> dict[str, Any]:
    """Return the fields of some raw rows, but those that hold masks."""
    index = pa.array(rows_M)
    mask_fields = ("size_hw_N2", "mask_kind_N", "strings", "counts", "polygons")
    return {
        name: value[rows_M] if isinstance(value, np.ndarray) else value.take(index)
        for name, value in raw._asdict().items()
        if name not in mask_fields
    }


def _pad_tail(mask: Any) -> Any:
    height, width = mask["size"]
    counts = mask["counts"]
    runs = _read_numbers(counts) if isinstance(counts, str) else list(counts)
    missing = height * width - sum(runs)
    if not runs or missing <= 0:
        return None
    if len(runs) % 2:
        runs[-1] += missing
    else:
        runs.append(missing)
    return {"size": [height, width], "counts": runs}


def _read_numbers(text: str) -> list[int]:
    """Return the run lengths that a string of whole numbers stands for."""
    runs: list[int] = []
    value = shift = 0
    for character in text.encode():
        group = character - 48
        value |= (group & 31) << shift
        shift += 5
        if not group & 32:
            if group & 16:
                value -= 1 << shift
            runs.append(value + runs[-2] if len(runs) > 2 else value)
            value = shift = 0
    return runs


def _unescape(mask: Any) -> Any:
    text = mask["counts"]
    if not isinstance(text, str):
        return None
    if text[:2] in ("b'", 'b"') and text[-1:] == text[1]:
        try:
            inner = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            return None
        return {"size": mask["size"], "counts": inner.decode("utf-8", "replace")}
    if "\\\\" not in text:
        return None
    return {"size": mask["size"], "counts": text.replace("\\\\", "\\")}


def _box_rings(mask: Any) -> Any:
    return [_box_ring(ring) if len(ring) == 4 else ring for ring in mask]


def _box_ring(ring: list[float]) -> list[float]:
    x, y, width, height = ring
    return [x, y, x, y + height, x + width, y + height, x + width, y]


def _wrap(mask: Any) -> Any:
    is_flat = isinstance(mask, list) and all(type(value) in (int, float) for value in mask)
    return [mask] if is_flat else None


def _read_text(mask: Any) -> Any:
    try:
        return [[float(value) for value in ring] for ring in mask]
    except (TypeError, ValueError):
        return None


_REPAIRS: dict[str, Callable[[Any], Any]] = {
    "rle_tail": _pad_tail,
    "rle_escape": _unescape,
    "poly_box": _box_rings,
    "poly_wrap": _wrap,
    "poly_text": _read_text,
}
