"""Columns of a Parquet file as raw rows, and the faults of rows that do not fit."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.arrow import pc
from pipeline.columns import (
    from_ragged,
    is_list,
    is_ragged_binary,
    is_valid,
    one_chunk,
    to_ragged,
    to_strings,
)
from pipeline.masks.batch import CocoStrings
from pipeline.read.dense_masks import paste_rois, read_bitmaps
from pipeline.read.image_ids import convert_id, describe_expected
from pipeline.read.limits import MAX_VALUE_BYTES
from pipeline.read.parquet_layout import BOX_COLUMNS, DENSE_COLUMNS, Layout, field_types
from pipeline.read.raw_rows import (
    COUNTS_MASK,
    NO_MASK,
    POLYGON_MASK,
    STRING_MASK,
    Fault,
    RawCounts,
    RawPolygons,
    RawRows,
)
from pipeline.read.verdicts import Verdicts

_KINDS = {"strings": STRING_MASK, "counts": COUNTS_MASK, "polygons": POLYGON_MASK}


class ParquetRows(NamedTuple):
    """Raw rows, which rows of the table each is, and the faults of the others."""

    raw: RawRows
    place_N: NDArray[np.int64]
    verdicts: Verdicts


def to_raw_rows(
    table: pa.Table, layout: Layout, first_row: int, id_type: str, id_mode: str
) -> ParquetRows:
    """Turn a table into raw rows.

    Parameters
    ----------
    table : pa.Table
        Rows as they are in the file.
    layout : Layout
        Which column holds what.
    first_row : int
        Row of the file of the table's first row.
    id_type, id_mode : str
        Type of image_id, and ``--read.id_mode``.
    """
    verdicts = Verdicts(len(table))
    columns = {ours: one_chunk(table[theirs]) for ours, theirs in layout.columns.items()}
    if layout.mask_form in ("bitmaps", "rois"):
        columns, faults = _decode_dense(columns, layout.mask_form)
        layout = layout._replace(mask_form="counts")
        verdicts.refuse_each(faults)
    columns["image_id"] = _image_ids(columns["image_id"], id_type, id_mode)
    _check_rows(columns, layout, verdicts, describe_expected(id_type, id_mode))
    place_N = np.flatnonzero(verdicts.is_good_N)
    extras = table.select(layout.extras.names)
    if len(place_N) < len(table):
        chosen = pa.array(place_N)
        columns = {name: column.take(chosen) for name, column in columns.items()}
        extras = extras.take(chosen)
    raw = _raw(columns, layout, place_N + first_row, _cast_extras(extras, layout.extras))
    return ParquetRows(raw, place_N, verdicts)


def _decode_dense(columns: dict[str, Any], form: str) -> tuple[dict[str, Any], dict[int, Fault]]:
    """Return the columns with runs in place of pixels, and the rows whose pixels are none."""
    size_N2 = _flat_sizes(columns)
    if form == "bitmaps":
        found = read_bitmaps(columns["mask"].to_pylist(), size_N2)
    else:
        has_bbox_N, box_N4 = _boxes(columns, len(size_N2))
        box_N4[~has_bbox_N] = np.nan
        corners_N4 = np.hstack([box_N4[:, :2], box_N4[:, :2] + box_N4[:, 2:]])
        squares = [_square(value) for value in columns["roi_mask"]]
        found = paste_rois(squares, corners_N4.astype(np.float32), size_N2)
    others = {name: column for name, column in columns.items() if name not in DENSE_COLUMNS}
    counts = from_ragged(pa.array(found.counts.counts), found.counts.offsets_M1)
    sizes = pa.FixedSizeListArray.from_arrays(pa.array(found.size_hw_N2.ravel()), 2)
    return others | {"counts": counts, "size": sizes}, found.faults


def _square(value: Any) -> NDArray[np.float32] | None:
    """Return n x n numbers, flat or nested, as a square; None for others."""
    flat = value.values
    while flat is not None and is_list(flat.type):
        flat = flat.flatten()
    if flat is None or len(flat) == 0 or flat.null_count:
        return None
    numbers = _float64(flat)
    side = round(len(numbers) ** 0.5)
    is_square = side * side == len(numbers) and bool(np.isfinite(numbers).all())
    return numbers.astype(np.float32).reshape(side, side) if is_square else None


def _flat_sizes(columns: dict[str, Any]) -> NDArray[np.int64]:
    """Return sizes from the columns that state them; -1 where none does."""
    n_rows = len(columns["image_id"])
    if "size" in columns:
        size_N2 = np.full((n_rows, 2), -1, np.int64)
        is_whole_N = _is_whole(columns["size"], 2)
        values, offsets_N1 = to_ragged(columns["size"])
        first_M = offsets_N1[:-1][is_whole_N]
        size_N2[is_whole_N] = _int64(values, -1)[first_M[:, None] + np.arange(2)]
        return size_N2
    return _height_width(columns, n_rows)


def _height_width(columns: dict[str, Any], n_rows: int) -> NDArray[np.int64]:
    """Return the columns height and width; -1 where there is none."""
    if "height" not in columns or "width" not in columns:
        return np.full((n_rows, 2), -1, np.int64)
    size_N2 = np.empty((n_rows, 2), np.int64)
    size_N2[:, 0] = _integers(columns["height"], -1)
    size_N2[:, 1] = _integers(columns["width"], -1)
    return size_N2


def mask_column(columns: dict[str, Any]) -> tuple[Any, Any]:
    """Return the column that holds the masks, and the one with their sizes or None."""
    column = columns["segmentation"] if "segmentation" in columns else columns["counts"]
    size = columns.get("size")
    inner = field_types(column.type)
    if "size" in inner:
        size = pc.struct_field(column, "size")
    if "counts" in inner:
        column = pc.struct_field(column, "counts")
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return column, size


def _image_ids(column: Any, id_type: str, id_mode: str) -> Any:
    """Return image ids in the table's type; null where one is not usable."""
    wanted = pa.int64() if id_type == "int" else pa.large_string()
    dtype = column.type
    if pa.types.is_signed_integer(dtype) and id_type == "int":
        return column.cast(wanted)
    is_text = pa.types.is_string(dtype) or pa.types.is_large_string(dtype)
    if is_text and id_type == "string":
        return column.cast(wanted)
    encoded = column if pa.types.is_dictionary(dtype) else column.dictionary_encode()
    values = [convert_id(value, id_type, id_mode) for value in encoded.dictionary.to_pylist()]
    return pa.array(values, wanted).take(encoded.indices)


