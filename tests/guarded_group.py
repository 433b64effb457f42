"""Run the grouping kernel on hostile input, with all its arrays at the edge of their memory.

Every array ends where a page begins that may not be touched: one byte read or
written behind it ends the process by a signal. Prints how many cases were read
and how many refused.
"""

from __future__ import annotations

import ctypes
import math
import mmap
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import MaskError
from pipeline.masks import _numba_group_room, group, rle
from pipeline.masks import _numba_group_work as work
from pipeline.masks.batch import CocoStrings
from tests import oracle
from tests.grouping import Case, unpruned

PAGE = mmap.PAGESIZE
_libc = ctypes.CDLL(None, use_errno=True)


def guarded(shape: Any, dtype: Any) -> NDArray[Any]:
    """Allocate an array of arbitrary content that ends at a page that may not be touched."""
    n_bytes = math.prod(np.atleast_1d(shape).tolist()) * np.dtype(dtype).itemsize
    n_whole = -(-n_bytes // PAGE) * PAGE
    memory = mmap.mmap(-1, n_whole + PAGE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    if _libc.mprotect(ctypes.c_void_p(start + n_whole), PAGE, 0):
        raise OSError(ctypes.get_errno(), "mprotect")
    flat = np.frombuffer(memory, np.uint8, n_bytes, n_whole - n_bytes)
    flat[:] = 0xAB
    return flat.view(dtype).reshape(shape)


def guarded_full(shape: Any, value: Any, dtype: Any) -> NDArray[Any]:
    array = guarded(shape, dtype)
    array[...] = value
    return array


class GuardedNumpy:
    """NumPy, but for the functions that allocate."""

    empty = staticmethod(guarded)
    full = staticmethod(guarded_full)

    @staticmethod
    def zeros(shape: Any, dtype: Any) -> NDArray[Any]:
        return guarded_full(shape, 0, dtype)

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


def copy(array: NDArray[Any]) -> NDArray[Any]:
    moved = guarded(array.shape, array.dtype)
    moved[...] = array
    return moved


def mask_of(rng: np.random.Generator, h: int, w: int) -> NDArray[np.bool_]:
    """Blobs, noise, stripes: short and long strings, many and few runs a column."""
    kind = rng.integers(4)
    if kind == 0:
        return rng.random((h, w)) < rng.random()
    y, x = np.mgrid[:h, :w]
    centre, radius = rng.random(2) * (h, w), 1 + rng.random(2) * (h, w)
    blob = ((y - centre[0]) / radius[0]) ** 2 + ((x - centre[1]) / radius[1]) ** 2 < 1
    if kind == 1:
        return blob
    return blob & (rng.random((h, w)) < 0.97) if kind == 2 else blob & (y % 3 > 0)


def string_of(rng: np.random.Generator, mask: NDArray[np.bool_]) -> bytes:
    """Encode a mask, sometimes with damage."""
    string = bytearray(oracle.encode(mask))
    if rng.random() < 0.12:
        for _ in range(rng.integers(1, 4)):
            place = int(rng.integers(len(string)))
            byte = int(rng.integers(256) if rng.random() < 0.3 else rng.integers(48, 112))
            change = rng.integers(3)
            string[place : place + int(change > 0)] = bytes([byte][: 1 if change < 2 else 0])
            string = string or bytearray(b"0")
    return bytes(string)


def case_of(rng: np.random.Generator) -> Case:
    """One to three images of a few masks."""
    strings: list[bytes] = []
    sizes: list[tuple[int, int]] = []
    offsets = [0]
    for _ in range(rng.integers(1, 4)):
        h, w = (int(side) for side in np.exp(rng.random(2) * 5.5).astype(int))
        masks = [mask_of(rng, h, w) for _ in range(rng.integers(1, 4))]
        chosen = rng.integers(len(masks), size=rng.integers(1, 6))
        strings += [string_of(rng, masks[k]) for k in chosen]
        sizes += [(h, w)] * len(chosen)
        offsets.append(len(strings))
    n = len(strings)
    ends = np.cumsum([0, *map(len, strings)])
    columns = (
        np.array(sizes, np.int32),
        np.array(offsets, np.int64),
        rng.integers(0, 2, n),
        rng.random(n) < 0.05,
        rng.integers(0, 2, n).astype(np.int32),
    )
    text = np.frombuffer(b"".join(strings), np.uint8)
    return Case(CocoStrings(copy(text), copy(ends)), *map(copy, columns))


def main() -> None:
    group.np = _numba_group_room.np = rle.np = GuardedNumpy()
    # So that the arena ends where it is used to the end, and grows.
    group._arena_words = lambda offsets_N1, images_G1: 40
    group.MIN_TEXT_BYTES = 0
    rng = np.random.default_rng(7)
    n_read = n_refused = 0
    for n in range(300):
        case = case_of(rng)
        rle.inspect_coco(case.strings, case.size_hw_N2)
        policy = {
            "threshold": 0.3,
            "overlap": ["iou", "ios"][n % 2],
            "group": ["leader", "component"][n // 2 % 2],
            "across": n % 8 == 7,
        }
        try:
            flags = work.NO_VECTORS * (n % 5 == 4)
            unpruned(case, policy, flags, int(sys.argv[1]), (-1.0, 0.0, 0.5, 1.0)[n % 7 % 4])
            n_read += 1
        except MaskError:
            n_refused += 1
    sys.stdout.write(f"{n_read} {n_refused}")


if __name__ == "__main__":
    main()
