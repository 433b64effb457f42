"""Unions and votes of the groups of one image, from the profiles that are in the arena.

Members of a group are much alike, so in most columns each has one run and all of
these meet. Then the pixels that v members have are from the v-th highest top to
the v-th lowest bottom: in a profile's words, the v-th largest of the lanes
(-top, bottom) over all members, for eight columns at once; v is 1 for a union.
The smallest lanes tell whether they meet: the lowest top is not below the
highest bottom. Only where runs do not meet, or where a member has further runs
(those that lie within a union of the first runs add nothing), the runs of the column
are gathered, sorted and swept; and in all columns where many votes are needed.

The runs go straight into a COCO string, as they come. Groups with a member that
has no profile, and groups that are wide for their members, are left to others.

Worked example, one column: runs 2..5 and 4..9 are the words (-2, 5) and (-4, 9).
Largest lanes (-2, 9): the union is 2..9. Second largest (-4, 5): two votes have
4..5. These are the smallest lanes too, and 4 <= 5: the runs meet.
"""

# Numba infers the types of parameters from the call, and intrinsics take one less than written.
# pyright: reportMissingParameterType=false, reportCallIssue=false

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import int64

from pipeline.masks._jit import inlined, part
from pipeline.masks._numba_group_rows import PAD, ROW, ROW_64, SPARSE
from pipeline.masks._numba_group_text import put_end, put_run
from pipeline.masks._numba_group_vector import (
    add_neighbours,
    as_16_bits,
    as_32_bits,
    both,
    differ,
    either,
    fill_32x8,
    is_greater,
    larger,
    load_16x16,
    load_32x8,
    smaller,
    store,
)

MAX_COLUMNS = 1 << 16
MAX_RUNS = 1 << 12
"""Columns that a group may span, and runs that a column may have, to be merged here."""

MAX_VOTES = 8
"""Votes up to which columns are merged eight at once."""

MAX_SPREAD = 8
"""Columns times members that a group may have for each column of its members."""

MAX_COUNT_CHARS = 7

ROOM = MAX_COLUMNS + PAD
"""Words for one kind of lanes."""

MERGED = 0
LEFT = 1
NO_ROOM = 2
"""What merging a group ends with."""

_LEAST = -0x7FFF8000
_MOST = 0x7FFF7FFF
"""Words whose lanes are both -32768, and 32767."""


class Merge(NamedTuple):
    """What is made of the groups, and the room for it; pointers.

    Attributes
    ----------
    vote_fraction : float64
        Part of the members that a pixel needs; 0: one is enough; negative: nothing is merged.
    first, following, places : int32 (rows of the largest image)
        First row that a leader took in, the next one of a row, and the rows of a group.
    high : int32 (MAX_VOTES * (MAX_COLUMNS + PAD)), low : int32 (MAX_COLUMNS + PAD)
        Largest, second largest, ... and smallest lanes of each column.
    more : int32 (MAX_COLUMNS + PAD)
        Extent of the further runs of members there, as the largest lanes.
    tops, bottoms : int32 (MAX_RUNS)
        Runs of one column.
    text : uint8, n_text : int64
        Strings of all groups, one after the other, and how many bytes there is room for.
    leader_K, offsets_K1, area_K : int64, is_left_K : uint8
        For each group its leader, its string and pixels, and whether it was left.
    """

    vote_fraction: float
    first: Any
    following: Any
    places: Any
    high: Any
    low: Any
    more: Any
    tops: Any
    bottoms: Any
    text: Any
    n_text: int
    leader_K: Any
    offsets_K1: Any
    area_K: Any
    is_left_K: Any


@inlined
def top_of(word):
    """Top of a run."""
    return -((int64(word) << 48) >> 48)


@inlined
def bottom_of(word):
    """Bottom of a run."""
    return int64(word) >> 16


@part
def list_groups(image, leader_N, merge):
    """Chain the rows that each leader of an image took in, in order."""
    for k in range(image.n_rows):
        merge.first[k] = -1
    for k in range(image.n_rows - 1, -1, -1):
        leader = leader_N[image.first + k] - image.first
        if leader != k:
            merge.following[k] = merge.first[leader]
            merge.first[leader] = k


