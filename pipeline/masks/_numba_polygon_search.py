"""Compiled search for the smallest polygon of a mask above a floor of IoU.

Shape suffixes: R runs, V vertices, K loops, C columns, E crossings.

First the outline's edges collapse in the plane until the polygon's IoU falls
into a fraction of what the floor allows; then its vertices go to the lattice and
move, one by one, to where fewest pixels are wrong; then pairs of neighbours merge,
those that add the fewest wrong pixels first, until a filled polygon is below the
floor. The last one that held it is the answer. A lattice that is too coarse for
a mask never reaches the floor; the next finer one is tried then, and for outlines
of few corners at last the corners themselves, which are exact.
"""
# Types are the compiler's to infer.
# pyright: reportMissingParameterType=false

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pipeline.masks._jit import part
from pipeline.masks._numba_polygon_collapse import (
    NEVER,
    collapse_edges,
    compact,
    make_heap,
    make_outline,
    pop,
    push_all_edges,
)
from pipeline.masks._numba_polygon_fill import count_crossings, fill_mask
from pipeline.masks._numba_polygon_fit import (
    make_lattice,
    make_window,
    merge_vertex,
    move_vertex,
    place_all,
    push_merge,
    to_fifths,
)

# Constants that are passed on would be compiled for by themselves; NumPy's are not.
_FINEST = np.int64(1)
_MOVE_ROUNDS = np.int64(3)
_MAX_EXACT_CORNERS = 1024
_MAX_TRIALS = 16
_MAX_FAILURES = 3
# A merge, with its neighbours' moves, changes what the edges this near to it would cost.
_MERGE_REACH = 6
# Share of the floor's slack that the collapse in the plane may use before the lattice.
_COLLAPSE_SLACK = 0.7
# The lattice doubles where the boundary may be wrong by this many pixels per crack.
_STEP_2_AT = 0.06
_STEP_4_AT = 0.2
_STEP_8_AT = 0.8


class Mask(NamedTuple):
    """One mask: its runs, area and image."""

    counts_R: Any
    area: Any
    h: Any
    w: Any


class Canvas(NamedTuple):
    """Scratch to fill polygons of one mask; ``slot_C`` is all zero between fills."""

    x_V: Any
    y_V: Any
    starts_K: Any
    ends_K: Any
    part_K: Any
    sign_K: Any
    slot_C: Any
    row_C: Any
    keys_E: Any
    spans_E: Any
    runs_E: Any


class Polygon(NamedTuple):
    """A polygon on the lattice, in half-pixels, as linked loops."""

    step: Any
    x_V: Any
    y_V: Any
    next_V: Any
    n_K: Any
    first_K: Any


@part
def make_canvas(corners, slot_C, row_C):
    """Give room for any polygon that is worth a fill."""
    x_V = corners.x_V
    n_vertices, n_loops = len(x_V), len(corners.starts_K)
    n_crossings = 64
    for k in range(n_loops):
        j = corners.ends_K[k] - 1
        for i in range(corners.starts_K[k], corners.ends_K[k]):
            n_crossings += 2 * abs(x_V[i] - x_V[j])
            j = i
    return Canvas(
        np.empty(n_vertices, np.int64),
        np.empty(n_vertices, np.int64),
        np.empty(n_loops, np.int64),
        np.empty(n_loops, np.int64),
        corners.part_K,
        np.zeros(n_loops, np.int8),
        slot_C,
        row_C,
        np.empty(n_crossings, np.int64),
        np.empty(n_crossings, np.int64),
        np.empty(n_crossings + 1, np.uint32),
    )


@part
def fill_polygon(mask, canvas, polygon):
    """Fill a polygon by COCO's rule into the canvas; returns the number of runs, 0 if too many."""
    x_V, y_V, starts_K, ends_K = canvas.x_V, canvas.y_V, canvas.starts_K, canvas.ends_K
    from_x_V, from_y_V, next_V = polygon.x_V, polygon.y_V, polygon.next_V
    at = np.int64(0)
    n_crossings = 0
    for k in range(len(starts_K)):
        starts_K[k] = at
        v = polygon.first_K[k]
        for _ in range(polygon.n_K[k]):
            x_V[at], y_V[at] = to_fifths(from_x_V[v]), to_fifths(from_y_V[v])
            at += 1
            v = next_V[v]
        ends_K[k] = at
        n_crossings += count_crossings(x_V, starts_K[k], at, mask.w)[0]
    if n_crossings > len(canvas.keys_E):
        return 0
    n_runs, _, _ = fill_mask(
        x_V, y_V, starts_K, ends_K, canvas.part_K, canvas.sign_K, mask.h, mask.w,
        canvas.slot_C, canvas.row_C, canvas.keys_E, canvas.spans_E, canvas.runs_E,
    )  # fmt: skip
    return n_runs


