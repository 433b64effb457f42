"""Compiled polygon encoder: runs in, bytes out. Documented face: `pipeline.masks.polygon`.

Shape suffixes: R runs, V vertices, K loops, B bytes, N masks.
"""
# Types are the compiler's to infer.
# pyright: reportMissingParameterType=false

from __future__ import annotations

import numpy as np

from pipeline.masks._jit import kernel, part
from pipeline.masks._numba_polygon_bytes import max_bytes, write_polygon
from pipeline.masks._numba_polygon_collapse import Corners
from pipeline.masks._numba_polygon_search import (
    Mask,
    fill_polygon,
    find_polygon,
    make_canvas,
)
from pipeline.masks._numba_polygon_trace import loop_corners, trace

# Beyond this the fill takes no coordinate; no search begins there.
_MAX_PX = 1 << 23
_MIN_LOOP_BYTES = 7
_SPARE_COLUMNS = 16


@part
def _box(runs_R, n_runs, h):
    """Tight box and area of runs: (x, y, w, h, area), zeros without foreground."""
    area = 0
    left, right, top, bottom = 0, 0, h, 0
    position = 0
    for i in range(n_runs):
        start = position
        position += int(runs_R[i])
        if i % 2 == 0 or position == start:
            continue
        if area == 0:
            left = start // h
        area += position - start
        right = (position - 1) // h + 1
        if start // h == right - 1:
            top = min(top, start % h)
            bottom = max(bottom, (position - 1) % h + 1)
        else:
            top, bottom = 0, h
    if area == 0:
        return 0, 0, 0, 0, 0
    return left, top, right - left, bottom - top, area


@part
def _corners_by_part(counts_R, h):
    """Trace a mask's loops, each part's outline before its holes."""
    column_R, y_L, next_L, start_K, _, part_K = trace(counts_R, h)
    n_loops = len(start_K)
    # Place of each loop: after all loops of the parts before, and the part's own before it.
    place_K = np.zeros(n_loops + 1, np.int64)
    for k in range(n_loops):
        place_K[part_K[k] + 1] += 1
    for k in range(n_loops):
        place_K[k + 1] += place_K[k]
    order_K = np.empty(n_loops, np.int64)
    for k in range(n_loops):
        order_K[place_K[part_K[k]]] = k
        place_K[part_K[k]] += 1
    x_V = np.empty(2 * len(next_L), np.int64)
    y_V = np.empty(2 * len(next_L), np.int64)
    starts_K = np.empty(n_loops, np.int64)
    ends_K = np.empty(n_loops, np.int64)
    parts_K = np.empty(n_loops, np.int64)
    at = np.int64(0)
    for k in range(n_loops):
        starts_K[k] = at
        node = np.int64(2 * start_K[order_K[k]])
        at = loop_corners(node, column_R, y_L, next_L, x_V, y_V, at)
        ends_K[k] = at
        parts_K[k] = part_K[order_K[k]]
    return Corners(x_V[:at], y_V[:at], starts_K, ends_K, parts_K)


@part
def _loop_area(corners, k):
    """Pixels inside a loop."""
    doubled = 0
    j = corners.ends_K[k] - 1
    for i in range(corners.starts_K[k], corners.ends_K[k]):
        doubled += corners.x_V[j] * corners.y_V[i] - corners.x_V[i] * corners.y_V[j]
        j = i
    return abs(doubled) >> 1


@part
def _speck_limit(area_K, n_corners, allowed):
    """Largest power of two such that loops of at most so many pixels are not worth their bytes.

    ``allowed`` pixels may be wrong. What a pixel buys elsewhere is about two bytes
    a corner over all of them; all specks together get a quarter of them.
    """
    limit = 0
    trial = 1
    while trial * n_corners <= _MIN_LOOP_BYTES * allowed:
        total = 0
        for k in range(len(area_K)):
            if area_K[k] <= trial:
                total += area_K[k]
        if total > 0.25 * allowed:
            break
        limit = trial
        trial *= 2
    return limit


