"""Compiled validation and measurement of COCO strings (public name: `inspect_coco`).

A string is first read eight characters at once, as if it were valid and canonical.
Prefix sums of the counts, less a column's height h for each pair of a background and
a foreground run, are rows, relative to their column if each pair lies in the column
after the last one (see `pipeline.masks._numba_group_parse`). A row that lies outside
of its column says by how many columns it is off: a pair that stays in the column of
the last one has all rows from there on h too small, a column that is left out or a
run that goes on in the next column, h too large. What this does not mend is read
pair by pair; a count of more than 3*h that it does mend has the string refused.

Sums are held modulo 2**16. That does no harm: with counts of 1 to 3*h and rows within
columns, at most two columns before and one behind where they are looked for, a count
and the way from one row to the next differ by at most 6*h, which is less.

Whatever is refused is read again, number by number, by
`pipeline.masks._numba_rle.inspect_one`, which says what is wrong with it, or what it
means: the verdicts are its own. Of a canonical string each number is a run.
"""

# Numba infers the types of parameters from the call, and intrinsics take one less than written.
# pyright: reportMissingParameterType=false, reportCallIssue=false

from __future__ import annotations

from typing import Any, NamedTuple

from numba import int64, uint64

from pipeline.masks._jit import inlined, kernel, part
from pipeline.masks._numba_group_numbers import (
    ENTRY_BYTES,
    look_ahead,
    number_table,
    read_pairs,
)
from pipeline.masks._numba_group_parse import OUTSIDE, rows_of
from pipeline.masks._numba_group_strings import Strings, read_pair
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
    multiply,
    pointer_to,
    repeat_last,
    repeat_last_pair,
    smaller,
    subtract,
    subtract_48,
    total,
    up_1_lane,
)
from pipeline.masks._numba_rle import OK, inspect_one, size_fault

MAX_VECTOR_HEIGHT = 5461
"""Up to here int16 holds a count of 3*h and a step of three characters: 2**14 - 1."""


class Room(NamedTuple):
    """Constants that are read by position: arrays outside, pointers inside the kernel.

    Attributes
    ----------
    table : uint8, steps : int64
        `number_table`.
    """

    table: Any
    steps: Any


class Shape(NamedTuple):
    """Vectors of an image's height h, in pairs of lanes for the first and the end row of a run.

    Attributes
    ----------
    height : (h, h)
    column_height : (h, 0)
        What the next column takes from a row.
    one : (1, 1)
    most : (3 * h, 3 * h)
        Largest counts.
    tops, bottoms : (-1, 0), (0, -1)
    outside
        Bits that no character of the alphabet has once 48 is subtracted.
    """

    height: Any
    column_height: Any
    one: Any
    most: Any
    tops: Any
    bottoms: Any
    outside: Any


def make_room() -> Room:
    """Give the constants that `inspect` reads."""
    return Room(*number_table())


@inlined
def shape_of(h):
    """Make vectors of a height."""
    zero = int64(0)
    tops = alternate_16x8(int64(-1), zero)
    return Shape(
        alternate_16x8(h, h), alternate_16x8(h, zero), alternate_16x8(int64(1), int64(1)),
        alternate_16x8(3 * h, 3 * h), tops, alternate_16x8(zero, int64(-1)),
        alternate_16x8(OUTSIDE, OUTSIDE),
    )  # fmt: skip


