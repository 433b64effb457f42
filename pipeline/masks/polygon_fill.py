"""Polygons to masks by COCO's rule, exactly as pycocotools fills them.

A mask is a list of rings, a ring a list ``x0, y0, x1, y1, …`` of vertices that
is closed by itself. Coordinates are in pixels with the corner of the image at
(0, 0), so that the pixel (y, x) covers ``[x, x + 1] × [y, y + 1]``. A ring
covers what lies inside it by the even-odd rule; a mask is the union of its
rings.

Worked example: the ring ``1,1, 3,1, 3,2, 1,2`` in an image of height 3 and
width 4. In fifths of a pixel, the unit COCO's rule rounds to, it is
``5,5, 15,5, 15,10, 5,10``. Column c is crossed where an edge steps from fifth
``5c + 2`` to ``5c + 3``: columns 1 (7 to 8) and 2 (12 to 13), by the upper edge
at fifth 5 and by the lower one at fifth 10. A crossing at fifth v toggles all
pixels from row ``ceil((v - 2) / 5)`` on: rows 1 and 2. So the pixels (1, 1)
and (1, 2) are set: counts = [4, 1, 2, 1, 4].

Shape suffixes: V values of coordinates, K rings, N masks, R runs.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.errors import MaskError
from pipeline.masks import _numba_polygon_fill as compiled
from pipeline.masks._checks import frozen, frozen_offsets
from pipeline.masks.batch import MaskBatch


class PolyCode(IntEnum):
    """What became of one mask's polygon; all but OK are the reasons of a reject.

    Where every ring of a mask is bad, the smallest code among them counts, so
    that the order of the rings does not matter.
    """

    OK = compiled.OK
    POLY_TOO_SHORT = compiled.POLY_TOO_SHORT
    POLY_ODD = compiled.POLY_ODD
    POLY_NONFINITE = compiled.POLY_NONFINITE
    POLY_RANGE = compiled.POLY_RANGE
    ZERO_AREA = compiled.ZERO_AREA
    NO_SEGMENTATION = compiled.NO_SEGMENTATION
    SIZE_INVALID = compiled.SIZE_INVALID
    IMAGE_TOO_LARGE = compiled.IMAGE_TOO_LARGE


class PolygonFill(NamedTuple):
    """N filled masks and what there is to count about them.

    Attributes
    ----------
    batch : MaskBatch
        The masks, canonical; a mask whose code is not OK is the empty mask of
        its size (of size 1x1 where the size itself is the fault).
    code_N : uint8 (N,)
        `PolyCode`.
    n_bad_rings_N : int32 (N,)
        Rings that were left out: too short, odd, not finite, out of range.
    is_clipped_N : bool (N,)
        A vertex lies outside the image; what is outside was cut off.
    is_crossing_N : bool (N,)
        A ring crosses or covers itself: at some pixel it winds other than once
        in its own sense. Filled even-odd, as pycocotools does.
    """

    batch: MaskBatch
    code_N: NDArray[np.uint8]
    n_bad_rings_N: NDArray[np.int32]
    is_clipped_N: NDArray[np.bool_]
    is_crossing_N: NDArray[np.bool_]


def fill_polygons(
    xy_V: ArrayLike,
    ring_offsets_K1: ArrayLike,
    mask_ring_offsets_N1: ArrayLike,
    size_hw_N2: ArrayLike,
) -> PolygonFill:
    """Fill N polygons by COCO's rule, bit for bit as pycocotools.

    A ring that is odd, has fewer than three vertices, or holds a coordinate
    that is not finite or beyond ±2**24 px is left out and counted; the mask
    keeps its other rings, and has a code only if none is left. A mask whose
    edges cross more than 2**27 columns in all is ``POLY_RANGE`` too, so memory
    and time are bounded whatever comes. Where pycocotools overflows 32 bits
    (``x * h + y``) the result here is the right one.

    Parameters
    ----------
    xy_V : float64 (V,)
        x0, y0, x1, y1, … of all rings, pixels, origin at the image's corner.
    ring_offsets_K1 : int64 (K + 1,)
        Ring k is ``xy_V[ring_offsets_K1[k]:ring_offsets_K1[k + 1]]``; starts at 0.
    mask_ring_offsets_N1 : int64 (N + 1,)
        Mask n has rings ``mask_ring_offsets_N1[n]`` up to the next; starts at 0.
    size_hw_N2 : integer (N, 2)
        Height and width of each mask's image, pixels.

    Returns
    -------
    PolygonFill
        N masks with their codes and counters. A mask without a coordinate is
        ``NO_SEGMENTATION``, one without a pixel ``ZERO_AREA``.

    Raises
    ------
    MaskError
        Offsets that do not start at 0, decrease, or do not end at the length
        of what they cut, or a number of sizes other than N.

    Notes
    -----
    Source: ``maskApi.c: rleFrPoly`` and ``rleMerge``. Cost: one evaluation per
    column that an edge crosses, plus sorting the crossings within a column.
    """
    xy_V = frozen(xy_V, np.float64)
    ring_offsets_K1 = _covering_offsets(ring_offsets_K1, len(xy_V), "rings")
    mask_ring_offsets_N1 = _covering_offsets(
        mask_ring_offsets_N1, len(ring_offsets_K1) - 1, "rings of masks"
    )
    n_masks = len(mask_ring_offsets_N1) - 1
    sizes_N2 = frozen(size_hw_N2, np.int64, n_dims=2)
    if sizes_N2.shape != (n_masks, 2):
        raise MaskError(f"expected sizes of shape ({n_masks}, 2), got {sizes_N2.shape}")
    code_N = np.zeros(n_masks, np.uint8)
    n_bad_N = np.zeros(n_masks, np.int32)
    is_clipped_N = np.zeros(n_masks, np.bool_)
    is_crossing_N = np.zeros(n_masks, np.bool_)
    n_runs_N = np.zeros(n_masks, np.int64)
    chunks: list[NDArray[np.uint32]] = [np.empty(0, np.uint32)]
    n = 0
    while n < n_masks:
        counts_R, n = compiled.fill_chunk(
            xy_V, ring_offsets_K1, mask_ring_offsets_N1, sizes_N2, n,
            code_N, n_bad_N, is_clipped_N, is_crossing_N, n_runs_N,
        )  # fmt: skip
        chunks.append(counts_R.copy())
    offsets_N1 = np.concatenate([np.zeros(1, np.int64), np.cumsum(n_runs_N)])
    has_size_N = (code_N != PolyCode.SIZE_INVALID) & (code_N != PolyCode.IMAGE_TOO_LARGE)
    used_N2 = np.where(has_size_N[:, None], sizes_N2, 1).astype(np.int32)
    batch = MaskBatch(used_N2, np.concatenate(chunks), offsets_N1)
    return PolygonFill(batch, code_N, n_bad_N, is_clipped_N, is_crossing_N)


def _covering_offsets(offsets: ArrayLike, n_values: int, what: str) -> NDArray[np.int64]:
    """Offsets proven to cut all of ``n_values`` values."""
    offsets = frozen_offsets(offsets, n_values, what)
    if offsets[-1] != n_values:
        raise MaskError(f"{what}: expected offsets up to {n_values}, got up to {offsets[-1]}")
    return offsets