@part
def _without_specks(corners, allowed):
    """Leave out loops so small that the pixels they cost are better spent on vertices."""
    n_loops = len(corners.starts_K)
    area_K = np.empty(n_loops, np.int64)
    for k in range(n_loops):
        area_K[k] = _loop_area(corners, k)
    limit = _speck_limit(area_K, len(corners.x_V), allowed)
    starts_K = np.empty(n_loops, np.int64)
    ends_K = np.empty(n_loops, np.int64)
    part_K = np.empty(n_loops, np.int64)
    x_V = np.empty(len(corners.x_V), np.int64)
    y_V = np.empty(len(corners.x_V), np.int64)
    n = 0
    at = 0
    outline = -1
    for k in range(n_loops):
        is_outline = k == 0 or corners.part_K[k] != corners.part_K[k - 1]
        if is_outline:
            outline = n if area_K[k] > limit else -1
        if outline < 0 or area_K[k] <= limit:
            continue
        starts_K[n], part_K[n] = at, outline
        for i in range(corners.starts_K[k], corners.ends_K[k]):
            x_V[at], y_V[at] = corners.x_V[i], corners.y_V[i]
            at += 1
        ends_K[n] = at
        n += 1
    return Corners(x_V[:at], y_V[:at], starts_K[:n], ends_K[:n], part_K[:n])


@part
def _note(bbox_xywh_N4, area_N, n, left, top, width, height, area):
    """Write what is stored of mask n."""
    bbox_xywh_N4[n, 0], bbox_xywh_N4[n, 1] = left, top
    bbox_xywh_N4[n, 2], bbox_xywh_N4[n, 3] = width, height
    area_N[n] = area


@kernel
def encode_from(
    counts_R, offsets_N1, size_hw_N2, max_bytes_N, fidelity, epsilon, n_from,
    bytes_B, ends_N, fidelity_N, bbox_xywh_N4, area_N,
):  # fmt: skip
    """Encode masks from n_from on until bytes_B is full; returns the first mask not done.

    A mask without a polygon writes no bytes. Box and area are of what is stored.
    """
    n_masks = len(size_hw_N2)
    n_columns = 0
    for n in range(n_from, n_masks):
        n_columns = max(n_columns, min(int(size_hw_N2[n, 1]), _MAX_PX))
    slot_C = np.zeros(n_columns + _SPARE_COLUMNS, np.int64)
    row_C = np.empty(n_columns + _SPARE_COLUMNS, np.int64)
    for n in range(n_from, n_masks):
        h, w = np.int64(size_hw_N2[n, 0]), np.int64(size_hw_N2[n, 1])
        mask_R = counts_R[offsets_N1[n] : offsets_N1[n + 1]]
        start = ends_N[n - 1] if n > 0 else 0
        ends_N[n] = start
        fidelity_N[n] = 1.0
        left, top, width, height, area = _box(mask_R, len(mask_R), h)
        _note(bbox_xywh_N4, area_N, n, left, top, width, height, area)
        if area == 0 or left + width > _MAX_PX or top + height > _MAX_PX:
            continue
        if max_bytes_N[n] < 1 + _MIN_LOOP_BYTES:
            continue
        mask = Mask(mask_R, area, h, w)
        allowed = (1.0 - fidelity) * area if epsilon <= 0.0 else 0.0
        corners = _without_specks(_corners_by_part(mask_R, h), allowed)
        if 1 + _MIN_LOOP_BYTES * len(corners.starts_K) > max_bytes_N[n]:
            continue
        canvas = make_canvas(corners, slot_C, row_C)
        polygon, iou = find_polygon(mask, canvas, corners, fidelity, epsilon)
        if iou < fidelity:
            continue
        n_runs = fill_polygon(mask, canvas, polygon)
        left, top, width, height, area = _box(canvas.runs_E, n_runs, h)
        value_B = np.empty(max_bytes(polygon), np.uint8)
        n_bytes = write_polygon(polygon, corners.part_K, left, top, value_B)
        if n_bytes > max_bytes_N[n]:
            continue
        if start + n_bytes > len(bytes_B):
            return n
        for i in range(n_bytes):
            bytes_B[start + i] = value_B[i]
        ends_N[n] = start + n_bytes
        fidelity_N[n] = iou
        _note(bbox_xywh_N4, area_N, n, left, top, width, height, area)
    return n_masks
