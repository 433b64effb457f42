"""Compiled: what is wrong with boxes and scores, or worth a number, in one pass over the rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.masks._jit import kernel

FINE = 0
NO_BOX = 1
FITS_EXCHANGED = 2
"""What is said of a box; the last where it leaves the image as stated, but fits it with
height and width exchanged."""

_SLACK = 1.0


@kernel
def judge_boxes(has_bbox_N: Any, bbox_xywh_4N: Any, size_hw_N2: Any, verdict_N: Any) -> None:
    """Judge the boxes of all rows; those without one are fine."""
    for n in range(len(verdict_N)):
        verdict_N[n] = FINE
        if not has_bbox_N[n]:
            continue
        x = bbox_xywh_4N[0, n]
        y = bbox_xywh_4N[1, n]
        w = bbox_xywh_4N[2, n]
        h = bbox_xywh_4N[3, n]
        # Of a number that is not finite, this is NaN.
        is_finite = (x - x) + (y - y) + (w - w) + (h - h) == 0.0
        if not is_finite or w < 0 or h < 0:
            verdict_N[n] = NO_BOX
            continue
        height = np.float64(size_hw_N2[n, 0]) + _SLACK
        width = np.float64(size_hw_N2[n, 1]) + _SLACK
        if (x + w > width or y + h > height) and x + w <= height and y + h <= width:
            verdict_N[n] = FITS_EXCHANGED


@kernel
def count_apart(
    is_good_N: Any, has_bbox_N: Any, bbox_xywh_4N: Any, tight_xywh_4N: Any, area_N: Any
) -> Any:
    """Count the good rows whose box does not touch the tight one of their mask."""
    n_apart = 0
    for n in range(len(is_good_N)):
        if not is_good_N[n] or not has_bbox_N[n] or area_N[n] == 0:
            continue
        for k in range(2):
            near = bbox_xywh_4N[k, n]
            tight = np.float64(tight_xywh_4N[k, n])
            tight_side = np.float64(tight_xywh_4N[k + 2, n])
            if near >= tight + tight_side or near + bbox_xywh_4N[k + 2, n] <= tight:
                n_apart += 1
                break
    return n_apart
