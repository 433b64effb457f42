"""Compiled bytes of polygons: written from linked loops, read with every step checked.

The format is normative in `docs/format-polygon.md`.

Shape suffixes: B bytes, V vertices, K loops, N masks.
"""
# Types are the compiler's to infer.
# pyright: reportMissingParameterType=false

from __future__ import annotations

import numpy as np

from pipeline.masks._jit import kernel, part

OK = 0
TRUNCATED = 1
PADDED = 2
TOO_LONG = 3
NO_OUTLINE = 4
OUTSIDE = 5

_MAX_VARINT_BYTES = 5
_MAX_PX = 1 << 24


@part
def _zigzag(value):
    return (value << 1) ^ (value >> 63)


@part
def _varint_length(value):
    n = 1
    while value >= 128:
        value >>= 7
        n += 1
    return n


@part
def _put(value, bytes_B, at):
    """Write a varint; returns the next position."""
    while value >= 128:
        bytes_B[at] = (value & 127) | 128
        value >>= 7
        at += 1
    bytes_B[at] = value
    return at + 1


@part
def _bits(value):
    """Count the bits of a zigzag value: what it costs, roughly, once compressed."""
    value = _zigzag(value)
    n = 0
    while value > 0:
        value >>= 1
        n += 1
    return n


@part
def _cheapest_start(polygon, k, x, y):
    """Vertex of loop k to begin with: near (x, y), after a long edge, which is not written."""
    step = polygon.step
    v = polygon.first_K[k]
    best = v
    least = 1 << 30
    for _ in range(polygon.n_K[k]):
        w = polygon.next_V[v]
        bits = _bits(polygon.x_V[w] // step - x) + _bits(polygon.y_V[w] // step - y)
        bits -= _bits((polygon.x_V[w] - polygon.x_V[v]) // step)
        bits -= _bits((polygon.y_V[w] - polygon.y_V[v]) // step)
        if bits < least:
            least = bits
            best = w
        v = w
    return best


@part
def origin(left, top, step):
    """Lattice point at or before the corner of a box, in steps."""
    return (2 * left) // step, (2 * top) // step


@part
def max_bytes(polygon):
    """Bytes that a polygon takes at most."""
    n = 5
    for k in range(len(polygon.n_K)):
        n += 5 + 10 * polygon.n_K[k]
    return n


@part
def write_polygon(polygon, part_K, left, top, bytes_B):
    """Write a polygon whose mask has the box corner (left, top); returns the number of bytes."""
    step = polygon.step
    x, y = origin(left, top, step)
    exponent = 0
    while 1 << exponent < step:
        exponent += 1
    at = _put(((len(polygon.n_K) - 1) << 2) | exponent, bytes_B, np.int64(0))
    for k in range(len(polygon.n_K)):
        is_hole = k > 0 and part_K[k] == part_K[k - 1]
        at = _put(((polygon.n_K[k] - 3) << 1) | is_hole, bytes_B, at)
        v = _cheapest_start(polygon, k, x, y)
        for _ in range(polygon.n_K[k]):
            next_x, next_y = polygon.x_V[v] // step, polygon.y_V[v] // step
            at = _put(_zigzag(next_x - x), bytes_B, at)
            at = _put(_zigzag(next_y - y), bytes_B, at)
            x, y = next_x, next_y
            v = polygon.next_V[v]
    return at


@part
def _get(bytes_B, at, end):
    """Read a varint: (value, next position, code)."""
    value = 0
    for place in range(_MAX_VARINT_BYTES):
        if at >= end:
            return 0, at, TRUNCATED
        byte = int(bytes_B[at])
        at += 1
        value |= (byte & 127) << (7 * place)
        if byte < 128:
            return value, at, PADDED if byte == 0 and place > 0 else OK
    return 0, at, PADDED


@part
def _read(bytes_B, at, end, left, top, h, w, xy_V, n_values, ends_K, n_rings, is_writing):
    """Read one value, or only check it: (code, values, rings), both counted from those given."""
    header, at, code = _get(bytes_B, at, end)
    if code != OK:
        return code, n_values, n_rings
    step = 1 << (header & 3)
    n_loops = (header >> 2) + 1
    x, y = origin(left, top, step)
    last_x = min(-(-2 * w // step), 2 * _MAX_PX // step)
    last_y = min(-(-2 * h // step), 2 * _MAX_PX // step)
    outline = 0
    for k in range(n_loops):
        size, at, code = _get(bytes_B, at, end)
        if code != OK:
            return code, n_values, n_rings
        is_hole = size & 1 == 1
        n_vertices = (size >> 1) + 3
        if is_hole and k == 0:
            return NO_OUTLINE, n_values, n_rings
        if 2 * n_vertices > end - at:
            return TRUNCATED, n_values, n_rings
        first = n_values
        if is_hole:
            # The bridge: from the outline's first vertex, and back to the hole's own.
            first += 2
        else:
            outline = n_values
            n_rings += 1
        for i in range(n_vertices):
            dx, at, code = _get(bytes_B, at, end)
            if code != OK:
                return code, n_values, n_rings
            dy, at, code = _get(bytes_B, at, end)
            if code != OK:
                return code, n_values, n_rings
            x += (dx >> 1) ^ -(dx & 1)
            y += (dy >> 1) ^ -(dy & 1)
            if x < 0 or y < 0 or x > last_x or y > last_y:
                return OUTSIDE, n_values, n_rings
            if is_writing:
                xy_V[first + 2 * i] = 0.5 * step * x
                xy_V[first + 2 * i + 1] = 0.5 * step * y
        n_values = first + 2 * n_vertices
        if is_hole:
            n_values += 2
            if is_writing:
                xy_V[first - 2] = xy_V[outline]
                xy_V[first - 1] = xy_V[outline + 1]
                xy_V[n_values - 2] = xy_V[first]
                xy_V[n_values - 1] = xy_V[first + 1]
        if is_writing:
            ends_K[n_rings - 1] = n_values
    return OK if at == end else TOO_LONG, n_values, n_rings


@kernel
def read_polygons(bytes_B, offsets_N1, bbox_xywh_N4, size_hw_N2):
    """Read N values to rings: (row, code) of the first fault or (-1, OK), xy, ends, mask ends."""
    n_masks = len(size_hw_N2)
    ends_N = np.empty(n_masks, np.int64)
    xy_V = np.empty(0, np.float64)
    ends_K = np.empty(0, np.int64)
    for is_writing in (False, True):
        n_values = 0
        n_rings = 0
        for n in range(n_masks):
            code, n_values, n_rings = _read(
                bytes_B, offsets_N1[n], offsets_N1[n + 1],
                bbox_xywh_N4[n, 0], bbox_xywh_N4[n, 1],
                int(size_hw_N2[n, 0]), int(size_hw_N2[n, 1]),
                xy_V, n_values, ends_K, n_rings, is_writing,
            )  # fmt: skip
            if code != OK:
                return n, code, xy_V, ends_K, ends_N
            ends_N[n] = n_rings
        if not is_writing:
            xy_V = np.empty(n_values, np.float64)
            ends_K = np.empty(n_rings, np.int64)
    return -1, OK, xy_V, ends_K, ends_N
