"""Compiled fitting of lattice polygons to pixel outlines, by pixels that come out wrong.

Shape suffixes: V vertices, K loops, C columns, T toggles of a column.

Vertices lie on a lattice of ``step`` half-pixels; coordinates here are integers
in half-pixels. Between two vertices u and w of a loop the polygon runs over some
vertex v in place of a known stretch of outline. How many pixels COCO's rule fills
wrongly there is counted in a *window*: per column, the rows at which the stretch
and the two segments that tie u and w to its ends toggle, sorted, joined by the
rows at which u-v and v-w do; every other gap between them is wrong. A window is
filled once and asked for many places of v. It sees neither other loops nor other
stretches of its own, so its counts steer the search only: what the polygon is
worth is measured by filling it.
"""
# Types are the compiler's to infer.
# pyright: reportMissingParameterType=false

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pipeline.masks._jit import part
from pipeline.masks._numba_polygon_collapse import collapse, push, unlink
from pipeline.masks._numba_polygon_edge import edge_columns, edge_rows

# Toggles of a column that a window holds; a place with more is not searched.
_MAX_TOGGLES = 16
# A window is one array: per column the number of toggles, their rows, and the rows at
# which the two edges under test cross it. The last line is scratch to sort in.
_ROWS = 1
_FIRST = _ROWS + _MAX_TOGGLES
_SECOND = _FIRST + 1
_WIDTH = _SECOND + 2
_MARGIN = 10
# A constant that is passed on would be compiled for by itself; one of NumPy's is not.
UNKNOWN = np.int64(1 << 50)
_ONCE = np.int64(1)


class Lattice(NamedTuple):
    """The image, the places that a vertex may take, and a window's first column."""

    h: Any
    w: Any
    step: Any
    low_x: Any
    low_y: Any
    high_x: Any
    high_y: Any
    base: Any


