"""Compiled structural scan of JSON: where the elements of an array lie, nothing more.

The scan knows strings, escapes and brackets, so it finds the byte range of
every element whatever is in it; that the rest is JSON is msgspec's business
when the rows are decoded. In passing it notes what planning needs of a row:
its image_id if that is an integer, and which of our keys it has.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.masks._jit import kernel, part

# Why a call of `scan_elements` came back.
NEED_MORE = 0  # the text ends inside an element or before the next one
OUTPUT_FULL = 1
ARRAY_END = 2
NONFINITE = 3  # a NaN or Infinity literal
DUPLICATE_KEY = 4
TOO_DEEP = 5
MISMATCH = 6  # a bracket that closes another kind
NO_VALUE = 7  # something that no JSON value starts with
NO_COMMA = 8  # elements that no comma separates

# What `id_kind` says of a row's image_id.
ID_MISSING = 0
ID_INT = 1
ID_STRING = 2
ID_FLOAT = 3
ID_OTHER = 4  # null, true, false, an integer beyond int64, an array, an object

MAX_DEPTH = 200

KEYS = ("image_id", "category_id", "segmentation", "score", "bbox", "id", "area", "iscrowd")
"""Keys of a row that may not come twice; bit k of `flags` says that key k has a value."""
_NESTED_KEYS = ("size", "counts")

HAS_CATEGORY = 1 << KEYS.index("category_id")
HAS_SEGMENTATION = 1 << KEYS.index("segmentation")
HAS_OWN_ID = 1 << KEYS.index("id")

_ALL_KEYS = KEYS + _NESTED_KEYS
_N_ROW_KEYS = len(KEYS)
_KEY_BYTES = np.frombuffer("".join(_ALL_KEYS).encode(), np.uint8)
_KEY_OFFSETS = np.cumsum([0] + [len(key) for key in _ALL_KEYS])
_SEGMENTATION = KEYS.index("segmentation")
_OWN_ID = KEYS.index("id")

# 1: brackets and quotes; 2: the first letters of NaN and Infinity; 0: skipped over.
_CLASS = np.zeros(256, np.uint8)
_CLASS[np.frombuffer(b'"{}[]', np.uint8)] = 1
_CLASS[np.frombuffer(b"NI", np.uint8)] = 2

_CLASS_IN_STRING = np.zeros(256, np.uint8)
_CLASS_IN_STRING[np.frombuffer(b'"\\', np.uint8)] = 1

_QUOTE, _BACKSLASH, _COLON, _COMMA = 34, 92, 58, 44
_OPEN_OBJECT, _CLOSE_OBJECT, _OPEN_ARRAY, _CLOSE_ARRAY = 123, 125, 91, 93
_MINUS, _ZERO, _NINE = 45, 48, 57
_INT64_MAX = np.uint64(2**63 - 1)


@part
def _is_space(byte: Any) -> Any:
    return byte == 32 or byte == 10 or byte == 13 or byte == 9


@part
def skip_space(text_B: Any, i: Any) -> Any:
    end = text_B.size
    while i < end and _is_space(text_B[i]):
        i += 1
    return i


@part
def _string_end(text_B: Any, i: Any) -> Any:
    """Return where the string that opens at ``i`` closes; the text's size if it does not."""
    end = text_B.size
    i += 1
    while i < end:
        while i < end and _CLASS_IN_STRING[text_B[i]] == 0:
            i += 1
        if i >= end or text_B[i] == _QUOTE:
            return min(i, end)
        i += 2
    return end


@part
def find_key(text_B: Any, start: Any, stop: Any, first: Any, last: Any) -> Any:
    """Return which of the keys [first, last) the bytes [start, stop) spell, or -1."""
    for key in range(first, last):
        begin = _KEY_OFFSETS[key]
        if _KEY_OFFSETS[key + 1] - begin != stop - start:
            continue
        k = 0
        while k < stop - start and text_B[start + k] == _KEY_BYTES[begin + k]:
            k += 1
        if k == stop - start:
            return key
    return -1


@part
def _is_given(text_B: Any, i: Any, key: Any) -> Any:
    """Return whether the value at ``i`` says anything: no null, no empty segmentation."""
    if text_B[i] == 110:
        return False
    if key == _SEGMENTATION and text_B[i] == _OPEN_ARRAY:
        k = skip_space(text_B, i + 1)
        return k >= text_B.size or text_B[k] != _CLOSE_ARRAY
    return True


@part
def _parse_id(text_B: Any, i: Any) -> Any:
    """Return (kind, value) of the image_id that starts at ``i`` of a complete row."""
    if text_B[i] == _QUOTE:
        return ID_STRING, 0
    is_negative = text_B[i] == _MINUS
    if is_negative:
        i += 1
    value = np.uint64(0)
    n_digits = 0
    while i < text_B.size and _ZERO <= text_B[i] <= _NINE:
        n_digits += 1
        if n_digits > 19:
            return ID_OTHER, 0
        value = value * np.uint64(10) + np.uint64(text_B[i] - _ZERO)
        i += 1
    if n_digits == 0:
        return ID_OTHER, 0
    if i < text_B.size and (text_B[i] == 46 or text_B[i] == 101 or text_B[i] == 69):
        return ID_FLOAT, 0
    if value > _INT64_MAX:
        return ID_OTHER, 0
    return ID_INT, -np.int64(value) if is_negative else np.int64(value)


