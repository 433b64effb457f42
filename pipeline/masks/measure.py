"""Measures of masks, from their runs.

Worked example, the 3x3 mask of `pipeline.masks.batch`::

    . X X        counts = [3, 2, 1, 1, 2]
    . X .        area 3, tight box x=1 y=0 w=2 h=2,
    . . .        8 cracks around it: left 2, top 2, right 2, bottom 2

A crack is the edge of a pixel, of length 1. The boundary is every crack with
foreground on one side and background, or the outside of the image, on the other.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.masks import _numba_measure
from pipeline.masks._checks import frozen_batch
from pipeline.masks.batch import MaskBatch


def area(batch: MaskBatch) -> NDArray[np.int64]:
    """Count the foreground pixels of each mask.

    Parameters
    ----------
    batch : MaskBatch
        N masks.

    Returns
    -------
    int64 (N,)
        Pixels, 0..h*w. No masks in, shape (0,) out. Cost: linear in runs.

    Raises
    ------
    MaskError
        Where the arrays break the contract.

    Notes
    -----
    Source: ``maskApi.c: rleArea``, in 64 bits.
    """
    return _area_and_bbox(batch)[0]


def bbox_xywh(batch: MaskBatch) -> NDArray[np.int32]:
    """Find the tight box of each mask.

    Parameters
    ----------
    batch : MaskBatch
        N masks.

    Returns
    -------
    int32 (N, 4)
        x, y, w, h in pixels, x+w and y+h exclusive; zeros for an empty mask.
        No masks in, shape (0, 4) out. Cost: linear in runs.

    Raises
    ------
    MaskError
        Where the arrays break the contract.

    Notes
    -----
    Source: ``maskApi.c: rleToBbox``.
    """
    return _area_and_bbox(batch)[1]


def boundary_length(batch: MaskBatch) -> NDArray[np.int64]:
    """Count the cracks between foreground and background, the image's border included.

    Parameters
    ----------
    batch : MaskBatch
        N masks.

    Returns
    -------
    int64 (N,)
        Length of the outlines of all parts and holes, in pixel edges; 0 for an
        empty mask. No masks in, shape (0,) out. Cost: linear in runs, whatever
        the number of columns.

    Raises
    ------
    MaskError
        Where the arrays break the contract.
    """
    sizes_N2, counts_R, offsets_N1 = frozen_batch(batch)
    length_N = np.empty(len(sizes_N2), np.int64)
    _numba_measure.boundary_length(sizes_N2, counts_R, offsets_N1, length_N)
    return length_N


def _area_and_bbox(batch: MaskBatch) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Both in one pass: the box costs little more than the area."""
    sizes_N2, counts_R, offsets_N1 = frozen_batch(batch)
    area_N = np.zeros(len(sizes_N2), np.int64)
    bbox_xywh_N4 = np.zeros((len(sizes_N2), 4), np.int32)
    _numba_measure.area_and_bbox(sizes_N2, counts_R, offsets_N1, area_N, bbox_xywh_N4)
    return area_N, bbox_xywh_N4
