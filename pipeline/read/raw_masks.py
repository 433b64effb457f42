"""The masks of raw rows, whatever form they came in, as canonical strings with area and box."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.masks.batch import CocoStrings
from pipeline.masks.polygon_fill import PolyCode, fill_polygons
from pipeline.masks.rle import (
    CocoFacts,
    RleCode,
    canonical_coco,
    concat_strings,
    from_counts,
    inspect_coco,
    take_strings,
    to_coco,
)
from pipeline.read.raw_rows import (
    COUNTS_MASK,
    POLYGON_MASK,
    STRING_MASK,
    Fault,
    RawPolygons,
    RawRows,
)

_EXPECTED = {
    "RLE_SUM": "runs that sum to height x width",
    "RLE_NEGATIVE": "no negative run",
    "RLE_TRUNCATED": "a last character that ends a number",
    "RLE_VARINT": "numbers of at most 7 characters",
    "RLE_ALPHABET": "characters of code 48 to 111",
    "RLE_TOO_MANY_RUNS": "at most height x width + 64 runs",
    "RLE_COUNTS_TYPE": "integers from 0 to 2**32 - 1",
    "POLY_TOO_SHORT": "a ring of at least 3 points (6 numbers)",
    "POLY_ODD": "an even number of coordinates",
    "POLY_NONFINITE": "finite coordinates",
    "POLY_RANGE": "coordinates within 2**24 px",
    "ZERO_AREA": "a polygon that covers a pixel of the image",
    "NO_SEGMENTATION": "a polygon with coordinates",
    "SIZE_INVALID": "a height and width of at least 1",
    "IMAGE_TOO_LARGE": "height x width < 2**31",
}


_SHOWN = 48
"""Characters of a mask that a message repeats."""


class ReadMasks:
    """N masks of which some are unusable.

    Attributes
    ----------
    is_bad_N : bool (N,)
        No usable mask; its area and box are 0.
    faults : dict of int to Fault
        Why, by row; rows without any mask are bad without a fault here.
    area_N : int64 (N,)
        Pixels.
    bbox_xywh_N4 : int32 (N, 4)
        Tight boxes.
    notes : dict of str to bool (N,)
        What is worth counting, by name.
    """

    def __init__(self, n_rows: int) -> None:
        self.is_bad_N = np.broadcast_to(np.True_, n_rows)
        self.faults: dict[int, Fault] = {}
        self.area_N = np.broadcast_to(np.int64(0), n_rows)
        self.bbox_xywh_N4 = np.broadcast_to(np.int32(0), (n_rows, 4))
        self.notes: dict[str, NDArray[np.bool_]] = {}
        self._place_N = np.broadcast_to(np.int64(0), n_rows)
        self._is_of_one_kind = False
        self._parts: list[CocoStrings] = []
        self._n_strings = 0

    def add(self, rows_M: NDArray[np.int64], strings: CocoStrings, facts: CocoFacts) -> None:
        """Take in the canonical strings of some rows, and what was measured of them."""
        self._is_of_one_kind = len(rows_M) == len(self.is_bad_N)
        if self._is_of_one_kind:
            self.is_bad_N = facts.code_N != 0
            self.area_N = facts.area_N
            self.bbox_xywh_N4 = facts.bbox_xywh_N4
        else:
            if not self._parts:
                self.is_bad_N = self.is_bad_N.copy()
                self.area_N = self.area_N.copy()
                self.bbox_xywh_N4 = self.bbox_xywh_N4.copy()
                self._place_N = self._place_N.copy()
            self.is_bad_N[rows_M] = facts.code_N != 0
            self.area_N[rows_M] = facts.area_N
            self.bbox_xywh_N4[rows_M] = facts.bbox_xywh_N4
            self._place_N[rows_M] = self._n_strings + np.arange(len(rows_M))
        self._parts.append(strings)
        self._n_strings += len(rows_M)

    def note(self, name: str, rows_M: NDArray[np.int64], is_M: NDArray[np.bool_]) -> None:
        """Mark rows that are kept but worth a number."""
        if is_M.any():
            self.notes.setdefault(name, np.zeros(len(self.is_bad_N), np.bool_))[rows_M] = is_M

    def strings(self, rows_M: NDArray[np.int64]) -> CocoStrings:
        """Return the canonical strings of usable rows, which rise."""
        if not self._parts:
            return CocoStrings(np.empty(0, np.uint8), np.zeros(1, np.int64))
        whole = self._parts[0] if len(self._parts) == 1 else concat_strings(self._parts)
        if self._is_of_one_kind:
            is_all = len(rows_M) == self._n_strings
            return whole if is_all else take_strings(whole, rows_M)
        place_M = self._place_N[rows_M]
        if len(place_M) == self._n_strings and np.array_equal(place_M, np.arange(len(place_M))):
            return whole
        return take_strings(whole, place_M)

    def boxes_if_swapped(
        self, rows_M: NDArray[np.int64], size_hw_N2: NDArray[np.int64]
    ) -> NDArray[np.int32]:
        """Return the tight boxes of rows if their sizes were [width, height]."""
        sizes = np.ascontiguousarray(size_hw_N2[rows_M, ::-1])
        return inspect_coco(self.strings(rows_M), sizes).bbox_xywh_N4


def read_masks(raw: RawRows, size_hw_N2: NDArray[np.int64]) -> ReadMasks:
    """Read the masks of all rows.

    Parameters
    ----------
    raw : RawRows
        N rows.
    size_hw_N2 : int64 (N, 2)
        Height and width of each row's image, any values.

    Returns
    -------
    ReadMasks
        Cost: linear in the bytes of strings, in counts, in what polygons cross.
    """
    masks = ReadMasks(len(raw.mask_kind_N))
    for kind, read in (
        (STRING_MASK, _read_strings),
        (COUNTS_MASK, _read_counts),
        (POLYGON_MASK, _read_polygons),
    ):
        rows_M = np.flatnonzero(raw.mask_kind_N == kind)
        if len(rows_M):
            is_all = len(rows_M) == len(size_hw_N2)
            read(masks, raw, rows_M, size_hw_N2 if is_all else size_hw_N2[rows_M])
    return masks


def _read_strings(
    masks: ReadMasks, raw: RawRows, rows_M: NDArray[np.int64], size_hw_M2: NDArray[np.int64]
) -> None:
    facts = inspect_coco(raw.strings, size_hw_M2)
    strings = raw.strings
    is_changed_M = ~facts.is_canonical_N & (facts.code_N == 0)
    if is_changed_M.any():
        changed = np.flatnonzero(is_changed_M)
        anew = canonical_coco(take_strings(strings, changed), size_hw_M2[changed])
        index_M = np.arange(len(rows_M))
        index_M[changed] = len(rows_M) + np.arange(len(changed))
        strings = take_strings(concat_strings([strings, anew]), index_M)
    masks.add(rows_M, strings, facts)
    masks.note("rle_not_canonical", rows_M, is_changed_M)
    _explain(
        masks,
        rows_M,
        facts.code_N,
        size_hw_M2,
        RleCode,
        "segmentation.counts",
        lambda m: _show_text(*raw.strings, m),
    )


def _read_counts(
    masks: ReadMasks, raw: RawRows, rows_M: NDArray[np.int64], size_hw_M2: NDArray[np.int64]
) -> None:
    batch, code_M = from_counts(raw.counts.counts, raw.counts.offsets_M1, size_hw_M2)
    strings = to_coco(batch)
    facts = inspect_coco(strings, batch.size_hw_N2.astype(np.int64))
    masks.add(rows_M, strings, facts._replace(code_N=code_M))
    masks.note("rle_uncompressed", rows_M, code_M == 0)
    _explain(
        masks,
        rows_M,
        code_M,
        size_hw_M2,
        RleCode,
        "segmentation.counts",
        lambda m: _show_numbers(*raw.counts, m),
    )


def _read_polygons(
    masks: ReadMasks, raw: RawRows, rows_M: NDArray[np.int64], size_hw_M2: NDArray[np.int64]
) -> None:
    fill = fill_polygons(*raw.polygons, size_hw_M2)
    strings = to_coco(fill.batch)
    facts = inspect_coco(strings, fill.batch.size_hw_N2.astype(np.int64))
    masks.add(rows_M, strings, facts._replace(code_N=fill.code_N))
    masks.note("polygon_bad_rings", rows_M, fill.n_bad_rings_N > 0)
    masks.note("polygon_clipped", rows_M, fill.is_clipped_N)
    masks.note("polygon_self_crossing", rows_M, fill.is_crossing_N)
    _explain(
        masks,
        rows_M,
        fill.code_N,
        size_hw_M2,
        PolyCode,
        "segmentation",
        lambda m: _show_rings(raw.polygons, m),
    )


def _explain(
    masks: ReadMasks,
    rows_M: NDArray[np.int64],
    code_M: NDArray[np.uint8],
    size_hw_M2: NDArray[np.int64],
    codes: type[RleCode] | type[PolyCode],
    field: str,
    show_mask: Callable[[int], str],
) -> None:
    for m in np.flatnonzero(code_M != 0).tolist():
        name = codes(code_M[m]).name
        size = "x".join(map(str, size_hw_M2[m].tolist()))
        expected = f"expected {_EXPECTED[name]} for an image of {size} (height x width)"
        masks.faults[int(rows_M[m])] = Fault(name, field, f"{expected}, got {show_mask(m)}")


def _show_text(bytes_B: NDArray[np.uint8], offsets_M1: NDArray[np.int64], m: int) -> str:
    first, last = offsets_M1[m : m + 2].tolist()
    text = bytes_B[first : min(last, first + _SHOWN)].tobytes().decode("ascii", "backslashreplace")
    return ascii(text) + _of_all(last - first, "characters")


def _show_numbers(values_V: NDArray[Any], offsets_M1: NDArray[np.int64], m: int) -> str:
    first, last = offsets_M1[m : m + 2].tolist()
    return str(values_V[first : min(last, first + _SHOWN // 4)].tolist()) + _of_all(
        last - first, "numbers", _SHOWN // 4
    )


def _show_rings(polygons: RawPolygons, m: int) -> str:
    first, last = polygons.row_offsets_M1[m : m + 2].tolist()
    n_rings = last - first
    if not n_rings:
        return "no ring"
    ring = _show_numbers(polygons.xy_V, polygons.ring_offsets_K1, first)
    return f"a ring {ring}" + (f" and {n_rings - 1} more" if n_rings > 1 else "")


def _of_all(n: int, what: str, shown: int = _SHOWN) -> str:
    return f" and so on, {n} {what}" if n > shown else ""
