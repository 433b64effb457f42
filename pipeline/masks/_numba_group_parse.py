"""Parse and measure masks, validation included, and lay down their profiles.

COCO strings of masks are mostly numbers of one to three characters, in pairs of
a background and a foreground run, where each pair lies in the column after the
last one. Eight characters are therefore read at once: which of them end a
number is a byte, by which `number_table` tells the shuffle that brings the
numbers into 16-bit lanes. Two prefix sums turn them into counts, then into rows
(top, bottom, top, bottom, ...), each relative to its own column if there is one
pair per column. Where 0 <= top and bottom <= h hold for all of them, there is,
and the rows are the columns of the profile as they stand. Otherwise (a second
run in a column, a column without one, a run that goes on in the next column)
the same counts are placed one by one.
"""

# Numba infers the types of parameters from the call, and intrinsics take one less than written.
# pyright: reportMissingParameterType=false, reportCallIssue=false

from __future__ import annotations

from typing import Any, NamedTuple

from numba import int64, uint64

from pipeline.masks._jit import inlined, part
from pipeline.masks._numba_group_numbers import (
    ENTRY_BYTES,
    LEAST_AT,
    TOPS_AT,
    look_ahead,
    read_pairs,
)
from pipeline.masks._numba_group_rows import MAX_HEIGHT
from pipeline.masks._numba_group_strings import read_pair
from pipeline.masks._numba_group_vector import (
    add,
    add_neighbours,
    alternate_16x8,
    any_bit,
    both,
    differ,
    either,
    excess,
    is_greater,
    lane_0,
    lane_1,
    lane_2,
    lane_3,
    lane_4,
    lane_5,
    lane_6,
    lane_7,
    larger,
    load_8_bytes,
    load_16x8,
    repeat_last,
    repeat_last_pair,
    smaller,
    store,
    subtract,
    subtract_48,
    total,
    up_1_lane,
    up_2_lanes,
    up_4_lanes,
)

DENSE = 0
REFUSED = 1
UNFIT = 2
"""What a parse ends with: a profile, a fault, or a mask that must do without a profile."""

MAX_EXTRAS = 1 << 15
"""More runs that are not the first of their column make a mask sparse."""

MAX_VECTOR_HEIGHT = 24575
"""Up to here counts and rows may be held modulo 2**16: if each pair before lay in
the column after the last, a background run was at most 2*h, a foreground run at
most h, and a step of three characters adds less than 2**14 to either. So whatever
a count is, two of its candidates cannot both give rows within a column.
"""

OUTSIDE = 0xC0C0
"""Bits that no character of the alphabet has once 48 is subtracted."""


class Scratch(NamedTuple):
    """Room and constants of the parse, inside a kernel.

    Attributes
    ----------
    extras : pointer to int32 (MAX_EXTRAS * 2)
        Column and word of each run that is not the first of its column.
    pending : pointer to int16 (8)
        Counts that were read but could not be laid down at once.
    spans : pointer to int64 ((MAX_LAYERS + 1) * 3)
        First column, end column, and place of each layer.
    table, steps : pointers to uint8 and int64
        `number_table`.
    may_vector : bool
        Whether numbers are read eight characters at once.
    """

    extras: Any
    pending: Any
    spans: Any
    table: Any
    steps: Any
    may_vector: bool


@inlined
def column_vectors(h):
    """Return what a column's height takes from each run's end, and what its rows are at most."""
    return alternate_16x8(h, int64(0)), alternate_16x8(h - 1, h)


@inlined
def word_of(top, bottom):
    """One column of a profile."""
    return (-top & 0xFFFF) | (bottom << 16)


@inlined
def rows_of(counts, is_there, column_height, y):
    """Rows at which the runs start and end, if each pair lies in the next column."""
    rows = both(subtract(counts, column_height), is_there)
    rows = add(rows, up_1_lane(rows))
    rows = add(rows, up_2_lanes(rows))
    return add(add(rows, up_4_lanes(rows)), y)


