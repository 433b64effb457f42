"""Compiled crossings of one edge with pixel columns, by COCO's rule.

COCO's rule (``maskApi.c: rleFrPoly``) rounds every vertex to fifths of a pixel
(``(int)(5 * x + .5)``), walks each edge one fifth at a time along its longer
axis, and lets the edge toggle column c at the step between fifths ``5c + 2``
and ``5c + 3``, at the y of that step. Which steps those are is known without
the walk, so each edge yields one crossing per column in O(1): along a shallow
edge the step is given and y is evaluated; along a steep one the step is found
by a division and set right by evaluating the same expression in the same
float64 arithmetic. The results are the walk's, bit for bit. Vertices below 0
are truncated towards zero there, which moves steps only between fifths <= 0,
left of every column's crossing and above every row's, so it has no effect.

Shape suffix: C columns.
"""
# Types are the compiler's to infer.
# pyright: reportMissingParameterType=false

from __future__ import annotations

from pipeline.masks._jit import part


@part
def edge_columns(x_a, x_b, w):
    """First and end column that the edge between two fifths crosses in an image of width w."""
    low = min(x_a, x_b)
    high = max(x_a, x_b)
    if high < 3:
        return 0, 0
    first = 0 if low <= 2 else (low + 2) // 5
    end = min((high + 2) // 5, w)
    return first, max(first, end)


@part
def _row_of_fifth(v, h):
    """First pixel row below fifth v, held inside the image."""
    if v <= 2:
        return 0
    return min((v + 2) // 5, h)


@part
def edge_rows(x_a, y_a, x_b, y_b, first, end, h, row_C):
    """Row from which on the edge toggles each of the columns first..end, in row_C[0:]."""
    dx = abs(x_b - x_a)
    dy = abs(y_b - y_a)
    if dx >= dy:
        if x_a > x_b:
            x_a, y_a, x_b, y_b = x_b, y_b, x_a, y_a
        slope = float(y_b - y_a) / dx
        step = 2 - x_a if slope >= 0.0 else 3 - x_a
        for c in range(first, end):
            v = int(y_a + slope * (5 * c + step) + 0.5)
            row_C[c - first] = _row_of_fifth(v, h)
        return
    if y_a > y_b:
        x_a, y_a, x_b, y_b = x_b, y_b, x_a, y_a
    slope = float(x_b - x_a) / dy
    is_rising = slope > 0.0
    inverse = 1.0 / slope
    for c in range(first, end):
        edge = 5 * c + 3.0
        t = min(max(int((edge - 0.5 - x_a) * inverse) + 1, 0), dy)
        while t > 0 and ((x_a + slope * (t - 1) + 0.5 >= edge) == is_rising):
            t -= 1
        while t < dy and ((x_a + slope * t + 0.5 >= edge) != is_rising):
            t += 1
        row_C[c - first] = _row_of_fifth(y_a + t - 1, h)
