"""Compiled simplification of outlines in the plane: edges collapse, areas stay.

Shape suffixes: V vertices (of all loops), K loops, E entries of a heap.

The edge from B to C, between A and D, collapses to one vertex E on the line
that keeps the area left of A..D what it was; of that line, the point where it
meets the line through A and B, or through C and D. What the collapse moves from
one side to the other is two triangles of equal area, and that is its cost. The
cheapest edge goes first (Kronenfeld et al. 2020, "Simplification of polylines by
segment collapse: minimizing areal displacement while preserving area").
Cost: n log n in the number of corners.

Each vertex keeps an anchor, the original corner nearest to it within the stretch
it stands for; anchors stay in order around the loop, so each edge knows the part
of the outline that it replaces.
"""
# Types are the compiler's to infer.
# pyright: reportMissingParameterType=false

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pipeline.masks._jit import part

NEVER = 1e300
_FLAT = 1e-9


class Corners(NamedTuple):
    """The corners of a mask's outline, loop by loop, in pixels; ``part_K`` is a hole's outline."""

    x_V: Any
    y_V: Any
    starts_K: Any
    ends_K: Any
    part_K: Any


class Outline(NamedTuple):
    """Loops as linked lists of the vertices that are left; changed in place."""

    x_V: Any
    y_V: Any
    previous_V: Any
    next_V: Any
    is_alive_V: Any
    anchor_V: Any
    loop_V: Any
    n_K: Any
    first_K: Any


class Heap(NamedTuple):
    """Entries by cost; an entry whose stamp is not its item's is out of date."""

    cost_E: Any
    item_E: Any
    stamp_E: Any
    stamp_V: Any


@part
def make_heap(n_entries, n_items):
    """Give an empty heap with room for n_entries."""
    return Heap(
        np.empty(n_entries, np.float64),
        np.empty(n_entries, np.int64),
        np.empty(n_entries, np.int64),
        np.zeros(n_items, np.int64),
    )


@part
def push(heap, n, cost, item):
    """Add an entry that replaces the item's others; returns the new number of entries."""
    cost_E, item_E, stamp_E, stamp_V = heap.cost_E, heap.item_E, heap.stamp_E, heap.stamp_V
    stamp_V[item] += 1
    at = n
    while at > 0:
        above = (at - 1) >> 1
        if cost_E[above] <= cost:
            break
        cost_E[at], item_E[at], stamp_E[at] = cost_E[above], item_E[above], stamp_E[above]
        at = above
    cost_E[at], item_E[at], stamp_E[at] = cost, item, stamp_V[item]
    return n + 1


@part
def pop(heap, n):
    """Take the cheapest entry: (new number of entries, cost, item or -1 if out of date)."""
    cost_E, item_E, stamp_E = heap.cost_E, heap.item_E, heap.stamp_E
    cost, item, stamp = cost_E[0], item_E[0], stamp_E[0]
    n -= 1
    last = cost_E[n]
    at = 0
    child = 1
    while child < n:
        if child + 1 < n and cost_E[child + 1] < cost_E[child]:
            child += 1
        if cost_E[child] >= last:
            break
        cost_E[at], item_E[at], stamp_E[at] = cost_E[child], item_E[child], stamp_E[child]
        at = child
        child = 2 * at + 1
    cost_E[at], item_E[at], stamp_E[at] = last, item_E[n], stamp_E[n]
    return n, cost, item if stamp == heap.stamp_V[item] else -1