def _check_rows(
    columns: dict[str, Any], layout: Layout, verdicts: Verdicts, expected_id: str
) -> None:
    verdicts.refuse(
        ~is_valid(columns["image_id"]),
        "IMAGE_ID",
        "image_id",
        lambda _: f"expected {expected_id}, got null or what cannot be one",
    )
    if "iscrowd" in columns and not pa.types.is_boolean(columns["iscrowd"].type):
        crowd_N = _int64(columns["iscrowd"], 0)
        verdicts.refuse(
            (crowd_N != 0) & (crowd_N != 1),
            "CATEGORY",
            "iscrowd",
            lambda row: f"expected 0 or 1, got {crowd_N[row]}",
        )
    if "bbox" in columns:
        verdicts.refuse(
            is_valid(columns["bbox"]) & ~_is_whole(columns["bbox"], 4),
            "BBOX",
            "bbox",
            lambda row: f"expected 4 numbers, got {_show(columns['bbox'], row)}",
        )
    mask, size = mask_column(columns)
    lengths_N = _value_bytes(mask)
    verdicts.refuse(
        lengths_N > MAX_VALUE_BYTES,
        "VALUE_TOO_LARGE",
        layout.columns.get("segmentation", "counts"),
        lambda row: f"expected a mask of at most {MAX_VALUE_BYTES} bytes, got {lengths_N[row]}",
    )
    verdicts.refuse(
        ~is_valid(mask), "NO_SEGMENTATION", "segmentation", lambda _: "expected a mask, got null"
    )
    _check_size(columns, size, verdicts)
    _check_inner_nulls(mask, layout, verdicts)


