"""The one validating parser for rows from outside: raw columns to INSTANCES and faults.

Every check is a vector operation over all rows; only rows at fault are looked
at one by one, to say what is wrong with them. A row has one fault: of its
image, category, score, box, size or mask, the first in this order.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline import columns
from pipeline.arrow import pc
from pipeline.masks._checks import frozen
from pipeline.masks.rle import RleCode, size_code
from pipeline.read import _numba_boxes as compiled
from pipeline.read.image_table import ImageTable
from pipeline.read.raw_masks import ReadMasks, read_masks
from pipeline.read.raw_rows import NO_MASK, POLYGON_MASK, Fault, RawRows
from pipeline.read.verdicts import Verdicts
from schemas.instances import instances_schema

SIZE_CODES = (RleCode.SIZE_INVALID, RleCode.IMAGE_TOO_LARGE)


class FileFacts(NamedTuple):
    """What rows are checked against.

    Attributes
    ----------
    images : ImageTable or None
        Sizes of the images that the file lists; None if it lists none.
    category_ids : int64 (C,) or None
        Ids of the categories that the file lists, sorted; None if it lists none.
    has_category : bool
        Whether any row of the file has a category; if none has, all are of one class.
    category_map : tuple of int
        Contiguous category id -> the id that it gets; empty where ids stay as they are.
    """

    images: ImageTable | None = None
    category_ids: NDArray[np.int64] | None = None
    has_category: bool = True
    category_map: tuple[int, ...] = ()


class Validated(NamedTuple):
    """Usable rows and the faults of the others, by row of the raw columns."""

    instances: pa.Table
    faults: dict[int, Fault]
    counters: dict[str, int]


def validate(raw: RawRows, uri: str, id_type: str, facts: FileFacts) -> Validated:
    """Check rows and bring their masks into canonical form.

    Parameters
    ----------
    raw : RawRows
        N rows of one file.
    uri : str
        The file, for the column ``source``.
    id_type : str
        ``"int"`` or ``"string"``.
    facts : FileFacts
        What the file says beside its rows.

    Returns
    -------
    Validated
        INSTANCES in the order of the rows. No rows in: an empty table.
    """
    verdicts = Verdicts(len(raw.source_row_N))
    if facts.category_map:
        raw = _map_categories(raw, facts.category_map, verdicts)
    size_hw_N2 = _check_images(raw, facts.images, verdicts)
    box_verdict_N = _judge_boxes(raw, size_hw_N2)
    _check_values(raw, facts, box_verdict_N, verdicts)
    _check_sizes(raw, size_hw_N2, facts.images is not None, verdicts)
    masks = read_masks(raw, size_hw_N2)
    for row, fault in masks.faults.items():
        if verdicts.is_good_N[row]:
            verdicts.faults[row] = fault
    verdicts.is_good_N &= ~masks.is_bad_N
    counters = _count(raw, masks, verdicts.is_good_N)
    is_asked_N = (box_verdict_N == compiled.FITS_EXCHANGED) & verdicts.is_good_N
    verdicts.refuse(
        _is_swapped(raw, masks, size_hw_N2, is_asked_N),
        "SIZE_MISMATCH",
        "segmentation.size",
        lambda row: (
            "expected size as [height, width]: the box fits the mask only if "
            f"{size_hw_N2[row].tolist()} is read as [width, height]"
        ),
    )
    good_M = np.flatnonzero(verdicts.is_good_N)
    instances = _instances(raw, masks, size_hw_N2, good_M, uri, id_type)
    return Validated(instances, verdicts.faults, counters)


def _check_images(raw: RawRows, images: ImageTable | None, verdicts: Verdicts) -> NDArray[np.int64]:
    """Refuse rows of unknown images; return the size of every mask, its own or its image's."""
    if images is None:
        listed_N2 = raw.listed_hw_N2
    else:
        listed_N2, is_known_N = images.sizes_of(raw.image_id)
        verdicts.refuse(
            ~is_known_N,
            "IMAGE_UNKNOWN",
            "image_id",
            lambda row: f"expected an id of the file's images, got {raw.image_id[row].as_py()!r}",
        )
    has_own_N = (raw.mask_kind_N != POLYGON_MASK) & (raw.mask_kind_N != NO_MASK)
    _refuse_sizes(raw.size_hw_N2, has_own_N, verdicts)
    if listed_N2 is raw.size_hw_N2:  # a row's columns for both
        return listed_N2
    has_listed_N = _all_of_row(listed_N2 > 0)
    verdicts.refuse(
        has_own_N & has_listed_N & _any_of_row(raw.size_hw_N2 != listed_N2),
        "SIZE_MISMATCH",
        "segmentation.size",
        lambda row: (
            f"expected the image's [height, width] {listed_N2[row].tolist()}, got "
            f"{raw.size_hw_N2[row].tolist()}"
        ),
    )
    return np.where(has_own_N[:, None], raw.size_hw_N2, listed_N2)


