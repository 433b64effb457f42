"""Compiled reading of crack bytes (public names: `pipeline.masks.contour`).

Bytes and boxes may be anything. A value is accepted only if it is the one that
the writer makes of its mask, which is proven without writing it again:

- starts rise, and no ring has an eastward crack before its start: the order of
  the rings and where each starts;
- sorted by column and row, horizontal cracks alternate top, bottom: they are the
  boundary of a mask;
- there are as many vertical cracks as that mask has: none is walked twice;
- the net number of right turns is 4 * (runs - touching pairs of runs in
  neighbouring columns), four times the Euler number: wherever parts meet at a
  corner only, they are joined;
- of the phrases of a context exactly one fits what follows, so bytes cut a ring in one
  way; padding, starts and the end are as the writer makes them (`walk`).
"""

# Numba infers the parameters' types; the public functions state them.
# pyright: reportMissingParameterType=false

from __future__ import annotations

import numpy as np

from pipeline.masks._contour_tables import EAST, FAST_SHIFT, WEST
from pipeline.masks._jit import kernel, part
from pipeline.masks._numba_contour_walk import (
    BBOX,
    CROSSING,
    MARGIN,
    NOT_TIGHT,
    OK,
    OPEN,
    walk,
)

# A signed index is checked for counting from the end, in every access of the tight loops.
u64 = np.uint64

SLOTS = 16
MAX_SLOT_COLUMNS = 1 << 13
DIGIT_BITS = 8
DIGIT_MASK = 255
# At most 16 cracks of a phrase and the first one of a ring; and what stores may run ahead.
KEYS_OF_BYTE = 17
EXTRA_KEYS = 64


@part
def compare_columns(left, left_end, right, right_end, shift, key_C):
    """Compare the runs of two neighbouring columns: (twice the common pixels, pairs that touch)."""
    column = 2 << shift
    common = 0
    touching = 0
    while left < left_end and right < right_end:
        left_bottom = key_C[u64(left + 1)] + column
        right_bottom = key_C[u64(right + 1)]
        # The lowest bit of a key is 0 on top and 1 below a run.
        both = (
            min(left_bottom, right_bottom) - max(key_C[u64(left)] + column, key_C[u64(right)]) - 1
        )
        common += max(both, 0)
        touching += both >= 0
        if left_bottom <= right_bottom:
            left += 2
        else:
            right += 2
    return common, touching


@part
def fill_slots(n_keys, width, shift, key_C, slot_16, filled_W):
    """Put keys into a few slots per column; False where a column has more keys."""
    for column in range(width):
        filled_W[u64(column)] = 0
    for k in range(n_keys):
        key = key_C[u64(k)]
        column = key >> (shift + 1)
        place = np.int64(filled_W[u64(column)])
        if place == SLOTS:
            return False
        slot_16[u64(column * SLOTS + place)] = key
        filled_W[u64(column)] = place + 1
    return True


@part
def empty_slots(width, shift, key_C, slot_16, filled_W):
    """Sort keys from their slots into ``key_C`` and compare columns, as `compare_all` does."""
    step = 2 << shift
    common = 0
    touching = 0
    out = 0
    n_left = 0
    top = 0
    bottom = 0
    for column in range(width):
        n_column = np.int64(filled_W[u64(column)])
        slot = column * SLOTS
        if n_column == 2 and n_left == 2:
            # One run on either side, the usual case.
            above = top + step
            below = bottom + step
            a = slot_16[u64(slot)]
            b = slot_16[u64(slot + 1)]
            top = min(a, b)
            bottom = max(a, b)
            key_C[u64(out)] = top
            key_C[u64(out + 1)] = bottom
            out += 2
            both = min(below, bottom) - max(above, top) - 1
            common += max(both, 0)
            touching += 1 - (both >> 63 & 1)
            continue
        if n_column & 1:
            return -1, 0
        for k in range(out, out + n_column):
            key = slot_16[u64(slot + k - out)]
            hole = k
            while hole > out and key_C[u64(hole - 1)] > key:
                key_C[u64(hole)] = key_C[u64(hole - 1)]
                hole -= 1
            key_C[u64(hole)] = key
        if n_left > 0 and n_column > 0:
            both, pairs = compare_columns(out - n_left, out, out, out + n_column, shift, key_C)
            common += both
            touching += pairs
        top = key_C[u64(out)]
        bottom = key_C[u64(out + 1)]
        out += n_column
        n_left = n_column
    return common, touching


@part
def sort_by_digits(n_keys, last_key, key_C, other_C, count_D):
    """Sort keys digit by digit, lowest first, for masks that slots cannot hold."""
    source = key_C
    target = other_C
    low = 0
    while last_key >> low > 0:
        count_D[:] = 0
        for k in range(n_keys):
            count_D[(source[k] >> low & DIGIT_MASK) + 1] += 1
        for digit in range(DIGIT_MASK + 1):
            count_D[digit + 1] += count_D[digit]
        for k in range(n_keys):
            digit = source[k] >> low & DIGIT_MASK
            target[count_D[digit]] = source[k]
            count_D[digit] += 1
        source, target = target, source
        low += DIGIT_BITS
    key_C[:n_keys] = source[:n_keys]