@part
def collapse(ax, ay, bx, by, cx, cy, dx, dy):
    """Collapse edge BC to E: (area that changes sides in square pixels, x, y)."""
    bx, by, cx, cy, dx, dy = bx - ax, by - ay, cx - ax, cy - ay, dx - ax, dy - ay
    if dx == 0.0 and dy == 0.0:
        return NEVER, ax, ay
    doubled = bx * cy - cx * by + cx * dy - dx * cy
    height_b = bx * dy - by * dx
    height_c = cx * dy - cy * dx
    if (height_b > 0.0) == (height_c > 0.0):
        is_on_ab = abs(height_b) > abs(height_c)
    else:
        is_on_ab = (height_b > 0.0) == (doubled > 0.0)
    if abs(height_b if is_on_ab else height_c) < _FLAT:
        is_on_ab = not is_on_ab
    if abs(height_b if is_on_ab else height_c) < _FLAT:
        return 0.0, ax + 0.5 * (bx + cx), ay + 0.5 * (by + cy)
    # From the corner that stays on its line (B or C) to where the other new edge crosses BC.
    if is_on_ab:
        ex, ey = doubled / height_b * bx, doubled / height_b * by
        px, py, far_x, far_y, tip_x, tip_y = bx, by, dx, dy, cx - bx, cy - by
    else:
        ex = dx + doubled / height_c * (cx - dx)
        ey = dy + doubled / height_c * (cy - dy)
        px, py, far_x, far_y, tip_x, tip_y = cx, cy, 0.0, 0.0, bx - cx, by - cy
    run_x, run_y = far_x - ex, far_y - ey
    turn = run_x * tip_y - run_y * tip_x
    if abs(turn) < _FLAT:
        return 0.0, ax + ex, ay + ey
    share = ((px - ex) * tip_y - (py - ey) * tip_x) / turn
    cost = abs(share * ((px - ex) * run_y - (py - ey) * run_x))
    return cost, ax + ex, ay + ey


@part
def _squared_distance(px, py, ax, ay, bx, by):
    """Squared distance of P from the segment AB."""
    ux, uy = bx - ax, by - ay
    length = ux * ux + uy * uy
    share = 0.0
    if length > 0.0:
        share = min(max(((px - ax) * ux + (py - ay) * uy) / length, 0.0), 1.0)
    ux, uy = ax + share * ux - px, ay + share * uy - py
    return ux * ux + uy * uy


@part
def _moves_far(ax, ay, bx, by, cx, cy, dx, dy, ex, ey, tolerance):
    """Whether B or C lies farther from A-E-D, or E from A-B-C-D, than the tolerance."""
    limit = tolerance * tolerance
    from_b = min(
        _squared_distance(bx, by, ax, ay, ex, ey), _squared_distance(bx, by, ex, ey, dx, dy)
    )
    from_c = min(
        _squared_distance(cx, cy, ax, ay, ex, ey), _squared_distance(cx, cy, ex, ey, dx, dy)
    )
    from_e = min(
        _squared_distance(ex, ey, ax, ay, bx, by),
        _squared_distance(ex, ey, bx, by, cx, cy),
        _squared_distance(ex, ey, cx, cy, dx, dy),
    )
    return max(from_b, from_c, from_e) > limit


@part
def make_outline(corners):
    """Give loops of all their corners, each its own anchor."""
    n, n_loops = len(corners.x_V), len(corners.starts_K)
    previous_V, next_V, loop_V = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.int64)
    x_V, y_V = np.empty(n, np.float64), np.empty(n, np.float64)
    n_K, first_K = np.empty(n_loops, np.int64), np.empty(n_loops, np.int64)
    for k in range(n_loops):
        start, end = corners.starts_K[k], corners.ends_K[k]
        first_K[k], n_K[k] = start, end - start
        for i in range(start, end):
            previous_V[i], next_V[i], loop_V[i] = i - 1, i + 1, k
            x_V[i], y_V[i] = corners.x_V[i], corners.y_V[i]
        previous_V[start], next_V[end - 1] = end - 1, start
    anchor_V = np.arange(n)
    return Outline(
        x_V, y_V, previous_V, next_V, np.ones(n, np.bool_), anchor_V, loop_V, n_K, first_K
    )


