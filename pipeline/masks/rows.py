"""Rows of the two mask forms: select, put together, none at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.masks._checks import frozen_batch, frozen_index, frozen_strings
from pipeline.masks._numba_rows import gather, gather_of_two
from pipeline.masks.batch import CocoStrings, MaskBatch


def take(batch: MaskBatch, index_M: ArrayLike) -> MaskBatch:
    """Select masks by row number.

    Parameters
    ----------
    batch : MaskBatch
        N masks.
    index_M : int (M,)
        Row numbers in 0..N-1, in any order, repeats allowed.

    Returns
    -------
    MaskBatch
        M masks, copied. No rows in, no masks out. Cost: linear in their runs.

    Raises
    ------
    MaskError
        Where a row number lies outside or the arrays break the contract.
    """
    sizes_N2, counts_R, offsets_N1 = frozen_batch(batch)
    index_M = frozen_index(index_M, len(sizes_N2), "take")
    return MaskBatch(sizes_N2[index_M], *_gather(counts_R, offsets_N1, index_M))


def take_strings(strings: CocoStrings, index_M: ArrayLike) -> CocoStrings:
    """Select strings by row number.

    Parameters
    ----------
    strings : CocoStrings
        N strings.
    index_M : int (M,)
        Row numbers in 0..N-1, in any order, repeats allowed.

    Returns
    -------
    CocoStrings
        M strings, copied. No rows in, none out. Cost: linear in their bytes.

    Raises
    ------
    MaskError
        Where a row number lies outside or the arrays break the contract.
    """
    bytes_B, offsets_N1 = frozen_strings(strings)
    index_M = frozen_index(index_M, len(offsets_N1) - 1, "take_strings")
    return CocoStrings(*_gather(bytes_B, offsets_N1, index_M))


def choose_strings(first: CocoStrings, second: CocoStrings, index_M: ArrayLike) -> CocoStrings:
    """Select strings of two sets by row number, as if the second followed the first.

    Parameters
    ----------
    first, second : CocoStrings
        N and K strings.
    index_M : int (M,)
        Row numbers in 0..N+K-1: n is row n of the first, N + k row k of the second.

    Returns
    -------
    CocoStrings
        M strings, copied. No rows in, none out. Cost: linear in their bytes; what is
        not chosen is not read.

    Raises
    ------
    MaskError
        Where a row number lies outside or the arrays break the contract.
    """
    first, second = frozen_strings(first), frozen_strings(second)
    lengths = np.concatenate([np.diff(first.offsets_N1), np.diff(second.offsets_N1)])
    index_M = frozen_index(index_M, len(lengths), "choose_strings")
    offsets_M1 = np.zeros(len(index_M) + 1, np.int64)
    np.cumsum(lengths[index_M], out=offsets_M1[1:])
    out_B = np.empty(offsets_M1[-1], np.uint8)
    gather_of_two(*first, *second, index_M, out_B, offsets_M1)
    return CocoStrings(out_B, offsets_M1)


def concat(batches: Sequence[MaskBatch]) -> MaskBatch:
    """Put batches one after the other.

    Parameters
    ----------
    batches : sequence of MaskBatch
        Any number, of any sizes.

    Returns
    -------
    MaskBatch
        All their masks, copied; no batches give `empty_batch`. Cost: linear in runs.

    Raises
    ------
    MaskError
        Where the arrays of one break the contract.
    """
    checked = [frozen_batch(batch) for batch in (empty_batch(), *batches)]
    sizes_N2 = np.concatenate([batch.size_hw_N2 for batch in checked])
    return MaskBatch(sizes_N2, *_concat([(batch.counts_R, batch.offsets_N1) for batch in checked]))


def empty_batch() -> MaskBatch:
    """Make the batch of no masks.

    Returns
    -------
    MaskBatch
        N = 0.
    """
    return MaskBatch(np.zeros((0, 2), np.int32), np.zeros(0, np.uint32), np.zeros(1, np.int64))


def concat_strings(parts: Sequence[CocoStrings]) -> CocoStrings:
    """Put strings one after the other.

    Parameters
    ----------
    parts : sequence of CocoStrings
        Any number.

    Returns
    -------
    CocoStrings
        All their strings, copied. No parts in, no strings out. Cost: linear in bytes.

    Raises
    ------
    MaskError
        Where the arrays of one break the contract.
    """
    empty = CocoStrings(np.zeros(0, np.uint8), np.zeros(1, np.int64))
    checked = [frozen_strings(part) for part in (empty, *parts)]
    return CocoStrings(*_concat([(part.bytes_B, part.offsets_N1) for part in checked]))


def _gather(
    values: NDArray[Any], offsets_N1: NDArray[np.int64], index_M: NDArray[np.int64]
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Rows ``index_M`` of ragged data."""
    offsets_M1 = np.zeros(len(index_M) + 1, np.int64)
    np.cumsum(np.diff(offsets_N1)[index_M], out=offsets_M1[1:])
    out = np.empty(offsets_M1[-1], values.dtype)
    gather(values, offsets_N1, index_M, out, offsets_M1)
    return out, offsets_M1


def _concat(
    parts: Sequence[tuple[NDArray[Any], NDArray[np.int64]]],
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Ragged data one after the other; values beyond the last offset are left out."""
    values = np.concatenate([part[: offsets_N1[-1]] for part, offsets_N1 in parts])
    lengths_N = np.concatenate([np.diff(offsets_N1) for _, offsets_N1 in parts])
    return values, np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths_N)])
