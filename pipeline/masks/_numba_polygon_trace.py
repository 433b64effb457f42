"""Compiled tracing of pixel-corner loops from runs. Documented faces: `pipeline.masks.polygon`.

Shape suffixes: R runs of foreground split at column ends, L links (two per run),
V vertices, K loops.

Run r in column c covers the rows Y[2r] .. Y[2r + 1] (exclusive). Node 2r is the
crack along its top, walked eastward from (c, top) to (c + 1, top); node 2r + 1
the one along its bottom, walked westward; so foreground is on the right. On
every vertical grid line the boundaries of the columns on both sides, merged by
row with tops before bottoms where they tie, join in consecutive pairs; each pair
is the vertical stretch from one node to the next. Tops before bottoms makes
foreground 8-connected. Cost: linear in runs.
"""
# Types are the compiler's to infer.
# pyright: reportMissingParameterType=false

from __future__ import annotations

import numpy as np

from pipeline.masks._jit import kernel, part


@part
def count_column_runs(counts_R, h):
    """Count the foreground runs of one mask after a split at column ends."""
    n = 0
    position = 0
    for i in range(len(counts_R)):
        count = int(counts_R[i])
        if i % 2 == 1 and count > 0:
            n += (position + count - 1) // h - position // h + 1
        position += count
    return n


@part
def split_runs(counts_R, h, column_R, y_L):
    """Split foreground runs at column ends; returns how many there are."""
    n = 0
    column = 0
    y = 0
    for i in range(len(counts_R)):
        count = int(counts_R[i])
        if i % 2 == 0:
            y += count
            if y >= h:
                column += y // h
                y %= h
            continue
        while count > 0:
            length = min(count, h - y)
            column_R[n] = column
            y_L[2 * n] = y
            y_L[2 * n + 1] = y + length
            n += 1
            count -= length
            y += length
            if y == h:
                column += 1
                y = 0
    return n


@part
def _link_line(left, middle, right, y_L, next_L):
    """Join the nodes that meet on the grid line between runs left..middle and middle..right."""
    i = 2 * left
    j = 2 * middle
    pending = -1
    while i < 2 * middle or j < 2 * right:
        if i == 2 * middle:
            takes_left = False
        elif j == 2 * right:
            takes_left = True
        elif y_L[i] != y_L[j]:
            takes_left = y_L[i] < y_L[j]
        else:
            takes_left = i % 2 == 0
        if takes_left:
            node = i
            i += 1
        else:
            node = j
            j += 1
        if pending < 0:
            pending = node
            continue
        # Tops of the left column and bottoms of the right one arrive here.
        if (pending % 2 == 0) == (pending < 2 * middle):
            next_L[pending] = node
        else:
            next_L[node] = pending
        pending = -1


@part
def link_runs(column_R, y_L, n_runs, first_R, next_L):
    """Link all nodes to loops; first_R[r] becomes the first run of r's column."""
    left, middle = np.int64(0), np.int64(0)
    while middle < n_runs:
        right = middle
        while right < n_runs and column_R[right] == column_R[middle]:
            first_R[right] = middle
            right += 1
        if left < middle and column_R[left] + 1 < column_R[middle]:
            _link_line(left, middle, middle, y_L, next_L)
            left = middle
        _link_line(left, middle, right, y_L, next_L)
        left, middle = middle, right
    _link_line(left, middle, middle, y_L, next_L)


@part
def _covering_run(y_L, first, end, y):
    """Find the run among first..end, sorted by row, that covers row y."""
    low, high = first, end
    while high - low > 1:
        middle = (low + high) // 2
        if y_L[2 * middle] <= y:
            low = middle
        else:
            high = middle
    return low


@part
def find_loops(y_L, n_runs, first_R, next_L, loop_R, start_K, bridge_K, part_K):
    """Find all loops, in order of their first run; returns how many there are.

    loop_R[r] is the loop of r's top, start_K the loop's first run in order of
    columns, then rows. A loop is a part's outline if that run's own bottom leads
    to its top. Otherwise it is the rim of a hole that begins in the gap above
    that run: then bridge_K is the run of the column before that covers the whole
    gap (-1 for an outline), and part_K the outline of the part it lies in.
    """
    n_loops = 0
    loop_R[:n_runs] = -1
    for r in range(n_runs):
        if loop_R[r] >= 0:
            continue
        node = 2 * r
        last = node
        while True:
            if node % 2 == 0:
                loop_R[node >> 1] = n_loops
            last = node
            node = next_L[node]
            if node == 2 * r:
                break
        start_K[n_loops] = r
        bridge_K[n_loops] = -1
        part_K[n_loops] = n_loops
        if last != 2 * r + 1:
            before = first_R[first_R[r] - 1]
            bridge_K[n_loops] = _covering_run(y_L, before, first_R[r], y_L[2 * r] - 1)
            part_K[n_loops] = part_K[loop_R[bridge_K[n_loops]]]
        n_loops += 1
    return n_loops


