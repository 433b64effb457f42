"""What storing a mask cost beyond its IoU: change of its area, and boundary IoU."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.columns import size_hw, to_strings
from pipeline.encode import Encoded
from pipeline.masks import boundary, rle
from pipeline.stored import coco_counts


class Drifts(NamedTuple):
    """Of M kept rows.

    Attributes
    ----------
    mask_area_M : int64 (M,)
        Pixels of the mask that each stands for.
    drift_M : float64 (M,)
        Stored pixels less those, as a share of those; 0 for lossless forms.
    boundary_M : float64 (M,)
        Boundary IoU of what is stored with the mask it stands for; NaN where not measured.
    """

    mask_area_M: NDArray[np.int64]
    drift_M: NDArray[np.float64]
    boundary_M: NDArray[np.float64]


def measure_drift(encoded: Encoded, sampled_M: NDArray[np.int64]) -> Drifts:
    """Measure the change of every mask's area, and the boundary IoU of some.

    Parameters
    ----------
    encoded : Encoded
        Kept rows and their masks.
    sampled_M : int64 (S,)
        Rows whose boundary IoU is measured: it costs several passes over pixels.
        Those that are stored as they are have 1 without one.
    """
    table = encoded.table
    mask_area_M = encoded.mask_area_M
    change_M = (table["area"].to_numpy() - mask_area_M).astype(np.float64)
    drift_M = np.divide(change_M, mask_area_M, out=np.zeros(len(table)), where=mask_area_M > 0)
    boundary_M = np.full(len(table), np.nan)
    boundary_M[sampled_M] = 1.0
    lossy_L = sampled_M[table["fidelity"].to_numpy()[sampled_M] < 1]
    if len(lossy_L):
        index = pa.array(lossy_L)
        rows = table.take(index)
        stored = rle.from_coco(to_strings(coco_counts(rows)), size_hw(rows))
        meant = rle.from_coco(to_strings(encoded.counts.take(index)), size_hw(rows))
        boundary_M[lossy_L] = boundary.boundary_iou(meant, stored)
    return Drifts(mask_area_M, drift_M, boundary_M)
