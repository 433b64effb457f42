"""Compiled polygon fill by COCO's rule. The documented face is `pipeline.masks.polygon_fill`.

Shape suffixes: V values of coordinates, K rings, N masks, R runs, E crossings, C columns.

How one edge crosses columns is in `pipeline.masks._numba_polygon_edge`.
"""
# Types are the compiler's to infer.
# pyright: reportMissingParameterType=false

from __future__ import annotations

import numpy as np

from pipeline.masks._jit import kernel, part
from pipeline.masks._numba_polygon_edge import edge_columns, edge_rows
from pipeline.masks._numba_rle import IMAGE_TOO_LARGE, SIZE_INVALID, size_fault

OK = 0
POLY_TOO_SHORT = 1
POLY_ODD = 2
POLY_NONFINITE = 3
POLY_RANGE = 4
ZERO_AREA = 5
NO_SEGMENTATION = 6

RANGE_PX = 2.0**24
MAX_CROSSINGS = 1 << 27
_CHUNK_CROSSINGS = 1 << 24

# A constant that is passed on would be compiled for by itself; one of NumPy's is not.
_ZERO = np.int64(0)
_INSERTION_MAX = 24
_RING_SHIFT = 33
_Y_MASK = (1 << 32) - 1


@part
def sort_keys(keys_E, start, end):
    """Sort keys_E[start:end] in place: insertion sort, heapsort where that would be quadratic."""
    n = end - start
    if n <= _INSERTION_MAX:
        for i in range(start + 1, end):
            key = keys_E[i]
            j = i - 1
            while j >= start and keys_E[j] > key:
                keys_E[j + 1] = keys_E[j]
                j -= 1
            keys_E[j + 1] = key
        return
    for turn in range(n // 2 + n - 1):
        if turn < n // 2:
            root = n // 2 - 1 - turn
            size = n
        else:
            size = n - 1 - (turn - n // 2)
            keys_E[start], keys_E[start + size] = keys_E[start + size], keys_E[start]
            root = 0
        key = keys_E[start + root]
        child = 2 * root + 1
        while child < size:
            if child + 1 < size and keys_E[start + child + 1] > keys_E[start + child]:
                child += 1
            if keys_E[start + child] <= key:
                break
            keys_E[start + root] = keys_E[start + child]
            root = child
            child = 2 * root + 1
        keys_E[start + root] = key


@part
def _append(counts_R, n_runs, covered, start, end):
    """Append the foreground [start, end) to runs that cover [0, covered) and end in foreground.

    Calls come in ascending order of start; what overlaps or touches is joined.
    """
    if end <= covered:
        return n_runs, covered
    if start <= covered and n_runs > 0:
        counts_R[n_runs - 1] += end - covered
        return n_runs, end
    counts_R[n_runs] = start - covered
    counts_R[n_runs + 1] = end - start
    return n_runs + 2, end


@part
def _is_wound(keys_E, start, end, sign):
    """Whether one ring's sorted crossings of a column wind other than once in its own sense."""
    winding = 0
    for i in range(start, end):
        winding += 1 if keys_E[i] & 1 else -1
        is_last = i + 1 == end or (keys_E[i] >> 1) != (keys_E[i + 1] >> 1)
        if is_last and winding != 0 and winding != sign:
            return True
    return False


@part
def _bucket_crossings(x_V, y_V, starts_K, ends_K, ring_K, h, w, slot_C, row_C, keys_E):
    """Write all crossings of a mask, column by column; slot_C becomes each column's end.

    A key is ring, row, and direction (1: the edge runs towards larger x), so that
    sorting a column's keys sorts each ring's crossings by row. Returns the columns.
    """
    low = w
    high = 0
    for k in range(len(starts_K)):
        j = ends_K[k] - 1
        for i in range(starts_K[k], ends_K[k]):
            first, end = edge_columns(x_V[j], x_V[i], w)
            if first < end:
                slot_C[first] += 1
                slot_C[end] -= 1
                low = min(low, first)
                high = max(high, end)
            j = i
    n = 0
    n_open = 0
    for c in range(low, high):
        n_open += slot_C[c]
        slot_C[c] = n
        n += n_open
    slot_C[high] = 0
    for k in range(len(starts_K)):
        j = ends_K[k] - 1
        for i in range(starts_K[k], ends_K[k]):
            first, end = edge_columns(x_V[j], x_V[i], w)
            if first < end:
                edge_rows(x_V[j], y_V[j], x_V[i], y_V[i], first, end, h, row_C)
                tag = (ring_K[k] << _RING_SHIFT) | (1 if x_V[i] > x_V[j] else 0)
                for c in range(first, end):
                    slot = slot_C[c]
                    slot_C[c] = slot + 1
                    keys_E[slot] = tag | (row_C[c - first] << 1)
            j = i
    return low, high


@part
def _column_spans(keys_E, begin, end, sign_K, spans_E):
    """Pair a column's crossings ring by ring into spans_E, sorted; (spans, is self-crossing)."""
    sort_keys(keys_E, begin, end)
    n_spans = 0
    is_crossing = False
    i = begin
    while i < end:
        ring = keys_E[i] >> _RING_SHIFT
        j = i
        while j < end and keys_E[j] >> _RING_SHIFT == ring:
            j += 1
        if _is_wound(keys_E, i, j, sign_K[ring]):
            is_crossing = True
        while i < j:
            top = (keys_E[i] & _Y_MASK) >> 1
            spans_E[n_spans] = (top << 32) | ((keys_E[i + 1] & _Y_MASK) >> 1)
            n_spans += 1
            i += 2
    if keys_E[begin] >> _RING_SHIFT != keys_E[end - 1] >> _RING_SHIFT:
        sort_keys(spans_E, _ZERO, n_spans)
    return n_spans, is_crossing


@part
def fill_mask(
    x_V, y_V, starts_K, ends_K, ring_K, sign_K, h, w, slot_C, row_C, keys_E, spans_E, counts_R
):
    """Fill the union of rings of one mask into counts_R; loops with one ring_K are one ring.

    ``slot_C`` must be zero over its whole length and is left so. It and
    ``row_C``, ``keys_E`` and ``spans_E`` are scratch of at least one more than
    the last crossed column, and crossings. ``counts_R`` needs room for
    crossings + 1 values. Empty loops are allowed. ``sign_K`` is each ring's
    sense. Returns (number of runs written, the position where the last one ends,
    is self-crossing); the background after it is the caller's.
    """
    low, high = _bucket_crossings(x_V, y_V, starts_K, ends_K, ring_K, h, w, slot_C, row_C, keys_E)
    n_runs, covered, begin = _ZERO, _ZERO, _ZERO
    is_crossing = False
    for c in range(low, high):
        end = slot_C[c]
        slot_C[c] = 0
        base = c * h
        if end - begin == 2:
            top = min(keys_E[begin], keys_E[begin + 1])
            bottom = max(keys_E[begin], keys_E[begin + 1])
            if top >> 1 != bottom >> 1:
                if (1 if top & 1 else -1) != sign_K[top >> _RING_SHIFT]:
                    is_crossing = True
                top, bottom = (top & _Y_MASK) >> 1, (bottom & _Y_MASK) >> 1
                n_runs, covered = _append(counts_R, n_runs, covered, base + top, base + bottom)
        elif end > begin:
            n_spans, is_column_crossing = _column_spans(keys_E, begin, end, sign_K, spans_E)
            is_crossing |= is_column_crossing
            for i in range(n_spans):
                top, bottom = spans_E[i] >> 32, spans_E[i] & _Y_MASK
                if top < bottom:
                    n_runs, covered = _append(counts_R, n_runs, covered, base + top, base + bottom)
        begin = end
    return n_runs, covered, is_crossing


@part
def _ring_code(xy_V, start, end):
    """PolyCode of one ring by its coordinates alone (0 where it is good)."""
    if (end - start) % 2 == 1:
        return POLY_ODD
    if end - start < 6:
        return POLY_TOO_SHORT
    code = OK
    for i in range(start, end):
        if not abs(xy_V[i]) <= RANGE_PX:
            if not np.isfinite(xy_V[i]):
                return POLY_NONFINITE
            code = POLY_RANGE
    return code


@part
def _scale_ring(xy_V, start, end, h, w, x_V, y_V, at):
    """Round a ring's vertices to fifths at x_V[at:]; (sense of rotation, is partly outside)."""
    is_outside = False
    n = (end - start) // 2
    for i in range(n):
        x, y = xy_V[start + 2 * i], xy_V[start + 2 * i + 1]
        if x < 0.0 or y < 0.0 or x > w or y > h:
            is_outside = True
        x_V[at + i] = int(5.0 * x + 0.5)
        y_V[at + i] = int(5.0 * y + 0.5)
    return ring_sense(x_V, y_V, at, at + n), is_outside


@part
def ring_sense(x_V, y_V, start, end):
    """Sign of a ring's doubled area: 1 where it runs eastward along its top."""
    doubled_area = 0
    j = end - 1
    for i in range(start, end):
        doubled_area += x_V[j] * y_V[i] - x_V[i] * y_V[j]
        j = i
    return (doubled_area > 0) - (doubled_area < 0)


@part
def count_crossings(x_V, start, end, w):
    """Count the columns that a ring's edges cross; also one past the last of them."""
    n = 0
    last_column = 0
    j = end - 1
    for i in range(start, end):
        first, last = edge_columns(x_V[j], x_V[i], w)
        n += last - first
        last_column = max(last_column, last)
        j = i
    return n, last_column


@part
def _scale_mask(
    xy_V, ring_offsets_K1, first_ring, end_ring, h, w, x_V, y_V, starts_K, ends_K, sign_K
):
    """Check and round one mask's rings; a bad ring becomes an empty one.

    Returns (code, bad rings, is clipped, crossings, one past the last column).
    """
    n_bad = 0
    worst = 255
    is_clipped = False
    n_crossings = 0
    n_columns = 0
    for k in range(first_ring, end_ring):
        start, end = ring_offsets_K1[k], ring_offsets_K1[k + 1]
        at = (start + 1) >> 1
        code = _ring_code(xy_V, start, end)
        starts_K[k] = at
        ends_K[k] = at
        if code != OK:
            n_bad += 1
            worst = min(worst, code)
            continue
        ends_K[k] = at + (end - start) // 2
        sign_K[k], is_outside = _scale_ring(xy_V, start, end, h, w, x_V, y_V, at)
        is_clipped |= is_outside
        n, last = count_crossings(x_V, at, ends_K[k], w)
        n_crossings += n
        n_columns = max(n_columns, last)
    if ring_offsets_K1[first_ring] == ring_offsets_K1[end_ring]:
        return NO_SEGMENTATION, n_bad, False, 0, 0
    if n_bad == end_ring - first_ring:
        return worst, n_bad, False, 0, 0
    if n_crossings > MAX_CROSSINGS:
        return POLY_RANGE, n_bad, False, 0, 0
    return OK, n_bad, is_clipped, n_crossings, n_columns


@kernel
def fill_chunk(
    xy_V, ring_offsets_K1, mask_ring_offsets_N1, size_hw_N2, n_from,
    code_N, n_bad_N, is_clipped_N, is_crossing_N, n_runs_N,
):  # fmt: skip
    """Fill masks from n_from on until a bound of memory; returns (their counts, next mask)."""
    n_masks = len(size_hw_N2)
    n_rings = len(ring_offsets_K1) - 1
    x_V = np.empty(len(xy_V) // 2 + 1, np.int64)
    y_V = np.empty(len(xy_V) // 2 + 1, np.int64)
    starts_K = np.empty(n_rings, np.int64)
    ends_K = np.empty(n_rings, np.int64)
    sign_K = np.zeros(n_rings, np.int8)
    capacity = 0
    max_crossings = 0
    max_columns = 0
    n_to = n_from
    while n_to < n_masks and (n_to == n_from or capacity < _CHUNK_CROSSINGS):
        h, w = size_hw_N2[n_to, 0], size_hw_N2[n_to, 1]
        code = size_fault(h, w)
        n_crossings = 0
        if code == OK:
            code, n_bad_N[n_to], is_clipped_N[n_to], n_crossings, n_columns = _scale_mask(
                xy_V, ring_offsets_K1, mask_ring_offsets_N1[n_to], mask_ring_offsets_N1[n_to + 1],
                h, w, x_V, y_V, starts_K, ends_K, sign_K,
            )  # fmt: skip
            max_crossings = max(max_crossings, n_crossings)
            max_columns = max(max_columns, n_columns)
        code_N[n_to] = code
        capacity += n_crossings + 1
        n_to += 1
    ring_K = np.arange(n_rings)
    slot_C = np.zeros(max_columns + 1, np.int64)
    row_C = np.empty(max_columns + 1, np.int64)
    keys_E = np.empty(max_crossings, np.int64)
    spans_E = np.empty(max_crossings, np.int64)
    counts_R = np.empty(capacity, np.uint32)
    at = 0
    for n in range(n_from, n_to):
        h, w = size_hw_N2[n, 0], size_hw_N2[n, 1]
        n_runs = 0
        covered = 0
        if code_N[n] == OK:
            first, last = mask_ring_offsets_N1[n], mask_ring_offsets_N1[n + 1]
            n_runs, covered, is_crossing_N[n] = fill_mask(
                x_V, y_V, starts_K[first:last], ends_K[first:last], ring_K[: last - first],
                sign_K[first:last], h, w, slot_C, row_C, keys_E, spans_E, counts_R[at:],
            )  # fmt: skip
            if n_runs == 0:
                code_N[n] = ZERO_AREA
        n_pixels = 1 if code_N[n] == SIZE_INVALID or code_N[n] == IMAGE_TOO_LARGE else h * w
        if covered < n_pixels:
            counts_R[at + n_runs] = n_pixels - covered
            n_runs += 1
        n_runs_N[n] = n_runs
        at += n_runs
    return counts_R[:at], n_to
