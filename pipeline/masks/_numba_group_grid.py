"""Members whose boxes may reach the threshold with a given one: by scan, or by grid.

A scan tests 8 members at once. From about a thousand members on a grid is
quicker: a box whose longer side is at most 2**level px lies in the one cell of
2**level px that holds its top left corner, so the boxes of a level that can
touch a given box start in its cells and in those to the left and above. Cells
are kept as a sorted list of those that are not empty; closed members are
dropped as they are met. Time is O(N log N + pairs found), memory O(N).
"""

# Numba infers the types of parameters from the call, and intrinsics take one less than written.
# pyright: reportMissingParameterType=false, reportCallIssue=false

from __future__ import annotations

from numba import int32, int64, uint64

from pipeline.masks._jit import inlined, part
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

FINEST = 3
LEVELS = 32
_SIDE_BITS = 29


@part
def scan_members(members, n_members, start, u, area_u, is_ios, found):
    """List the open members from ``start`` on that areas and boxes cannot exclude.

    Reads up to the next multiple of 8 members, where areas must be 0.
    """
    x0 = fill_32x8(int64(members.x0[u]))
    x1 = fill_32x8(int64(members.x1[u]))
    y0 = fill_32x8(int64(members.y0[u]))
    y1 = fill_32x8(int64(members.y1[u]))
    area = fill_32x8(area_u)
    least = fill_32x8(int64(members.least[u]))
    zeros = fill_32x8(int64(0))
    n_found = 0
    for block in range(start & ~7, n_members, 8):
        wide = subtract(
            smaller(x1, load_32x8(members.x1, block)), larger(x0, load_32x8(members.x0, block))
        )
        high = subtract(
            smaller(y1, load_32x8(members.y1, block)), larger(y0, load_32x8(members.y0, block))
        )
        # At most one factor may be negative, or two would make a positive product.
        most = multiply(larger(wide, zeros), high)
        most = smaller(smaller(most, area), load_32x8(members.area, block))
        others = load_32x8(members.least, block)
        needed = smaller(least, others) if is_ios else larger(least, others)
        bits = not_less_bits(most, needed)
        while bits != 0:
            found[n_found] = block + trailing_zeros(bits)
            n_found += 1
            bits &= bits - uint64(1)
    return n_found


@inlined
def may_reach(members, u, area_u, v, is_ios):
    """Say whether areas and boxes let an open member reach the threshold with another."""
    wide = min(members.x1[u], members.x1[v]) - max(members.x0[u], members.x0[v])
    high = min(members.y1[u], members.y1[v]) - max(members.y0[u], members.y0[v])
    if wide <= 0 or high <= 0:
        return False
    least_u = members.least[u]
    least_v = members.least[v]
    needed = min(least_u, least_v) if is_ios else max(least_u, least_v)
    return min(int64(wide) * int64(high), area_u, int64(members.area[v])) >= needed


@inlined
def cell_key(level, column, row):
    """Return a number that sorts cells by level, then by column, then by row."""
    return (level << (2 * _SIDE_BITS)) | (column << _SIDE_BITS) | row


@part
def sort_keys(keys, spare_keys, entries, spare, starts, n_keys, n_bytes):
    """Sort keys and the entries beside them by the lower bytes of the keys, stably.

    Each pass sorts by one byte and swaps the two pairs of arrays; their number is even.
    """
    for place in range(0, 8 * n_bytes, 8):
        for bucket in range(257):
            starts[bucket] = 0
        for n in range(n_keys):
            starts[((keys[n] >> place) & 255) + 1] += 1
        for bucket in range(256):
            starts[bucket + 1] += starts[bucket]
        for n in range(n_keys):
            bucket = (keys[n] >> place) & 255
            spare_keys[starts[bucket]] = keys[n]
            spare[starts[bucket]] = entries[n]
            starts[bucket] += 1
        keys, spare_keys = spare_keys, keys
        entries, spare = spare, entries


@part
def sort_found(found, n_found, grid):
    """Sort listed members."""
    if n_found > 32:
        for f in range(n_found):
            grid.keys[f] = found[f]
        sort_keys(grid.keys, grid.spare_keys, found, grid.spare, grid.starts, n_found, 4)
        return
    for f in range(1, n_found):
        v = found[f]
        place = f
        while place > 0 and found[place - 1] > v:
            found[place] = found[place - 1]
            place -= 1
        found[place] = v


@part
def build_grid(members, n_members, grid):
    """Sort the members into cells."""
    for v in range(n_members):
        side = max(members.x1[v] - members.x0[v], members.y1[v] - members.y0[v])
        level = int64(FINEST)
        while (int64(1) << level) < side:
            level += 1
        column = int64(members.x0[v]) >> level
        grid.keys[v] = cell_key(level, column, int64(members.y0[v]) >> level)
        grid.entries[v] = v
    sort_keys(grid.keys, grid.spare_keys, grid.entries, grid.spare, grid.starts, n_members, 8)
    n_cells = 0
    level = 0
    for e in range(n_members):
        if e > 0 and grid.keys[e] == grid.keys[e - 1]:
            grid.cell_size[n_cells - 1] += int32(1)
            continue
        while level <= grid.keys[e] >> (2 * _SIDE_BITS):
            grid.level_start[level] = n_cells
            level += 1
        grid.cell_key[n_cells] = grid.keys[e]
        grid.cell_start[n_cells] = e
        grid.cell_size[n_cells] = 1
        n_cells += 1
    while level <= LEVELS:
        grid.level_start[level] = n_cells
        level += 1


@inlined
def scan_cell(members, grid, cell, u, area_u, is_ios, found, n_found):
    """List the members of a cell that may reach the threshold; drop those that are closed."""
    start = grid.cell_start[cell]
    size = 0
    for e in range(start, start + grid.cell_size[cell]):
        v = grid.entries[e]
        if members.area[v] > 0:
            grid.entries[start + size] = v
            size += 1
            if may_reach(members, u, area_u, v, is_ios):
                found[n_found] = v
                n_found += 1
    grid.cell_size[cell] = size
    return n_found


@inlined
def first_cell(grid, low, high, key):
    """Find the first cell in low..high whose key is not below another."""
    while low < high:
        middle = (low + high) >> 1
        if grid.cell_key[middle] < key:
            low = middle + 1
        else:
            high = middle
    return low


@part
def search_grid(members, grid, u, area_u, is_ios, found):
    """List the open members that areas and boxes cannot exclude, in no order."""
    n_found = 0
    for level in range(FINEST, LEVELS):
        low = grid.level_start[level]
        end = grid.level_start[level + 1]
        # Boxes of this level hold at most 4**level px.
        if low == end or (not is_ios and int64(1) << (2 * level) < members.least[u]):
            continue
        reach = (int64(1) << level) - 1
        first_column = max(members.x0[u] - reach, 0) >> level
        last_column = (int64(members.x1[u]) - 1) >> level
        first_row = max(members.y0[u] - reach, 0) >> level
        last_row = (int64(members.y1[u]) - 1) >> level
        if last_column - first_column >= end - low:
            for cell in range(low, end):
                n_found = scan_cell(members, grid, cell, u, area_u, is_ios, found, n_found)
            continue
        for column in range(first_column, last_column + 1):
            cell = first_cell(grid, low, end, cell_key(level, column, first_row))
            last_key = cell_key(level, column, last_row)
            while cell < end and grid.cell_key[cell] <= last_key:
                n_found = scan_cell(members, grid, cell, u, area_u, is_ios, found, n_found)
                cell += 1
    return n_found