@part
def make_lattice(corners, h, w, step):
    """Bound the lattice: one step beyond the outline's box, but inside the image's hull."""
    x_V, y_V = corners.x_V, corners.y_V
    left, top, right, bottom = x_V[0], y_V[0], x_V[0], y_V[0]
    for i in range(len(x_V)):
        left, right = min(left, x_V[i]), max(right, x_V[i])
        top, bottom = min(top, y_V[i]), max(bottom, y_V[i])
    low_x = max(0, 2 * left // step - 1) * step
    low_y = max(0, 2 * top // step - 1) * step
    high_x = min(-(-2 * right // step) + 1, -(-2 * w // step)) * step
    high_y = min(-(-2 * bottom // step) + 1, -(-2 * h // step)) * step
    return Lattice(h, w, step, low_x, low_y, high_x, high_y, max(0, low_x // 2 - _MARGIN))


@part
def make_window(lattice):
    """Give an empty window over all columns that the lattice reaches."""
    n_columns = lattice.high_x // 2 + _MARGIN - lattice.base
    window_CT = np.empty((n_columns + 1, _WIDTH), np.int64)
    for c in range(n_columns):
        window_CT[c, 0] = 0
    return window_CT


@part
def to_fifths(half_pixels):
    """Round as COCO's rule does: ``int(5 * x + .5)`` of x in pixels."""
    return (5 * half_pixels + 1) >> 1


@part
def snap(value, step, low, high):
    """Nearest lattice coordinate, in half-pixels, of a value in pixels."""
    if not abs(value) < 1e9:
        return low
    return min(max(int(np.floor(2.0 * value / step + 0.5)) * step, low), high)


@part
def _add_toggle(window_CT, c, row):
    """Insert a row into a column's sorted toggles; False where there is no room."""
    n = window_CT[c, 0]
    if n >= _MAX_TOGGLES:
        return False
    at = _ROWS + n
    while at > _ROWS and window_CT[c, at - 1] > row:
        window_CT[c, at] = window_CT[c, at - 1]
        at -= 1
    window_CT[c, at] = row
    window_CT[c, 0] = n + 1
    return True


@part
def add_segment(window_CT, lattice, x_a, y_a, x_b, y_b):
    """Add a straight segment's toggles: (first column, end column, whether all found room)."""
    first, end = edge_columns(x_a, x_b, lattice.w)
    has_room = True
    if first < end:
        edge_rows(
            x_a, y_a, x_b, y_b, first, end, lattice.h, window_CT[first - lattice.base :, _FIRST]
        )
        for c in range(first - lattice.base, end - lattice.base):
            has_room &= _add_toggle(window_CT, c, window_CT[c, _FIRST])
    return first, end, has_room


@part
def open_window(window_CT, lattice, corners, outline, x_V, y_V, u, w):
    """Fill a window with the stretch from u to w: (first column, end column, is usable)."""
    corner_x_V, corner_y_V = corners.x_V, corners.y_V
    k = outline.loop_V[u]
    loop_start, loop_end = corners.starts_K[k], corners.ends_K[k]
    corner, last = outline.anchor_V[u], outline.anchor_V[w]
    low, high, is_usable = add_segment(
        window_CT, lattice, to_fifths(x_V[u]), to_fifths(y_V[u]),
        5 * corner_x_V[corner], 5 * corner_y_V[corner],
    )  # fmt: skip
    while corner != last:
        following = corner + 1 if corner + 1 < loop_end else loop_start
        row = corner_y_V[corner]
        if row == corner_y_V[following]:
            first = min(corner_x_V[corner], corner_x_V[following])
            end = max(corner_x_V[corner], corner_x_V[following])
            for c in range(first - lattice.base, end - lattice.base):
                is_usable &= _add_toggle(window_CT, c, row)
            low, high = _hull(low, high, first, end)
        corner = following
    first, end, has_room = add_segment(
        window_CT, lattice, 5 * corner_x_V[last], 5 * corner_y_V[last],
        to_fifths(x_V[w]), to_fifths(y_V[w]),
    )  # fmt: skip
    low, high = _hull(low, high, first, end)
    return low, high, is_usable and has_room


@part
def _hull(low, high, first, end):
    """Smallest range of columns over two, either of which may be empty."""
    if first >= end:
        return low, high
    if low >= high:
        return first, end
    return min(low, first), max(high, end)


@part
def close_window(window_CT, lattice, low, high):
    """Empty a window that holds toggles in columns low..high."""
    for c in range(low - lattice.base, high - lattice.base):
        window_CT[c, 0] = 0


@part
def _alternate_gaps(row_T, n):
    """Sort n rows in place, and sum every other gap between them."""
    for i in range(1, n):
        row = row_T[i]
        j = i - 1
        while j >= 0 and row_T[j] > row:
            row_T[j + 1] = row_T[j]
            j -= 1
        row_T[j + 1] = row
    wrong = 0
    for i in range(0, n - 1, 2):
        wrong += row_T[i + 1] - row_T[i]
    return wrong


@part
def wrong_pixels(window_CT, lattice, low, high, x_u, y_u, x_v, y_v, x_w, y_w, limit):
    """Pixels filled wrongly with the polygon running u-v-w; counting stops above the limit."""
    h, w, base = lattice.h, lattice.w, lattice.base
    ux, uy, vx, vy = to_fifths(x_u), to_fifths(y_u), to_fifths(x_v), to_fifths(y_v)
    wx, wy = to_fifths(x_w), to_fifths(y_w)
    first_a, end_a = edge_columns(ux, vx, w)
    first_b, end_b = edge_columns(vx, wx, w)
    if first_a < end_a:
        edge_rows(ux, uy, vx, vy, first_a, end_a, h, window_CT[first_a - base :, _FIRST])
    if first_b < end_b:
        edge_rows(vx, vy, wx, wy, first_b, end_b, h, window_CT[first_b - base :, _SECOND])
    low, high = _hull(low, high, first_a, end_a)
    low, high = _hull(low, high, first_b, end_b)
    sorted_T = window_CT[len(window_CT) - 1]
    wrong = 0
    for c in range(low - base, high - base):
        n = window_CT[c, 0]
        has_a = first_a <= c + base < end_a
        has_b = first_b <= c + base < end_b
        if n == 1 and has_a != has_b:
            wrong += abs(window_CT[c, _ROWS] - window_CT[c, _FIRST if has_a else _SECOND])
        elif n == 2 and not has_a and not has_b:
            wrong += window_CT[c, _ROWS + 1] - window_CT[c, _ROWS]
        else:
            for i in range(n):
                sorted_T[i] = window_CT[c, _ROWS + i]
            if has_a:
                sorted_T[n] = window_CT[c, _FIRST]
                n += 1
            if has_b:
                sorted_T[n] = window_CT[c, _SECOND]
                n += 1
            wrong += _alternate_gaps(sorted_T, n)
        if wrong > limit:
            break
    return wrong


@part
def _climb(window_CT, lattice, low, high, x_u, y_u, x_v, y_v, x_w, y_w, wrong, n_rounds):
    """Move v to its best neighbour on the lattice, again and again: (x, y, wrong pixels)."""
    for _ in range(n_rounds):
        if wrong == 0:
            break
        centre_x, centre_y = x_v, y_v
        for x in range(centre_x - lattice.step, centre_x + lattice.step + 1, lattice.step):
            if x < lattice.low_x or x > lattice.high_x:
                continue
            for y in range(centre_y - lattice.step, centre_y + lattice.step + 1, lattice.step):
                if y < lattice.low_y or y > lattice.high_y:
                    continue
                trial = wrong_pixels(
                    window_CT, lattice, low, high, x_u, y_u, x, y, x_w, y_w, wrong - 1
                )
                if trial < wrong:
                    x_v, y_v, wrong = x, y, trial
        if x_v == centre_x and y_v == centre_y:
            break
    return x_v, y_v, wrong


@part
def move_vertex(window_CT, lattice, corners, outline, x_V, y_V, v, n_rounds):
    """Move one vertex to where fewest pixels are wrong; returns by how many that is fewer."""
    u, w = outline.previous_V[v], outline.next_V[v]
    low, high, is_usable = open_window(window_CT, lattice, corners, outline, x_V, y_V, u, w)
    gain = 0
    if is_usable:
        before = wrong_pixels(
            window_CT, lattice, low, high, x_V[u], y_V[u], x_V[v], y_V[v], x_V[w], y_V[w], UNKNOWN
        )
        x, y, wrong = _climb(
            window_CT, lattice, low, high, x_V[u], y_V[u], x_V[v], y_V[v], x_V[w], y_V[w],
            before, n_rounds,
        )  # fmt: skip
        gain = before - wrong
        _place(outline, x_V, y_V, v, x, y)
    close_window(window_CT, lattice, low, high)
    return gain


@part
def _place(outline, x_V, y_V, v, x, y):
    """Put a vertex on a lattice point; the outline follows in pixels."""
    x_V[v], y_V[v] = x, y
    outline.x_V[v], outline.y_V[v] = 0.5 * x, 0.5 * y


@part
def place_all(lattice, outline, x_V, y_V):
    """Write the lattice point nearest to each vertex; the outline stays as it is."""
    for v in range(len(x_V)):
        x_V[v] = snap(outline.x_V[v], lattice.step, lattice.low_x, lattice.high_x)
        y_V[v] = snap(outline.y_V[v], lattice.step, lattice.low_y, lattice.high_y)


@part
def push_merge(
    window_CT, lattice, corners, outline, x_V, y_V, heap, n_entries, v, merged_x_V, merged_y_V
):
    """Find the best one vertex in place of v and the next; push by the wrong pixels it adds."""
    heap.stamp_V[v] += 1
    if outline.n_K[outline.loop_V[v]] <= 3:
        return n_entries
    u, q = outline.previous_V[v], outline.next_V[v]
    w = outline.next_V[q]
    low, high, is_usable = open_window(window_CT, lattice, corners, outline, x_V, y_V, u, w)
    if is_usable:
        _, x, y = collapse(
            0.5 * x_V[u], 0.5 * y_V[u], 0.5 * x_V[v], 0.5 * y_V[v],
            0.5 * x_V[q], 0.5 * y_V[q], 0.5 * x_V[w], 0.5 * y_V[w],
        )  # fmt: skip
        x = snap(x, lattice.step, lattice.low_x, lattice.high_x)
        y = snap(y, lattice.step, lattice.low_y, lattice.high_y)
        best_x, best_y, wrong = x, y, UNKNOWN
        for i in range(3):
            trial = wrong_pixels(
                window_CT, lattice, low, high, x_V[u], y_V[u], x, y, x_V[w], y_V[w], wrong - 1
            )
            if trial < wrong:
                best_x, best_y, wrong = x, y, trial
            x, y = (x_V[v], y_V[v]) if i == 0 else (x_V[q], y_V[q])
        best_x, best_y, wrong = _climb(
            window_CT,
            lattice,
            low,
            high,
            x_V[u],
            y_V[u],
            best_x,
            best_y,
            x_V[w],
            y_V[w],
            wrong,
            _ONCE,
        )
        merged_x_V[v], merged_y_V[v] = best_x, best_y
        first, end, has_room = add_segment(
            window_CT, lattice, to_fifths(x_V[u]), to_fifths(y_V[u]),
            to_fifths(x_V[v]), to_fifths(y_V[v]),
        )  # fmt: skip
        low, high = _hull(low, high, first, end)
        if has_room:
            wrong -= wrong_pixels(
                window_CT,
                lattice,
                low,
                high,
                x_V[v],
                y_V[v],
                x_V[q],
                y_V[q],
                x_V[w],
                y_V[w],
                UNKNOWN,
            )
            n_entries = push(heap, n_entries, float(wrong), v)
    close_window(window_CT, lattice, low, high)
    return n_entries


@part
def merge_vertex(window_CT, lattice, corners, outline, x_V, y_V, v, merged_x_V, merged_y_V):
    """Put the found vertex in place of v and the next, and settle its neighbours; the gain."""
    _place(outline, x_V, y_V, v, merged_x_V[v], merged_y_V[v])
    unlink(outline, v, corners)
    gain = 0
    near = outline.previous_V[v]
    for _ in range(3):
        gain += move_vertex(window_CT, lattice, corners, outline, x_V, y_V, near, _ONCE)
        near = outline.next_V[near]
    return gain
