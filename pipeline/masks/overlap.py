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
        Tight boxes of the masks, in pixels; x+w and y+h exclusive.
    area_N : int64 (N,)
        Foreground pixels; masks without any are in no pair.
    image_offsets_G1 : int64 (G + 1,)
        Image g holds rows ``image_offsets_G1[g]`` to ``image_offsets_G1[g + 1]``.
    category_N : int64 (N,) or None
        Non-negative codes; where given, only equal ones pair.
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

    Raises
    ------
    MaskError
        Where an array breaks its contract.
    ConfigError
        Where an option is not one of those above.
    """
    n_rows = len(area_N)
    boxes_N4 = _checks.frozen(bbox_xywh_N4, np.int64, n_dims=2)
    areas_N = _checks.frozen(area_N, np.int64)
    images_G1 = _checks.frozen_offsets(image_offsets_G1, n_rows, "image offsets")
    if boxes_N4.shape != (n_rows, 4) or images_G1[-1] != n_rows:
        raise MaskError(f"expected boxes (N, 4) and images of {n_rows} rows")
    if threshold is not None and not 0.0 < threshold <= 1.0:
        raise ConfigError(f"expected a threshold in (0, 1], got {threshold}")
    if overlap not in ("iou", "ios"):
        raise ConfigError(f"unknown overlap {overlap!r}")
    codes_N = np.zeros(n_rows, np.int64) if category_N is None else np.array(category_N, np.int64)
    if codes_N.shape != (n_rows,) or (n_rows and codes_N.min() < 0):
        raise MaskError(f"expected {n_rows} categories >= 0")
    if is_crowd_N is not None:
        codes_N[np.asarray(is_crowd_N, bool)] = -1
    boxes_N4 = np.concatenate([boxes_N4[:, :2], boxes_N4[:, :2] + boxes_N4[:, 2:]], axis=1)
    room = n_rows
    while True:
        i_P, j_P = np.empty(room, np.int64), np.empty(room, np.int64)
        found = _numba_overlap.list_pairs(
            boxes_N4,
            areas_N,
            images_G1,
            codes_N,
            0.0 if threshold is None else float(threshold),
            overlap == "ios",
            i_P,
            j_P,
        )
        if found <= room:
            return i_P[:found], j_P[:found]
        room = found


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
