"""Arrow list and binary columns to ragged NumPy arrays and back, without copies.

Ragged data is (values, offsets) with int64 offsets that start at 0, whatever
the column's own offsets are: 32 or 64 bits, or those of a slice. The values are
views of Arrow's buffers, so never write to them. What a null row holds is
undefined; look at `is_valid`.

Worked example: ``pa.array([b"ab", b"", b"c"], pa.binary()).slice(1)`` has the
offsets 2, 2, 3 into b"abc"; its ragged form is (b"c", [0, 0, 1]).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.masks.batch import CocoStrings


def one_chunk(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return a column as one array; copied only if it has several chunks."""
    if not isinstance(column, pa.ChunkedArray):
        return column
    if column.num_chunks == 1:
        return column.chunk(0)
    if column.num_chunks == 0:
        return pa.array([], column.type)
    return pa.concat_arrays(column.chunks)


def is_ragged_binary(dtype: pa.DataType) -> bool:
    """Return whether the type is a string or binary of any offset width."""
    kinds = (pa.types.is_string, pa.types.is_large_string)
    binaries = (pa.types.is_binary, pa.types.is_large_binary)
    return any(is_kind(dtype) for is_kind in (*kinds, *binaries))


def is_list(dtype: pa.DataType) -> bool:
    """Return whether the type is a list, large list or fixed-size list."""
    kinds = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(is_kind(dtype) for is_kind in kinds)


def is_valid(array: pa.Array) -> NDArray[np.bool_]:
    """Return which rows are not null, bool (N,)."""
    if array.null_count == 0:
        return np.ones(len(array), np.bool_)
    return array.is_valid().to_numpy(zero_copy_only=False)


def to_strings(column: pa.Array | pa.ChunkedArray) -> CocoStrings:
    """Return the bytes of a string or binary column.

    Parameters
    ----------
    column : string, large_string, binary or large_binary
        Any number of rows; nulls hold what they hold.

    Returns
    -------
    CocoStrings
        Views of the column's buffers (offsets are copied unless they are
        64-bit and start at 0). No rows in: no bytes, offsets [0].

    Raises
    ------
    TypeError
        For a column of another type.
    """
    array = one_chunk(column)
    if not is_ragged_binary(array.type):
        raise TypeError(f"expected a string or binary column, got {array.type}")
    offsets_N1 = _raw_offsets(array)
    _, _, data = array.buffers()
    bytes_B = np.empty(0, np.uint8) if data is None else np.frombuffer(data, np.uint8)
    first, last = int(offsets_N1[0]), int(offsets_N1[-1])
    return CocoStrings(bytes_B[first:last], _from_zero(offsets_N1))


def from_strings(strings: CocoStrings) -> pa.LargeBinaryArray:
    """Return strings as a large_binary column without nulls, on the same memory."""
    offsets_N1 = np.ascontiguousarray(strings.offsets_N1, np.int64)
    bytes_B = np.ascontiguousarray(strings.bytes_B, np.uint8)
    buffers = [None, pa.py_buffer(offsets_N1), pa.py_buffer(bytes_B)]
    return pa.Array.from_buffers(pa.large_binary(), len(offsets_N1) - 1, buffers)  # pyright: ignore


def to_ragged(column: pa.Array | pa.ChunkedArray) -> tuple[pa.Array, NDArray[np.int64]]:
    """Return the values of a list column as one array, and where each row's begin.

    Parameters
    ----------
    column : list, large_list or fixed_size_list
        Any number of rows; nulls of a fixed-size list hold their full length.

    Returns
    -------
    values : pa.Array
        The child array, cut to what the rows use; not copied.
    offsets_N1 : int64 (N + 1,)
        Row n has ``values[offsets_N1[n]:offsets_N1[n + 1]]``; starts at 0.

    Raises
    ------
    TypeError
        For a column of another type.
    """
    array: Any = one_chunk(column)
    if pa.types.is_fixed_size_list(array.type):
        size = array.type.list_size
        values = array.values.slice(array.offset * size, len(array) * size)
        return values, np.arange(len(array) + 1, dtype=np.int64) * size
    if not is_list(array.type):
        raise TypeError(f"expected a list column, got {array.type}")
    offsets_N1 = _raw_offsets(array)
    first, last = int(offsets_N1[0]), int(offsets_N1[-1])
    return array.values.slice(first, last - first), _from_zero(offsets_N1)


def from_ragged(values: pa.Array, offsets_N1: NDArray[np.int64]) -> pa.LargeListArray:
    """Return values and offsets as a large_list column without nulls, on the same memory."""
    return pa.LargeListArray.from_arrays(pa.array(offsets_N1, pa.int64()), values)


def rejected_rows(rejects: pa.Table) -> pa.Table:
    """Return the rows of REJECTS that were rejected; others there say what was repaired."""
    return rejects.filter(rejects["repaired"].is_null())


def size_hw(table: pa.Table) -> NDArray[np.int32]:
    """Return the image sizes of rows with ``height`` and ``width``, int32 (N, 2)."""
    height_N, width_N = (one_chunk(table[name]).to_numpy() for name in ("height", "width"))
    return np.stack([height_N, width_N], axis=1).astype(np.int32)


def _raw_offsets(array: pa.Array) -> NDArray[Any]:
    """Offsets of a (sliced) array as its buffer has them; one 0 where Arrow leaves them out."""
    buffer = array.buffers()[1]
    is_large = any(
        is_kind(array.type)
        for is_kind in (pa.types.is_large_list, pa.types.is_large_string, pa.types.is_large_binary)
    )
    dtype = np.dtype(np.int64 if is_large else np.int32)
    if buffer is None or buffer.size == 0:
        return np.zeros(1, dtype)
    return np.frombuffer(buffer, dtype, len(array) + 1, array.offset * dtype.itemsize)


def _from_zero(offsets_N1: NDArray[Any]) -> NDArray[np.int64]:
    if offsets_N1[0] == 0:
        return np.asarray(offsets_N1, np.int64)
    return offsets_N1.astype(np.int64) - int(offsets_N1[0])