@part
def scan_nested(text_B: Any, start: Any) -> Any:
    """Return (status, stop, id position, own id position, flags) of what starts at ``start``.

    Status -1 is a complete element; `stop` is where an error lies otherwise.
    """
    end = text_B.size
    is_array_at = np.zeros(MAX_DEPTH + 1, np.uint8)
    depth = 0
    id_at = -1
    own_at = -1
    flags = 0
    seen = 0
    i = start
    while True:
        while i < end and _CLASS[text_B[i]] == 0:
            i += 1
        if i >= end:
            return NEED_MORE, i, id_at, own_at, flags
        byte = text_B[i]
        if byte == _QUOTE:
            close = _string_end(text_B, i)
            if close >= end:
                return NEED_MORE, i, id_at, own_at, flags
            if depth <= 2 and is_array_at[depth] == 0:
                colon = skip_space(text_B, close + 1)
                if colon >= end:
                    return NEED_MORE, i, id_at, own_at, flags
                if text_B[colon] == _COLON:
                    value = skip_space(text_B, colon + 1)
                    if value >= end:
                        return NEED_MORE, i, id_at, own_at, flags
                    first = 0 if depth == 1 else _N_ROW_KEYS
                    last = _N_ROW_KEYS if depth == 1 else _N_ROW_KEYS + 2
                    key = find_key(text_B, i + 1, close, first, last)
                    if key >= 0:
                        if seen >> key & 1:
                            return DUPLICATE_KEY, i, id_at, own_at, flags
                        seen |= 1 << key
                        if _is_given(text_B, value, key):
                            flags |= 1 << key
                        if key == 0:
                            id_at = value
                        elif key == _OWN_ID:
                            own_at = value
            i = close + 1
        elif byte in (_OPEN_OBJECT, _OPEN_ARRAY):
            if depth == MAX_DEPTH:
                return TOO_DEEP, i, id_at, own_at, flags
            depth += 1
            is_array_at[depth] = byte == _OPEN_ARRAY
            if depth == 2:
                seen &= (1 << _N_ROW_KEYS) - 1
            i += 1
        elif byte in (_CLOSE_OBJECT, _CLOSE_ARRAY):
            if is_array_at[depth] != (byte == _CLOSE_ARRAY):
                return MISMATCH, i, id_at, own_at, flags
            depth -= 1
            i += 1
            if depth == 0:
                return -1, i, id_at, own_at, flags
        else:
            return NONFINITE, i, id_at, own_at, flags


@part
def scan_scalar(text_B: Any, start: Any, is_final: Any) -> Any:
    """Return (status, stop) of the string, number or word at ``start``."""
    end = text_B.size
    byte = text_B[start]
    if byte == _QUOTE:
        close = _string_end(text_B, start)
        if close >= end:
            return NEED_MORE, start
        return -1, close + 1
    i = start
    while i < end and not (
        _is_space(text_B[i])
        or text_B[i] == _COMMA
        or text_B[i] == _CLOSE_ARRAY
        or text_B[i] == _CLOSE_OBJECT
    ):
        if _CLASS[text_B[i]] == 2:
            return NONFINITE, i
        i += 1
    if i == start:
        return NO_VALUE, start
    if i >= end and not is_final:
        return NEED_MORE, start
    # A digit or minus; or the first letter of true, false, null.
    if byte == _MINUS or _ZERO <= byte <= _NINE or byte == 116 or byte == 102 or byte == 110:
        return -1, i
    return NO_VALUE, start


@kernel
def scan_elements(
    text_B: Any,
    i: Any,
    is_after_element: Any,
    has_commas: Any,
    is_final: Any,
    start_N: Any,
    stop_N: Any,
    id_at_N: Any,
    id_kind_N: Any,
    id_value_N: Any,
    own_id_N: Any,
    flags_N: Any,
) -> Any:
    """Find the elements of an array from between two of them on.

    Returns (status, position to go on from or of the error, whether that is
    after an element, number of elements found). Without commas (JSON Lines, or
    the single value at ``i``) the array never ends.
    """
    end = text_B.size
    n = 0
    while True:
        i = skip_space(text_B, i)
        if i >= end:
            return NEED_MORE, i, is_after_element, n
        begin = i
        if has_commas:
            if text_B[i] == _CLOSE_ARRAY:
                return ARRAY_END, i + 1, False, n
            if is_after_element:
                if text_B[i] != _COMMA:
                    return NO_COMMA, i, True, n
                begin = skip_space(text_B, i + 1)
                if begin >= end:
                    return NEED_MORE, i, True, n
        if n == start_N.size:
            return OUTPUT_FULL, i, is_after_element, n
        id_at, own_at, flags = -1, -1, 0
        if text_B[begin] in (_OPEN_OBJECT, _OPEN_ARRAY):
            status, stop, id_at, own_at, flags = scan_nested(text_B, begin)
        else:
            status, stop = scan_scalar(text_B, begin, is_final)
        if status == NEED_MORE:
            return NEED_MORE, i, is_after_element, n
        if status >= 0:
            return status, stop, is_after_element, n
        start_N[n] = begin
        stop_N[n] = stop
        flags_N[n] = flags
        id_at_N[n] = id_at
        id_kind_N[n] = ID_MISSING
        id_value_N[n] = 0
        if id_at >= 0:
            id_kind_N[n], id_value_N[n] = _parse_id(text_B, id_at)
        own_id_N[n] = 0
        if own_at >= 0:
            kind, own_id_N[n] = _parse_id(text_B, own_at)
            if kind != ID_INT:
                flags_N[n] &= ~HAS_OWN_ID
        n += 1
        i = stop
        is_after_element = True
