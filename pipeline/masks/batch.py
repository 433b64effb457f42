"""The two forms in which kernels take and return N masks.

Shape suffixes, here and in every kernel: N masks, R runs (counts), B bytes,
P pairs, G groups (of masks, or images: the docstring says which), M members.

A mask is a run-length encoding by COCO's rule: pixels are read column by
column (x outer, y inner), 0-indexed, and ``counts`` alternates background and
foreground runs, background first. *Canonical* means: the first run may be 0,
no other run is, and the runs sum to h*w.

Worked example: the 3x3 mask with the pixels (y=0, x=1), (y=1, x=1) and
(y=0, x=2) set::

    . X X        columns read top to bottom: ... XX. X..
    . X .        counts = [3, 2, 1, 1, 2]
    . . .        as a COCO string: b"321O1"  (see `pipeline.masks.rle`)
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class MaskBatch(NamedTuple):
    """N masks as runs, ragged: all counts in one array, cut by offsets.

    Attributes
    ----------
    size_hw_N2 : int32 (N, 2)
        Height and width of each mask's image, in pixels; 1 <= h*w < 2**31.
    counts_R : uint32 (R,)
        Canonical run lengths of all masks, one after the other.
    offsets_N1 : int64 (N + 1,)
        Mask n has ``counts_R[offsets_N1[n]:offsets_N1[n + 1]]``; starts at 0.
    """

    size_hw_N2: NDArray[np.int32]
    counts_R: NDArray[np.uint32]
    offsets_N1: NDArray[np.int64]


class CocoStrings(NamedTuple):
    """N COCO compressed RLE strings, ragged: all bytes in one array.

    Attributes
    ----------
    bytes_B : uint8 (B,)
        The strings, one after the other. Often a view of an Arrow buffer:
        never write to it.
    offsets_N1 : int64 (N + 1,)
        String n is ``bytes_B[offsets_N1[n]:offsets_N1[n + 1]]``; starts at 0.
    """

    bytes_B: NDArray[np.uint8]
    offsets_N1: NDArray[np.int64]
