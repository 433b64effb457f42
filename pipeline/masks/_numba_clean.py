"""Compiled removal of small parts and holes (public name: `pipeline.masks.merge.clean`).

Shape suffix: P pieces. A run is cut into at most three rectangles, each of
pixels that hang together: the rest of its first column, the full columns in the
middle as one, the beginning of its last column. Pieces lie in order of columns
and rows, so neighbours are found by two pointers over adjacent columns; nothing
is indexed by a pixel or a column, and a full image is one piece.

Callers have proven offsets and sizes; runs that do not sum to h*w give masks
without meaning but no access out of bounds.
"""

# Numba infers the parameters' types; the public functions state them.
# pyright: reportMissingParameterType=false

from __future__ import annotations

import numpy as np

from pipeline.masks._jit import kernel, part

PIECES_PER_RUN = 3


@part
def cut_runs(counts_R, start, end, height, pieces):
    """Cut the runs of one mask, of both colours, into pieces; their number."""
    left_P, right_P, top_P, bottom_P, colour_P = pieces
    x = 0
    y = 0
    p = 0
    for place in range(start, end):
        run = np.int64(counts_R[place])
        for _ in range(PIECES_PER_RUN):
            if run == 0:
                break
            n_columns = run // height if y == 0 and run >= height else 1
            length = min(run, n_columns * height - y)
            left_P[p] = x
            right_P[p] = x + n_columns - 1
            top_P[p] = y
            bottom_P[p] = min(y + length, height)
            colour_P[p] = (place - start) % 2
            p += 1
            run -= length
            y += length
            if y >= height:
                x += n_columns
                y = 0
    return p


@part
def root_of(parent_P, p):
    """Find the piece that stands for the component of ``p``, halving the way to it."""
    while parent_P[p] != p:
        parent_P[p] = parent_P[parent_P[p]]
        p = parent_P[p]
    return p


@part
def join(parent_P, p, q):
    """Unite the components of two pieces under the earlier of their roots."""
    p = root_of(parent_P, p)
    q = root_of(parent_P, q)
    if p < q:
        parent_P[q] = p
    else:
        parent_P[p] = q


@part
def join_columns(a, a_end, b, b_end, pieces, colour, reach, parent_P):
    """Unite pieces of one colour in adjacent columns that overlap, or miss by less than reach."""
    _, _, top_P, bottom_P, colour_P = pieces
    while a < a_end and b < b_end:
        if colour_P[a] != colour:
            a += 1
        elif colour_P[b] != colour:
            b += 1
        else:
            if top_P[a] < bottom_P[b] + reach and top_P[b] < bottom_P[a] + reach:
                join(parent_P, a, b)
            if bottom_P[a] < bottom_P[b]:
                a += 1
            else:
                b += 1


@part
def find_components(n_pieces, pieces, colour, reach, parent_P):
    """Unite touching pieces of one colour: reach 1 joins at corners (8), reach 0 does not (4)."""
    left_P, _, _, _, colour_P = pieces
    for p in range(n_pieces):
        parent_P[p] = p
    before = 0
    column = 0
    while column < n_pieces:
        after = column + 1
        while after < n_pieces and left_P[after] == left_P[column]:
            if colour_P[after] == colour and colour_P[after - 1] == colour:
                join(parent_P, after - 1, after)
            after += 1
        join_columns(before, column, column, after, pieces, colour, reach, parent_P)
        before = column
        column = after


@part
def flip_small(n_pieces, height, width, pieces, colour, reach, most_px, parent_P, area_P):
    """Flip each component of one colour of at most ``most_px`` pixels.

    Background that touches the image's border is no hole and stays.
    """
    left_P, right_P, top_P, bottom_P, colour_P = pieces
    find_components(n_pieces, pieces, colour, reach, parent_P)
    for p in range(n_pieces):
        area_P[p] = 0
    for p in range(n_pieces):
        if colour_P[p] != colour:
            continue
        touches = left_P[p] == 0 or right_P[p] == width - 1 or top_P[p] == 0
        touches = touches or bottom_P[p] == height
        area = (right_P[p] - left_P[p] + 1) * (bottom_P[p] - top_P[p])
        area_P[root_of(parent_P, p)] += most_px + 1 if touches and colour == 0 else area
    for p in range(n_pieces):
        if colour_P[p] == colour and area_P[root_of(parent_P, p)] <= most_px:
            colour_P[p] = 1 - colour


@part
def join_runs(n_pieces, pieces, out_R, out):
    """Write the canonical runs of pieces; new end."""
    left_P, right_P, top_P, bottom_P, colour_P = pieces
    colour = 0
    run = 0
    for p in range(n_pieces):
        if colour_P[p] != colour:
            out_R[out] = run
            out += 1
            colour = colour_P[p]
            run = 0
        run += (right_P[p] - left_P[p] + 1) * (bottom_P[p] - top_P[p])
    out_R[out] = run
    return out + 1


@kernel
def clean(size_hw_N2, counts_R, offsets_N1, most_part_px, most_hole_px, most_runs, out_R, out_N1):
    """Remove small parts, then fill small holes; ``out_R`` holds a run per piece and mask."""
    n_scratch = PIECES_PER_RUN * most_runs
    pieces = (
        np.empty(n_scratch, np.int64),
        np.empty(n_scratch, np.int64),
        np.empty(n_scratch, np.int64),
        np.empty(n_scratch, np.int64),
        np.empty(n_scratch, np.int64),
    )
    parent_P = np.empty(n_scratch, np.int64)
    area_P = np.empty(n_scratch, np.int64)
    out = 0
    for n in range(len(size_hw_N2)):
        height = np.int64(size_hw_N2[n, 0])
        width = np.int64(size_hw_N2[n, 1])
        n_pieces = cut_runs(counts_R, offsets_N1[n], offsets_N1[n + 1], height, pieces)
        if most_part_px > 0:
            flip_small(n_pieces, height, width, pieces, 1, 1, most_part_px, parent_P, area_P)
        if most_hole_px > 0:
            flip_small(n_pieces, height, width, pieces, 0, 0, most_hole_px, parent_P, area_P)
        out = join_runs(n_pieces, pieces, out_R, out)
        out_N1[n + 1] = out
    return out