@part
def _overlap(a_R, n_a, b_R, n_b):
    """Foreground of both of two run lists: (intersection, area of a, area of b)."""
    area_a = 0
    for i in range(1, n_a, 2):
        area_a += int(a_R[i])
    area_b = 0
    for j in range(1, n_b, 2):
        area_b += int(b_R[j])
    both = 0
    i, j = 1, 1
    start_a = int(a_R[0]) if n_a > 0 else 0
    start_b = int(b_R[0]) if n_b > 0 else 0
    while i < n_a and j < n_b:
        end_a = start_a + int(a_R[i])
        end_b = start_b + int(b_R[j])
        both += max(0, min(end_a, end_b) - max(start_a, start_b))
        if end_a <= end_b:
            start_a = end_a + (int(a_R[i + 1]) if i + 1 < n_a else 0)
            i += 2
        else:
            start_b = end_b + (int(b_R[j + 1]) if j + 1 < n_b else 0)
            j += 2
    return both, area_a, area_b


@part
def measure(mask, canvas, polygon):
    """Fill a polygon and compare it with the mask: (IoU, pixels that differ)."""
    n_runs = fill_polygon(mask, canvas, polygon)
    both, filled, area = _overlap(canvas.runs_E, n_runs, mask.counts_R, len(mask.counts_R))
    return both / float(filled + area - both), filled + area - 2 * both


@part
def _as_polygon(outline, step, x_V, y_V):
    return Polygon(step, x_V, y_V, outline.next_V, outline.n_K, outline.first_K)


@part
def _copy(polygon):
    return Polygon(
        polygon.step,
        polygon.x_V.copy(),
        polygon.y_V.copy(),
        polygon.next_V.copy(),
        polygon.n_K.copy(),
        polygon.first_K.copy(),
    )