@part
def list_members(image, leader, merge):
    """List the rows of a group: (members, first and end column, characters, may merge here)."""
    rows = image.rows
    offsets_N1 = image.strings.offsets_N1
    n_members = int64(0)
    x0 = image.w
    x1 = int64(0)
    n_columns = int64(0)
    n_chars = int64(0)
    n_runs = int64(0)
    fits = True
    k = int64(leader)
    while k >= 0:
        merge.places[n_members] = k
        n_members += 1
        left = int64(rows.x0[ROW * k])
        right = int64(rows.x1[ROW * k])
        x0 = min(x0, left)
        x1 = max(x1, right)
        n_columns += right - left
        n_runs += 1 + rows.n_layers[ROW * k]
        n_chars += offsets_N1[image.first + k + 1] - offsets_N1[image.first + k]
        fits = fits and rows.at[ROW_64 * k] != SPARSE
        k = int64(merge.first[k]) if k == leader else int64(merge.following[k])
    fits = fits and x1 - x0 <= MAX_COLUMNS and n_runs <= MAX_RUNS
    fits = fits and (x1 - x0) * n_members <= MAX_SPREAD * n_columns
    return n_members, x0, x1, n_chars, fits


@part
def spread_columns(image, n_members, x0, x1, n_votes, merge):
    """Gather the largest and smallest lanes of each column, and the extent of further runs."""
    rows = image.rows
    arena = image.arena
    least = fill_32x8(int64(_LEAST))
    most = fill_32x8(int64(_MOST))
    zeros = fill_32x8(int64(0))
    ones = fill_32x8(int64(-1))
    for c in range(0, x1 - x0, 8):
        for level in range(n_votes):
            store(merge.high, level * ROOM + c, least)
        store(merge.low, c, most)
        store(merge.more, c, least)
    for m in range(n_members):
        k = int64(merge.places[m])
        n_columns = int64(rows.x1[ROW * k]) - int64(rows.x0[ROW * k])
        at = int64(rows.at[ROW_64 * k])
        to = int64(rows.x0[ROW * k]) - x0
        for c in range(0, n_columns, 8):
            words = load_32x8(arena, at + c)
            is_run = is_greater(add_neighbours(load_16x16(arena, at + c)), zeros)
            no_run = differ(is_run, ones)
            words = both(words, is_run)
            low = as_16_bits(either(words, both(most, no_run)))
            store(merge.low, to + c, as_32_bits(smaller(low, load_16x16(merge.low, to + c))))
            high = as_16_bits(either(words, both(least, no_run)))
            for level in range(n_votes):
                place = level * ROOM + to + c
                before = load_16x16(merge.high, place)
                store(merge.high, place, as_32_bits(larger(before, high)))
                high = smaller(before, high)
        spread_layers(image, k, at + n_columns + PAD, x0, merge)


@inlined
def spread_layers(image, k, at, x0, merge):
    """Gather the extent of a row's further runs in each column."""
    arena = image.arena
    least = fill_32x8(int64(_LEAST))
    zeros = fill_32x8(int64(0))
    ones = fill_32x8(int64(-1))
    for _ in range(image.rows.n_layers[ROW * k]):
        n_columns = int64(arena[at + 1]) - int64(arena[at])
        to = int64(arena[at]) - x0
        at += 2
        for c in range(0, n_columns, 8):
            is_run = is_greater(add_neighbours(load_16x16(arena, at + c)), zeros)
            words = both(load_32x8(arena, at + c), is_run)
            words = as_16_bits(either(words, both(least, differ(is_run, ones))))
            before = load_16x16(merge.more, to + c)
            store(merge.more, to + c, as_32_bits(larger(before, words)))
        at += n_columns + PAD


@inlined
def sort_in(values, n, value):
    """Put a value into sorted ones."""
    while n > 0 and values[n - 1] > value:
        values[n] = values[n - 1]
        n -= 1
    values[n] = value


@part
def gather_runs(image, n_members, column, merge, is_union):
    """Sort the runs of a column: tops and bottoms, or for a union one key of both; their number."""
    rows = image.rows
    arena = image.arena
    n_runs = int64(0)
    for m in range(n_members):
        k = int64(merge.places[m])
        first = int64(rows.x0[ROW * k])
        last = int64(rows.x1[ROW * k])
        at = int64(rows.at[ROW_64 * k])
        if column < first or column >= last:
            continue
        for layer in range(rows.n_layers[ROW * k] + 1):
            if layer > 0:
                at += (last - first) + PAD + (2 if layer > 1 else 0)
                first = int64(arena[at])
                last = int64(arena[at + 1])
            if column < first or column >= last:
                continue
            word = int64(arena[at + column - first + (2 if layer > 0 else 0)])
            top, bottom = top_of(word), bottom_of(word)
            if bottom <= top:
                continue
            if is_union:
                sort_in(merge.tops, n_runs, top << 16 | bottom)
            else:
                sort_in(merge.tops, n_runs, top)
                sort_in(merge.bottoms, n_runs, bottom)
            n_runs += 1
    return n_runs


