"""Boundary IoU: how well two masks agree near their outlines.

The boundary of a mask are its pixels within d of the background, the image's outside
included, where d is 2 % of the image's diagonal: the mask less its erosion by a square
of 2 d + 1 pixels. Boundary IoU is the IoU of two boundaries. A large mask with a ragged
outline keeps a high IoU and loses boundary IoU.

Worked example: two masks of 5x5 and 5x6 px in a 9x9 image have d = 1 (0.02 * 12.7 is
below 1 px); their boundaries have 16 and 18 px and share all but the fifth column::

    X X X X X .      X X X X X X     shared: top and bottom 10, left 3: 13
    X . . . X .      X . . . . X     union: 16 + 18 - 13 = 21
    X . . . X .      X . . . . X     boundary IoU 13/21
    X . . . X .      X . . . . X
    X X X X X .      X X X X X X

Source: Cheng et al., Boundary IoU, 2021; d and border as in their `mask_to_boundary`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import MaskError
from pipeline.masks import _numba_boundary
from pipeline.masks._checks import frozen_batch
from pipeline.masks.batch import MaskBatch
from pipeline.masks.measure import bbox_xywh

DISTANCE = 0.02
"""Width of the boundary, as a share of the image's diagonal."""


def boundary_iou(first: MaskBatch, second: MaskBatch) -> NDArray[np.float64]:
    """Measure the boundary IoU of pairs of masks.

    Parameters
    ----------
    first, second : MaskBatch
        N masks each; mask n of both is of one image.

    Returns
    -------
    float64 (N,)
        In [0, 1]; 1 where both are empty. No masks in, none out. Cost: a few passes over
        the pixels of the box that holds both masks.

    Raises
    ------
    MaskError
        Where the arrays break the contract, or sizes or numbers differ.
    """
    first, second = frozen_batch(first), frozen_batch(second)
    if not np.array_equal(first.size_hw_N2, second.size_hw_N2):
        raise MaskError(
            f"expected pairs of masks of one size, got {len(first.size_hw_N2)} and "
            f"{len(second.size_hw_N2)} masks of other sizes"
        )
    box_N4 = _common_boxes(bbox_xywh(first), bbox_xywh(second))
    n_pixels = (box_N4[:, 2] - box_N4[:, 0]) * (box_N4[:, 3] - box_N4[:, 1])
    room_4B = np.empty((4, int(n_pixels.max(initial=0))), np.uint8)
    iou_N = np.empty(len(box_N4))
    _numba_boundary.boundary_pairs(
        first.counts_R,
        first.offsets_N1,
        second.counts_R,
        second.offsets_N1,
        first.size_hw_N2,
        box_N4,
        boundary_width(first.size_hw_N2),
        room_4B,
        iou_N,
    )
    return iou_N


def boundary_width(size_hw_N2: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return the width of the boundary in images of these sizes, in pixels, at least 1."""
    sides_N2 = size_hw_N2.astype(np.float64)
    diagonal_N = np.sqrt(sides_N2[:, 0] ** 2 + sides_N2[:, 1] ** 2)
    return np.maximum(np.rint(DISTANCE * diagonal_N).astype(np.int64), 1)


def _common_boxes(
    first_xywh_N4: NDArray[np.int32], second_xywh_N4: NDArray[np.int32]
) -> NDArray[np.int64]:
    """Return the boxes (x0, y0, x1, y1) that hold both; of one where the other is empty."""
    first_N4, second_N4 = first_xywh_N4.astype(np.int64), second_xywh_N4.astype(np.int64)
    first_N4 = np.where(first_N4[:, 2:3] == 0, second_N4, first_N4)
    second_N4 = np.where(second_N4[:, 2:3] == 0, first_N4, second_N4)
    low_N2 = np.minimum(first_N4[:, :2], second_N4[:, :2])
    high_N2 = np.maximum(first_N4[:, :2] + first_N4[:, 2:], second_N4[:, :2] + second_N4[:, 2:])
    return np.concatenate([low_N2, high_N2], axis=1)
