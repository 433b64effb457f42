"""Masks as columns of COMPACTED, and back: COCO strings to the chosen encoding and the reverse."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.arrow import pc
from pipeline.backend import NUMBA, Kernels
from pipeline.columns import from_strings, one_chunk, size_hw, to_strings
from pipeline.config import EncodeConfig
from pipeline.errors import MaskError
from pipeline.masks import contour, polygon, rle
from pipeline.masks.batch import CocoStrings, MaskBatch

_BBOX = ("bbox_x", "bbox_y", "bbox_w", "bbox_h")


class StoredMasks(NamedTuple):
    """The masks of the kept rows as they are written.

    Attributes
    ----------
    columns : dict of str to pa.Array
        ``encoding``, ``counts``, ``crack`` and ``polygon``.
    bbox_xywh_M4 : int32 (M, 4)
        Tight box of each stored mask.
    area_M : int64 (M,)
        Pixels of each stored mask.
    fidelity_M : float64 (M,)
        IoU of each stored mask with the mask it stands for.
    mask_area_M : int64 (M,)
        Pixels of each mask that is stood for.
    """

    columns: dict[str, pa.Array]
    bbox_xywh_M4: NDArray[np.int32]
    area_M: NDArray[np.int64]
    fidelity_M: NDArray[np.float64]
    mask_area_M: NDArray[np.int64]


def store_masks(
    counts: pa.Array, rows: pa.Table, config: EncodeConfig, kernels: Kernels = NUMBA
) -> StoredMasks:
    """Encode masks as they are written.

    A polygon that cannot hold the floor, or is no smaller than crack code,
    becomes crack code; the rare giant that has none (`contour.fits_crack`)
    stays a COCO string.

    Parameters
    ----------
    counts : pa.Array
        Canonical COCO strings, large_binary (M,).
    rows : pa.Table
        Their rows: height and width are read.
    config : EncodeConfig
        Which encoding, and the floor of its fidelity.
    kernels : Kernels
        What writes crack code; polygons are always written by the compiled ones.

    Returns
    -------
    StoredMasks
        Exactly one of the three mask columns is set in each row.
    """
    strings, hw_M2 = to_strings(counts), size_hw(rows)
    facts = rle.inspect_coco(strings, hw_M2)
    lossless = StoredMasks({}, facts.bbox_xywh_N4, facts.area_N, np.ones(len(counts)), facts.area_N)
    if config.encoding == "rle":
        is_rle_M = np.ones(len(counts), bool)
        return lossless._replace(columns=_columns(counts, None, None, is_rle_M, ~is_rle_M))
    batch = rle.from_coco(strings, hw_M2)
    is_rle_M = ~contour.fits_crack(batch)
    crack = _crack(batch, is_rle_M, kernels)
    if config.encoding == "crack":
        return lossless._replace(columns=_columns(counts, crack, None, is_rle_M, ~is_rle_M))
    limit_M = np.where(is_rle_M, np.diff(strings.offsets_N1), np.diff(crack.offsets_N1)) - 1
    coded = polygon.encode_polygon(batch, config.fidelity, config.epsilon, max_bytes_N=limit_M)
    is_rle_M &= ~coded.is_encoded_N
    is_crack_M = ~is_rle_M & ~coded.is_encoded_N
    rings = CocoStrings(coded.bytes_B, coded.offsets_N1)
    columns = _columns(counts, crack, rings, is_rle_M, is_crack_M)
    return StoredMasks(columns, coded.bbox_xywh_N4, coded.area_N, coded.fidelity_N, facts.area_N)


def coco_counts(table: pa.Table) -> pa.Array:
    """Return the masks of COMPACTED as canonical COCO strings, whatever their encoding.

    Parameters
    ----------
    table : pa.Table
        Rows with the columns ``encoding``, ``counts``, ``crack``, ``polygon``,
        ``bbox_*``, ``height`` and ``width`` of `schemas.compacted`.

    Returns
    -------
    pa.Array
        large_binary (N,), without nulls; no rows in, none out.

    Raises
    ------
    MaskError
        If a value is damaged, or ``encoding`` names none of the three.
    """
    encoding = one_chunk(table["encoding"])
    parts: list[CocoStrings] = []
    place_N = np.full(len(table), -1)
    n_placed = 0
    for name in ("rle", "crack", "polygon"):
        row_M = np.flatnonzero(pc.equal(encoding, name).to_numpy(zero_copy_only=False))
        place_N[row_M] = n_placed + np.arange(len(row_M))
        n_placed += len(row_M)
        if len(row_M) == len(table):
            return from_strings(_decode(table, name))
        parts.append(_decode(table.take(pa.array(row_M)), name))
    if (place_N < 0).any():
        row = int(np.flatnonzero(place_N < 0)[0])
        raise MaskError(
            f"row {row}: expected the encoding rle, crack or polygon, got "
            f"{encoding[row].as_py()!r}; the file is damaged or of a newer format version"
        )
    return from_strings(rle.take_strings(rle.concat_strings(parts), place_N))


def _decode(table: pa.Table, encoding: str) -> CocoStrings:
    if encoding == "rle":
        return to_strings(table["counts"])
    decode = contour.decode_crack if encoding == "crack" else polygon.decode_polygon
    coded = to_strings(table[encoding])
    bbox_N4 = np.stack([table[name].to_numpy().astype(np.int32) for name in _BBOX], axis=1)
    return rle.to_coco(decode(coded.bytes_B, coded.offsets_N1, bbox_N4, size_hw(table)))


def _crack(batch: MaskBatch, is_out_M: NDArray[np.bool_], kernels: Kernels) -> CocoStrings:
    """Return crack codes, without bytes for the masks that are out."""
    if not is_out_M.any():
        return CocoStrings(*kernels.encode_crack(batch))
    coded = kernels.encode_crack(rle.take(batch, np.flatnonzero(~is_out_M)))
    n_bytes_M = np.zeros(len(is_out_M), np.int64)
    n_bytes_M[~is_out_M] = np.diff(coded.offsets_N1)
    return CocoStrings(coded.bytes_B, np.concatenate(([0], np.cumsum(n_bytes_M))))


def _columns(
    counts: pa.Array,
    crack: CocoStrings | None,
    rings: CocoStrings | None,
    is_rle_M: NDArray[np.bool_],
    is_crack_M: NDArray[np.bool_],
) -> dict[str, pa.Array]:
    """Return the four columns, each value in the one that `encoding` names."""
    place_M = np.where(is_rle_M, 0, np.where(is_crack_M, 1, 2)).astype(np.int32)
    names = pa.array(["rle", "crack", "polygon"])
    return {
        "encoding": pa.DictionaryArray.from_arrays(pa.array(place_M), names).cast(pa.string()),
        "counts": _where(is_rle_M, counts),
        "crack": _where(is_crack_M, None if crack is None else from_strings(crack)),
        "polygon": _where(place_M == 2, None if rings is None else from_strings(rings)),
    }


def _where(is_set_M: NDArray[np.bool_], values: pa.Array | None) -> pa.Array:
    """Return the values where they are set, without the bytes of the others."""
    if values is None or not is_set_M.any():
        return pa.nulls(len(is_set_M), pa.large_binary())
    if is_set_M.all():
        return values
    index = pa.array(np.flatnonzero(is_set_M))
    place = pa.array(np.cumsum(is_set_M) - 1, mask=~is_set_M)
    return values.take(index).take(place)
