"""Compiled walk along the rings of a crack value (public names: `pipeline.masks.contour`).

The bytes may be anything: every position stays near the box, every loop takes a
byte or a symbol, and `MAX_STEPS` bounds the cracks of a mask.
"""

# Numba infers the parameters' types; the public functions state them.
# pyright: reportMissingParameterType=false

from __future__ import annotations

import numpy as np

from pipeline.masks._contour_tables import FAST_SHIFT, FIRST_CONTEXT, KEY_ROOM
from pipeline.masks._jit import part
from pipeline.masks._numba_contour import MAX_STEPS

# A signed index is checked for counting from the end, in every access of the tight loops.
u64 = np.uint64

OK = 0
BBOX = 1
PHRASE = 2
START = 3
OPEN = 4
OUTSIDE = 5
TOO_LONG = 6
NOT_TIGHT = 7
CROSSING = 8
NOT_CANONICAL = 9

# Heading east * 2 + last turn to the right.
START_STATE = 1
VARINT_BYTES = 5
MARGIN = 32
NO_KEY = 1 << 60


@part
def read_varint(bytes_B, at, end):
    """Read a minimal varint of at most 5 bytes: (value, next position), position -1 if none."""
    value = 0
    for place in range(VARINT_BYTES):
        if at == end:
            return 0, -1
        byte = int(bytes_B[at])
        at += 1
        value |= (byte & 127) << (7 * place)
        if byte < 128:
            return value, -1 if byte == 0 and place > 0 else at
    return 0, -1


@part
def read_start(bytes_B, at, end, start, height, width, shift):
    """Read the start of the next ring: (code, next byte, start)."""
    columns, at = read_varint(bytes_B, at, end)
    if at < 0:
        return START, at, 0
    rows, at = read_varint(bytes_B, at, end)
    if at < 0:
        return START, at, 0
    rows = (rows >> 1) ^ -(rows & 1)
    if columns == 0 and rows <= 0:
        return NOT_CANONICAL, at, 0
    column = (start >> shift) + columns
    row = (start & ((1 << shift) - 1)) + rows
    if column >= width or row < MARGIN or row > 2 * height + MARGIN:
        return OUTSIDE, at, 0
    return OK, at, column << shift | row


@part
def walk_phrase(path, n_symbols, n_keys, position, start, step_4, key_C):
    """Walk a phrase crack by crack, up to the start: (symbols used, keys so far, position)."""
    for place in range(n_symbols):
        heading = path >> (2 * place) & 3
        after = position + step_4[u64(heading)]
        key_C[u64(n_keys)] = 2 * min(position, after) + (heading >> 1)
        n_keys += 1 - (heading & 1)
        position = after
        if position == start:
            return place + 1, n_keys, position
    return n_symbols, n_keys, position