@part
def _collapse_outline(mask, canvas, corners, tolerance_K, floor):
    """Collapse edges in steps of a tenth, until the tolerance or the floor ends it.

    What collapses move is more than what a fill gets wrong, since half-pixels that
    cancel in a column count; so fills begin when that comes near the floor.
    """
    outline = make_outline(corners)
    n = len(corners.x_V)
    heap = make_heap(5 * n + 8, n)
    ex_V, ey_V = np.empty(n), np.empty(n)
    x_V, y_V = np.empty(n, np.int64), np.empty(n, np.int64)
    lattice = make_lattice(corners, mask.h, mask.w, _FINEST)
    n_entries = push_all_edges(outline, heap, ex_V, ey_V, tolerance_K)
    moved = 0.0
    while True:
        n_entries, n_done, moved_now = collapse_edges(
            outline, heap, n_entries, ex_V, ey_V, tolerance_K, max(1, n // 10), corners
        )
        n -= n_done
        moved += moved_now
        if n_done == 0:
            break
        if floor > 0.0 and moved > 0.5 * (1.0 - floor) * mask.area:
            place_all(lattice, outline, x_V, y_V)
            iou, _ = measure(mask, canvas, _as_polygon(outline, _FINEST, x_V, y_V))
            if iou < floor:
                break
    return compact(outline)


@part
def _fit(mask, canvas, corners, outline, step, fidelity, merges):
    """Bring an outline to the lattice, move vertices, merge them: (polygon, IoU)."""
    lattice = make_lattice(corners, mask.h, mask.w, step)
    window_CT = make_window(lattice)
    n = len(outline.x_V)
    x_V, y_V = np.empty(n, np.int64), np.empty(n, np.int64)
    place_all(lattice, outline, x_V, y_V)
    for _ in range(2):
        gain = 0
        for v in range(n):
            gain += move_vertex(window_CT, lattice, corners, outline, x_V, y_V, v, _MOVE_ROUNDS)
        if gain == 0:
            break
    polygon = _as_polygon(outline, step, x_V, y_V)
    iou, wrong = measure(mask, canvas, polygon)
    if iou < fidelity or not merges:
        return _copy(polygon), iou
    return _merge(mask, canvas, lattice, window_CT, corners, outline, polygon, iou, wrong, fidelity)


@part
def _merge(mask, canvas, lattice, window_CT, corners, outline, polygon, iou, wrong, fidelity):
    """Merge neighbours until a fill is below the floor: (last polygon that held it, its IoU).

    Wrong pixels are added up between fills; fills begin where the sum comes near
    what the floor allows, at every merge or, of very many vertices, every 128th part.
    """
    x_V, y_V = polygon.x_V, polygon.y_V
    n = len(x_V)
    allowed = (1.0 - fidelity) * mask.area
    merged_x_V, merged_y_V = np.empty(n, np.int64), np.empty(n, np.int64)
    heap = make_heap(7 * n + 8, n)
    due_V = np.arange(max(n, _MERGE_REACH))
    n_due = n
    best, best_iou = _copy(polygon), iou
    n_entries = np.int64(0)
    n_left = n
    n_since = 0
    n_failures = 0
    while n_failures < _MAX_FAILURES:
        for i in range(n_due):
            n_entries = push_merge(
                window_CT,
                lattice,
                corners,
                outline,
                x_V,
                y_V,
                heap,
                n_entries,
                due_V[i],
                merged_x_V,
                merged_y_V,
            )
        n_due = 0
        if n_entries == 0:
            break
        n_entries, cost, v = pop(heap, n_entries)
        if v < 0 or not outline.is_alive_V[v]:
            continue
        if cost > allowed + 1.0:
            break
        wrong += int(cost)
        wrong -= merge_vertex(
            window_CT, lattice, corners, outline, x_V, y_V, v, merged_x_V, merged_y_V
        )
        near = outline.previous_V[outline.previous_V[outline.previous_V[v]]]
        for n_due in range(_MERGE_REACH):
            due_V[n_due] = near
            near = outline.next_V[near]
        n_due = _MERGE_REACH
        n_left -= 1
        n_since += 1
        is_near = wrong > 0.7 * allowed and n_since > n_left >> 7
        if not is_near and n_since <= n_left >> 3:
            continue
        n_since = 0
        iou, wrong = measure(mask, canvas, polygon)
        if iou >= fidelity:
            best, best_iou = _copy(polygon), iou
            n_failures = 0
        else:
            n_failures += 1
    return best, best_iou


@part
def _arc_length(corners, k):
    """Length of a loop in cracks."""
    length = 0
    j = corners.ends_K[k] - 1
    for i in range(corners.starts_K[k], corners.ends_K[k]):
        length += abs(corners.x_V[i] - corners.x_V[j]) + abs(corners.y_V[i] - corners.y_V[j])
        j = i
    return length


@part
def _choose_step(per_crack):
    """Lattice step, in half-pixels, by the wrong pixels that the floor allows per crack."""
    step = _FINEST
    for limit in (_STEP_2_AT, _STEP_4_AT, _STEP_8_AT):
        if per_crack >= limit:
            step *= 2
    return step


@part
def find_polygon(mask, canvas, corners, fidelity, epsilon):
    """Find a small polygon whose IoU with the mask is at least the floor: (polygon, IoU).

    The IoU is below the floor where none was found. With an epsilon (0 for none)
    no edge collapses that moves a loop farther than that fraction of its length,
    halved until the floor holds, and vertices do not merge.
    """
    merges = epsilon <= 0.0
    floor = 1.0 - _COLLAPSE_SLACK * (1.0 - fidelity) if merges else 0.0
    tolerance_K = np.empty(len(corners.starts_K), np.float64)
    length = 0
    tightest = NEVER
    for k in range(len(tolerance_K)):
        loop_length = _arc_length(corners, k)
        tolerance_K[k] = NEVER if merges else epsilon * loop_length
        tightest = min(tightest, tolerance_K[k])
        length += loop_length
    step = _choose_step(min((1.0 - fidelity) * mask.area / length, 0.25 * tightest))
    n_trials = 0
    while True:
        outline = _collapse_outline(mask, canvas, corners, tolerance_K, floor)
        polygon, iou = _fit(mask, canvas, corners, outline, step, fidelity, merges)
        n_trials += 1
        if iou >= fidelity or n_trials == _MAX_TRIALS:
            return polygon, iou
        if merges and step > 1:
            step = step >> 1
            continue
        if merges and (tolerance_K[0] == 0.0 or len(corners.x_V) > _MAX_EXACT_CORNERS):
            return polygon, iou
        # Corners are on every second point of the finest lattice, and exact.
        step = 2 * _FINEST if merges else max(_FINEST, step >> 1)
        for k in range(len(tolerance_K)):
            tolerance_K[k] = 0.0 if merges else 0.5 * tolerance_K[k]
