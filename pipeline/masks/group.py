"""Which masks of an image show the same object: COCO strings in, leaders out.

Rows of one image come in the total order (score descending, ...). A row that is
not yet taken *leads*: it is kept and takes in every later row whose overlap
with its own input mask reaches the threshold. That is ``group="leader"``. With
``group="component"`` the rows taken in take in others in turn, so that a leader
ends up with its whole connected component.

Worked example: four 1x6 masks of one image, IoU threshold 0.5::

    row 0   X X X X . .   leads
    row 1   . X X X X .   IoU with row 0 is 3/5: taken in by row 0
    row 2   . . X X X X   IoU with row 0 is 2/6, with row 1 3/5
    row 3   X X X X . .   the very runs of row 0: an exact duplicate

    leader      leader_N = [0, 0, 2, 0]   linked_N = [0, 0, 2, 0]
    component   leader_N = [0, 0, 0, 0]   linked_N = [0, 0, 1, 0]
    both        intersection_N of row 1 is 3; of row 2 it is 4 where it leads
                (its own area) and 2 where row 0 does
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError, MaskError
from pipeline.masks import _checks, _numba_group
from pipeline.masks.batch import CocoStrings


class Grouping(NamedTuple):
    """What became of each of N rows, and how many pairs were looked at.

    Attributes
    ----------
    leader_N : int64 (N,)
        Row that took row n in; n itself where it leads (is kept).
    linked_N : int64 (N,)
        Row through which n was reached: n itself where it leads, else the
        leader, or with ``group="component"`` the parent of n in the
        breadth-first search that starts at the leader and visits rows in order.
    intersection_N : int64 (N,)
        Pixels shared with the leader's input mask; the row's own area where it leads.
    is_exact_duplicate_N : bool (N,)
        Whether a row that was taken in has the very runs of its leader.
    area_N : int64 (N,)
        Foreground pixels of each row.
    n_candidate_pairs : int
        Pairs of comparable rows left after area ratio and box bound.
    n_walked_pairs : int
        Those of them whose runs were compared: exact duplicates are not.
    """

    leader_N: NDArray[np.int64]
    linked_N: NDArray[np.int64]
    intersection_N: NDArray[np.int64]
    is_exact_duplicate_N: NDArray[np.bool_]
    area_N: NDArray[np.int64]
    n_candidate_pairs: int
    n_walked_pairs: int


def group_masks(
    strings: CocoStrings,
    size_hw_N2: NDArray[np.int32],
    image_offsets_G1: NDArray[np.int64],
    category_N: NDArray[np.int64],
    is_crowd_N: NDArray[np.bool_],
    source_N: NDArray[np.int32] | None,
    *,
    threshold: float,
    overlap: Literal["iou", "ios"] = "iou",
    group: Literal["leader", "component"] = "leader",
) -> Grouping:
    """Find the leader of every mask, image by image.

    Parameters
    ----------
    strings : CocoStrings
        N canonical COCO strings; images lie one after the other, rows of an
        image in the total order.
    size_hw_N2 : int32 (N, 2)
        Height and width in pixels; the same for all rows of an image.
    image_offsets_G1 : int64 (G + 1,)
        Image g holds rows ``image_offsets_G1[g]`` to ``image_offsets_G1[g + 1]``.
    category_N : int64 (N,)
        Dense codes; only equal ones compare.
    is_crowd_N : bool (N,)
        Rows that compare with nothing and are always kept.
    source_N : int32 (N,) or None
        Where given, only rows of different sources compare.
    threshold : float
        In (0, 1]; reached where ``float64(intersection) / float64(denominator)
        >= threshold``.
    overlap : {"iou", "ios"}
        Denominator: the union, or the smaller area.
    group : {"leader", "component"}
        Who takes whom in, see the module.

    Returns
    -------
    Grouping
        Of N rows; masks without pixels overlap nothing and lead themselves.

    Raises
    ------
    MaskError
        Where an array breaks its contract or a string is not canonical.
    ConfigError
        Where an option is not one of those above.
    """
    strings = _checks.frozen_strings(strings)
    n_rows = len(strings.offsets_N1) - 1
    sizes_N2 = _checks.frozen_sizes(size_hw_N2, n_rows)
    images_G1 = _checks.frozen_offsets(image_offsets_G1, n_rows, "image offsets")
    if images_G1[-1] != n_rows:
        raise MaskError(f"image offsets end at {images_G1[-1]}, expected {n_rows} rows")
    if not 0.0 < threshold <= 1.0:
        raise ConfigError(f"expected a threshold in (0, 1], got {threshold}")
    if overlap not in ("iou", "ios") or group not in ("leader", "component"):
        raise ConfigError(f"unknown overlap {overlap!r} or group {group!r}")
    source = np.zeros(n_rows, np.int32) if source_N is None else source_N
    columns = [
        _checks.frozen(values, dtype)
        for values, dtype in ((category_N, np.int64), (is_crowd_N, np.bool_), (source, np.int32))
    ]
    if any(len(column) != n_rows for column in columns):
        raise MaskError(f"expected category, is_crowd and source of {n_rows} rows each")
    rows = [np.empty(n_rows, np.int64) for _ in range(4)]
    leader_N, linked_N, intersection_N, area_N = rows
    is_exact_duplicate_N = np.empty(n_rows, np.bool_)
    counters = np.zeros(2, np.int64)
    refused = _numba_group.group_images(
        *strings,
        sizes_N2,
        images_G1,
        *columns,
        source_N is not None,
        float(threshold),
        overlap == "ios",
        group == "component",
        leader_N,
        linked_N,
        intersection_N,
        is_exact_duplicate_N,
        area_N,
        counters,
    )
    if refused >= 0:
        raise MaskError(
            f"row {refused}: expected a canonical COCO string of an image of one size, "
            f"got another; read rows through `pipeline.masks.rle` first"
        )
    return Grouping(
        leader_N,
        linked_N,
        intersection_N,
        is_exact_duplicate_N,
        area_N,
        int(counters[0]),
        int(counters[1]),
    )
