"""Crack code: the contours of a mask as bytes, lossless, traced from its runs.

A crack is a unit edge between a pixel of the mask and one outside. The cracks of
a mask form closed rings around its parts and holes, walked with the foreground on
the right; parts that meet at a corner are one. After each crack the ring goes
straight on (S) or turns, and a turn goes to the other side than the last one (A)
or to the same side again (D); before the first one, the last turn counts as right.
A ring starts at the left end of the first eastward crack in reading order (column
by column), and its last turn is left out. Each byte stands for a phrase of symbols,
which depends on where the five symbols before it turned
(`pipeline.masks._contour_tables.phrases`). Rings follow each other in the
order of their starts; before each but the first stand the columns and rows from
the last start to its own. The first start is known from the tight bbox.

Worked example: the 3x3 mask of `pipeline.masks.batch`::

    . X X       cracks from corner (1, 0)   E  E  S  W  S  W  N  N
    . X .       after each                  S  R  R  L  R  R  S (R)
    . . .       as symbols                  S  D  D  A  A  D  S
                as phrases                  SD, D, AAD, and S with 3 S more
                as bytes                    61, 46, 62, and 0, left out at the end

The rules in full, with a reader to copy: docs/format.md.
"""

from __future__ import annotations

import enum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.errors import MaskError
from pipeline.masks import _numba_contour, _numba_contour_decode, _numba_contour_walk
from pipeline.masks._checks import frozen, frozen_batch, frozen_offsets, frozen_sizes
from pipeline.masks._contour_tables import reader_tables, writer_tables
from pipeline.masks.batch import MaskBatch
from pipeline.masks.measure import boundary_length

__all__ = [
    "MAX_STEPS",
    "CrackBatch",
    "CrackCode",
    "decode_crack",
    "encode_crack",
    "fits_crack",
    "inspect_crack",
]

MAX_STEPS = _numba_contour.MAX_STEPS
"""Longest boundary of a mask that has a crack code, in cracks."""

# Where the buffers start: most batches never grow them.
_FIRST_RUNS = 1 << 14
_BYTES_OF_COUNT = 1
_COUNTS_OF_BYTE = 4


class CrackCode(enum.IntEnum):
    """Why a crack value cannot be read; the first fault found.

    `BBOX`: the box is not inside the image, or empty beside a value that is not.
    `PHRASE`: a byte above 126 where a phrase is due. `START`: a start of a ring
    that is cut short, padded or longer than 5 bytes. `OPEN`: the bytes end before
    a ring is back at its start. `OUTSIDE`: a ring leaves the box. `TOO_LONG`: more
    than `MAX_STEPS` cracks. `NOT_TIGHT`: the mask does not reach every side of the
    box. `CROSSING`: rings that cross or are walked twice, so they bound no mask,
    or are joined otherwise than the rules say. `NOT_CANONICAL`: a mask, but not
    written as the rules say (order, start, padding, zeros at the end).
    """

    OK = _numba_contour_walk.OK
    BBOX = _numba_contour_walk.BBOX
    PHRASE = _numba_contour_walk.PHRASE
    START = _numba_contour_walk.START
    OPEN = _numba_contour_walk.OPEN
    OUTSIDE = _numba_contour_walk.OUTSIDE
    TOO_LONG = _numba_contour_walk.TOO_LONG
    NOT_TIGHT = _numba_contour_walk.NOT_TIGHT
    CROSSING = _numba_contour_walk.CROSSING
    NOT_CANONICAL = _numba_contour_walk.NOT_CANONICAL


class CrackBatch(NamedTuple):
    """N crack values, ragged: all bytes in one array, cut by offsets.

    Attributes
    ----------
    bytes_B : uint8 (B,)
        The values, one after the other.
    offsets_N1 : int64 (N + 1,)
        Value n is ``bytes_B[offsets_N1[n]:offsets_N1[n + 1]]``; starts at 0.
    """

    bytes_B: NDArray[np.uint8]
    offsets_N1: NDArray[np.int64]