def _map_categories(raw: RawRows, new_ids: tuple[int, ...], verdicts: Verdicts) -> RawRows:
    has_category_N = columns.is_valid(raw.category_id)
    old_N = pc.fill_null(raw.category_id, 0).to_numpy()
    is_mapped_N = (old_N >= 0) & (old_N < len(new_ids))
    verdicts.refuse(
        has_category_N & ~is_mapped_N,
        "CATEGORY",
        "category_id",
        lambda row: f"expected a contiguous id from 0 to {len(new_ids) - 1}, got {old_N[row]}",
    )
    new_N = np.array(new_ids, np.int64)[np.where(is_mapped_N, old_N, 0)]
    return raw._replace(category_id=pa.array(new_N, mask=~has_category_N))


def _check_values(
    raw: RawRows, facts: FileFacts, box_verdict_N: NDArray[np.uint8], verdicts: Verdicts
) -> None:
    if facts.has_category:
        verdicts.refuse(
            ~columns.is_valid(raw.category_id),
            "CATEGORY",
            "category_id",
            lambda _: "expected a category as other rows of the file have one, got none",
        )
    if facts.category_ids is not None and facts.has_category:
        category_N = pc.fill_null(raw.category_id, 0).to_numpy()
        verdicts.refuse(
            ~np.isin(category_N, facts.category_ids),
            "CATEGORY",
            "category_id",
            lambda row: f"expected an id of the file's categories, got {category_N[row]}",
        )
    score_N = _scores(raw)
    verdicts.refuse(
        ~np.isfinite(score_N),
        "SCORE",
        "score",
        lambda row: f"expected a finite number or null, got {score_N[row]}",
    )
    verdicts.refuse(
        box_verdict_N == compiled.NO_BOX,
        "BBOX",
        "bbox",
        lambda row: (
            "expected finite [x, y, width, height] without negative width or height, got "
            f"{raw.bbox_xywh_N4[row].tolist()}"
        ),
    )


def _check_sizes(
    raw: RawRows, size_hw_N2: NDArray[np.int64], has_images: bool, verdicts: Verdicts
) -> None:
    is_polygon_N = raw.mask_kind_N == POLYGON_MASK
    has_none_N = raw.mask_kind_N == NO_MASK
    if is_polygon_N.any():
        _, ring_offsets_K1, row_offsets_M1 = raw.polygons
        has_none_N[is_polygon_N] = np.diff(ring_offsets_K1[row_offsets_M1]) == 0
    verdicts.refuse(
        has_none_N,
        "NO_SEGMENTATION",
        "segmentation",
        lambda _: "expected a mask, got none",
    )
    code = "SIZE_INVALID" if has_images else "IMAGE_UNKNOWN"
    verdicts.refuse(
        is_polygon_N & ((size_hw_N2[:, 0] == -1) & (size_hw_N2[:, 1] == -1)),
        code,
        "height",
        lambda _: (
            "expected the height and width of the image, which a polygon does not state, "
            "got none; give them in the file's 'images'"
        ),
    )
    if size_hw_N2 is not raw.size_hw_N2:  # which have been judged
        _refuse_sizes(size_hw_N2, np.ones(len(size_hw_N2), np.bool_), verdicts)


def _refuse_sizes(
    size_hw_N2: NDArray[np.int64], is_asked_N: NDArray[np.bool_], verdicts: Verdicts
) -> None:
    code_N = size_code(size_hw_N2)
    if not code_N.any():
        return
    expected = "[height, width] of at least 1 and height x width < 2**31"
    for code in SIZE_CODES:
        verdicts.refuse(
            (code_N == code) & is_asked_N,
            code.name,
            "segmentation.size",
            lambda row: f"expected {expected}, got {size_hw_N2[row].tolist()}",
        )