@part
def walk_ring(
    bytes_B,
    at,
    end,
    start,
    height,
    width,
    shift,
    phrase_X256,
    facts_F8,
    path_F8,
    key_F8K,
    step_4,
    key_C,
    n_keys,
    n_steps,
):
    """Walk one ring: (code, next byte, keys so far, cracks so far, net right turns).

    The position is checked after every phrase, so it never strays further from
    the box than `MARGIN`.
    """
    mask = (1 << shift) - 1
    start_column = start >> shift
    start_row = start & mask
    key_C[u64(n_keys)] = 2 * start
    n_keys += 1
    n_steps += 1
    position = start + (1 << shift)
    column = start_column + 1
    row = start_row
    rotation = 0
    state = START_STATE
    context = FIRST_CONTEXT
    while at < end:
        word = np.int64(phrase_X256[u64(context << 8 | np.int64(bytes_B[u64(at)]))])
        context = word & 255
        entry = (word >> 8) + state
        facts = np.int64(facts_F8[u64(entry)])
        at += 1
        n_symbols = facts & 31
        if n_symbols == 0:
            return PHRASE, at, 0, 0, 0
        state = facts >> 10 & 7
        rotation += (facts >> 13 & 63) - 32
        n_steps += n_symbols
        if n_steps > MAX_STEPS:
            return TOO_LONG, at, 0, 0, 0
        distance = abs(column - start_column) + abs(row - start_row)
        if distance > n_symbols and shift == FAST_SHIFT:
            # The ring cannot close here: all keys at once, most phrases have no more than 8.
            for k in range(8):
                key_C[u64(n_keys + k)] = 2 * position + key_F8K[u64(KEY_ROOM * entry + k)]
            n_phrase_keys = facts >> 5 & 31
            if n_phrase_keys > 8:
                for k in range(8, KEY_ROOM):
                    key_C[u64(n_keys + k)] = 2 * position + key_F8K[u64(KEY_ROOM * entry + k)]
            n_keys += n_phrase_keys
            position += ((facts >> 19 & 63) - 32 << FAST_SHIFT) + (facts >> 25 & 63) - 32
        else:
            path = path_F8[u64(entry)]
            n_used, n_keys, position = walk_phrase(
                path, n_symbols, n_keys, position, start, step_4, key_C
            )
            if position == start:
                # What is left of the phrase is padding; the last heading was not east or west.
                if n_symbols - n_used > path >> 40 or state & 2 == 0:
                    return NOT_CANONICAL, at, 0, 0, 0
                # North to east is a right turn, south to east a left one.
                n_steps -= n_symbols - n_used
                return OK, at, n_keys, n_steps, rotation + (state >> 1) - 2
        column = position >> shift
        row = position & mask
        if column < 0 or column > width or row < MARGIN or row > 2 * height + MARGIN:
            return OUTSIDE, at, 0, 0, 0
    # No bytes left: straight ahead to the start, or never there.
    rows = (row - start_row) * ((state >> 1) - 2)
    if state & 2 == 0 or column != start_column or rows <= 0:
        return OPEN, at, 0, 0, 0
    n_steps += rows
    if n_steps > MAX_STEPS:
        return TOO_LONG, at, 0, 0, 0
    return OK, at, n_keys, n_steps, rotation + (state >> 1) - 2


@part
def walk(
    bytes_B,
    at,
    end,
    height,
    width,
    shift,
    phrase_X256,
    facts_F8,
    path_F8,
    key_F8K,
    step_4,
    key_C,
):
    """Walk all rings: (code, horizontal cracks, vertical ones, net right turns, first, last row).

    A position is ``column << shift | row + height + MARGIN`` relative to the
    first start, a key twice the position of the crack's left end plus 1 where it
    heads west. Columns of keys lie in the box: a ring that went left of its start
    would come back by a crack to the east there, which `first_top` shows.
    """
    if bytes_B[u64(end - 1)] == 0:
        return NOT_CANONICAL, 0, 0, 0, 0, 0
    n_keys = 0
    n_steps = 0
    rotation = 0
    start = height + MARGIN
    row_bits = (2 << shift) - 2
    first_row = row_bits
    last_row = 0
    last_key = 0
    while at < end:
        if n_keys > 0:
            code, at, start = read_start(bytes_B, at, end, start, height, width, shift)
            if code != OK:
                return code, 0, 0, 0, 0, 0
        first_key = n_keys
        code, at, n_keys, n_steps, ring_rotation = walk_ring(
            bytes_B,
            at,
            end,
            start,
            height,
            width,
            shift,
            phrase_X256,
            facts_F8,
            path_F8,
            key_F8K,
            step_4,
            key_C,
            n_keys,
            n_steps,
        )
        if code != OK:
            return code, 0, 0, 0, 0, 0
        rotation += ring_rotation
        first_top = NO_KEY
        for k in range(first_key, n_keys):
            key = key_C[u64(k)]
            first_top = min(first_top, key + (key & 1) * NO_KEY)
            last_key = max(last_key, key)
            first_row = min(first_row, key & row_bits)
            last_row = max(last_row, key & row_bits)
        if first_top < 2 * start:
            return NOT_CANONICAL, 0, 0, 0, 0, 0
    if last_key >> (shift + 1) >= width:
        return OUTSIDE, 0, 0, 0, 0, 0
    return OK, n_keys, n_steps - n_keys, rotation, first_row >> 1, last_row >> 1
