"""Polygons of masks: the exact pixel-corner one, and a small one that keeps a floor of IoU.

Vertices lie on pixel corners: the pixel (y, x) is the square from (x, y) to
(x + 1, y + 1). Filled by COCO's rule (`pipeline.masks.polygon_fill`) the exact
polygon gives back exactly the mask. Parts are rings of their own; a hole is joined
to its part by a bridge of no width, walked there and back, so that the even-odd
rule within the ring leaves it open.

Worked example, a 5x5 block with a hole in its middle::

    X X X X X     outline  0,0  5,0  5,5  0,5      (clockwise as seen)
    X X X X X     hole     2,3  3,3  3,2  2,2      (the other way round)
    X X . X X     exact    the outline down the line x = 2 to the hole, around it,
    X X X X X              and up again: … 2,0  2,3  3,3  3,2  2,2  2,0 …
    X X X X X

The encoded form is smaller: loops of few vertices on a lattice, as bytes. Its
format, with the bytes of this example, is in ``docs/format-polygon.md``.

Shape suffixes: V values of coordinates, K rings, N masks, B bytes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.errors import MaskError
from pipeline.masks import _numba_polygon_bytes as compiled_bytes
from pipeline.masks import _numba_polygon_encode, _numba_polygon_trace
from pipeline.masks._checks import frozen, frozen_batch, frozen_offsets, frozen_sizes
from pipeline.masks.batch import MaskBatch
from pipeline.masks.measure import bbox_xywh
from pipeline.masks.polygon_fill import PolyCode, fill_polygons

_FAULTS = {
    compiled_bytes.TRUNCATED: "it ends inside a number or a loop",
    compiled_bytes.PADDED: "a number is longer than it need be or than five bytes",
    compiled_bytes.TOO_LONG: "bytes are left after its last loop",
    compiled_bytes.NO_OUTLINE: "it begins with a hole",
    compiled_bytes.OUTSIDE: "a vertex lies outside the image",
}
_UNLIMITED = 2**62


class PolygonRings(NamedTuple):
    """Polygons of N masks, ragged, as `pipeline.masks.polygon_fill.fill_polygons` takes them.

    Attributes
    ----------
    xy_V : float64 (V,)
        x0, y0, x1, y1, … of all rings, in pixels, origin at the image's corner.
    ring_offsets_K1 : int64 (K + 1,)
        Ring k is ``xy_V[ring_offsets_K1[k]:ring_offsets_K1[k + 1]]``; starts at 0.
    mask_ring_offsets_N1 : int64 (N + 1,)
        Mask n has rings ``mask_ring_offsets_N1[n]`` up to the next; starts at 0.
    """

    xy_V: NDArray[np.float64]
    ring_offsets_K1: NDArray[np.int64]
    mask_ring_offsets_N1: NDArray[np.int64]


class PolygonBatch(NamedTuple):
    """N masks as polygon bytes, ragged, and what is stored of each.

    Attributes
    ----------
    bytes_B : uint8 (B,)
        The values, one after the other; none for a mask that is not encoded.
    offsets_N1 : int64 (N + 1,)
        Value n is ``bytes_B[offsets_N1[n]:offsets_N1[n + 1]]``; starts at 0.
    fidelity_N : float64 (N,)
        IoU of the filled polygon with the mask, measured; 1.0 where not encoded.
    is_encoded_N : bool (N,)
        False where the mask has to stay in a lossless form.
    bbox_xywh_N4 : int32 (N, 4)
        Tight box of the filled polygon, which its bytes are relative to; of the
        mask itself where not encoded.
    area_N : int64 (N,)
        Pixels of the filled polygon, or of the mask itself where not encoded.
    """

    bytes_B: NDArray[np.uint8]
    offsets_N1: NDArray[np.int64]
    fidelity_N: NDArray[np.float64]
    is_encoded_N: NDArray[np.bool_]
    bbox_xywh_N4: NDArray[np.int32]
    area_N: NDArray[np.int64]


def exact_polygon(batch: MaskBatch) -> PolygonRings:
    """Trace masks to the pixel-corner polygons that fill to exactly them.

    Parameters
    ----------
    batch : MaskBatch
        N masks.

    Returns
    -------
    PolygonRings
        One ring a part (8-connected), holes bridged; integer coordinates, no
        vertex between two in line with it. An empty mask has no ring.

    Raises
    ------
    MaskError
        Where the arrays break the contract, or runs are not canonical.

    Notes
    -----
    Cost: linear in runs.
    """
    batch = _proven(batch)
    x_V, y_V, ends_K, ends_N = _numba_polygon_trace.exact_rings(
        batch.counts_R, batch.offsets_N1, batch.size_hw_N2
    )
    xy_V = np.stack([x_V, y_V], axis=1).astype(np.float64).ravel()
    return PolygonRings(xy_V, _from_zero(2 * ends_K), _from_zero(ends_N))


def encode_polygon(
    batch: MaskBatch,
    fidelity: float = 0.98,
    epsilon: float | None = None,
    max_bytes_N: ArrayLike | None = None,
) -> PolygonBatch:
    """Encode each mask as a small polygon whose IoU with it, filled, is at least a floor.

    Parameters
    ----------
    batch : MaskBatch
        N masks.
    fidelity : float
        Lowest IoU of the polygon, filled by COCO's rule, with the mask; in (0, 1].
    epsilon : float, optional
        Tolerance to simplify each loop with, as a fraction of its length (in pixel
        edges), as in ``cv2.approxPolyDP``; in (0, 1). It is halved until the floor
        holds. Without it, the polygon is simplified as far as the floor allows.
    max_bytes_N : int (N,), optional
        Most bytes that a value may take; a mask that needs more is not encoded.

    Returns
    -------
    PolygonBatch
        Not encoded are empty masks, masks for which no polygon was found that
        holds the floor, or none within ``max_bytes_N``, and masks that reach
        beyond 2**23 px. No masks in, no bytes out.

    Raises
    ------
    MaskError
        Where the arrays break the contract, runs are not canonical, or fidelity
        or epsilon are out of range.

    Notes
    -----
    The search is described in `pipeline.masks._numba_polygon_search`. Without an
    epsilon, parts and holes so small that their pixels buy more elsewhere are left
    out first, within a quarter of what the floor allows. Cost: n log n in the
    corners of a mask, and some tens of fills of a polygon.
    """
    if not 0.0 < fidelity <= 1.0:
        raise MaskError(f"expected a fidelity in (0, 1], got {fidelity}")
    if epsilon is not None and not 0.0 < epsilon < 1.0:
        raise MaskError(f"expected an epsilon in (0, 1), got {epsilon}")
    batch = _proven(batch)
    n_masks = len(batch.size_hw_N2)
    limit_N = frozen(np.full(n_masks, _UNLIMITED) if max_bytes_N is None else max_bytes_N, np.int64)
    if len(limit_N) != n_masks:
        raise MaskError(f"expected {n_masks} byte limits, got {len(limit_N)}")
    ends_N = np.zeros(n_masks, np.int64)
    fidelity_N = np.ones(n_masks)
    bbox_xywh_N4 = np.zeros((n_masks, 4), np.int32)
    area_N = np.zeros(n_masks, np.int64)
    bytes_B = np.empty(4096 + 64 * n_masks, np.uint8)
    n = 0
    while True:
        n = _numba_polygon_encode.encode_from(
            *(batch.counts_R, batch.offsets_N1, batch.size_hw_N2, limit_N),
            *(float(fidelity), epsilon or 0.0, n),
            *(bytes_B, ends_N, fidelity_N, bbox_xywh_N4, area_N),
        )
        if n == n_masks:
            break
        bytes_B = np.concatenate([bytes_B, np.empty_like(bytes_B)])
    offsets_N1 = _from_zero(ends_N)
    n_bytes_N = np.diff(offsets_N1)
    return PolygonBatch(
        bytes_B[: offsets_N1[-1]].copy(),
        offsets_N1,
        fidelity_N,
        n_bytes_N > 0,
        bbox_xywh_N4,
        area_N,
    )


def polygon_rings(
    bytes_B: ArrayLike, offsets_N1: ArrayLike, bbox_xywh_N4: ArrayLike, size_hw_N2: ArrayLike
) -> PolygonRings:
    """Read polygon bytes as rings.

    Parameters
    ----------
    bytes_B : uint8 (B,)
        Values, one after the other; they may be anything.
    offsets_N1 : int64 (N + 1,)
        Value n is ``bytes_B[offsets_N1[n]:offsets_N1[n + 1]]``; starts at 0.
    bbox_xywh_N4 : int32 (N, 4)
        Tight box of each filled polygon; its corner is what a value is relative to.
    size_hw_N2 : int32 (N, 2)
        Height and width of each mask's image, pixels.

    Returns
    -------
    PolygonRings
        One ring a part, holes bridged from its first vertex; coordinates are
        multiples of half a pixel, at most one step of the lattice outside the
        image. No values in, no rings out.

    Raises
    ------
    MaskError
        Where offsets or sizes break the contract, or a value is truncated, too
        long or inconsistent; the message names its row.

    Notes
    -----
    Cost: two passes over the bytes; memory is bounded by their number.
    """
    values_B = frozen(bytes_B, np.uint8)
    cuts_N1 = frozen_offsets(offsets_N1, len(values_B), "polygon values")
    n_masks = len(cuts_N1) - 1
    sizes_N2 = frozen_sizes(size_hw_N2, n_masks)
    boxes_N4 = frozen(bbox_xywh_N4, np.int64, n_dims=2)
    if boxes_N4.shape != (n_masks, 4):
        raise MaskError(f"expected boxes of shape ({n_masks}, 4), got {boxes_N4.shape}")
    row, code, xy_V, ends_K, ends_N = compiled_bytes.read_polygons(
        values_B, cuts_N1, boxes_N4, sizes_N2
    )
    if row >= 0:
        raise MaskError(f"the polygon value of row {row} is damaged: {_FAULTS[code]}")
    return PolygonRings(xy_V, _from_zero(ends_K), _from_zero(ends_N))


def decode_polygon(
    bytes_B: ArrayLike, offsets_N1: ArrayLike, bbox_xywh_N4: ArrayLike, size_hw_N2: ArrayLike
) -> MaskBatch:
    """Read polygon bytes as masks: their rings, filled by COCO's rule.

    Parameters
    ----------
    bytes_B, offsets_N1, bbox_xywh_N4, size_hw_N2
        As in `polygon_rings`.

    Returns
    -------
    MaskBatch
        N masks, canonical. No values in, no masks out.

    Raises
    ------
    MaskError
        As `polygon_rings`; also where the filled polygon has no pixel, or a
        tight box other than the one that was given. The message names the row.

    Notes
    -----
    Cost: that of `polygon_rings` and of filling.
    """
    rings = polygon_rings(bytes_B, offsets_N1, bbox_xywh_N4, size_hw_N2)
    filled = fill_polygons(*rings, size_hw_N2)
    drawn_N4 = bbox_xywh(filled.batch)
    is_wrong_N = (filled.code_N != PolyCode.OK) | (drawn_N4 != bbox_xywh_N4).any(axis=1)
    if is_wrong_N.any():
        row = int(np.flatnonzero(is_wrong_N)[0])
        raise MaskError(
            f"the polygon value of row {row} is damaged: expected a mask with the box "
            f"{np.asarray(bbox_xywh_N4)[row].tolist()}, got {drawn_N4[row].tolist()}"
        )
    return filled.batch


def _proven(batch: MaskBatch) -> MaskBatch:
    """Batch whose arrays and runs are what they must be."""
    batch = frozen_batch(batch)
    row = _numba_polygon_trace.first_uncanonical(batch.counts_R, batch.offsets_N1, batch.size_hw_N2)
    if row >= 0:
        raise MaskError(f"expected canonical runs that sum to h*w, got others in row {row}")
    return batch


def _from_zero(ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """Offsets of ragged data from the ends of its rows."""
    return np.concatenate([np.zeros(1, np.int64), ends])
