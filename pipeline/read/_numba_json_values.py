"""Compiled reading of the values of a row: numbers, strings, runs, rings.

Each function takes the place where a value starts and returns the place behind
it, or `LEFT` where the value is not of the usual form. What is read goes to
buffers; ``used`` says how far each is filled, in the order of the constants.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.masks._jit import part
from pipeline.read._numba_json import find_key, skip_space
from pipeline.read._numba_numbers import read_number

STRING_MASK = 1
COUNTS_MASK = 2
POLYGON_MASK = 3

LEFT = -1
"""Instead of a place: the row is left to slower code."""

BYTES, COUNTS, VALUES, RINGS, ID_BYTES = range(5)
N_BUFFERS = 5

QUOTE, BACKSLASH, COLON, COMMA = 34, 92, 58, 44
OPEN_OBJECT, CLOSE_OBJECT, OPEN_ARRAY, CLOSE_ARRAY = 123, 125, 91, 93

# Quotes, backslashes, and what no string may hold as it is.
_CLASS_IN_STRING = np.zeros(256, np.uint8)
_CLASS_IN_STRING[np.frombuffer(b'"\\', np.uint8)] = 1
_CLASS_IN_STRING[:32] = 1

_KEY_SIZE = 8
_KEY_COUNTS = 9

# Keys of rows that mean something to slower code only.
_OTHER_KEYS = ("height", "width", "bbox_mode")
_OTHER_BYTES = np.frombuffer("".join(_OTHER_KEYS).encode(), np.uint8)
_OTHER_OFFSETS = np.cumsum([0] + [len(key) for key in _OTHER_KEYS])


@part
def is_other_key(text_B: Any, start: Any, stop: Any) -> Any:
    for key in range(_OTHER_OFFSETS.size - 1):
        begin = _OTHER_OFFSETS[key]
        n = _OTHER_OFFSETS[key + 1] - begin
        k = 0
        while k < n and n == stop - start and text_B[start + k] == _OTHER_BYTES[begin + k]:
            k += 1
        if k == n:
            return True
    return False


@part
def plain_string_end(text_B: Any, i: Any) -> Any:
    """Return where the string that opens at ``i`` closes; `LEFT` if it has escapes."""
    end = text_B.size
    i += 1
    while i < end and text_B[i] != QUOTE:
        if text_B[i] == BACKSLASH or text_B[i] < 32:
            return LEFT
        i += 1
    return i if i < end else LEFT


@part
def word_end(text_B: Any, i: Any) -> Any:
    """Return the place behind true, false or null, or `LEFT`."""
    end = text_B.size
    if i + 4 <= end:
        a, b, c, d = text_B[i], text_B[i + 1], text_B[i + 2], text_B[i + 3]
        if (a == 110 and b == 117 and c == 108 and d == 108) or (
            a == 116 and b == 114 and c == 117 and d == 101
        ):
            return i + 4
        if a == 102 and b == 97 and c == 108 and d == 115 and i + 5 <= end and text_B[i + 4] == 101:
            return i + 5
    return LEFT


@part
def read_numbers(text_B: Any, i: Any, values_V: Any, place: Any) -> Any:
    """Read the array of numbers that opens at ``i`` into ``values_V[place:]``.

    Returns (place behind it or `LEFT`, place behind the last value, whether all
    are integers). The one place where numbers of lists are read: each more would
    be compiled again.
    """
    end = text_B.size
    is_whole = True
    i = skip_space(text_B, i + 1)
    if i < end and text_B[i] == CLOSE_ARRAY:
        return i + 1, place, True
    while True:
        stop, is_integer, _, value = read_number(text_B, i)
        if stop == LEFT:
            return LEFT, place, False
        is_whole &= is_integer
        values_V[place] = value
        place += 1
        i = stop
        if i < end and text_B[i] <= 32:
            i = skip_space(text_B, i)
        if i >= end:
            return LEFT, place, False
        if text_B[i] == CLOSE_ARRAY:
            return i + 1, place, is_whole
        if text_B[i] != COMMA:
            return LEFT, place, False
        i += 1
        if i < end and text_B[i] <= 32:
            i = skip_space(text_B, i)


@part
def read_string(text_B: Any, i: Any, out_B: Any, used: Any, which: Any) -> Any:
    """Copy the string that opens at ``i``, backslashes unescaped; other escapes are left."""
    end = text_B.size
    place = used[which]
    i += 1
    while True:
        first = i
        while i < end and _CLASS_IN_STRING[text_B[i]] == 0:
            i += 1
        source_B, target_B = text_B[first:i], out_B[place : place + i - first]
        for k in range(target_B.size):
            target_B[k] = source_B[k]
        place += i - first
        if i >= end:
            return LEFT
        if text_B[i] == QUOTE:
            used[which] = place
            return i + 1
        if text_B[i] != BACKSLASH or i + 1 >= end or text_B[i + 1] != BACKSLASH:
            return LEFT
        out_B[place] = BACKSLASH
        place += 1
        i += 2


@part
def read_rings(text_B: Any, i: Any, values_V: Any, ring_ends_K: Any, used: Any) -> Any:
    """Read ``[[x, y, ...], ...]`` with a number in each ring and a ring at least."""
    end = text_B.size
    while True:
        i = skip_space(text_B, i + 1)
        if i >= end or text_B[i] != OPEN_ARRAY:
            return LEFT
        stop, last, _ = read_numbers(text_B, i, values_V, used[VALUES])
        if stop == LEFT or last == used[VALUES]:
            return LEFT
        used[VALUES] = last
        ring_ends_K[used[RINGS]] = last
        used[RINGS] += 1
        i = skip_space(text_B, stop)
        if i >= end:
            return LEFT
        if text_B[i] == CLOSE_ARRAY:
            return i + 1
        if text_B[i] != COMMA:
            return LEFT


@part
def read_runs(
    text_B: Any,
    i: Any,
    n: Any,
    size_hw_N2: Any,
    kind_N: Any,
    bytes_B: Any,
    counts_R: Any,
    values_V: Any,
    used: Any,
) -> Any:
    """Read ``{"size": [h, w], "counts": ...}`` in either order, and nothing beside it."""
    end = text_B.size
    seen = 0
    while True:
        i = skip_space(text_B, i + 1)
        if i >= end or text_B[i] != QUOTE:
            return LEFT
        close = plain_string_end(text_B, i)
        if close == LEFT:
            return LEFT
        key = find_key(text_B, i + 1, close, _KEY_SIZE, _KEY_COUNTS + 1)
        i = skip_space(text_B, close + 1)
        if key < 0 or seen & (1 << key) or i >= end or text_B[i] != COLON:
            return LEFT
        seen |= 1 << key
        i = skip_space(text_B, i + 1)
        if i >= end:
            return LEFT
        if text_B[i] == OPEN_ARRAY:
            first = used[VALUES]
            stop, last, is_whole = read_numbers(text_B, i, values_V, first)
            if stop == LEFT or not is_whole:
                return LEFT
            i = stop
            if key == _KEY_SIZE:
                if last - first != 2:
                    return LEFT
                size_hw_N2[n, 0] = np.int64(values_V[first])
                size_hw_N2[n, 1] = np.int64(values_V[first + 1])
            else:
                kind_N[n] = COUNTS_MASK
                for k in range(first, last):
                    counts_R[used[COUNTS] + k - first] = np.int64(values_V[k])
                used[COUNTS] += last - first
        elif text_B[i] == QUOTE and key == _KEY_COUNTS:
            kind_N[n] = STRING_MASK
            i = read_string(text_B, i, bytes_B, used, BYTES)
            if i == LEFT:
                return LEFT
        else:
            return LEFT
        i = skip_space(text_B, i)
        if i >= end:
            return LEFT
        if text_B[i] == CLOSE_OBJECT:
            is_whole = seen == (1 << _KEY_SIZE | 1 << _KEY_COUNTS)
            return i + 1 if is_whole else LEFT
        if text_B[i] != COMMA:
            return LEFT
