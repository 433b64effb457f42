"""COCO run-length encoding: validation, canonical form, strings and pixels to runs and back.

A COCO string holds the run lengths of one mask (see `pipeline.masks.batch`).
From the fourth run on, the difference to the run two before is written instead
of the run. A number is cut into groups of 5 bits, lowest first, the last one
carrying the sign in its top bit; each group is the character of code 48 + group,
plus 32 where more groups of the number follow.

Worked example: counts [3, 2, 1, 1, 2] of a 3x3 mask are written as the numbers
3, 2, 1, 1 - 2 = -1, 2 - 1 = 1. Each fits one group: 3, 2, 1, 31 (-1 in 5 bits),
1, so the characters are 51 '3', 50 '2', 49 '1', 79 'O', 49 '1': b"321O1". The
number 40 = 8 + 1 * 32 takes two: 48 + 8 + 32 = 88 'X' and 48 + 1 = 49 '1'.

What is valid: characters 48..111, numbers of at most 7 characters that end, runs
of 0 or more that sum to h*w, at most h*w + 64 runs. Canonical is what `to_coco`
writes: no character or run that could be left out. Valid strings that are not
(padded numbers, zero runs) are read as what they mean.

Source: ``maskApi.c: rleToString, rleFrString``, which check nothing.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.errors import MaskError
from pipeline.masks import _numba_inspect, _numba_rle
from pipeline.masks._checks import frozen, frozen_batch, frozen_offsets, frozen_strings
from pipeline.masks.batch import CocoStrings, MaskBatch
from pipeline.masks.rows import (
    choose_strings,
    concat,
    concat_strings,
    empty_batch,
    take,
    take_strings,
)

__all__ = [
    "CocoFacts",
    "RleCode",
    "canonical_coco",
    "choose_strings",
    "concat",
    "concat_strings",
    "empty_batch",
    "from_coco",
    "from_counts",
    "inspect_coco",
    "size_code",
    "take",
    "take_strings",
    "to_coco",
    "to_dense",
]


class RleCode(enum.IntEnum):
    """Why a mask cannot be used; the names are reject codes.

    Size faults come first, then the first fault from left to right
    (`RLE_ALPHABET`, `RLE_TRUNCATED`, `RLE_VARINT`, `RLE_NEGATIVE`, `RLE_SUM` as
    soon as the sum passes h*w), then `RLE_TOO_MANY_RUNS`, then `RLE_SUM` of runs
    that end short of h*w.

    `SIZE_INVALID`: a side below 1 or above 2**31 - 1, or h*w of 2**40 and more,
    which is no image. `IMAGE_TOO_LARGE`: any other h*w of 2**31 and more.
    `RLE_TOO_MANY_RUNS`: more than h*w + 64, which takes over 63 runs of nothing:
    every mask has a form with h*w + 1, and 63 leave room for careless writers.
    `RLE_COUNTS_TYPE`: a plain count that is not an integer in 0..2**32 - 1.
    """

    OK = _numba_rle.OK
    RLE_SUM = _numba_rle.RLE_SUM
    RLE_NEGATIVE = _numba_rle.RLE_NEGATIVE
    RLE_TRUNCATED = _numba_rle.RLE_TRUNCATED
    RLE_VARINT = _numba_rle.RLE_VARINT
    RLE_ALPHABET = _numba_rle.RLE_ALPHABET
    RLE_TOO_MANY_RUNS = _numba_rle.RLE_TOO_MANY_RUNS
    SIZE_INVALID = _numba_rle.SIZE_INVALID
    IMAGE_TOO_LARGE = _numba_rle.IMAGE_TOO_LARGE
    RLE_COUNTS_TYPE = _numba_rle.RLE_COUNTS_TYPE


class CocoFacts(NamedTuple):
    """What one pass over N strings tells; a faulty row has zeros but for its code.

    Attributes
    ----------
    code_N : uint8 (N,)
        `RleCode` of each string, 0 where it is valid.
    is_canonical_N : bool (N,)
        Whether the bytes are exactly what `to_coco` would write.
    area_N : int64 (N,)
        Foreground, in pixels.
    bbox_xywh_N4 : int32 (N, 4)
        Tight box in pixels, x+w exclusive; zeros for the empty mask.
    n_runs_N : int64 (N,)
        Number of runs in canonical form.
    """

    code_N: NDArray[np.uint8]
    is_canonical_N: NDArray[np.bool_]
    area_N: NDArray[np.int64]
    bbox_xywh_N4: NDArray[np.int32]
    n_runs_N: NDArray[np.int64]


def size_code(size_hw_N2: ArrayLike) -> NDArray[np.uint8]:
    """Judge sizes from outside.

    Parameters
    ----------
    size_hw_N2 : int (N, 2)
        Heights and widths, any int64.

    Returns
    -------
    uint8 (N,)
        `RleCode.OK`, `SIZE_INVALID` or `IMAGE_TOO_LARGE`. Empty in, empty out.

    Raises
    ------
    MaskError
        Where the array is not one of N pairs of integers.
    """
    sizes_N2 = _outside_sizes(size_hw_N2, None)
    code_N = np.empty(len(sizes_N2), np.uint8)
    _numba_rle.size_faults(sizes_N2, code_N)
    return code_N


def inspect_coco(strings: CocoStrings, size_hw_N2: ArrayLike) -> CocoFacts:
    """Validate strings and measure their masks, in one pass that writes no runs.

    Parameters
    ----------
    strings : CocoStrings
        N strings of any bytes.
    size_hw_N2 : int (N, 2)
        Heights and widths, any int64: they are judged before a byte is read.

    Returns
    -------
    CocoFacts
        One entry per string. Empty in, empty out. Cost: linear in bytes.

    Raises
    ------
    MaskError
        Where the arrays break the contract (never because of a string or size).
    """
    bytes_B, offsets_N1 = frozen_strings(strings)
    n_masks = len(offsets_N1) - 1
    code_N = np.zeros(n_masks, np.uint8)
    is_canonical_N = np.zeros(n_masks, np.bool_)
    area_N = np.zeros(n_masks, np.int64)
    bbox_xywh_4N = np.zeros((4, n_masks), np.int32)
    n_runs_N = np.zeros(n_masks, np.int64)
    sizes_N2 = _outside_sizes(size_hw_N2, n_masks)
    _numba_inspect.inspect(
        bytes_B, offsets_N1, sizes_N2, code_N, is_canonical_N, area_N, bbox_xywh_4N, n_runs_N,
        _numba_inspect.make_room(),
    )  # fmt: skip
    return CocoFacts(code_N, is_canonical_N, area_N, bbox_xywh_4N.T, n_runs_N)


def from_coco(strings: CocoStrings, size_hw_N2: ArrayLike) -> MaskBatch:
    """Read valid strings into canonical runs.

    Parameters
    ----------
    strings : CocoStrings
        N strings, valid for their sizes (see `inspect_coco`), canonical or not.
    size_hw_N2 : int (N, 2)
        Heights and widths.

    Returns
    -------
    MaskBatch
        Canonical runs. Empty in, empty out. Cost: linear in bytes.

    Raises
    ------
    MaskError
        Naming the first row at fault and its `RleCode`.
    """
    bytes_B, offsets_N1 = frozen_strings(strings)
    sizes_N2 = _outside_sizes(size_hw_N2, len(offsets_N1) - 1)
    counts_R = np.empty(len(bytes_B), np.uint32)
    out_offsets_N1 = np.zeros(len(offsets_N1), np.int64)
    row, code = _numba_rle.decode(bytes_B, offsets_N1, sizes_N2, counts_R, out_offsets_N1)
    if row >= 0:
        raise MaskError(
            f"row {row}: expected a valid COCO string, got {RleCode(code).name} for size "
            f"{sizes_N2[row].tolist()} (h, w); pass only rows that inspect_coco finds valid"
        )
    return MaskBatch(sizes_N2.astype(np.int32), counts_R[: out_offsets_N1[-1]], out_offsets_N1)


def to_coco(batch: MaskBatch) -> CocoStrings:
    """Write runs as COCO strings.

    Parameters
    ----------
    batch : MaskBatch
        N masks.

    Returns
    -------
    CocoStrings
        Canonical where the runs are. Empty in, empty out. Cost: linear in runs.

    Raises
    ------
    MaskError
        Where the arrays break the contract.
    """
    _, counts_R, offsets_N1 = frozen_batch(batch)
    # Address space only: pages beyond what is written are never touched, then given back.
    bytes_B = np.empty(_numba_rle.MAX_VARINT_CHARS * len(counts_R), np.uint8)
    out_offsets_N1 = np.zeros(len(offsets_N1), np.int64)
    n_bytes = _numba_rle.encode(counts_R, offsets_N1, bytes_B, out_offsets_N1)
    return CocoStrings(bytes_B[:n_bytes].copy(), out_offsets_N1)


def canonical_coco(strings: CocoStrings, size_hw_N2: ArrayLike) -> CocoStrings:
    """Bring valid strings into canonical form, re-encoding only those that are not in it.

    Parameters
    ----------
    strings : CocoStrings
        N valid strings.
    size_hw_N2 : int (N, 2)
        Heights and widths.

    Returns
    -------
    CocoStrings
        The object given where all are canonical already (so also an empty one).

    Raises
    ------
    MaskError
        Naming the first row at fault and its `RleCode`.
    """
    facts = inspect_coco(strings, size_hw_N2)
    if np.any(facts.code_N):
        from_coco(strings, size_hw_N2)
    if np.all(facts.is_canonical_N):
        return strings
    changed_M = np.flatnonzero(~facts.is_canonical_N)
    sizes_N2 = _outside_sizes(size_hw_N2, len(facts.code_N))
    anew = to_coco(from_coco(take_strings(strings, changed_M), sizes_N2[changed_M]))
    index_N = np.arange(len(facts.code_N))
    index_N[changed_M] = len(index_N) + np.arange(len(changed_M))
    return choose_strings(strings, anew, index_N)


def from_counts(
    counts: ArrayLike, offsets_N1: ArrayLike, size_hw_N2: ArrayLike
) -> tuple[MaskBatch, NDArray[np.uint8]]:
    """Read run lengths from outside, as in COCO's uncompressed RLE.

    Parameters
    ----------
    counts : int64 (R',)
        Run lengths of all masks, background first, any values.
    offsets_N1 : int64 (N + 1,)
        Mask n has ``counts[offsets_N1[n]:offsets_N1[n + 1]]``.
    size_hw_N2 : int (N, 2)
        Heights and widths, any int64.

    Returns
    -------
    batch : MaskBatch
        Canonical runs; a faulty row is the empty mask of its size, or of 1x1
        where the size itself is at fault.
    code_N : uint8 (N,)
        `RleCode` of each row. Empty in, empty out. Cost: linear in counts.

    Raises
    ------
    MaskError
        Where the arrays break the contract (never because of a count or size).
    """
    counts = frozen(counts, np.int64)
    offsets_N1 = frozen_offsets(offsets_N1, len(counts), "uncompressed counts")
    n_masks = len(offsets_N1) - 1
    out_sizes_N2 = np.empty((n_masks, 2), np.int32)
    out_counts_R = np.empty(len(counts) + n_masks, np.uint32)
    out_offsets_N1 = np.zeros(n_masks + 1, np.int64)
    code_N = np.zeros(n_masks, np.uint8)
    sizes_N2 = _outside_sizes(size_hw_N2, n_masks)
    n_runs = _numba_rle.read_counts(
        counts, offsets_N1, sizes_N2, out_sizes_N2, out_counts_R, out_offsets_N1, code_N
    )
    return MaskBatch(out_sizes_N2, out_counts_R[:n_runs], out_offsets_N1), code_N


def to_dense(batch: MaskBatch) -> NDArray[np.bool_]:
    """Decode masks of one size to pixels.

    Parameters
    ----------
    batch : MaskBatch
        N masks of one size.

    Returns
    -------
    bool (N, H, W)
        Each mask column-major in memory, as pycocotools wants it. No masks in,
        shape (0, 0, 0) out, since no size is known. Cost: linear in pixels.

    Raises
    ------
    MaskError
        Where sizes differ or runs do not sum to h*w.
    """
    sizes_N2, counts_R, offsets_N1 = frozen_batch(batch)
    if len(sizes_N2) == 0:
        return np.zeros((0, 0, 0), np.bool_)
    height, width = sizes_N2[0].tolist()
    if np.any(sizes_N2 != sizes_N2[0]):
        raise MaskError("expected masks of one size; take the masks of one image first")
    bitmaps_NP = np.zeros((len(sizes_N2), height * width), np.bool_)
    row = _numba_rle.fill_dense(counts_R, offsets_N1, height * width, bitmaps_NP)
    if row >= 0:
        raise MaskError(f"row {row}: expected runs that sum to h*w = {height * width}")
    return bitmaps_NP.reshape(len(sizes_N2), width, height).transpose(0, 2, 1)


def _outside_sizes(size_hw_N2: ArrayLike, n_rows: int | None) -> NDArray[np.int64]:
    """Sizes of any value as int64 (N, 2), their number checked."""
    sizes_N2 = frozen(size_hw_N2, np.int64, n_dims=2)
    if sizes_N2.shape != (len(sizes_N2) if n_rows is None else n_rows, 2):
        raise MaskError(f"expected one (height, width) per mask, got shape {sizes_N2.shape}")
    return sizes_N2
