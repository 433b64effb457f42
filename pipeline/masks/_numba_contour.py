"""Compiled tracing of contours from runs to crack bytes (public names: `pipeline.masks.contour`).

Two nodes stand for each run of a column: node 2r is the eastward crack on top of
it (T), node 2r + 1 the westward crack below it (B); the foreground is on the
right. On the grid line between two columns, the boundaries of both sides sorted
by row (T before B at the same row, which joins parts that touch at a corner) are
paired 1st with 2nd, 3rd with 4th, ...: each pair is one vertical stretch of the
contour, from an incoming node (T of the left column or B of the right one) to an
outgoing one. A stretch of length 0 is a straight step east or west.
"""

# Numba infers the parameters' types; the public functions state them.
# pyright: reportMissingParameterType=false

from __future__ import annotations

import numpy as np

from pipeline.masks._jit import kernel, part

# A signed index is checked for counting from the end, in every access of the tight loops.
u64 = np.uint64

OK = 0
RUNS = 1
TOO_LONG = 2
# Not faults: the caller makes room and goes on.
GROW_RUNS = 3
GROW_BYTES = 4

MAX_STEPS = 1 << 24
# Two stretches of at most 3 symbols, and start and end of a ring: bytes, rounded up.
BYTES_OF_RUN = 20

# Stretches of `pipeline.masks._contour_tables`.
STRAIGHT = 0
TURN = 12
MAX_SHORT_ROWS = 2
VISITED = (1 << 32) - 1
STATE_BITS = ~15


