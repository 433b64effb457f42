"""Members whose boxes may reach the threshold with a given one: eight tests at once."""

# Numba infers the types of parameters from the call, and intrinsics take one less than written.
# pyright: reportMissingParameterType=false, reportCallIssue=false

from __future__ import annotations

from numba import int64, uint64

from pipeline.masks._jit import part
from pipeline.masks._numba_group_rows import ROW
from pipeline.masks._numba_group_vector import (
    fill_32x8,
    larger,
    load_32x8,
    multiply,
    not_less_bits,
    smaller,
    subtract,
    trailing_zeros,
)

NO_LIMIT = 2**31 - 1
"""In place of an area: the other bounds alone decide."""


@part
def fill_scan(rows, members, n_members, scan):
    """Put boxes and areas of all members side by side."""
    for v in range(n_members):
        k = members[v]
        scan.x0[v] = rows.x0[ROW * k]
        scan.x1[v] = rows.x1[ROW * k]
        scan.y0[v] = rows.y0[ROW * k]
        scan.y1[v] = rows.y1[ROW * k]
        scan.area[v] = rows.area[ROW * k]
        scan.least[v] = rows.least[ROW * k]
        scan.member_of[k] = v
    for v in range(n_members, (n_members + 7) & ~7):
        scan.area[v] = 0
        scan.least[v] = 1


@part
def ignore_bounds(scan, n_members, has_area, has_box, h, w):
    """Let areas or boxes decide nothing (for tests)."""
    for v in range(n_members):
        if not has_area:
            scan.area[v] = NO_LIMIT
        if not has_box:
            scan.x0[v] = 0
            scan.x1[v] = w
            scan.y0[v] = 0
            scan.y1[v] = h


@part
def search_scan(rows, members, n_members, start, scan, i, area_i, is_ios, found):
    """List the rows of open members from ``start`` on that areas and boxes cannot exclude.

    Reads up to the next multiple of 8 members, where areas must be 0.
    """
    x0 = fill_32x8(int64(rows.x0[ROW * i]))
    x1 = fill_32x8(int64(rows.x1[ROW * i]))
    y0 = fill_32x8(int64(rows.y0[ROW * i]))
    y1 = fill_32x8(int64(rows.y1[ROW * i]))
    area = fill_32x8(area_i)
    least = fill_32x8(int64(rows.least[ROW * i]))
    zeros = fill_32x8(int64(0))
    n_found = 0
    for block in range(start & ~7, n_members, 8):
        wide = subtract(
            smaller(x1, load_32x8(scan.x1, block)), larger(x0, load_32x8(scan.x0, block))
        )
        high = subtract(
            smaller(y1, load_32x8(scan.y1, block)), larger(y0, load_32x8(scan.y0, block))
        )
        # At most one factor may be negative, or two would make a positive product.
        most = multiply(larger(wide, zeros), high)
        most = smaller(smaller(most, area), load_32x8(scan.area, block))
        others = load_32x8(scan.least, block)
        needed = smaller(least, others) if is_ios else larger(least, others)
        bits = not_less_bits(most, needed)
        while bits != 0:
            found[n_found] = members[block + trailing_zeros(bits)]
            n_found += 1
            bits &= bits - uint64(1)
    return n_found