def encode_crack(batch: MaskBatch) -> CrackBatch:
    """Write masks as crack codes.

    Parameters
    ----------
    batch : MaskBatch
        N masks in canonical form.

    Returns
    -------
    CrackBatch
        One value per mask; the empty mask has no bytes. No masks in, no values
        out. Cost: linear in runs and boundary length.

    Raises
    ------
    MaskError
        Naming the first row whose runs are not canonical, or whose boundary is
        longer than `MAX_STEPS` (`fits_crack` tells beforehand).
    """
    sizes_N2, counts_R, offsets_N1 = frozen_batch(batch)
    tables = writer_tables()
    scratch = _run_scratch(_FIRST_RUNS)
    bytes_B = np.empty(_BYTES_OF_COUNT * len(counts_R) + 32 * _FIRST_RUNS, np.uint8)
    out_offsets_N1 = np.zeros(len(offsets_N1), np.int64)
    row, code = 0, _numba_contour.OK
    while row < len(sizes_N2):
        row, code = _numba_contour.encode(
            counts_R, offsets_N1, sizes_N2, row, *scratch, *tables, bytes_B, out_offsets_N1
        )
        if code == _numba_contour.GROW_RUNS:
            scratch = _run_scratch(2 * len(scratch[0]))
        elif code == _numba_contour.GROW_BYTES:
            bytes_B = _grown(bytes_B[: out_offsets_N1[row]], 2 * len(bytes_B))
        elif code != _numba_contour.OK:
            raise MaskError(_encode_fault(row, code, sizes_N2[row].tolist()))
    return CrackBatch(bytes_B[: out_offsets_N1[-1]].copy(), out_offsets_N1)


def fits_crack(batch: MaskBatch) -> NDArray[np.bool_]:
    """Tell which masks have a crack code: a boundary of at most `MAX_STEPS` cracks.

    Parameters
    ----------
    batch : MaskBatch
        N masks in canonical form.

    Returns
    -------
    bool (N,)
        False for rare giants (a bar of one row and 2**30 columns), which belong
        into the table as ``rle``. No masks in, shape (0,) out. Cost: linear in runs.

    Raises
    ------
    MaskError
        Where the arrays break the contract.
    """
    return boundary_length(batch) <= MAX_STEPS


def decode_crack(
    bytes_B: ArrayLike, offsets_N1: ArrayLike, bbox_xywh_N4: ArrayLike, size_hw_N2: ArrayLike
) -> MaskBatch:
    """Read crack codes back into runs; only what `encode_crack` writes is accepted.

    Parameters
    ----------
    bytes_B : uint8 (B,)
        N values, one after the other; any bytes.
    offsets_N1 : int64 (N + 1,)
        Value n is ``bytes_B[offsets_N1[n]:offsets_N1[n + 1]]``.
    bbox_xywh_N4 : int32 (N, 4)
        Tight box of each mask, zeros for the empty one; any numbers.
    size_hw_N2 : int32 (N, 2)
        Height and width of each image, 1 <= h*w < 2**31.

    Returns
    -------
    MaskBatch
        N masks in canonical form. No values in, no masks out. Cost: linear in
        boundary length; memory linear in bytes, whatever boxes and sizes say.

    Raises
    ------
    MaskError
        Naming the first row at fault and its `CrackCode`, or where the arrays
        break the contract.
    """
    batch, code_N = _decode(bytes_B, offsets_N1, bbox_xywh_N4, size_hw_N2)
    if code_N.any():
        row = int(np.flatnonzero(code_N)[0])
        box = np.asarray(bbox_xywh_N4)[row].tolist()
        raise MaskError(
            f"row {row}: expected a crack value for the box {box} (x, y, w, h), got "
            f"{CrackCode(code_N[row]).name}; the file is damaged or of another format version"
        )
    return batch


