"""Overlap of given pairs of masks, and the pairs that are worth looking at.

Intersections and areas are exact integers; ratios are made in one arithmetic,
``float64(intersection) / float64(denominator)``. Division rounds monotonely and
integers below 2**53 are exact in float64, so a bound on the intersection from
above, put into the same expression, never excludes a pair that reaches the
threshold: that is what makes pruning by areas and boxes exact.

Worked example: two 1x6 masks ``X X X X . .`` and ``. X X X X .`` share 3 px,
their union has 5: IoU 0.6; the smaller area is 4: IoS 0.75.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError, MaskError
from pipeline.masks import _checks, _numba_overlap
from pipeline.masks.batch import MaskBatch

GRID_FROM = 1024
"""Rows of one category in one image from which on pairs are looked up in a grid."""

Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]


def candidate_pairs(
    bbox_xywh_N4: NDArray[np.integer],
    area_N: NDArray[np.int64],
    image_offsets_G1: NDArray[np.int64],
    category_N: NDArray[np.int64] | None = None,
    is_crowd_N: NDArray[np.bool_] | None = None,
    *,
    threshold: float | None = None,
    overlap: Literal["iou", "ios"] = "iou",
) -> Pairs:
    """List the pairs of masks of one image that areas and boxes cannot exclude.

    Parameters
    ----------
    bbox_xywh_N4 : int (N, 4)
        Tight boxes of the masks, in pixels; x+w and y+h exclusive. A box holds
        at least the mask's area and fewer than 2**31 px.
    area_N : int64 (N,)
        Foreground pixels; masks without any are in no pair.
    image_offsets_G1 : int64 (G + 1,)
        Image g holds rows ``image_offsets_G1[g]`` to ``image_offsets_G1[g + 1]``.
    category_N : int64 (N,) or None
        Where given, only equal ones pair.
    is_crowd_N : bool (N,) or None
        Rows that are in no pair.
    threshold : float or None
        In (0, 1]: pairs that cannot reach it are left out. None: every pair
        whose boxes share a pixel.
    overlap : {"iou", "ios"}
        What the threshold is about.

    Returns
    -------
    i_P, j_P : int64 (P,)
        Row numbers, i < j, sorted by (i, j); empty where nothing can overlap.
        Time O(N log N + P log P), memory O(N + P): large images go through a grid.

    Raises
    ------
    MaskError
        Where an array breaks its contract.
    ConfigError
        Where an option is not one of those above.
    """
    areas_N = _checks.frozen(area_N, np.int64)
    n_rows = len(areas_N)
    images_G1 = _checks.frozen_offsets(image_offsets_G1, n_rows, "image offsets")
    if images_G1[-1] != n_rows:
        raise MaskError(f"image offsets end at {images_G1[-1]}, expected {n_rows} rows")
    if threshold is not None and not 0.0 < threshold <= 1.0:
        raise ConfigError(f"expected a threshold in (0, 1], got {threshold}")
    if overlap not in ("iou", "ios"):
        raise ConfigError(f"unknown overlap {overlap!r}")
    codes_N = np.zeros(n_rows, np.int64)
    if category_N is not None:
        codes_N = np.unique(_checks.frozen(category_N, np.int64), return_inverse=True)[1]
    if is_crowd_N is not None and len(codes_N) == len(is_crowd_N):
        codes_N = np.where(is_crowd_N, -1, codes_N)
    if len(codes_N) != n_rows or (is_crowd_N is not None and len(is_crowd_N) != n_rows):
        raise MaskError(f"expected category and is_crowd of {n_rows} rows each")
    boxes_N4 = _corners(bbox_xywh_N4, areas_N)
    room = _numba_overlap.make_pair_room(
        int(np.diff(images_G1).max(initial=0)), int(codes_N.max(initial=-1)) + 1
    )
    n_most = n_rows
    while True:
        i_P, j_P = np.empty(n_most, np.int64), np.empty(n_most, np.int64)
        n_pairs = _numba_overlap.list_pairs(
            boxes_N4,
            areas_N,
            images_G1,
            codes_N.astype(np.int64),
            0.0 if threshold is None else float(threshold),
            overlap == "ios",
            GRID_FROM,
            room,
            i_P,
            j_P,
        )
        if n_pairs <= n_most:
            order_P = np.lexsort((j_P[:n_pairs], i_P[:n_pairs]))
            return i_P[order_P], j_P[order_P]
        n_most = n_pairs


def _corners(bbox_xywh_N4: NDArray[np.integer], area_N: NDArray[np.int64]) -> NDArray[np.int64]:
    """Corners (x0, y0, x1, y1) of boxes that lie in an image and hold the areas."""
    xywh_N4 = _checks.frozen(bbox_xywh_N4, np.int64, n_dims=2)
    if xywh_N4.shape != (len(area_N), 4):
        raise MaskError(f"expected boxes of shape ({len(area_N)}, 4), got {xywh_N4.shape}")
    if len(area_N) and (xywh_N4.min() < 0 or xywh_N4.max() > _checks.MAX_PIXELS):
        raise MaskError("expected boxes with 0 <= x, y, w, h < 2**31")
    corners_N4 = np.concatenate([xywh_N4[:, :2], xywh_N4[:, :2] + xywh_N4[:, 2:]], axis=1)
    pixels_N = xywh_N4[:, 2] * xywh_N4[:, 3]
    is_inside = len(area_N) == 0 or corners_N4.max() <= _checks.MAX_PIXELS
    if not is_inside or np.any(area_N > pixels_N) or np.any(pixels_N > _checks.MAX_PIXELS):
        raise MaskError("expected boxes of fewer than 2**31 px that hold the areas")
    return corners_N4


def matched_intersection(
    batch: MaskBatch, i_P: NDArray[np.int64], j_P: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Count the pixels that the two masks of each pair share.

    Parameters
    ----------
    batch : MaskBatch
        N masks.
    i_P, j_P : int64 (P,)
        Row numbers; both masks of a pair have one size.

    Returns
    -------
    int64 (P,)
        Pixels; 0 where a mask is empty. Costs one pass over all runs, then for
        each pair a binary search and the runs between the first and the last
        pixel that both can share (`maskApi.c: rleIou` walks all of them).

    Raises
    ------
    MaskError
        Where an array breaks its contract, or sizes of a pair differ.
    """
    batch = _checks.frozen_batch(batch)
    n_rows = len(batch.offsets_N1) - 1
    i_P = _checks.frozen_index(i_P, n_rows, "pairs")
    j_P = _checks.frozen_index(j_P, n_rows, "pairs")
    if len(i_P) != len(j_P):
        raise MaskError(f"expected pairs, got {len(i_P)} and {len(j_P)} row numbers")
    if np.any(batch.size_hw_N2[i_P] != batch.size_hw_N2[j_P]):
        raise MaskError("both masks of a pair must have the same height and width")
    ends_R = np.empty(len(batch.counts_R), np.int64)
    refused = _numba_overlap.end_positions(
        batch.counts_R, batch.offsets_N1, batch.size_hw_N2, ends_R
    )
    if refused >= 0:
        raise MaskError(f"mask {refused}: the runs do not sum to height * width")
    shared_P = np.empty(len(i_P), np.int64)
    _numba_overlap.shared_pixels(ends_R, batch.offsets_N1, i_P, j_P, shared_P)
    return shared_P


