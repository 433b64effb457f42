"""Members whose boxes may reach the threshold with a given one: by a grid.

From about a thousand members on this is quicker than a scan. A box belongs to
the finest level whose cells, of 16, 64, 256, ... px, are no smaller than its
longer side, and there to the cell that holds its top left corner. Entries are
sorted by level, column of cells, and top edge, so the boxes of a level that can
touch a given box lie in one short stretch of each of a few columns. Where a
level has few enough cells, an index says where each starts; else the stretch is
searched for. Entries of members that were closed are dropped whenever they are
half of all. Time is O(N log N + pairs found), memory O(N).
"""

# Numba infers the types of parameters from the call, and intrinsics take one less than written.
# pyright: reportMissingParameterType=false, reportCallIssue=false

from __future__ import annotations

from numba import int64

from pipeline.masks._jit import inlined, part
from pipeline.masks._numba_group_rows import ROW, ROW_64
from pipeline.masks._numba_group_vector import load_32x8, prefetch, store

FINEST = 4
STEP = 2
N_LEVELS = 15
"""Cells measure 2**4, 2**6, ... 2**32 px."""

ENTRY = 8
X0, X1, Y0, Y1, AREA, LEAST, PLACE, PROFILE = range(8)
"""What an entry of the grid holds, as int32; the profile is where to look for it soon."""