def inspect_crack(
    bytes_B: ArrayLike, offsets_N1: ArrayLike, bbox_xywh_N4: ArrayLike, size_hw_N2: ArrayLike
) -> NDArray[np.uint8]:
    """Judge crack codes row by row.

    Parameters
    ----------
    bytes_B, offsets_N1, bbox_xywh_N4, size_hw_N2 : array_like
        As for `decode_crack`.

    Returns
    -------
    uint8 (N,)
        `CrackCode` of each value, 0 where `decode_crack` reads it. No values in,
        shape (0,) out. Cost: as `decode_crack`.

    Raises
    ------
    MaskError
        Where the arrays break the contract.
    """
    return _decode(bytes_B, offsets_N1, bbox_xywh_N4, size_hw_N2)[1]


def _decode(
    bytes_B: ArrayLike, offsets_N1: ArrayLike, bbox_xywh_N4: ArrayLike, size_hw_N2: ArrayLike
) -> tuple[MaskBatch, NDArray[np.uint8]]:
    """Masks, empty where faulty, and codes."""
    bytes_B = frozen(bytes_B, np.uint8)
    offsets_N1 = frozen_offsets(offsets_N1, len(bytes_B), "crack values")
    n_masks = len(offsets_N1) - 1
    sizes_N2 = frozen_sizes(size_hw_N2, n_masks)
    boxes_N4 = frozen(bbox_xywh_N4, np.int32, n_dims=2)
    if boxes_N4.shape != (n_masks, 4):
        raise MaskError(f"expected boxes of shape ({n_masks}, 4), got {boxes_N4.shape}")
    scratch = _key_scratch(int(np.diff(offsets_N1).max(initial=0)))
    # Room for the masks of any one row beyond what is written.
    reserve = len(scratch[0]) + 2
    counts_R = np.empty(_COUNTS_OF_BYTE * len(bytes_B) + reserve, np.uint32)
    out_offsets_N1 = np.zeros(n_masks + 1, np.int64)
    code_N = np.zeros(n_masks, np.uint8)
    tables = reader_tables()
    row = 0
    while row < n_masks:
        row = _numba_contour_decode.decode(
            bytes_B,
            offsets_N1,
            boxes_N4,
            sizes_N2,
            row,
            *tables,
            *scratch,
            counts_R,
            out_offsets_N1,
            code_N,
        )
        if row < n_masks:
            counts_R = _grown(counts_R[: out_offsets_N1[row]], 2 * len(counts_R))
    return MaskBatch(sizes_N2.copy(), counts_R[: out_offsets_N1[-1]], out_offsets_N1), code_N


def _run_scratch(n_runs: int) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.uint32]]:
    """Columns, rows and links of the runs of one mask."""
    return (
        np.empty(n_runs, np.int32),
        np.empty(2 * n_runs, np.int32),
        np.empty(2 * n_runs, np.uint32),
    )


def _key_scratch(n_bytes: int) -> tuple[NDArray[np.generic], ...]:
    """Room for the cracks of the longest value, for sorting them, and for four steps."""
    n_keys = min(_numba_contour_decode.KEYS_OF_BYTE * n_bytes, MAX_STEPS)
    n_keys += _numba_contour_decode.EXTRA_KEYS
    n_columns = _numba_contour_decode.MAX_SLOT_COLUMNS
    return (
        np.empty(n_keys, np.int64),
        np.empty(n_keys, np.int64),
        np.empty(n_columns * _numba_contour_decode.SLOTS, np.int64),
        np.empty(n_columns, np.uint8),
        np.empty(_numba_contour_decode.DIGIT_MASK + 2, np.int64),
        np.array([0, 1, 0, -1], np.int64),
    )


def _grown(used: NDArray[Any], n_wanted: int) -> NDArray[Any]:
    """Copy of what is used, with more room."""
    grown = np.empty(n_wanted, used.dtype)
    grown[: len(used)] = used
    return grown


def _encode_fault(row: int, code: int, size_hw: list[int]) -> str:
    """Say why a mask has no crack code."""
    if code == _numba_contour.TOO_LONG:
        return (
            f"row {row}: expected a boundary of at most {MAX_STEPS} cracks, got more in an image "
            f"of {size_hw} (h, w); store the rows that fits_crack does not find as rle"
        )
    return f"row {row}: expected canonical runs that sum to h*w, got others for size {size_hw}"