def matched_iou(
    intersection_P: NDArray[np.int64], area_i_P: NDArray[np.int64], area_j_P: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Intersection over union of each pair.

    Parameters
    ----------
    intersection_P, area_i_P, area_j_P : int64 (P,)
        In pixels.

    Returns
    -------
    float64 (P,)
        In [0, 1]; 0.0 where a mask of the pair is empty.
    """
    union_P = area_i_P + area_j_P - intersection_P
    return _ratio(intersection_P, union_P)


def matched_ios(
    intersection_P: NDArray[np.int64], area_i_P: NDArray[np.int64], area_j_P: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Intersection over the smaller area of each pair.

    Parameters
    ----------
    intersection_P, area_i_P, area_j_P : int64 (P,)
        In pixels.

    Returns
    -------
    float64 (P,)
        In [0, 1]; 0.0 where a mask of the pair is empty.
    """
    return _ratio(intersection_P, np.minimum(area_i_P, area_j_P))


def _ratio(
    intersection_P: NDArray[np.int64], denominator_P: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Quotient in float64, 0.0 over 0."""
    shared_P = np.asarray(intersection_P, np.float64)
    ratio_P = np.zeros(shared_P.shape)
    np.divide(shared_P, np.asarray(denominator_P, np.float64), out=ratio_P, where=shared_P > 0)
    return ratio_P
