"""Compiled passes over COCO strings and run lengths (public names: `pipeline.masks.rle`).

Callers have proven offsets and sizes (`pipeline.masks._checks`); bytes and
counts may be anything. Codes are those of `pipeline.masks.rle.RleCode`.
Elements of unsigned arrays are made np.int64 before they take part in any
arithmetic: Numba's ``int`` keeps them unsigned, and differences would wrap.
"""

# Numba infers the parameters' types; the public functions state them.
# pyright: reportMissingParameterType=false

from __future__ import annotations

import numpy as np

from pipeline.masks._checks import MAX_PIXELS
from pipeline.masks._jit import kernel, part

OK = 0
RLE_SUM = 1
RLE_NEGATIVE = 2
RLE_TRUNCATED = 3
RLE_VARINT = 4
RLE_ALPHABET = 5
RLE_TOO_MANY_RUNS = 6
SIZE_INVALID = 7
IMAGE_TOO_LARGE = 8
RLE_COUNTS_TYPE = 9

# What reading one number says besides its value; from 2 on, a code as above.
MINIMAL = 0
PADDED = 1

MAX_VARINT_CHARS = 7
EXTRA_RUNS = 64
MAX_SIDE = 2**31 - 1
ABSURD_PIXELS = 2**40


@part
def size_fault(height, width):
    """Code of one size; the order keeps the product inside int64."""
    if height < 1 or width < 1 or height > MAX_SIDE or width > MAX_SIDE:
        return SIZE_INVALID
    if height * width >= ABSURD_PIXELS:
        return SIZE_INVALID
    return IMAGE_TOO_LARGE if height * width > MAX_PIXELS else OK


@kernel
def size_faults(size_hw_N2, code_N):
    """Code of each size."""
    for n in range(len(code_N)):
        code_N[n] = size_fault(size_hw_N2[n, 0], size_hw_N2[n, 1])


@part
def read_number(bytes_B, at, end):
    """Read a number of any length at ``at < end``: (value, next position, state)."""
    value = 0
    previous = 0
    for place in range(MAX_VARINT_CHARS):
        if at == end:
            return 0, at, RLE_TRUNCATED
        char = np.int64(bytes_B[at]) - 48
        if char < 0 or char > 63:
            return 0, at, RLE_ALPHABET
        at += 1
        value |= (char & 31) << (5 * place)
        if char < 32:
            if char & 16:
                value -= 1 << (5 * (place + 1))
            # The last group says nothing that the sign of the one before does not.
            idle = 31 if previous & 16 else 0
            return value, at, PADDED if place > 0 and char == idle else MINIMAL
        previous = char
    return 0, at, RLE_VARINT


@part
def run_fault(run, left):
    """Code of a run after which ``left`` pixels stay, at least one of both negative."""
    return RLE_NEGATIVE if run < 0 else RLE_SUM


@part
def end_fault(n_runs, left, n_pixels):
    """Code of a string that was read to its end."""
    if n_runs > n_pixels + EXTRA_RUNS:
        return RLE_TOO_MANY_RUNS
    return OK if left == 0 else RLE_SUM


@part
def count_canonical_runs(bytes_B, at, end):
    """Count the runs of a valid string once zero runs are merged away."""
    n_runs = 0
    canonical = 0
    colour = 0
    before = 0
    run = 0
    while at < end:
        value, at, _ = read_number(bytes_B, at, end)
        if n_runs > 2:
            value += before
        before = run
        run = value
        if run > 0 and (canonical == 0 or n_runs % 2 != colour):
            colour = n_runs % 2
            # A mask that starts with foreground has a background run of 0 in front.
            canonical += 1 + (canonical == 0) * colour
        n_runs += 1
    return canonical


@part
def inspect_one(bytes_B, start, end, height, width):
    """Read one string: (code, is_canonical, area, x0, y0, x1, y1, n_runs); a fault has zeros.

    The column and row (x, y) of the read position move along, so a run that
    stays in its column, the usual case, costs no division.
    """
    at = start
    left = height * width
    n_runs = 0
    is_canonical = True
    background = 0
    foreground = 0
    x = 0
    y = 0
    area = 0
    first_x = width
    last_x = -1
    top = height
    bottom = 0
    while at < end:
        char = np.int64(bytes_B[at]) - 48
        if char & -32 == 0:
            value = (char ^ 16) - 16
            at += 1
        else:
            value, at, state = read_number(bytes_B, at, end)
            if state > PADDED:
                return state, False, 0, 0, 0, 0, 0, 0
            is_canonical = is_canonical and state == MINIMAL
        background = value + (background if n_runs > 2 else 0)
        left -= background
        if background | left < 0:
            return run_fault(background, left), False, 0, 0, 0, 0, 0, 0
        if background == 0 and n_runs > 0:
            is_canonical = False
        n_runs += 1
        if at == end:
            break
        y += background
        if y >= height:
            y -= height
            x += 1
            if y >= height:
                columns = y // height
                x += columns
                y -= columns * height

        char = np.int64(bytes_B[at]) - 48
        if char & -32 == 0:
            value = (char ^ 16) - 16
            at += 1
        else:
            value, at, state = read_number(bytes_B, at, end)
            if state > PADDED:
                return state, False, 0, 0, 0, 0, 0, 0
            is_canonical = is_canonical and state == MINIMAL
        foreground += value
        left -= foreground
        if foreground | left < 0:
            return run_fault(foreground, left), False, 0, 0, 0, 0, 0, 0
        n_runs += 1
        if foreground == 0:
            is_canonical = False
            continue
        if area == 0:
            first_x = x
        area += foreground
        top = min(top, y)
        y += foreground
        last_x = x
        bottom = max(bottom, min(y, height))
        if y >= height:
            if y > height:
                top = 0
                last_x = x + (y - 1) // height
            x += y // height
            y %= height
    code = end_fault(n_runs, left, height * width)
    if code != OK:
        return code, False, 0, 0, 0, 0, 0, 0
    if not is_canonical:
        n_runs = count_canonical_runs(bytes_B, start, end)
    if area == 0:
        return code, is_canonical, 0, 0, 0, 0, 0, n_runs
    return code, is_canonical, area, first_x, top, last_x + 1, bottom, n_runs


