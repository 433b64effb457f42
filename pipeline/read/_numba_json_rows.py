"""Compiled reading of rows of COCO results straight into columns.

A row is read if it is what nearly all rows are: known keys with values of the
right types, unknown keys with plain values, no escapes but those that COCO
strings need. Any other row is left, untouched and marked, to slower code, which
reads it or says what is wrong. So this code never has to explain anything.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.masks._jit import kernel, part
from pipeline.read._numba_json import find_key, scan_nested, scan_scalar, skip_space
from pipeline.read._numba_json_values import (
    CLOSE_OBJECT,
    COLON,
    COMMA,
    COUNTS_MASK,
    ID_BYTES,
    LEFT,
    N_BUFFERS,
    OPEN_ARRAY,
    OPEN_OBJECT,
    POLYGON_MASK,
    QUOTE,
    STRING_MASK,
    VALUES,
    is_other_key,
    plain_string_end,
    read_numbers,
    read_rings,
    read_runs,
    read_string,
    word_end,
)
from pipeline.read._numba_numbers import read_number

__all__ = ["COUNTS_MASK", "N_BUFFERS", "POLYGON_MASK", "STRING_MASK", "read_rows"]

# Bits of `has`: which fields of a row have a value.
HAS_ID = 1 << 0
HAS_CATEGORY = 1 << 1
HAS_MASK = 1 << 2
HAS_SCORE = 1 << 3
HAS_BOX = 1 << 4
HAS_OWN_ID = 1 << 5
HAS_AREA = 1 << 6

_KEY_IMAGE_ID = 0
_KEY_CATEGORY = 1
_KEY_MASK = 2
_KEY_SCORE = 3
_KEY_BOX = 4
_KEY_OWN_ID = 5
_KEY_AREA = 6
_N_KEYS = 8


@part
def _read_row(
    text_B: Any,
    i: Any,
    n: Any,
    wants_text_ids: Any,
    has_N: Any,
    image_id_N: Any,
    category_N: Any,
    score_N: Any,
    box_N4: Any,
    own_id_N: Any,
    area_N: Any,
    crowd_N: Any,
    size_hw_N2: Any,
    kind_N: Any,
    bytes_B: Any,
    counts_R: Any,
    values_V: Any,
    ring_ends_K: Any,
    id_bytes_B: Any,
    used: Any,
) -> Any:
    """Return the place behind the row that opens at ``i``, or `LEFT`."""
    end = text_B.size
    seen = 0
    has = 0
    while True:
        i = skip_space(text_B, i + 1)
        if i >= end or text_B[i] != QUOTE:
            return LEFT
        close = plain_string_end(text_B, i)
        if close == LEFT:
            return LEFT
        key = find_key(text_B, i + 1, close, 0, _N_KEYS)
        if key < 0 and is_other_key(text_B, i + 1, close):
            return LEFT
        i = skip_space(text_B, close + 1)
        if i >= end or text_B[i] != COLON:
            return LEFT
        i = skip_space(text_B, i + 1)
        if i >= end or (key >= 0 and seen & (1 << key)):
            return LEFT
        if key >= 0:
            seen |= 1 << key
        byte = text_B[i]
        stop = LEFT
        if byte == 45 or 48 <= byte <= 57:
            stop, is_integer, whole, value = read_number(text_B, i)
            if key == _KEY_SCORE:
                score_N[n] = value
                has |= HAS_SCORE
            elif key == _KEY_AREA:
                area_N[n] = value
                has |= HAS_AREA
            elif key >= 0:
                if not is_integer or key in (_KEY_MASK, _KEY_BOX):
                    return LEFT
                if key == _KEY_IMAGE_ID:
                    if wants_text_ids:
                        return LEFT
                    image_id_N[n] = whole
                    has |= HAS_ID
                elif key == _KEY_CATEGORY:
                    category_N[n] = whole
                    has |= HAS_CATEGORY
                elif key == _KEY_OWN_ID:
                    own_id_N[n] = whole
                    has |= HAS_OWN_ID
                else:
                    if whole != 0 and whole != 1:
                        return LEFT
                    crowd_N[n] = whole
        elif byte == QUOTE:
            stop = plain_string_end(text_B, i)
            if stop == LEFT:
                return LEFT
            stop += 1
            if key == _KEY_IMAGE_ID and wants_text_ids:
                stop = read_string(text_B, i, id_bytes_B, used, ID_BYTES)
                has |= HAS_ID
            elif key >= 0:
                return LEFT
        elif byte == OPEN_ARRAY and key == _KEY_MASK:
            kind_N[n] = POLYGON_MASK
            stop = read_rings(text_B, i, values_V, ring_ends_K, used)
            has |= HAS_MASK
        elif byte == OPEN_ARRAY and key == _KEY_BOX:
            first = used[VALUES]
            stop, last, _ = read_numbers(text_B, i, values_V, first)
            if last - first != 4:
                return LEFT
            for side in range(4):
                box_N4[n, side] = values_V[first + side]
            has |= HAS_BOX
        elif byte == OPEN_OBJECT and key == _KEY_MASK:
            stop = read_runs(text_B, i, n, size_hw_N2, kind_N, bytes_B, counts_R, values_V, used)
            has |= HAS_MASK
        elif key < 0 or (byte == 110 and key != _KEY_IMAGE_ID):
            stop = word_end(text_B, i)
        if stop == LEFT:
            return LEFT
        i = skip_space(text_B, stop)
        if i >= end:
            return LEFT
        if text_B[i] == CLOSE_OBJECT:
            has_N[n] = has
            return i + 1 if has & HAS_ID and has & HAS_MASK else LEFT
        if text_B[i] != COMMA:
            return LEFT


@kernel
def read_rows(
    text_B: Any,
    has_commas: Any,
    wants_text_ids: Any,
    start_N: Any,
    stop_N: Any,
    is_left_N: Any,
    used_N5: Any,
    has_N: Any,
    image_id_N: Any,
    category_N: Any,
    score_N: Any,
    box_N4: Any,
    own_id_N: Any,
    area_N: Any,
    crowd_N: Any,
    size_hw_N2: Any,
    kind_N: Any,
    bytes_B: Any,
    counts_R: Any,
    values_V: Any,
    ring_ends_K: Any,
    id_bytes_B: Any,
) -> Any:
    """Read the rows of a slice; return how many there are, or -1 if they are no JSON rows.

    More rows than the arrays hold give their number plus one. ``used_N5[n]`` is
    how far each buffer is filled behind row n.
    """
    end = text_B.size
    used = np.zeros(N_BUFFERS, np.int64)
    before = np.zeros(N_BUFFERS, np.int64)
    n = 0
    i = skip_space(text_B, 0)
    while i < end:
        if n == start_N.size:
            return n + 1
        start_N[n] = i
        for buffer in range(N_BUFFERS):
            before[buffer] = used[buffer]
        stop = LEFT
        has_N[n] = 0
        kind_N[n] = 0
        crowd_N[n] = 0
        size_hw_N2[n, 0] = -1
        size_hw_N2[n, 1] = -1
        if text_B[i] == OPEN_OBJECT:
            stop = _read_row(
                text_B, i, n, wants_text_ids, has_N, image_id_N, category_N, score_N, box_N4,
                own_id_N, area_N, crowd_N, size_hw_N2, kind_N, bytes_B, counts_R, values_V,
                ring_ends_K, id_bytes_B, used,
            )  # fmt: skip
        is_left_N[n] = stop == LEFT
        if stop == LEFT:
            for buffer in range(N_BUFFERS):
                used[buffer] = before[buffer]
            status = 0
            if text_B[i] == OPEN_OBJECT or text_B[i] == OPEN_ARRAY:
                status, stop, _, _, _ = scan_nested(text_B, i)
            else:
                status, stop = scan_scalar(text_B, i, True)
            if status >= 0:
                return -1
        stop_N[n] = stop
        for buffer in range(N_BUFFERS):
            used_N5[n, buffer] = used[buffer]
        n += 1
        i = skip_space(text_B, stop)
        if has_commas and i < end:
            if text_B[i] != COMMA:
                return -1
            i = skip_space(text_B, i + 1)
            if i >= end:
                return -1
    return n
