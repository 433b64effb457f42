"""Rows of a JSON file, decoded typed: all of a slice at once, one by one where that fails."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any, Generic, Literal, TypeVar

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.read.image_ids import convert_id
from pipeline.read.image_table import malformed
from pipeline.read.json_faults import sanitize_row
from pipeline.read.mask_columns import Int64, Rle, mask_columns
from pipeline.read.raw_rows import Fault, RawRows
from pipeline.read.repair import Repair, repair_mask

Id = TypeVar("Id")
Box = tuple[float, float, float, float]


class Row(msgspec.Struct, Generic[Id], gc=False):
    """One row whose values have the right types."""

    image_id: Id
    category_id: Int64 | None = None
    segmentation: Rle | list[list[float]] | None = None
    score: float | None = None
    bbox: Box | None = None
    id: Int64 | float | str | None = None
    area: float | None = None
    iscrowd: bool | Literal[0, 1] | None = None
    height: Int64 | None = None
    width: Int64 | None = None
    bbox_mode: Int64 | None = None


class DecodedRows:
    """Rows of one slice, and the faults of those that could not be decoded.

    Attributes
    ----------
    rows : list of Row
        Usable so far, in order.
    place_N : int64 (N,)
        Which row of the slice each is.
    faults : dict of int to Fault
        By row of the slice.
    repairs : dict of int to Repair
        By row of the slice: rows that could be decoded once they were repaired.
    """

    def __init__(
        self,
        rows: list[Any],
        place_N: NDArray[np.int64],
        faults: dict[int, Fault],
        repairs: dict[int, Repair] | None = None,
    ) -> None:
        self.rows = rows
        self.place_N = place_N
        self.faults = faults
        self.repairs = repairs or {}


def decode_rows(
    text: bytes,
    spans: Callable[[], Iterable[Sequence[int]]],
    uri: str,
    start: int,
    id_type: str,
    id_mode: str,
    is_lines: bool,
    repairs: Sequence[str] = (),
) -> DecodedRows:
    """Decode the rows of a slice.

    Parameters
    ----------
    text : bytes
        Rows with commas between them, or lines.
    spans : callable
        Gives the place of every row in `text`; called only if a row is at fault.
    uri : str
        The file, for messages.
    start : int
        Byte offset of ``text[0]`` in the file.
    id_type, id_mode : str
        Type of image_id, and ``--read.id_mode``.
    is_lines : bool
        Whether nothing but line ends separates the rows.
    repairs : sequence of str
        ``--read.repair``.

    Raises
    ------
    InputError
        For text that is no JSON.
    """
    row_type = _row_type(id_type, id_mode)
    decoder = _decoder(row_type) if is_lines else _decoder(list[row_type])
    try:
        rows = decoder.decode_lines(text) if is_lines else decoder.decode(b"[%b]" % text)
    except (msgspec.ValidationError, UnicodeDecodeError):
        return decode_each(text, spans(), uri, start, id_type, id_mode, repairs)
    except msgspec.DecodeError as error:
        if is_lines:
            return decode_each(text, spans(), uri, start, id_type, id_mode, repairs)
        # msgspec counts the bracket that was put in front.
        raise malformed(uri, error, b"[%b]" % text, start - 1, "rows in JSON") from error
    if id_mode == "auto":
        return DecodedRows(rows, np.arange(len(rows)), {})
    return _convert_ids(rows, id_type, id_mode)


def decode_each(
    text: bytes,
    spans: Iterable[Sequence[int]],
    uri: str,
    start: int,
    id_type: str,
    id_mode: str,
    repairs: Sequence[str],
) -> DecodedRows:
    """Decode row by row: those that cannot be decoded are looked at, and mended or at fault.

    Parameters
    ----------
    text : bytes
        The rows, and what is between them.
    spans : iterable of tuple
        The place of every row in `text`.
    uri, start, id_type, id_mode, repairs
        As for `decode_rows`.

    Raises
    ------
    InputError
        For a row that is no JSON.
    """
    decode = _decoder(_row_type(id_type, id_mode)).decode
    found = DecodedRows([], np.empty(0, np.int64), {})
    places: list[int] = []
    for place, (begin, end) in enumerate(spans):
        data = text[begin:end]
        row: Any
        try:
            row = _with_id(decode(data), id_type, id_mode)
        except (msgspec.ValidationError, UnicodeDecodeError):
            plain = _plain(data, uri, start + begin)
            row = sanitize_row(plain, id_type, id_mode)
            if isinstance(row, Fault) and repairs:
                row = _repaired(plain, row, id_type, id_mode, repairs, found.repairs, place)
        except msgspec.DecodeError as error:
            raise malformed(uri, error, data, start + begin, "a row in JSON") from error
        if isinstance(row, Fault):
            found.faults[place] = row
        else:
            found.rows.append(row if isinstance(row, Row) else msgspec.convert(row, Row[Any]))
            places.append(place)
    found.place_N = np.array(places, np.int64)
    return found


def may_be_corners(row: Row[Any], has_own_size: bool) -> bool:
    """Return False where `check_box_mode` surely does not count a row's box as two corners.

    Parameters
    ----------
    row : Row
        As decoded.
    has_own_size : bool
        Whether the size in its mask, where it has one, is the image's.
    """
    if row.bbox is None or row.bbox_mode is not None:
        return row.bbox is not None
    x, y, w, h = row.bbox
    if not (w >= x and h >= y):
        return False
    if not has_own_size or not isinstance(row.segmentation, Rle):
        return True
    height, width = row.segmentation.size
    return x + w > width or y + h > height


def to_raw_rows(decoded: DecodedRows, first_row: int, id_type: str) -> RawRows:
    """Turn decoded rows into columns.

    Parameters
    ----------
    decoded : DecodedRows
        N rows.
    first_row : int
        Row of the file of the slice's first row.
    id_type : str
        ``"int"`` or ``"string"``.
    """
    rows = decoded.rows

    def column(name: str) -> list[Any]:
        return list(map(attrgetter(name), rows))

    boxes = column("bbox")
    has_bbox_N = np.array([box is not None for box in boxes], np.bool_)
    masks = mask_columns(column("segmentation"))
    ids = [value if type(value) is int else None for value in column("id")]
    no_extras = pa.table({"row": pa.nulls(len(rows))}).select([])
    return RawRows(
        source_row_N=first_row + decoded.place_N,
        image_id=pa.array(
            column("image_id"), pa.int64() if id_type == "int" else pa.large_string()
        ),
        input_id=pa.array(ids, pa.int64()),
        category_id=pa.array(column("category_id"), pa.int64()),
        score=pa.array(column("score"), pa.float64()),
        iscrowd_N=np.array([bool(value) for value in column("iscrowd")], np.bool_),
        has_bbox_N=has_bbox_N,
        bbox_xywh_N4=_to_xywh(_box_column(boxes, has_bbox_N), column("bbox_mode")),
        area=pa.array(column("area"), pa.float64()),
        extras=no_extras,
        listed_hw_N2=_size_column(column("height"), column("width")),
        **masks,
    )


def _box_column(boxes: list[Box | None], has_bbox_N: NDArray[np.bool_]) -> NDArray[np.float64]:
    box_N4 = np.full((len(boxes), 4), np.nan)
    given = [box for box in boxes if box is not None]
    flat = np.fromiter(chain.from_iterable(given), np.float64, 4 * len(given))
    box_N4[has_bbox_N] = flat.reshape(-1, 4)
    return box_N4


def _to_xywh(box_N4: NDArray[np.float64], modes: list[int | None]) -> NDArray[np.float64]:
    """Return boxes as XYWH, by detectron2's ``BoxMode``: 0 is XYXY, 1 XYWH; NaN for others."""
    if any(modes):
        is_other_N = np.array([mode not in (None, 0, 1) for mode in modes], np.bool_)
        box_N4[is_other_N] = np.nan
    if 0 in modes:
        is_corners_N = np.array([mode == 0 for mode in modes], np.bool_)
        box_N4[is_corners_N, 2:] -= box_N4[is_corners_N, :2]
    return box_N4