@inlined
def pass_pair(col, y, bg, fg, h):
    """Move past a pair of runs that follows row y of a column.

    Returns (column and row of its end, first and end row that it touches).
    """
    y += bg
    if y >= h:
        further = int64(uint64(y) // uint64(h))
        col += further
        y -= further * h
    top = y
    y += fg
    if y <= h:
        return col, y, top, y
    further = int64(uint64(y - 1) // uint64(h))
    return col + further, y - further * h, int64(0), h


@inlined
def place_rows(rows, is_there, shape):
    """Bring rows into their columns.

    Rows are relative to the column after the last pair's; runs start at 0 to h - 1 and
    end at 1 to h; what is behind the last number repeats its row. Returns (rows, by
    how many columns more each lies, bits where that is no column from -2 to 1).
    """
    edge = both(is_there, shape.tops)
    bounds = add(shape.height, edge)
    least = add(shape.one, edge)
    above = add(is_greater(least, rows), is_greater(subtract(least, shape.height), rows))
    columns = subtract(above, is_greater(rows, bounds))
    rows = subtract(rows, multiply(columns, shape.height))
    return rows, columns, excess(rows, bounds)


@inlined
def read_stretch(strings, window, pos, end, place, counts, seen, w, shape, room):
    """Read pairs of runs eight characters at once, as long as rows can be given to them.

    ``place`` is a column and a row, ``counts`` the last pair, ``seen`` what vectors
    have gathered so far: faults, least and largest counts, least and largest rows,
    pixels, runs that go on in the next column.

    Returns (window, next position, column and row of the end, last pair of counts,
    how many counts were read, gathered).
    """
    col, y = place
    faults, least, most, upper, lower, pixels, crossing = seen
    n_runs = int64(0)
    carry = alternate_16x8(counts[0], counts[1])
    rows_before = alternate_16x8(y, y)
    while True:
        bits, window = look_ahead(strings, window, pos, end)
        n_counts = room.steps[bits] >> 8
        # The last pair may lie in the column behind the one it is looked for in.
        if n_counts == 0 or col + n_counts + 2 >= w:
            break
        chars = subtract_48(load_8_bytes(strings.bytes_B, pos))
        _, values, bad, is_there = read_pairs(chars, room.table, bits * ENTRY_BYTES, carry)
        rows = rows_of(values, is_there, shape.column_height, rows_before)
        rows, columns, far = place_rows(rows, is_there, shape)
        if any_bit(far):
            break
        pos += room.steps[bits] & 255
        faults = either(faults, bad)
        least = smaller(least, values)
        most = larger(most, values)
        crossing = either(crossing, differ(columns, up_1_lane(columns)))
        upper = smaller(upper, rows)
        lower = larger(lower, rows)
        pixels = add(pixels, add_neighbours(both(both(values, is_there), shape.bottoms)))
        carry = repeat_last_pair(values)
        rows_before = repeat_last(rows)
        col += (n_counts >> 1) + lane_7(columns)
        n_runs += n_counts
    gathered = (faults, least, most, upper, lower, pixels, crossing)
    return window, pos, col, lane_0(rows_before), lane_0(carry), lane_1(carry), n_runs, gathered


@part
def inspect_canonical(strings, pos, end, h, w, shape, room):
    """Read a mask that may be valid and canonical.

    The position in the image is a column and a row from 0 to h; it starts at the end
    of column -1. Returns (whether it is, area, first column, end column, first row,
    end row, number of runs).
    """
    col = int64(-1)
    y = h
    bg = int64(0)
    fg = int64(0)
    first = w
    area = int64(0)
    y0 = h
    y1 = int64(0)
    tail = int64(0)
    window = (int64(-64), uint64(0))
    zeros = alternate_16x8(int64(0), int64(0))
    seen = (
        zeros, shape.one, shape.one, shape.height, zeros, add_neighbours(zeros), zeros,
    )  # fmt: skip
    n_runs = int64(0)
    refused = (False, area, area, area, area, area, area)
    while pos < end:
        if col >= 0 and bg <= 3 * h and fg <= 3 * h:
            window, pos, col, y, bg, fg, n_more, seen = read_stretch(
                strings, window, pos, end, (col, y), (bg, fg), seen, w, shape, room
            )
            n_runs += n_more
            if pos == end:
                break
        first_step, second_step, pos, n_read = read_pair(strings, pos, end)
        n_runs += n_read
        bg += first_step
        if pos < 0 or bg < int64(col >= 0) or bg > h * w:
            return refused
        if n_read == 1:
            tail = bg
            break
        fg += second_step
        if fg < 1 or fg > h * w:
            return refused
        is_first = col < 0
        if is_first:
            first = int64(uint64(bg) // uint64(h))
        col, y, top, bottom = pass_pair(col, y, bg, fg, h)
        if col >= w:
            return refused
        area += fg
        y0 = min(y0, top)
        y1 = max(y1, bottom)
        if is_first:
            # The third number, too, is no difference.
            bg = int64(0)
    faults, least, most, upper, lower, pixels, crossing = seen
    faults = either(faults, is_greater(shape.one, least))
    faults = both(either(faults, is_greater(most, shape.most)), shape.outside)
    if any_bit(faults) or col * h + y + tail != h * w:
        return refused
    if col < 0:
        return True, area, area, area, area, area, n_runs
    if any_bit(both(crossing, shape.bottoms)):
        return True, area + total(pixels), first, col + 1, int64(0), h, n_runs
    y0 = min(y0, lane_0(upper), lane_2(upper), lane_4(upper), lane_6(upper))
    y1 = max(y1, lane_1(lower), lane_3(lower), lane_5(lower), lane_7(lower))
    return True, area + total(pixels), first, col + 1, y0, y1, n_runs


@kernel
def inspect(
    bytes_B, offsets_N1, size_hw_N2, code_N, is_canonical_N, area_N, bbox_xywh_4N, n_runs_N, room
):
    """Facts of each string into the arrays given; a fault leaves zeros."""
    strings = Strings(pointer_to(bytes_B), len(bytes_B), pointer_to(offsets_N1))
    inside = Room(pointer_to(room.table), pointer_to(room.steps))
    for n in range(len(code_N)):
        height = size_hw_N2[n, 0]
        width = size_hw_N2[n, 1]
        code = size_fault(height, width)
        if code != OK:
            code_N[n] = code
            continue
        start = offsets_N1[n]
        end = offsets_N1[n + 1]
        is_canonical = False
        if height <= MAX_VECTOR_HEIGHT:
            is_canonical, area, x0, x1, y0, y1, n_runs = inspect_canonical(
                strings, start, end, height, width, shape_of(height), inside
            )
        if not is_canonical:
            code, is_canonical, area, x0, y0, x1, y1, n_runs = inspect_one(
                bytes_B, start, end, height, width
            )
        code_N[n] = code
        is_canonical_N[n] = is_canonical
        area_N[n] = area
        bbox_xywh_4N[0, n] = x0
        bbox_xywh_4N[1, n] = y0
        bbox_xywh_4N[2, n] = x1 - x0
        bbox_xywh_4N[3, n] = y1 - y0
        n_runs_N[n] = n_runs
