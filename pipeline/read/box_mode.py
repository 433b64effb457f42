"""Whether the boxes of a file are [x, y, width, height], as COCO has them, or two corners."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import SchemaError

_MIN_BOXES = 2
_SLACK_PX = 1.0


def check_box_mode(uri: str, bbox_N4: NDArray[np.float64], size_hw_N2: NDArray[np.int64]) -> None:
    """Refuse a file most of whose boxes make sense only as corners.

    Parameters
    ----------
    uri : str
        The file.
    bbox_N4 : float64 (N, 4)
        Its first boxes as they came; NaN where a row has none.
    size_hw_N2 : int64 (N, 2)
        Height and width of their images; -1 where unknown.

    Raises
    ------
    SchemaError
        If more than half of the boxes leave their image as XYWH and fit it as XYXY.
    """
    is_asked_N = np.isfinite(bbox_N4).all(axis=1) & (size_hw_N2 > 0).all(axis=1)
    box_N4, size_wh_N2 = bbox_N4[is_asked_N], size_hw_N2[is_asked_N, ::-1] + _SLACK_PX
    near_N2, far_N2 = box_N4[:, :2], box_N4[:, 2:]
    leaves_N = (near_N2 + far_N2 > size_wh_N2).any(axis=1)
    fits_N = ((far_N2 >= near_N2) & (far_N2 <= size_wh_N2)).all(axis=1)
    n_corners = int(np.sum(leaves_N & fits_N))
    if len(box_N4) >= _MIN_BOXES and 2 * n_corners > len(box_N4):
        example = box_N4[np.flatnonzero(leaves_N & fits_N)[0]].tolist()
        raise SchemaError(
            f"{uri}: bbox mode? expected [x, y, width, height], got boxes of which {n_corners} of "
            f"the first {len(box_N4)} leave their image so, and fit it as [x0, y0, x1, y1], such "
            f"as {example}; convert them (width = x1 - x0, height = y1 - y0)"
        )