@inlined
def put_run(arena, extras, n_extras, base, last, col, top, bottom):
    """Note a run of a column: as an extra where the column has one; the number of extras."""
    word = word_of(top, bottom)
    if col != last:
        arena[base + col] = word
        return n_extras
    if n_extras < MAX_EXTRAS:
        extras[2 * n_extras] = col
        extras[2 * n_extras + 1] = word
    return n_extras + 1


@part
def put_crossing_run(arena, extras, n_extras, base, last, col, top, end, h):
    """Note a run that goes on into further columns; the number of extras."""
    n_extras = put_run(arena, extras, n_extras, base, last, col, top, h)
    for _ in range((end - 1) // h - 1):
        col += 1
        arena[base + col] = word_of(int64(0), h)
    arena[base + col + 1] = word_of(int64(0), end - (end - 1) // h * h)
    return n_extras


@inlined
def put_pair(arena, extras, n_extras, base, end_col, h, w, col, y, bg, fg):
    """Note a pair of runs that follows row y of a column.

    Returns (code, column and row of its end, number of extras, pixels in extras,
    first and end row).
    """
    before = col
    y += bg
    if y >= h:
        y -= h
        col += 1
        if y >= h:
            skipped = int64(uint64(y) // uint64(h))
            col += skipped
            y -= skipped * h
    top = y
    y += fg
    if y <= h:
        if col >= w:
            return REFUSED, col, y, n_extras, fg, top, y
        if col >= end_col:
            return UNFIT, col, y, n_extras, fg, top, y
        n_extras = put_run(arena, extras, n_extras, base, before, col, top, y)
        return DENSE, col, y, n_extras, fg if col == before else int64(0), top, y
    further = int64(uint64(y - 1) // uint64(h))
    if col + further >= w:
        return REFUSED, col, y, n_extras, fg, top, y
    if col + further >= end_col:
        return UNFIT, col, y, n_extras, fg, top, y
    n_extras = put_crossing_run(arena, extras, n_extras, base, before, col, top, y, h)
    rest = h - top if col == before else int64(0)
    return DENSE, col + further, y - further * h, n_extras, rest, int64(0), h


@inlined
def parse_stretch(strings, bits, window, pos, end, words, end_col, place, counts, seen, scratch):
    """Read and lay down pairs of runs while each lies in the column after the last.

    ``bits`` and ``window`` are what `look_ahead` says of ``pos``. ``words`` are
    the arena and where column 0 would be in it. ``place`` is a column, a row, and
    the column's height and bounds as vectors. ``seen`` is what vectors have
    gathered so far: faults, least counts (of background runs with the highest bit
    flipped, as they may have 16 bits), the extent as the largest (-top, bottom),
    pixels.

    Returns (window, next position, column and row of the end, last pair of
    counts, how many steps were read but not laid down, gathered).
    """
    table = scratch.table
    arena, base = words
    col, y, column_height, bounds = place
    faults, least, extent, pixels = seen
    carry = alternate_16x8(counts[0], counts[1])
    rows_before = alternate_16x8(y, y)
    n_left = int64(0)
    while True:
        n_counts = scratch.steps[bits] >> 8
        if n_counts == 0 or col + (n_counts >> 1) >= end_col:
            break
        chars = subtract_48(load_8_bytes(strings.bytes_B, pos))
        steps, values, bad, is_there = read_pairs(chars, table, bits * ENTRY_BYTES, carry)
        rows = rows_of(values, is_there, column_height, rows_before)
        faults = either(faults, bad)
        pos += scratch.steps[bits] & 255
        if any_bit(excess(rows, bounds)):
            n_left = n_counts
            store(scratch.pending, 0, steps)
            break
        least = smaller(least, differ(values, load_16x8(table, LEAST_AT)))
        carry = repeat_last_pair(values)
        tops = load_16x8(table, TOPS_AT)
        columns = subtract(differ(rows, tops), tops)
        store(arena, base + col + 1, columns)
        extent = larger(extent, columns)
        pixels = add(pixels, add_neighbours(columns))
        rows_before = repeat_last(rows)
        col += n_counts >> 1
        bits, window = look_ahead(strings, window, pos, end)
    gathered = (faults, least, extent, pixels)
    bg = lane_0(carry) & 0xFFFF
    return window, pos, col, lane_0(rows_before), bg, lane_1(carry), n_left, gathered


@inlined
def parse_mask(strings, pos, end, h, w, shape, arena, at, limit, scratch):
    """Parse one mask and lay down layer 0 of its profile, further runs in ``extras``.

    Needs ``limit + PAD`` words of the arena. ``shape`` is `column_vectors` of h. The position in
    the image is a column and a row from 0 to h; it starts at the end of column -1.

    Returns (code, area, pixels in extras, x0, x1, y0, y1, number of extras).
    """
    col = int64(-1)
    y = h
    bg = int64(0)
    fg = int64(0)
    first = w
    end_col = w
    base = int64(0)
    area = int64(0)
    rest = int64(0)
    y0 = h
    y1 = int64(0)
    tail = int64(0)
    n_extras = int64(0)
    window = (int64(-64), uint64(0))
    zeros = alternate_16x8(int64(0), int64(0))
    least_valid = alternate_16x8(int64(-0x7FFF), int64(1))
    seen = (zeros, least_valid, alternate_16x8(-h, int64(0)), add_neighbours(zeros))
    refused = (REFUSED, area, rest, first, col, y0, y1, n_extras)
    if h > MAX_HEIGHT:
        return UNFIT, area, rest, first, col, y0, y1, n_extras
    pending = scratch.pending
    may_vector = scratch.may_vector and h <= MAX_VECTOR_HEIGHT
    while pos < end:
        n_left = int64(0)
        bits = int64(255)
        if may_vector and col >= 0 and bg <= 2 * h and fg <= h:
            bits, window = look_ahead(strings, window, pos, end)
        if scratch.steps[bits] > 0:
            window, pos, col, y, bg, fg, n_left, seen = parse_stretch(
                strings, bits, window, pos, end, (arena, base), end_col, (col, y, *shape),
                (bg, fg), seen, scratch,
            )  # fmt: skip
            if n_left == 0 and pos == end:
                break
        if n_left == 0:
            first_step, second_step, pos, n_read = read_pair(strings, pos, end)
            bg += first_step
            if pos < 0 or bg < int64(col >= 0) or bg > h * w:
                return refused
            if n_read == 1:
                tail = bg
                break
            fg += second_step
            if fg < 1 or fg > h * w:
                return refused
            if col < 0:
                first = int64(uint64(bg) // uint64(h))
                base = at - first
                end_col = min(w, first + limit)
        is_first = col < 0
        for n in range(0, max(n_left, 2), 2):
            if n_left > 0:
                bg += int64(pending[n])
                fg += int64(pending[n + 1])
                if bg < 1 or fg < 1:
                    return refused
            code, col, y, n_extras, more, top, bottom = put_pair(
                arena, scratch.extras, n_extras, base, end_col, h, w, col, y, bg, fg
            )
            if code != DENSE:
                return code, area, rest, first, col, y0, y1, n_extras
            area += fg
            rest += more
            y0 = min(y0, top)
            y1 = max(y1, bottom)
        if is_first:
            # The third number, too, is no difference.
            bg = int64(0)
    faults, least, extent, pixels = seen
    alphabet = either(faults, is_greater(least_valid, least))
    if any_bit(both(alphabet, alternate_16x8(OUTSIDE, OUTSIDE))):
        return refused
    if col * h + y + tail != h * w:
        return refused
    if col < 0:
        return DENSE, area, rest, area, area, area, area, n_extras
    y0 = min(y0, -max(lane_0(extent), lane_2(extent), lane_4(extent), lane_6(extent)))
    y1 = max(y1, lane_1(extent), lane_3(extent), lane_5(extent), lane_7(extent))
    code = DENSE if n_extras <= MAX_EXTRAS else UNFIT
    return code, area + total(pixels), rest, first, col + 1, y0, y1, n_extras