@part
def unlink(outline, i, corners):
    """Remove the vertex after i, whose stretch becomes i's; i must have its new place."""
    next_V, anchor_V = outline.next_V, outline.anchor_V
    corner_x_V, corner_y_V = corners.x_V, corners.y_V
    gone = next_V[i]
    after = next_V[gone]
    k = outline.loop_V[i]
    outline.is_alive_V[gone] = False
    next_V[i] = after
    outline.previous_V[after] = i
    outline.n_K[k] -= 1
    outline.first_K[k] = i
    x, y = outline.x_V[i], outline.y_V[i]
    loop_start, loop_end = corners.starts_K[k], corners.ends_K[k]
    corner, last = anchor_V[i], anchor_V[gone]
    nearest = corner
    least = NEVER
    while True:
        away_x, away_y = corner_x_V[corner] - x, corner_y_V[corner] - y
        away = away_x * away_x + away_y * away_y
        if away < least:
            least = away
            nearest = corner
        if corner == last:
            break
        corner = corner + 1 if corner + 1 < loop_end else loop_start
    anchor_V[i] = nearest


@part
def _push_edge(outline, heap, n_entries, i, ex_V, ey_V, tolerance_K):
    x_V, y_V, next_V = outline.x_V, outline.y_V, outline.next_V
    a, b, c = outline.previous_V[i], i, next_V[i]
    d = next_V[c]
    ax, ay, bx, by = x_V[a], y_V[a], x_V[b], y_V[b]
    cx, cy, dx, dy = x_V[c], y_V[c], x_V[d], y_V[d]
    cost, ex, ey = collapse(ax, ay, bx, by, cx, cy, dx, dy)
    tolerance = tolerance_K[outline.loop_V[i]]
    if tolerance < NEVER and _moves_far(ax, ay, bx, by, cx, cy, dx, dy, ex, ey, tolerance):
        cost = NEVER
    ex_V[i], ey_V[i] = ex, ey
    return push(heap, n_entries, cost, i)


@part
def push_all_edges(outline, heap, ex_V, ey_V, tolerance_K):
    """Put every edge into an empty heap; returns the number of entries."""
    n_entries = np.int64(0)
    for i in range(len(ex_V)):
        n_entries = _push_edge(outline, heap, n_entries, i, ex_V, ey_V, tolerance_K)
    return n_entries


@part
def collapse_edges(outline, heap, n_entries, ex_V, ey_V, tolerance_K, n_wanted, corners):
    """Collapse up to n_wanted edges, cheapest first: (entries left, collapsed, their cost)."""
    n_done = 0
    moved = 0.0
    while n_done < n_wanted and n_entries > 0:
        n_entries, cost, i = pop(heap, n_entries)
        if i < 0 or not outline.is_alive_V[i] or cost >= NEVER:
            continue
        if outline.n_K[outline.loop_V[i]] <= 3:
            continue
        outline.x_V[i], outline.y_V[i] = ex_V[i], ey_V[i]
        unlink(outline, i, corners)
        n_done += 1
        moved += cost
        j = outline.previous_V[outline.previous_V[i]]
        for _ in range(4):
            n_entries = _push_edge(outline, heap, n_entries, j, ex_V, ey_V, tolerance_K)
            j = outline.next_V[j]
    return n_entries, n_done, moved


@part
def compact(outline):
    """Copy an outline without the vertices that are gone; anchors stay."""
    is_alive_V = outline.is_alive_V
    index_V = np.empty(len(is_alive_V), np.int64)
    n = 0
    for i in range(len(index_V)):
        index_V[i] = n
        n += is_alive_V[i]
    old_V = np.empty(n, np.int64)
    for i in range(len(index_V)):
        if is_alive_V[i]:
            old_V[index_V[i]] = i
    return Outline(
        _gather(outline.x_V, old_V),
        _gather(outline.y_V, old_V),
        _gather(index_V, _gather(outline.previous_V, old_V)),
        _gather(index_V, _gather(outline.next_V, old_V)),
        np.ones(n, np.bool_),
        _gather(outline.anchor_V, old_V),
        _gather(outline.loop_V, old_V),
        outline.n_K.copy(),
        _gather(index_V, outline.first_K),
    )


@part
def _gather(values_V, index_V):
    out_V = np.empty(len(index_V), values_V.dtype)
    for i in range(len(index_V)):
        out_V[i] = values_V[index_V[i]]
    return out_V
