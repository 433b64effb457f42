"""Reading the numbers in eight characters of a COCO string at once, by a table.

Worked example: of the characters ``0O1l0@77`` only the fourth, ``l``, is
continued (it is above ``O``): as a byte, 0b1000. For that byte the table says
that there are six numbers, at 0, 1, 2, 3 to 4, 5 and 6, in seven characters:
0, -1, 1, 28, -16, 7. The last character is left for the next time, since
numbers are read in pairs.
"""

# Numba infers the types of parameters from the call, and intrinsics take one less than written.
# pyright: reportMissingParameterType=false, reportCallIssue=false

from __future__ import annotations

import functools

import numpy as np
from numba import int64, uint64
from numpy.typing import NDArray

from pipeline.masks._jit import inlined
from pipeline.masks._numba_group_vector import (
    add,
    both,
    bytes_above_79,
    differ,
    either,
    is_greater,
    load_16x8,
    pick_bytes,
    shift_left_10,
    shift_right_3,
    shift_right_5,
    sign_of,
    subtract,
    up_2_lanes,
    up_4_lanes,
)

ENTRY_BYTES = 48
_LOW = 256 * ENTRY_BYTES
_HIGH = _LOW + 16
LEAST_AT = _LOW + 32
TOPS_AT = _LOW + 48


@functools.cache
def number_table() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Tell how to read the numbers in 8 characters, by which of them are continued.

    Returns
    -------
    table : uint8 (256 * 48 + 64,)
        For each byte of continuation bits: the places of the first and second
        character of up to 8 numbers (16), of their third (16; 128: none), and
        the sign bits of these numbers as int16 (16). At the end four constants.
    steps : int64 (256,)
        How many numbers that reads, always even, times 256, plus how many characters.
    """
    table = np.full((256, ENTRY_BYTES), 128, np.uint8)
    table[:, 32:] = 0
    steps = np.zeros(256, np.int64)
    for bits in range(256):
        ends = [n for n in range(8) if not bits >> n & 1]
        numbers = list(zip([0, *(n + 1 for n in ends)], ends, strict=False))
        fit = next((k for k, (a, b) in enumerate(numbers) if b - a > 2), len(numbers)) & ~1
        for k, (first, end) in enumerate(numbers[:fit]):
            table[bits, 2 * k] = first
            if end > first:
                table[bits, 2 * k + 1] = first + 1
            if end > first + 1:
                table[bits, 16 + 2 * k] = first + 2
            table[bits, 32 + 2 * k : 34 + 2 * k] = divmod(16 << 5 * (end - first), 256)[::-1]
        steps[bits] = fit * 256 + (numbers[fit - 1][1] + 1 if fit else 0)
    constants = np.array([[0x1F] * 2, [0x1F00] * 2, [0x8000, 0], [0xFFFF, 0]], np.uint16)
    constants = np.tile(constants, 4).reshape(-1)
    return np.concatenate([table.reshape(-1), constants.view(np.uint8)]), steps


@inlined
def look_ahead(strings, window, pos, end):
    """Say which of the next 8 characters are continued, and move the window along.

    The window is a position and a bit for each of 64 characters from there on;
    those behind the string's end, and all behind the buffer's, count as continued.
    """
    window_at, more = window
    if pos - window_at > 56:
        window_at = pos
        more = ~uint64(0)
        if pos + 64 <= strings.n_bytes:
            more = bytes_above_79(strings.bytes_B, pos)
            if end - pos < 64:
                more |= ~uint64(0) << uint64(end - pos)
    return int64((more >> uint64(pos - window_at)) & uint64(255)), (window_at, more)


@inlined
def read_pairs(chars, table, entry, carry):
    """Read the numbers in 8 characters: (steps, counts, faults, which are there).

    ``carry`` holds the last pair of counts in turns: from the fourth on, a
    number is the difference to the last but one.
    """
    low = pick_bytes(chars, load_16x8(table, entry))
    high = pick_bytes(chars, load_16x8(table, entry + 16))
    sign = load_16x8(table, entry + 32)
    fives = load_16x8(table, _LOW)
    step = either(both(low, fives), shift_right_3(both(low, load_16x8(table, _HIGH))))
    step = either(step, shift_left_10(both(high, fives)))
    step = subtract(differ(step, sign), sign)
    size = differ(step, sign_of(step))
    faults = either(either(low, high), is_greater(shift_right_5(sign), size))
    counts = add(step, up_2_lanes(step))
    counts = add(add(counts, up_4_lanes(counts)), carry)
    is_there = is_greater(sign, subtract(sign, sign))
    return step, counts, faults, is_there
