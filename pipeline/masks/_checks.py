"""What every public kernel does with its arguments before compiled code sees them.

Compiled code indexes without bounds checks, so offsets and sizes are proven
here, in a handful of vector operations. Arrays are handed on read-only and
contiguous whatever they came as: buffers of Arrow are read-only and NumPy's own
are not, and each combination of flags would be one more compilation.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.errors import MaskError
from pipeline.masks.batch import CocoStrings, MaskBatch

MAX_PIXELS = 2**31 - 1


def frozen(values: ArrayLike, dtype: type[np.generic], n_dims: int = 1) -> NDArray[Any]:
    """Give a read-only, contiguous, aligned view (or copy) of an array.

    Parameters
    ----------
    values : array_like
        Of a dtype that casts safely to ``dtype`` (empty lists of any).
    dtype : numpy scalar type
        Wanted element type.
    n_dims : int
        Wanted number of dimensions.

    Returns
    -------
    read-only ndarray of ``dtype``

    Raises
    ------
    MaskError
        Where the dtype would lose values, or the dimensions differ.
    """
    array = np.asarray(values)
    if array.size and not np.can_cast(array.dtype, dtype, "safe"):
        raise MaskError(f"expected values that fit {np.dtype(dtype)}, got dtype {array.dtype}")
    if array.ndim != n_dims:
        raise MaskError(f"expected {n_dims} dimension(s), got shape {array.shape}")
    view = np.require(array, dtype, ["C", "A"]).view()
    view.flags.writeable = False
    return view


def frozen_offsets(offsets_N1: ArrayLike, n_values: int, what: str) -> NDArray[np.int64]:
    """Offsets proven to cut ``n_values`` values: start at 0, never fall, end inside.

    Parameters
    ----------
    offsets_N1 : int (N + 1,)
        Offsets of ragged data.
    n_values : int
        Length of the array they cut.
    what : str
        Name for the error.

    Returns
    -------
    read-only int64 (N + 1,)

    Raises
    ------
    MaskError
        Where they would reach outside.
    """
    frozen_N1 = frozen(offsets_N1, np.int64)
    if len(frozen_N1) == 0 or frozen_N1[0] != 0:
        raise MaskError(f"{what}: offsets must start at 0 and have one more entry than rows")
    if frozen_N1[-1] > n_values or np.any(frozen_N1[1:] < frozen_N1[:-1]):
        raise MaskError(f"{what}: offsets must not fall nor pass the {n_values} values they cut")
    return frozen_N1


def frozen_sizes(size_hw_N2: ArrayLike, n_rows: int) -> NDArray[np.int32]:
    """Sizes proven to be those of images: 1 <= h, w and h*w < 2**31.

    Parameters
    ----------
    size_hw_N2 : int32 (N, 2)
        Heights and widths.
    n_rows : int
        Expected N.

    Returns
    -------
    read-only int32 (N, 2)

    Raises
    ------
    MaskError
        Where a size is not one, or their number differs.
    """
    sizes_N2 = frozen(size_hw_N2, np.int32, n_dims=2)
    if sizes_N2.shape != (n_rows, 2):
        raise MaskError(f"expected sizes of shape ({n_rows}, 2), got {sizes_N2.shape}")
    pixels_N = sizes_N2[:, 0].astype(np.int64) * sizes_N2[:, 1]
    if n_rows and (sizes_N2.min() < 1 or pixels_N.max() > MAX_PIXELS):
        raise MaskError("expected sizes with 1 <= height, width and height * width < 2**31")
    return sizes_N2


def frozen_batch(batch: MaskBatch) -> MaskBatch:
    """Batch whose arrays compiled code may index (runs may still not sum to h*w).

    Parameters
    ----------
    batch : MaskBatch
        N masks.

    Returns
    -------
    MaskBatch
        The same masks, read-only arrays of exactly the documented dtypes.

    Raises
    ------
    MaskError
        Where shapes, dtypes, offsets or sizes break the contract.
    """
    counts_R = frozen(batch.counts_R, np.uint32)
    offsets_N1 = frozen_offsets(batch.offsets_N1, len(counts_R), "mask batch")
    return MaskBatch(frozen_sizes(batch.size_hw_N2, len(offsets_N1) - 1), counts_R, offsets_N1)


def frozen_strings(strings: CocoStrings) -> CocoStrings:
    """Strings whose arrays compiled code may index; their bytes may be anything.

    Parameters
    ----------
    strings : CocoStrings
        N strings.

    Returns
    -------
    CocoStrings
        The same strings, read-only arrays of exactly the documented dtypes.

    Raises
    ------
    MaskError
        Where shapes, dtypes or offsets break the contract.
    """
    bytes_B = frozen(strings.bytes_B, np.uint8)
    return CocoStrings(bytes_B, frozen_offsets(strings.offsets_N1, len(bytes_B), "COCO strings"))


def frozen_index(index_M: ArrayLike, n_rows: int, what: str) -> NDArray[np.int64]:
    """Row numbers proven to lie in 0..n_rows-1.

    Parameters
    ----------
    index_M : int (M,)
        Row numbers, repeats allowed.
    n_rows : int
        Number of rows they choose from.
    what : str
        Name for the error.

    Returns
    -------
    read-only int64 (M,)

    Raises
    ------
    MaskError
        Where one lies outside (negative numbers do not count from the end).
    """
    frozen_M = frozen(index_M, np.int64)
    if len(frozen_M) and (frozen_M.min() < 0 or frozen_M.max() >= n_rows):
        raise MaskError(f"{what}: row numbers must lie in 0..{n_rows - 1}")
    return frozen_M