@part
def bridge_holes(next_L, start_K, bridge_K):
    """Join the rim of every hole to the loop of the run before it, by zero-width bridges.

    The gap's two nodes and the covering run's top meet on one grid line. To swap
    the successors of the top and of the gap's upper node makes one loop of two;
    it runs down the line to the rim, around it, and up again.
    """
    for k in range(len(start_K)):
        if bridge_K[k] >= 0:
            top, rim = 2 * bridge_K[k], 2 * start_K[k] - 1
            next_L[top], next_L[rim] = next_L[rim], next_L[top]


@part
def loop_corners(start, column_R, y_L, next_L, x_V, y_V, at):
    """Write the corners of the loop through node start at x_V[at:]; returns the end."""
    node = start
    while True:
        following = next_L[node]
        if y_L[node] != y_L[following]:
            x = column_R[node >> 1] + 1 - (node & 1)
            x_V[at] = x
            y_V[at] = y_L[node]
            x_V[at + 1] = x
            y_V[at + 1] = y_L[following]
            at += 2
        node = following
        if node == start:
            return at


@part
def _is_canonical(counts_R, n_pixels):
    """Whether runs are what a mask's must be: no zero but the first, sum h*w."""
    left = n_pixels
    for i in range(len(counts_R)):
        left -= int(counts_R[i])
        if left < 0 or (counts_R[i] == 0 and i > 0):
            return False
    return left == 0


@kernel
def first_uncanonical(counts_R, offsets_N1, size_hw_N2):
    """Row of the first mask whose runs are not canonical, -1 if all are."""
    for n in range(len(size_hw_N2)):
        n_pixels = int(size_hw_N2[n, 0]) * int(size_hw_N2[n, 1])
        if not _is_canonical(counts_R[offsets_N1[n] : offsets_N1[n + 1]], n_pixels):
            return n
    return -1


@part
def trace(counts_R, h):
    """Link the runs of one mask to loops.

    Returns column_R, y_L, next_L as above, then per loop start_K, bridge_K, part_K.
    """
    n_runs = count_column_runs(counts_R, h)
    column_R = np.empty(n_runs, np.int32)
    y_L = np.empty(2 * n_runs, np.int32)
    next_L = np.empty(2 * n_runs, np.int32)
    first_R = np.empty(n_runs, np.int32)
    loop_R = np.empty(n_runs, np.int32)
    start_K = np.empty(n_runs, np.int32)
    bridge_K = np.empty(n_runs, np.int32)
    part_K = np.empty(n_runs, np.int32)
    split_runs(counts_R, h, column_R, y_L)
    link_runs(column_R, y_L, n_runs, first_R, next_L)
    n = find_loops(y_L, n_runs, first_R, next_L, loop_R, start_K, bridge_K, part_K)
    return column_R, y_L, next_L, start_K[:n], bridge_K[:n], part_K[:n]


@kernel
def exact_rings(counts_R, offsets_N1, size_hw_N2):
    """All masks as pixel-corner rings, holes bridged: (xy, ends of rings, ends of masks)."""
    n_masks = len(size_hw_N2)
    n_runs = 0
    for n in range(n_masks):
        mask_R = counts_R[offsets_N1[n] : offsets_N1[n + 1]]
        n_runs += count_column_runs(mask_R, np.int64(size_hw_N2[n, 0]))
    # Every node ends in at most two corners, and every ring has a run.
    x_V = np.empty(4 * n_runs, np.int64)
    y_V = np.empty(4 * n_runs, np.int64)
    ends_K = np.empty(n_runs, np.int64)
    ends_N = np.empty(n_masks, np.int64)
    at = np.int64(0)
    n_rings = 0
    for n in range(n_masks):
        mask_R = counts_R[offsets_N1[n] : offsets_N1[n + 1]]
        column_R, y_L, next_L, start_K, bridge_K, _ = trace(mask_R, np.int64(size_hw_N2[n, 0]))
        bridge_holes(next_L, start_K, bridge_K)
        for k in range(len(start_K)):
            if bridge_K[k] < 0:
                at = loop_corners(np.int64(2 * start_K[k]), column_R, y_L, next_L, x_V, y_V, at)
                ends_K[n_rings] = at
                n_rings += 1
        ends_N[n] = n_rings
    return x_V[:at], y_V[:at], ends_K[:n_rings], ends_N