def _any_of_row(is_NK: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return whether any of the K = 2 or 4 values of a row is set; as one integer, for speed."""
    words_N = np.ascontiguousarray(is_NK).view(f"u{is_NK.shape[1]}")[:, 0]
    return words_N != 0


def _all_of_row(is_NK: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return ~_any_of_row(~is_NK)


def _judge_boxes(raw: RawRows, size_hw_N2: NDArray[np.int64]) -> NDArray[np.uint8]:
    verdict_N = np.empty(len(size_hw_N2), np.uint8)
    compiled.judge_boxes(
        frozen(raw.has_bbox_N, np.bool_),
        frozen(raw.bbox_xywh_N4.T, np.float64, n_dims=2),
        frozen(size_hw_N2, np.int64, n_dims=2),
        verdict_N,
    )
    return verdict_N


def _is_swapped(
    raw: RawRows,
    masks: ReadMasks,
    size_hw_N2: NDArray[np.int64],
    is_asked_N: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """Return whether a row's box says that its size is [width, height].

    It does where the box leaves the image as stated, fits it with height and
    width exchanged (the rows that are asked about), and the same runs read so
    have that box: to 2 px on every side, and to a twentieth of the larger side
    of a small one.
    """
    asked_M = np.flatnonzero(is_asked_N & (raw.mask_kind_N != POLYGON_MASK))
    is_swapped_N = np.zeros(len(is_asked_N), np.bool_)
    if len(asked_M):
        box_M4 = raw.bbox_xywh_N4[asked_M]
        tight_M4 = masks.boxes_if_swapped(asked_M, size_hw_N2).astype(np.float64)
        slack_M = np.minimum(2.0, 0.05 * tight_M4[:, 2:].max(axis=1))
        for corners_M4 in (box_M4, tight_M4):
            corners_M4[:, 2:] += corners_M4[:, :2]
        is_swapped_N[asked_M] = np.abs(tight_M4 - box_M4).max(axis=1) <= slack_M
    return is_swapped_N


def _scores(raw: RawRows) -> NDArray[np.float64]:
    """Return the scores; 0 where there is none."""
    return (pc.fill_null(raw.score, 0.0) if raw.score.null_count else raw.score).to_numpy()


def _count(raw: RawRows, masks: ReadMasks, is_good_N: NDArray[np.bool_]) -> dict[str, int]:
    score_N = _scores(raw)
    numbers = {
        "score_out_of_range": (score_N < 0) | (score_N > 1),
        **masks.notes,
    }
    counted = {name: int(np.count_nonzero(is_N & is_good_N)) for name, is_N in numbers.items()}
    counted["bbox_apart_from_mask"] = compiled.count_apart(
        frozen(is_good_N, np.bool_),
        frozen(raw.has_bbox_N, np.bool_),
        frozen(raw.bbox_xywh_N4.T, np.float64, n_dims=2),
        frozen(masks.bbox_xywh_N4.T, np.int32, n_dims=2),
        frozen(masks.area_N, np.int64),
    )
    return {name: count for name, count in counted.items() if count}


def _instances(
    raw: RawRows,
    masks: ReadMasks,
    size_hw_N2: NDArray[np.int64],
    good_M: NDArray[np.int64],
    uri: str,
    id_type: str,
) -> pa.Table:
    is_all = len(good_M) == len(raw.source_row_N)

    def pick(array: Any) -> Any:
        if is_all:
            return array
        return array.take(pa.array(good_M)) if isinstance(array, pa.Array) else array[good_M]

    def column(values: NDArray[Any], dtype: type[np.generic]) -> pa.Array:
        return pa.array(np.ascontiguousarray(pick(values), dtype))

    has_bbox_M = pick(raw.has_bbox_N)
    no_bbox_M = None if has_bbox_M.all() else ~has_bbox_M
    boxes = [column(masks.bbox_xywh_N4[:, k], np.int32) for k in range(4)]
    input_boxes = [
        pa.array(np.ascontiguousarray(pick(raw.bbox_xywh_N4[:, k])), mask=no_bbox_M)
        for k in range(4)
    ]
    extras = raw.extras if is_all else raw.extras.take(pa.array(good_M))
    arrays = [
        pick(raw.image_id),
        pick(raw.input_id),
        pick(raw.category_id),
        pick(raw.score),
        column(raw.iscrowd_N, np.bool_),
        column(size_hw_N2[:, 0], np.int32),
        column(size_hw_N2[:, 1], np.int32),
        *boxes,
        column(masks.area_N, np.int64),
        *input_boxes,
        pick(raw.area),
        columns.from_strings(masks.strings(good_M)),
        pa.repeat(pa.scalar(uri, pa.large_string()), len(good_M)),
        column(raw.source_row_N, np.int64),
        *extras.columns,
    ]
    return pa.Table.from_arrays(arrays, schema=_schema(id_type, extras.schema))


_schema = lru_cache(instances_schema)
"""The same for every slice; made once, since a unit may have thousands."""