def _check_size(columns: dict[str, Any], size: Any, verdicts: Verdicts) -> None:
    if size is not None:
        is_bad_N = ~_is_whole(size, 2)
    else:
        is_bad_N = ~(is_valid(columns["height"]) & is_valid(columns["width"]))
    verdicts.refuse(
        is_bad_N,
        "SIZE_INVALID",
        "segmentation.size",
        lambda row: (
            "expected [height, width] as integers, got "
            f"{'null' if size is None else _show(size, row)}"
        ),
    )


def _check_inner_nulls(mask: Any, layout: Layout, verdicts: Verdicts) -> None:
    if layout.mask_form == "counts":
        verdicts.refuse(
            _has_null_value(mask),
            "RLE_COUNTS_TYPE",
            "segmentation.counts",
            lambda _: "expected run lengths, got null among them",
        )
    if layout.mask_form == "polygons":
        rings, offsets_N1 = to_ragged(mask)
        verdicts.refuse(
            _any_in_row(~is_valid(rings), offsets_N1),
            "POLY_SHAPE",
            "segmentation",
            lambda _: "expected rings, got null among them",
        )
        verdicts.refuse(
            _any_in_row(_has_null_value(rings), offsets_N1),
            "POLY_TYPE",
            "segmentation",
            lambda _: "expected coordinates, got null among them",
        )


def _raw(
    columns: dict[str, Any], layout: Layout, source_row_N: NDArray[np.int64], extras: pa.Table
) -> RawRows:
    n_rows = len(source_row_N)
    mask, size = mask_column(columns)
    flat_N2 = _height_width(columns, n_rows)
    own_N2 = flat_N2 if size is None else _int64(to_ragged(size)[0], -1).reshape(-1, 2)
    is_polygon = layout.mask_form == "polygons"
    has_bbox_N, bbox_xywh_N4 = _boxes(columns, n_rows)
    strings, counts, polygons = _masks(mask, layout.mask_form)
    return RawRows(
        source_row_N=source_row_N,
        image_id=columns["image_id"],
        input_id=_input_ids(columns.get("id"), n_rows),
        category_id=_nullable(columns.get("category_id"), pa.int64(), n_rows),
        score=_nullable(columns.get("score"), pa.float64(), n_rows),
        iscrowd_N=_crowds(columns.get("iscrowd"), n_rows),
        has_bbox_N=has_bbox_N,
        bbox_xywh_N4=bbox_xywh_N4,
        area=_areas(columns.get("area"), n_rows),
        size_hw_N2=np.full((n_rows, 2), -1, np.int64) if is_polygon else own_N2,
        listed_hw_N2=own_N2 if is_polygon else flat_N2,
        mask_kind_N=np.full(n_rows, _KINDS[layout.mask_form] if n_rows else NO_MASK, np.uint8),
        strings=strings,
        counts=counts,
        polygons=polygons,
        extras=extras,
    )


def _masks(mask: Any, form: str) -> tuple[CocoStrings, RawCounts, RawPolygons]:
    zero = np.zeros(1, np.int64)
    strings = CocoStrings(np.empty(0, np.uint8), zero)
    counts = RawCounts(np.empty(0, np.int64), zero)
    polygons = RawPolygons(np.empty(0, np.float64), zero, zero)
    if form == "strings":
        strings = to_strings(mask)
    elif form == "counts":
        values, offsets_N1 = to_ragged(mask)
        counts = RawCounts(_int64(values, -1), offsets_N1)
    else:
        rings, row_offsets_N1 = to_ragged(mask)
        values, ring_offsets_K1 = to_ragged(rings)
        polygons = RawPolygons(_float64(values), ring_offsets_K1, row_offsets_N1)
    return strings, counts, polygons


def _boxes(columns: dict[str, Any], n_rows: int) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    if "bbox" in columns:
        has_bbox_N = is_valid(columns["bbox"])
        return has_bbox_N, _fixed(columns["bbox"], 4)
    if BOX_COLUMNS[0] in columns:
        sides = [columns[name] for name in BOX_COLUMNS]
        has_bbox_N = np.logical_and.reduce([is_valid(side) for side in sides])
        box_4N = np.empty((4, n_rows))
        for k, side in enumerate(sides):
            box_4N[k] = _float64(side)
        return has_bbox_N, box_4N.T
    return np.zeros(n_rows, np.bool_), np.full((n_rows, 4), np.nan)