@part
def sort_keys(keys, spare_keys, values, spare, starts, n_keys, n_bytes):
    """Sort keys and the values beside them by the lower bytes of the keys, stably.

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
            spare[starts[bucket]] = values[n]
            starts[bucket] += 1
        keys, spare_keys = spare_keys, keys
        values, spare = spare, values


@part
def sort_found(found, n_found, spare, starts):
    """Sort listed rows: few by insertion, many by their bytes."""
    if n_found <= 32:
        for f in range(1, n_found):
            v = found[f]
            place = f
            while place > 0 and found[place - 1] > v:
                found[place] = found[place - 1]
                place -= 1
            found[place] = v
        return
    for place in range(0, 32, 8):
        for bucket in range(257):
            starts[bucket] = 0
        for f in range(n_found):
            starts[((found[f] >> place) & 255) + 1] += 1
        for bucket in range(256):
            starts[bucket + 1] += starts[bucket]
        for f in range(n_found):
            bucket = (found[f] >> place) & 255
            spare[starts[bucket]] = found[f]
            starts[bucket] += 1
        found, spare = spare, found


@inlined
def place_key(level, column, y, n_bits):
    """Return a number that sorts entries by level, then by column, then by row."""
    return (((level << (n_bits - FINEST)) | column) << n_bits) | y


@part
def build_grid(rows, members, n_members, grid):
    """Sort the members into columns of cells.

    Returns (largest coordinate, bits that it takes).
    """
    extent = int64(0)
    for v in range(n_members):
        k = ROW * members[v]
        extent = max(extent, int64(max(rows.x1[k], rows.y1[k])))
    n_bits = FINEST
    while extent >> n_bits > 0:
        n_bits += 1
    order = grid.cells
    for v in range(n_members):
        k = ROW * members[v]
        side = int64(max(rows.x1[k] - rows.x0[k], rows.y1[k] - rows.y0[k]))
        level = 0
        while side > int64(1) << (FINEST + STEP * level):
            level += 1
        column = int64(rows.x0[k]) >> (FINEST + STEP * level)
        grid.keys[v] = place_key(level, column, int64(rows.y0[k]), n_bits)
        order[v] = members[v]
    n_bytes = (2 * n_bits - FINEST + 4 + 15) >> 4 << 1
    sort_keys(grid.keys, grid.spare_keys, order, grid.spare, grid.starts, n_members, n_bytes)
    for e in range(n_members):
        grid.entry_of[order[e]] = e
    for v in range(n_members):
        row = members[v]
        k = ROW * row
        entry = ENTRY * grid.entry_of[row]
        grid.entries[entry + X0] = rows.x0[k]
        grid.entries[entry + X1] = rows.x1[k]
        grid.entries[entry + Y0] = rows.y0[k]
        grid.entries[entry + Y1] = rows.y1[k]
        grid.entries[entry + AREA] = rows.area[k]
        grid.entries[entry + LEAST] = rows.least[k]
        grid.entries[entry + PLACE] = row
        grid.entries[entry + PROFILE] = rows.at[ROW_64 * row] & 0x7FFFFFFF
    index_cells(n_members, n_members, grid, extent, n_bits)
    return extent, n_bits


@part
def index_cells(n_entries, n_members, grid, extent, n_bits):
    """Note where each level starts, and each cell of levels that have few enough of them."""
    used = int64(0)
    end = int64(0)
    column_bits = n_bits - FINEST
    for level in range(N_LEVELS):
        start = end
        while end < n_entries and grid.keys[end] >> (n_bits + column_bits) == level:
            end += 1
        grid.level_start[level] = start
        grid.level_start[level + 1] = end
        grid.level_cells[level] = -1
        side = (extent >> (FINEST + STEP * level)) + 1
        if start == end or side * side + 1 > 2 * n_members - used:
            continue
        grid.level_cells[level] = used
        grid.level_side[level] = side
        cell = int64(0)
        for e in range(start, end):
            column = (grid.keys[e] >> n_bits) & ((int64(1) << column_bits) - 1)
            row = (grid.keys[e] & ((int64(1) << n_bits) - 1)) >> (FINEST + STEP * level)
            while cell <= column * side + row:
                grid.cells[used + cell] = e
                cell += 1
        while cell <= side * side:
            grid.cells[used + cell] = end
            cell += 1
        used += side * side + 1


@part
def drop_closed(n_entries, n_members, grid, extent, n_bits):
    """Leave only the entries of open members; return their number."""
    kept = 0
    for e in range(n_entries):
        if grid.entries[ENTRY * e + AREA] > 0:
            grid.keys[kept] = grid.keys[e]
            grid.entry_of[grid.entries[ENTRY * e + PLACE]] = kept
            store(grid.entries, ENTRY * kept, load_32x8(grid.entries, ENTRY * e))
            kept += 1
    index_cells(kept, n_members, grid, extent, n_bits)
    return kept


@inlined
def close_entry(grid, row):
    """Note in the grid that a row is closed."""
    grid.entries[ENTRY * grid.entry_of[row] + AREA] = 0


@inlined
def first_entry(grid, low, high, key):
    """Find the first entry in low..high whose key is not below another."""
    while low < high:
        middle = (low + high) >> 1
        if grid.keys[middle] < key:
            low = middle + 1
        else:
            high = middle
    return low


@inlined
def ask_for(rows, arena, row, profile):
    """Ask for what a comparison will need: in a crowd, neighbours are anywhere in memory."""
    prefetch(rows.x0, ROW * row)
    for line in range(0, 64, 16):
        prefetch(arena, profile + line)


@inlined
def stretch_of(grid, n_bits, level, column, top, bottom):
    """Find where the entries of a column of cells start and end that begin in some rows."""
    cells = int64(grid.level_cells[level])
    if cells >= 0:
        shift = FINEST + STEP * level
        cells += column * grid.level_side[level]
        return int64(grid.cells[cells + (top >> shift)]), int64(
            grid.cells[cells + ((bottom - 1) >> shift) + 1]
        )
    low = int64(grid.level_start[level])
    end = int64(grid.level_start[level + 1])
    start = first_entry(grid, low, end, place_key(level, column, top, n_bits))
    return start, first_entry(grid, start, end, place_key(level, column, bottom, n_bits))


@inlined
def scan_entries(rows, arena, grid, stretch, i, area_i, is_ios, found, n_found):
    """List the rows among entries that may reach the threshold with row i."""
    k = ROW * i
    start, end = stretch
    least_i = int64(rows.least[k])
    for entry in range(ENTRY * start, ENTRY * end, ENTRY):
        left = max(rows.x0[k], grid.entries[entry + X0])
        wide = min(rows.x1[k], grid.entries[entry + X1]) - left
        top = max(rows.y0[k], grid.entries[entry + Y0])
        high = min(rows.y1[k], grid.entries[entry + Y1]) - top
        most = min(int64(wide) * int64(high), area_i, int64(grid.entries[entry + AREA]))
        least = int64(grid.entries[entry + LEAST])
        needed = min(least_i, least) if is_ios else max(least_i, least)
        if wide > 0 and most >= needed:
            row = int64(grid.entries[entry + PLACE])
            found[n_found] = row
            n_found += 1
            ask_for(rows, arena, row, int64(grid.entries[entry + PROFILE]))
    return n_found


@part
def search_grid(rows, arena, grid, n_bits, i, area_i, is_ios, found):
    """List the rows of open members that areas and boxes cannot exclude, in no order."""
    n_found = 0
    k = ROW * i
    least_i = int64(rows.least[k])
    ask_for(rows, arena, i, rows.at[ROW_64 * i])
    for level in range(N_LEVELS):
        n_entries = grid.level_start[level + 1] - grid.level_start[level]
        shift = FINEST + STEP * level
        # Boxes of this level hold at most 4**shift px.
        if n_entries == 0 or (not is_ios and shift < 16 and int64(1) << (2 * shift) < least_i):
            continue
        reach = (int64(1) << shift) - 1
        first_column = max(rows.x0[k] - reach, 0) >> shift
        last_column = (int64(rows.x1[k]) - 1) >> shift
        if last_column - first_column >= n_entries:
            whole = int64(grid.level_start[level]), int64(grid.level_start[level + 1])
            n_found = scan_entries(rows, arena, grid, whole, i, area_i, is_ios, found, n_found)
            continue
        top = max(rows.y0[k] - reach, 0)
        for column in range(first_column, last_column + 1):
            stretch = stretch_of(grid, n_bits, level, column, top, int64(rows.y1[k]))
            n_found = scan_entries(rows, arena, grid, stretch, i, area_i, is_ios, found, n_found)
    return n_found