def _size_column(heights: list[int | None], widths: list[int | None]) -> NDArray[np.int64]:
    if not any(heights):
        return np.full((len(heights), 2), -1, np.int64)
    sides = [
        (-1, -1) if height is None or width is None else (height, width)
        for height, width in zip(heights, widths, strict=True)
    ]
    return np.array(sides, np.int64)


def _row_type(id_type: str, id_mode: str) -> Any:
    if id_mode != "auto":
        return Row[Int64 | float | str]
    return Row[Int64] if id_type == "int" else Row[str]


_DECODERS: dict[Any, msgspec.json.Decoder[Any]] = {}


def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    """Return the decoder of a type; made once a process, for that costs more than small slices."""
    if kind not in _DECODERS:
        _DECODERS[kind] = msgspec.json.Decoder(kind)
    return _DECODERS[kind]


def _convert_ids(rows: Sequence[Any], id_type: str, id_mode: str) -> DecodedRows:
    kept: list[Any] = []
    places: list[int] = []
    faults: dict[int, Fault] = {}
    for place, decoded in enumerate(rows):
        row = _with_id(decoded, id_type, id_mode)
        if isinstance(row, Fault):
            faults[place] = row
        else:
            kept.append(row)
            places.append(place)
    return DecodedRows(kept, np.array(places, np.int64), faults)


def _with_id(row: Any, id_type: str, id_mode: str) -> Any:
    """Return the row with its image_id in the table's type, or the fault."""
    image_id = convert_id(row.image_id, id_type, id_mode)
    if image_id is None:
        return sanitize_row({"image_id": row.image_id}, id_type, id_mode)
    row.image_id = image_id
    return row


def _repaired(
    plain: Any,
    fault: Fault,
    id_type: str,
    id_mode: str,
    names: Sequence[str],
    repairs: dict[int, Repair],
    place: int,
) -> Any:
    """Return the row with its mask repaired, which is noted, or the fault it had."""
    found = repair_mask(plain["segmentation"], fault.code, names) if "POLY" in fault.code else None
    if found is None:
        return fault
    row = sanitize_row(plain | {"segmentation": found[0]}, id_type, id_mode)
    if isinstance(row, Fault):
        return fault
    repairs[place] = Repair(found[1], fault, found[0])
    return row


def _plain(data: bytes, uri: str, start: int) -> object:
    """Decode one row without types; bytes that are no UTF-8 become U+FFFD, 1e999 infinity."""
    try:
        return json.loads(data.decode("utf-8", "replace"))
    except ValueError as error:
        raise InputError(f"{uri}: byte {start}: expected a row in JSON: {error}") from error