@part
def split_runs(counts_R, start, end, height, width, col_C, row_C2):
    """Cut foreground at column ends into ``col_C`` and ``row_C2``: (code, how many).

    The read position (x, y) moves along, so the usual run costs no division.
    """
    n_runs = 0
    left = height * width
    x = 0
    y = 0
    for place in range(start, end):
        run = int(counts_R[u64(place)])
        left -= run
        if left < 0 or (run == 0 and place > start):
            return RUNS, 0
        if (place - start) & 1 == 0:
            y += run
            if y >= height:
                y -= height
                x += 1
                if y >= height:
                    x += y // height
                    y %= height
            continue
        if run >= height and n_runs + run // height > MAX_STEPS // 2:
            return TOO_LONG, 0
        while True:
            if n_runs == len(col_C):
                return (TOO_LONG if n_runs > MAX_STEPS // 2 else GROW_RUNS), 0
            bottom = min(y + run, height)
            col_C[u64(n_runs)] = x
            row_C2[u64(2 * n_runs)] = y
            row_C2[u64(2 * n_runs + 1)] = bottom
            n_runs += 1
            run -= bottom - y
            y = bottom
            if bottom == height:
                y = 0
                x += 1
            if run == 0:
                break
    return (OK if left == 0 else RUNS), n_runs


@part
def is_left_next(a, a_end, b, b_end, row_C2):
    """Whether node a of the left column comes before b of the right: T first at the same row."""
    if b == b_end:
        return True
    return a < a_end and row_C2[u64(a)] * 2 + (a & 1) <= row_C2[u64(b)] * 2 + (b & 1)


@part
def link_line(left, left_end, right, right_end, row_C2, next_C2):
    """Pair the boundaries of two columns on their common grid line."""
    a = 2 * left
    b = 2 * right
    a_end = 2 * left_end
    b_end = 2 * right_end
    while a < a_end or b < b_end:
        if is_left_next(a, a_end, b, b_end, row_C2):
            first = a
            is_in = a & 1 == 0
            a += 1
        else:
            first = b
            is_in = b & 1 == 1
            b += 1
        if is_left_next(a, a_end, b, b_end, row_C2):
            second = a
            a += 1
        else:
            second = b
            b += 1
        if is_in:
            next_C2[u64(first)] = second
        else:
            next_C2[u64(second)] = first


@part
def link_runs(n_runs, col_C, row_C2, next_C2):
    """Link the nodes of all runs: ``next_C2[node]`` is the next horizontal crack of its ring."""
    left = 0
    right = 0
    while right < n_runs:
        col = col_C[u64(right)]
        end = right + 1
        while end < n_runs and col_C[u64(end)] == col:
            end += 1
        if left < right and col_C[u64(left)] + 1 != col:
            link_line(left, right, right, right, row_C2, next_C2)
            left = right
        if left + 1 == right and right + 1 == end:
            a = 2 * left
            b = 2 * right
            if row_C2[u64(a)] <= row_C2[u64(b + 1)] and row_C2[u64(b)] <= row_C2[u64(a + 1)]:
                # One run on either side that touch: top goes on to top, bottom to bottom.
                next_C2[u64(a)] = b
                next_C2[u64(b + 1)] = a + 1
                left = right
                right = end
                continue
        link_line(left, right, right, end, row_C2, next_C2)
        left = right
        right = end
    link_line(left, right, right, right, row_C2, next_C2)


@part
def write_varint(value, bytes_B, out):
    """Write 7 bits a byte, lowest first, the top bit set where more follow; new end."""
    while value > 127:
        bytes_B[u64(out)] = 128 + (value & 127)
        out += 1
        value >>= 7
    bytes_B[u64(out)] = value
    return out + 1


@part
def write_symbol(symbol, state, move_S16, bytes_B, out):
    """Feed one stretch that writes a byte at most: (state, end)."""
    word = np.int64(move_S16[u64(state + symbol)])
    bytes_B[u64(out)] = word & 255
    return word >> 14 & STATE_BITS, out + (word >> 16 & 3)


@part
def write_straights(n_symbols, state, move_S16, bytes_B, out):
    """Feed straight symbols: (state, end)."""
    for _ in range(n_symbols):
        state, out = write_symbol(STRAIGHT, state, move_S16, bytes_B, out)
    return state, out


@part
def write_ring(first, row_C2, next_C2, move_S16, finish_S16, state, n_steps, bytes_B, out, limit):
    """Follow one ring from its first node, marking nodes as visited: (end, cracks so far).

    Long stretches are counted against ``limit``. The end is -1 where that is
    passed or where there are more than `MAX_STEPS` cracks.
    """
    node = first
    row = row_C2[u64(first)]
    right = 1
    while True:
        after = np.int64(next_C2[u64(node)])
        next_C2[u64(node)] = VISITED
        down = row_C2[u64(after)] - row
        row = row_C2[u64(after)]
        rows = abs(down)
        is_up = down >> 63 & 1
        # Down from a T (east) is a right turn, up from a B (west) too; and so on.
        first_right = (1 - is_up) ^ (node & 1)
        last_right = is_up ^ (after & 1)
        # Whether they go to the other side than the turn before.
        first_other = first_right ^ right
        last_other = last_right ^ first_right
        right = last_right if rows > 0 else right
        node = after
        n_steps += rows + 1
        if node == first:
            break
        if rows <= MAX_SHORT_ROWS:
            stretch = 4 * rows + 2 * first_other + last_other
            word = np.int64(move_S16[u64(state + stretch)])
            bytes_B[u64(out)] = word & 255
            bytes_B[u64(out + 1)] = word >> 8 & 255
            out += word >> 16 & 3
            state = word >> 14 & STATE_BITS
            continue
        limit -= rows
        if out > limit or n_steps > MAX_STEPS:
            return -1, n_steps
        state, out = write_symbol(TURN + first_other, state, move_S16, bytes_B, out)
        state, out = write_straights(rows - 1, state, move_S16, bytes_B, out)
        state, out = write_symbol(TURN + last_other, state, move_S16, bytes_B, out)
    if out > limit - rows or n_steps > MAX_STEPS:
        return -1, n_steps
    # The turn into the first crack is left out: it follows from the heading.
    state, out = write_symbol(TURN + first_other, state, move_S16, bytes_B, out)
    state, out = write_straights(rows - 1, state, move_S16, bytes_B, out)
    word = np.int64(finish_S16[u64(state)])
    bytes_B[u64(out)] = word & 255
    return out + (word >> 8), n_steps


@part
def write_rings(n_runs, col_C, row_C2, next_C2, move_S16, finish_S16, state, bytes_B, out):
    """Write all rings of a mask in the order of their first run: (code, end)."""
    before = -1
    n_steps = 0
    limit = len(bytes_B) - BYTES_OF_RUN * n_runs
    for run in range(n_runs):
        if next_C2[u64(2 * run)] == VISITED:
            continue
        if before >= 0:
            rows = row_C2[u64(2 * run)] - row_C2[u64(2 * before)]
            out = write_varint(col_C[u64(run)] - col_C[u64(before)], bytes_B, out)
            out = write_varint((rows << 1) ^ (rows >> 63), bytes_B, out)
        before = run
        out, n_steps = write_ring(
            2 * run, row_C2, next_C2, move_S16, finish_S16, state, n_steps, bytes_B, out, limit
        )
        if out < 0:
            return (TOO_LONG if n_steps > MAX_STEPS else GROW_BYTES), out
    # Straights at the very end go without saying.
    while bytes_B[u64(out - 1)] == 0:
        out -= 1
    return OK, out


@kernel
def encode(
    counts_R,
    offsets_N1,
    size_hw_N2,
    row,
    col_C,
    row_C2,
    next_C2,
    move_S16,
    finish_S16,
    state,
    bytes_B,
    out_offsets_N1,
):
    """Write rows from ``row`` on: (row reached, its fault or what has to grow, or OK)."""
    out = out_offsets_N1[row]
    for n in range(row, len(size_hw_N2)):
        code, n_runs = split_runs(
            counts_R,
            offsets_N1[n],
            offsets_N1[n + 1],
            int(size_hw_N2[n, 0]),
            int(size_hw_N2[n, 1]),
            col_C,
            row_C2,
        )
        if code != OK:
            return n, code
        if n_runs > 0:
            if out + BYTES_OF_RUN * n_runs > len(bytes_B):
                return n, GROW_BYTES
            link_runs(n_runs, col_C, row_C2, next_C2)
            code, end = write_rings(
                n_runs, col_C, row_C2, next_C2, move_S16, finish_S16, state, bytes_B, out
            )
            if code != OK:
                return n, code
            out = end
        out_offsets_N1[n + 1] = out
    return len(size_hw_N2), OK