def _fixed(column: Any, width: int) -> NDArray[np.float64]:
    """Return rows of a list or struct column as (N, width); NaN where a row is null."""
    out = np.full((len(column), width), np.nan)
    names = list(field_types(column.type))
    if names:
        for k, name in enumerate(names):
            out[:, k] = _float64(pc.struct_field(column, name))
        return out
    is_given_N = is_valid(column)
    given = column if is_given_N.all() else column.drop_null()
    values, _ = to_ragged(given)
    out[is_given_N] = _float64(values).reshape(-1, width)
    return out


def _is_whole(column: Any, width: int) -> NDArray[np.bool_]:
    """Return which rows of a list or struct column have `width` values, none of them null."""
    is_whole_N = is_valid(column)
    names = list(field_types(column.type))
    if names:
        return np.logical_and.reduce([is_valid(pc.struct_field(column, name)) for name in names])
    if pa.types.is_fixed_size_list(column.type) and column.type.list_size != width:
        return np.zeros(len(column), np.bool_)
    _, offsets_N1 = to_ragged(column)
    return is_whole_N & (np.diff(offsets_N1) == width) & ~_has_null_value(column)


def _has_null_value(column: Any) -> NDArray[np.bool_]:
    values, offsets_N1 = to_ragged(column)
    if values.null_count == 0:
        return np.zeros(len(column), np.bool_)
    return _any_in_row(~is_valid(values), offsets_N1)


def _any_in_row(is_V: NDArray[np.bool_], offsets_N1: NDArray[np.int64]) -> NDArray[np.bool_]:
    before = np.concatenate([np.zeros(1, np.int64), np.cumsum(is_V)])
    return before[offsets_N1[1:]] > before[offsets_N1[:-1]]


def _value_bytes(mask: Any) -> NDArray[np.int64]:
    """Return about how many bytes each row's mask takes, decoded."""
    if is_ragged_binary(mask.type):
        offsets_N1 = to_strings(mask).offsets_N1
        return offsets_N1[1:] - offsets_N1[:-1]
    values, offsets_N1 = to_ragged(mask)
    if is_list(values.type):
        _, ring_offsets_K1 = to_ragged(values)
        offsets_N1 = ring_offsets_K1[offsets_N1]
    return 8 * np.diff(offsets_N1)


def _integers(column: Any, if_null: int) -> NDArray[Any]:
    """Return a column of integers as they are where none is null, else as int64."""
    is_plain = column.null_count == 0 and pa.types.is_signed_integer(column.type)
    return column.to_numpy() if is_plain else _int64(column, if_null)


def _int64(column: Any, if_null: int) -> NDArray[np.int64]:
    filled = column.cast(pa.int64(), safe=False).fill_null(if_null)
    return filled.to_numpy(zero_copy_only=False)


def _float64(column: Any) -> NDArray[np.float64]:
    column = column if pa.types.is_float64(column.type) else column.cast(pa.float64(), safe=False)
    return column.to_numpy(zero_copy_only=False)


def _nullable(column: Any, dtype: pa.DataType, n_rows: int) -> pa.Array:
    return pa.nulls(n_rows, dtype) if column is None else column.cast(dtype, safe=False)


def _input_ids(column: Any, n_rows: int) -> pa.Array:
    is_usable = column is not None and pa.types.is_integer(column.type)
    return _nullable(column if is_usable else None, pa.int64(), n_rows)


def _areas(column: Any, n_rows: int) -> pa.Array:
    is_usable = column is not None and (
        pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
    )
    return _nullable(column if is_usable else None, pa.float64(), n_rows)


def _crowds(column: Any, n_rows: int) -> NDArray[np.bool_]:
    if column is None:
        return np.zeros(n_rows, np.bool_)
    return column.cast(pa.bool_()).fill_null(False).to_numpy(zero_copy_only=False)


def _cast_extras(extras: pa.Table, schema: pa.Schema) -> pa.Table:
    arrays = [one_chunk(extras[field.name]).cast(field.type) for field in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def _show(column: Any, row: int) -> str:
    return ascii(column[row].as_py())[:80]