@part
def compare_all(n_keys, shift, key_C):
    """Compare the runs of every two neighbouring columns, as `compare_columns` does."""
    common = 0
    touching = 0
    left = 0
    right = 0
    while right < n_keys:
        column = key_C[u64(right)] >> (shift + 1)
        end = right + 1
        while end < n_keys and key_C[u64(end)] >> (shift + 1) == column:
            end += 1
        if (end - right) & 1:
            return -1, 0
        if left < right and key_C[u64(left)] >> (shift + 1) == column - 1:
            both, pairs = compare_columns(left, right, right, end, shift, key_C)
            common += both
            touching += pairs
        left = right
        right = end
    return common, touching


@part
def write_counts(n_keys, origin, height, n_pixels, shift, key_C, counts_R, out):
    """Write the runs of sorted horizontal cracks: (area or -1, end).

    The area is -1 where tops and bottoms do not alternate within every column.
    """
    rows = (1 << shift) - 1
    at = 0
    area = 0
    before = -1
    fault = 0
    for k in range(0, n_keys, 2):
        top = key_C[u64(k)] >> 1
        bottom = key_C[u64(k + 1)] >> 1
        n_rows = bottom - top
        fault |= (key_C[u64(k)] & 1) | (1 - (key_C[u64(k + 1)] & 1)) | (top ^ bottom) >> shift
        fault |= (n_rows - 1) >> 62 | (top - before - 1) >> 62
        before = bottom
        area += n_rows
        start = (top >> shift) * height + (top & rows) + origin
        if start == at and k > 0:
            counts_R[u64(out - 1)] += n_rows
        else:
            counts_R[u64(out)] = start - at
            counts_R[u64(out + 1)] = n_rows
            out += 2
        at = start + n_rows
    if at < n_pixels:
        counts_R[u64(out)] = n_pixels - at
        out += 1
    return area if fault == 0 else -1, out


@part
def decode_one(
    bytes_B,
    at,
    end,
    bbox_xywh_N4,
    n,
    height,
    width,
    phrase_X256,
    facts_F8,
    path_F8,
    key_F8K,
    key_C,
    other_C,
    slot_16,
    filled_W,
    count_D,
    step_4,
    counts_R,
    out,
):
    """Read one value: (code, end of its runs)."""
    x = int(bbox_xywh_N4[n, 0])
    y = int(bbox_xywh_N4[n, 1])
    box_w = int(bbox_xywh_N4[n, 2])
    box_h = int(bbox_xywh_N4[n, 3])
    if at == end and x == 0 and y == 0 and box_w == 0 and box_h == 0:
        counts_R[u64(out)] = height * width
        return OK, out + 1
    if x < 0 or y < 0 or box_w < 1 or box_h < 1 or x + box_w > width or y + box_h > height:
        return BBOX, out
    if at == end:
        return OPEN, out
    shift = FAST_SHIFT
    while 1 << shift < 2 * (box_h + 2 * MARGIN):
        shift += 1
    step_4[EAST] = 1 << shift
    step_4[WEST] = -(1 << shift)
    code, n_keys, n_vertical, rotation, first_row, last_row = walk(
        bytes_B,
        at,
        end,
        box_h,
        box_w,
        shift,
        phrase_X256,
        facts_F8,
        path_F8,
        key_F8K,
        step_4,
        key_C,
    )
    if code != OK:
        return code, out
    if box_w <= len(filled_W) and fill_slots(n_keys, box_w, shift, key_C, slot_16, filled_W):
        common, touching = empty_slots(box_w, shift, key_C, slot_16, filled_W)
    else:
        sort_by_digits(n_keys, box_w << (shift + 1), key_C, other_C, count_D)
        common, touching = compare_all(n_keys, shift, key_C)
    if common < 0 or rotation != 4 * ((n_keys >> 1) - touching):
        return CROSSING, out
    if last_row - first_row != box_h or key_C[n_keys - 1] >> (shift + 1) != box_w - 1:
        return NOT_TIGHT, out
    area, stop = write_counts(
        n_keys, x * height + y - first_row, height, height * width, shift, key_C, counts_R, out
    )
    if area < 0 or n_vertical != 2 * area - common:
        return CROSSING, out
    return OK, stop


@kernel
def decode(
    bytes_B,
    offsets_N1,
    bbox_xywh_N4,
    size_hw_N2,
    row,
    phrase_X256,
    facts_F8,
    path_F8,
    key_F8K,
    key_C,
    other_C,
    slot_16,
    filled_W,
    count_D,
    step_4,
    counts_R,
    out_offsets_N1,
    code_N,
):
    """Read rows from ``row`` on; a fault leaves the empty mask. Row reached."""
    out = out_offsets_N1[row]
    for n in range(row, len(code_N)):
        if out + len(key_C) + 2 > len(counts_R):
            return n
        height = int(size_hw_N2[n, 0])
        width = int(size_hw_N2[n, 1])
        code, stop = decode_one(
            bytes_B,
            offsets_N1[n],
            offsets_N1[n + 1],
            bbox_xywh_N4,
            n,
            height,
            width,
            phrase_X256,
            facts_F8,
            path_F8,
            key_F8K,
            key_C,
            other_C,
            slot_16,
            filled_W,
            count_D,
            step_4,
            counts_R,
            out,
        )
        code_N[n] = code
        out = stop
        if code != OK:
            counts_R[u64(out)] = height * width
            out += 1
        out_offsets_N1[n + 1] = out
    return len(code_N)