@part
def merge_zero_runs(counts_R, start, end):
    """Make the runs of one mask in ``counts_R[start:end]`` canonical in place; new end."""
    out = start
    colour = 1
    for place in range(start, end):
        run = counts_R[place]
        run_colour = (place - start) % 2
        if run == 0:
            continue
        if run_colour == colour and out > start:
            counts_R[out - 1] += run
            continue
        if out == start and run_colour == 1:
            # place > start here: nothing unread is overwritten.
            counts_R[out] = 0
            out += 1
        counts_R[out] = run
        out += 1
        colour = run_colour
    return out


@part
def decode_one(bytes_B, at, end, n_pixels, counts_R, out):
    """Write the runs of one string to ``counts_R[out:]``: (code, end of what was written)."""
    first = out
    left = n_pixels
    has_zero = False
    before = 0
    last = 0
    while at < end:
        char = np.int64(bytes_B[at]) - 48
        if char & -32 == 0:
            run = (char ^ 16) - 16
            at += 1
        else:
            run, at, state = read_number(bytes_B, at, end)
            if state > PADDED:
                return state, first
        if out - first > 2:
            run += before
        left -= run
        if run | left < 0:
            return run_fault(run, left), first
        has_zero = has_zero or (run == 0 and out > first)
        counts_R[out] = run
        out += 1
        before = last
        last = run
    code = end_fault(out - first, left, n_pixels)
    if code == OK and has_zero:
        out = merge_zero_runs(counts_R, first, out)
    return code, out


@kernel
def decode(bytes_B, offsets_N1, size_hw_N2, counts_R, out_offsets_N1):
    """Canonical runs of all strings; (row, code) of the first fault, or (-1, OK).

    Every run takes a byte at least, so ``counts_R`` of B entries always holds them.
    """
    out = 0
    for n in range(len(size_hw_N2)):
        height = size_hw_N2[n, 0]
        width = size_hw_N2[n, 1]
        code = size_fault(height, width)
        if code == OK:
            code, out = decode_one(
                bytes_B, offsets_N1[n], offsets_N1[n + 1], height * width, counts_R, out
            )
        if code != OK:
            return n, code
        out_offsets_N1[n + 1] = out
    return -1, OK


@kernel
def encode(counts_R, offsets_N1, bytes_B, out_offsets_N1):
    """COCO strings of runs; ``bytes_B`` holds `MAX_VARINT_CHARS` for each run."""
    out = 0
    for n in range(len(offsets_N1) - 1):
        start = offsets_N1[n]
        for place in range(start, offsets_N1[n + 1]):
            value = np.int64(counts_R[place])
            if place - start > 2:
                value -= np.int64(counts_R[place - 2])
            while value < -16 or value > 15:
                bytes_B[out] = 48 + 32 + (value & 31)
                out += 1
                value >>= 5
            bytes_B[out] = 48 + (value & 31)
            out += 1
        out_offsets_N1[n + 1] = out
    return out


@kernel
def read_counts(counts, offsets_N1, size_hw_N2, out_size_hw_N2, counts_R, out_offsets_N1, code_N):
    """Validate and canonicalise plain run lengths; a fault leaves the empty mask.

    ``counts_R`` holds one entry more per mask than there are counts.
    """
    out = 0
    for n in range(len(code_N)):
        height = size_hw_N2[n, 0]
        width = size_hw_N2[n, 1]
        code = size_fault(height, width)
        n_pixels = height * width if code == OK else 1
        out_size_hw_N2[n, 0] = height if code == OK else 1
        out_size_hw_N2[n, 1] = width if code == OK else 1
        first = out
        left = n_pixels
        if code == OK:
            for place in range(offsets_N1[n], offsets_N1[n + 1]):
                run = counts[place]
                if run < 0 or run >= 2**32:
                    code = RLE_COUNTS_TYPE
                    break
                left -= run
                if left < 0:
                    code = RLE_SUM
                    break
                counts_R[out] = run
                out += 1
        if code == OK:
            code = end_fault(out - first, left, n_pixels)
        if code == OK:
            out = merge_zero_runs(counts_R, first, out)
        else:
            counts_R[first] = n_pixels
            out = first + 1
        code_N[n] = code
        out_offsets_N1[n + 1] = out
    return out


@kernel
def fill_dense(counts_R, offsets_N1, n_pixels, bitmaps_NP):
    """Set foreground in zeroed rows; the first mask whose runs do not sum, or -1."""
    for n in range(len(offsets_N1) - 1):
        at = 0
        for place in range(offsets_N1[n], offsets_N1[n + 1]):
            run = np.int64(counts_R[place])
            if run > n_pixels - at:
                return n
            if (place - offsets_N1[n]) % 2:
                bitmaps_NP[n, at : at + run] = True
            at += run
        if at != n_pixels:
            return n
    return -1