@inlined
def put_united(merge, run, n_runs, start):
    """Add the union of the runs of a column, which starts at a position."""
    if n_runs == 0:
        return run
    top = int64(merge.tops[0]) >> 16
    bottom = int64(merge.tops[0]) & 0xFFFF
    for n in range(1, n_runs):
        next_top = int64(merge.tops[n]) >> 16
        if next_top > bottom:
            run = put_run(merge.text, run, start + top, start + bottom)
            top = next_top
            bottom = int64(0)
        bottom = max(bottom, int64(merge.tops[n]) & 0xFFFF)
    return put_run(merge.text, run, start + top, start + bottom)


@inlined
def put_voted(merge, run, n_runs, n_votes, start):
    """Add the runs of a column, which starts at a position, that have enough votes."""
    top = int64(0)
    votes = int64(0)
    opened = int64(0)
    closed = int64(0)
    while closed < n_runs:
        if opened < n_runs and merge.tops[opened] <= merge.bottoms[closed]:
            votes += 1
            if votes == n_votes:
                top = int64(merge.tops[opened])
            opened += 1
        else:
            if votes == n_votes and merge.bottoms[closed] > top:
                run = put_run(merge.text, run, start + top, start + merge.bottoms[closed])
            votes -= 1
            closed += 1
    return run


@inlined
def is_simple(merge, c, n_votes):
    """Say whether the largest lanes of a column are all there is to it.

    First runs must meet. Further ones must lie within a union of the first ones, or not be.
    """
    low = int64(merge.low[c])
    if low != _MOST and top_of(low) > bottom_of(low):
        return False
    more = int64(merge.more[c])
    if more == _LEAST:
        return True
    high = int64(merge.high[c])
    is_inside = top_of(high) <= top_of(more) and bottom_of(more) <= bottom_of(high)
    return n_votes == 1 and is_inside


@part
def merge_group(image, leader, merge, out):
    """Write the mask of one group: (code, next position, pixels, room that it needs)."""
    n_members, x0, x1, n_chars, fits = list_members(image, leader, merge)
    if not fits:
        return LEFT, out, int64(0), int64(0)
    n_room = MAX_COUNT_CHARS * (n_chars + 2)
    if out + n_room > merge.n_text:
        return NO_ROOM, out, int64(0), n_room
    n_votes = max(int64(1), int64(np.ceil(merge.vote_fraction * n_members)))
    may_spread = n_votes <= MAX_VOTES
    if may_spread:
        spread_columns(image, n_members, x0, x1, n_votes, merge)
    run = (out, int64(0), int64(0), int64(0), int64(0), int64(0), int64(0))
    for column in range(x0, x1):
        start = column * image.h
        if not may_spread or not is_simple(merge, column - x0, n_votes):
            n_runs = gather_runs(image, n_members, column, merge, n_votes == 1)
            if n_votes == 1:
                run = put_united(merge, run, n_runs, start)
            else:
                run = put_voted(merge, run, n_runs, n_votes, start)
            continue
        word = int64(merge.high[(n_votes - 1) * ROOM + column - x0])
        if bottom_of(word) > top_of(word):
            run = put_run(merge.text, run, start + top_of(word), start + bottom_of(word))
    out, area = put_end(merge.text, run, image.h * image.w)
    return MERGED, out, area, n_room


@part
def merge_image(image, leader_N, merge, start, n_groups):
    """Merge the groups of an image that are led by rows from ``start`` on.

    Returns (row to go on with, or the number of rows if all is done; groups so far; room
    for text that is needed to go on).
    """
    if start == 0:
        list_groups(image, leader_N, merge)
    for k in range(start, image.n_rows):
        if merge.first[k] < 0:
            continue
        out = merge.offsets_K1[n_groups]
        code, out, area, n_room = merge_group(image, k, merge, out)
        if code == NO_ROOM:
            return int64(k), n_groups, out + n_room
        merge.leader_K[n_groups] = image.first + k
        merge.area_K[n_groups] = area
        merge.is_left_K[n_groups] = code == LEFT
        n_groups += 1
        merge.offsets_K1[n_groups] = out
    return image.n_rows, n_groups, int64(0)
