"""What planning needs to know of the rows of a JSON file, gathered while they pass by."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import SchemaError
from pipeline.read import _numba_json as compiled
from pipeline.read.id_statistics import IdStatistics, KeyIds
from pipeline.read.image_ids import convert_id
from pipeline.read.json_stream import Elements
from pipeline.read.limits import MAX_VALUE_BYTES
from pipeline.read.slices import Slice

_STRING_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_NUMBER_TOKEN = re.compile(rb"[-+.0-9eE]+")


class RowScan:
    """Cuts the rows of one JSON file into slices and looks at their ids.

    Parameters
    ----------
    uri, format : str
        Of the slices.
    id_mode : str
        ``--read.id_mode``.
    unit_bytes : int
        A slice is closed once it is that long and another image begins, or at twice that.
    """

    def __init__(self, uri: str, format: str, id_mode: str, unit_bytes: int) -> None:
        self.id_type: str | None = None if id_mode == "auto" else id_mode
        self.slices: list[Slice] = []
        self.statistics = IdStatistics()
        self.n_rows = 0
        self.has_category = False
        self.has_segmentation = False
        self.head: Elements | None = None
        self.uri = uri
        self.format = format
        self._id_mode = id_mode
        self._unit_bytes = unit_bytes
        self._open: list[Any] = []  # first_row, n_rows, start, stop, min, max
        self._last_id: Any = None
        self._float_at: int | None = None
        self._own_ids = KeyIds()

    def add(self, found: Elements, count_N: NDArray[np.int64] | None = None) -> None:
        """Take in the next rows; or elements that hold `count_N` rows each."""
        ends_N = np.arange(1, len(found.start_N) + 1) if count_N is None else np.cumsum(count_N)
        self.head = self.head or found
        ids, is_usable_N = self._convert_ids(found)
        self.statistics.add(ids, is_usable_N)
        self._own_ids.add(found.own_id_N[(found.flags_N & compiled.HAS_OWN_ID) != 0])
        self.has_category |= bool(np.any(found.flags_N & compiled.HAS_CATEGORY))
        self.has_segmentation |= bool(np.any(found.flags_N & compiled.HAS_SEGMENTATION))
        start_N, stop_N = found.start_N + found.base, found.stop_N + found.base
        giants = np.flatnonzero(stop_N - start_N > MAX_VALUE_BYTES).tolist()
        news = self._find_new_images(ids)
        row = 0
        while row < len(start_N):
            is_giant = giants[:1] == [row]
            if is_giant or (self._is_full(1) and _next(news, row) == [row]):
                self._close()
            if is_giant:
                giants.pop(0)
            start = self._open[2] if self._open else int(start_N[row])
            full = int(np.searchsorted(stop_N[row:], start + self._unit_bytes)) + row + 1
            too_full = int(np.searchsorted(stop_N[row:], start + 2 * self._unit_bytes)) + row + 1
            cut = _next(news, full)
            stop_row = row + 1 if is_giant else min([too_full, len(start_N), *cut, *giants[:1]])
            n_rows = int(ends_N[stop_row - 1]) - (int(ends_N[row - 1]) if row else 0)
            self._grow(start, int(stop_N[stop_row - 1]), n_rows)
            self._widen(ids, is_usable_N, row, stop_row)
            if is_giant or self._is_full(2) or cut == [stop_row]:
                self._close()
            row = stop_row

    def finish(self) -> None:
        """Close the last slice; refuse what can be seen only at the end.

        Raises
        ------
        SchemaError
            If no row has a mask, or the ids are floats.
        """
        self._close()
        if self.id_type is None and self._float_at is not None:
            raise SchemaError(
                f"{self.uri}: byte {self._float_at}: image_id: expected integers or strings, got "
                "floating-point numbers (as pandas writes a column with a missing value); convert "
                "whole numbers with --read.id_mode int"
            )
        if self.n_rows and not self.has_segmentation:
            raise SchemaError(
                f"{self.uri}: expected masks in 'segmentation', got {self.n_rows} rows without "
                "one (boxes only); give the results of a segmentation model (detectron2: "
                "coco_instances_results.json of a run with 'segm')"
            )

    def n_repeated_ids(self) -> int:
        """Return how many rows have the key id of an earlier row."""
        return self._own_ids.n_repeated()

    def _find_new_images(self, ids: Any) -> NDArray[np.int64]:
        """Return, ascending, at which of the next rows another image begins than that before."""
        if isinstance(ids, list):
            before = [self._last_id, *ids[:-1]]
            is_new_N = np.array([a != b for a, b in zip(ids, before, strict=True)], np.bool_)
        else:
            is_new_N = np.empty(len(ids), np.bool_)
            np.not_equal(ids[1:], ids[:-1], out=is_new_N[1:])
            is_new_N[:1] = ids[:1] != self._last_id
        self._last_id = ids[-1] if len(ids) else self._last_id
        return np.flatnonzero(is_new_N)

    def _is_full(self, n_units: int) -> bool:
        """Return whether the open slice has the bytes of so many units."""
        return bool(self._open) and self._open[3] - self._open[2] >= n_units * self._unit_bytes

    def _grow(self, start: int, stop: int, n_rows: int) -> None:
        if not self._open:
            self._open = [self.n_rows, 0, start, stop, None, None]
        self._open[1] += n_rows
        self._open[3] = stop
        self.n_rows += n_rows

    def _widen(self, ids: Any, is_usable_N: NDArray[np.bool_], row: int, stop_row: int) -> None:
        if isinstance(ids, list):
            usable: list[Any] = [value for value in ids[row:stop_row] if value is not None]
        else:
            values = ids[row:stop_row][is_usable_N[row:stop_row]]
            usable = [int(values.min()), int(values.max())] if len(values) else []
        low, high = self._open[4:]
        if usable:
            known = [] if low is None else [low, high]
            self._open[4] = min([*usable, *known])
            self._open[5] = max([*usable, *known])

    def _close(self) -> None:
        if self._open:
            first_row, n_rows, start, stop, low, high = self._open
            size = stop - start
            if n_rows:
                self.slices.append(
                    Slice(self.uri, self.format, first_row, n_rows, start, stop, size, low, high)
                )
            self._open = []

    def _convert_ids(self, found: Elements) -> tuple[Any, NDArray[np.bool_]]:
        """Return the ids in the file's type and which of them are usable."""
        kind_N = found.id_kind_N
        if self._id_mode == "auto":
            self._settle_type(found)
        if self.id_type != "string":
            is_usable_N = kind_N == compiled.ID_INT
            values_N = found.id_value_N
            is_other_N = (kind_N == compiled.ID_STRING) | (kind_N == compiled.ID_FLOAT)
            if self._id_mode == "int" and is_other_N.any():
                values_N = values_N.copy()
                for row in np.flatnonzero(is_other_N).tolist():
                    value = convert_id(_decode_id(found, row), "int", "int")
                    is_usable_N[row] = value is not None
                    values_N[row] = value or 0
            return values_N, is_usable_N
        ids = [
            convert_id(_decode_id(found, row), "string", self._id_mode)
            for row in range(len(kind_N))
        ]
        return ids, np.array([value is not None for value in ids], np.bool_)

    def _settle_type(self, found: Elements) -> None:
        """Let the first id decide; refuse a file with both types."""
        kind_N = found.id_kind_N
        floats = np.flatnonzero(kind_N == compiled.ID_FLOAT)
        if len(floats) and self._float_at is None:
            self._float_at = found.base + int(found.id_at_N[floats[0]])
        names = {compiled.ID_INT: "int", compiled.ID_STRING: "string"}
        typed = np.flatnonzero((kind_N == compiled.ID_INT) | (kind_N == compiled.ID_STRING))
        if not len(typed):
            return
        if self.id_type is None:
            self.id_type = names[int(kind_N[typed[0]])]
        wanted = compiled.ID_INT if self.id_type == "int" else compiled.ID_STRING
        others = typed[kind_N[typed] != wanted]
        if len(others):
            raise SchemaError(
                f"{self.uri}: byte {found.base + int(found.id_at_N[others[0]])}: image_id: "
                f"expected one type in all rows, got {names[int(kind_N[others[0]])]} after "
                f"{self.id_type}; choose one with --read.id_mode int|string"
            )


def _next(places: NDArray[np.int64], place: int) -> list[int]:
    """Return the first of ascending places that is not before this one; empty if there is none."""
    return places[np.searchsorted(places, place) :][:1].tolist()


def _decode_id(found: Elements, row: int) -> object:
    """Return the value of a row's image_id; None where it has no usable kind."""
    kind = int(found.id_kind_N[row])
    if kind == compiled.ID_INT:
        return int(found.id_value_N[row])
    place = int(found.id_at_N[row])
    if kind == compiled.ID_STRING and (token := _STRING_TOKEN.match(found.text, place)):
        try:
            return msgspec.json.decode(token[0], type=str)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return token[0][1:-1].decode("utf-8", "replace")
    if kind == compiled.ID_FLOAT and (token := _NUMBER_TOKEN.match(found.text, place)):
        try:
            return float(token[0])
        except ValueError:
            return None
    return None
