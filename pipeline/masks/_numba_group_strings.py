"""Reading COCO strings in the grouping kernels: one number, a whole mask, a digest.

Nothing here reads outside the strings' buffer, whatever its bytes are, and every
loop advances in a string or ends. Callers have proven the strings' offsets.
"""

# Numba infers the types of parameters from the call, and intrinsics take one less than written.
# pyright: reportMissingParameterType=false, reportCallIssue=false

from __future__ import annotations

from typing import Any, NamedTuple

from numba import int64, uint64

from pipeline.masks._jit import inlined, part
from pipeline.masks._numba_group_vector import load_word, trailing_zeros

REFUSED = -1
"""In place of a position: what is there is no canonical number."""

MAX_CHARS = 7


class Strings(NamedTuple):
    """COCO strings inside a kernel.

    Attributes
    ----------
    bytes_B : pointer to uint8
        All characters.
    n_bytes : int64
        Their number.
    offsets_N1 : pointer to int64
        String n lies from ``offsets_N1[n]`` to ``offsets_N1[n + 1]``.
    """

    bytes_B: Any
    n_bytes: int
    offsets_N1: Any


_EACH = uint64(0x0101010101010101)
_TOP = _EACH * uint64(0x80)
_MIX = uint64(0x9E3779B97F4A7C15)


@inlined
def read_number(strings, pos, end):
    """Read one number of at most 7 characters: (value, next position or REFUSED).

    Eight bytes at once: the first without the continuation bit ends the number,
    its 5-bit groups are then joined in three steps, in pairs, fours and eights.
    """
    if pos + 8 > strings.n_bytes:
        return read_number_slowly(strings, pos, end)
    word = load_word(strings.bytes_B, pos)
    groups = word - _EACH * uint64(48)
    n_chars = (trailing_zeros(~groups & (_EACH * uint64(32))) >> 3) + 1
    kept = ~uint64(0) >> uint64(64 - 8 * min(n_chars, 8))
    low = word & ~_TOP
    in_alphabet = (low + _EACH * uint64(80)) & ~(low + _EACH * uint64(16)) & ~word & _TOP
    if n_chars > MAX_CHARS or pos + n_chars > end or (in_alphabet ^ _TOP) & kept:
        return int64(0), int64(REFUSED)
    bits = groups & kept & (_EACH * uint64(31))
    bits = (bits & uint64(0x001F001F001F001F)) | ((bits & uint64(0x1F001F001F001F00)) >> uint64(3))
    bits = (bits & uint64(0x000003FF000003FF)) | ((bits & uint64(0x03FF000003FF0000)) >> uint64(6))
    bits = (bits & uint64(0xFFFFF)) | (bits >> uint64(32) << uint64(20))
    above = 64 - 5 * n_chars
    value = int64(bits << uint64(above)) >> above
    # A number is in its shortest form if one group less could not hold it.
    if (value ^ (value >> 63)) < (int64(1) << (5 * n_chars - 5)) >> 1:
        return int64(0), int64(REFUSED)
    return value, pos + n_chars


@part
def read_number_slowly(strings, pos, end):
    """Read one number byte by byte, at the end of the buffer."""
    value = int64(0)
    before = int64(0)
    for place in range(MAX_CHARS):
        if pos >= end:
            break
        group = int64(strings.bytes_B[pos]) - 48
        if group < 0 or group > 63:
            break
        pos += 1
        value |= (group & 31) << (5 * place)
        if group < 32:
            value -= (group & 16) << (5 * place + 1)
            if place > 0 and group == (31 if before & 16 else 0):
                break
            return value, int64(pos)
        before = group
    return int64(0), int64(REFUSED)


@part
def measure(strings, pos, end, h, w):
    """Read a mask number by number: (area or REFUSED, x0, x1, y0, y1)."""
    n_pixels = h * w
    area = int64(0)
    bg = int64(0)
    fg = int64(0)
    n_pairs = 0
    stop = int64(0)
    start = int64(0)
    x0 = int64(0)
    y0 = h
    y1 = int64(0)
    while pos < end:
        value, pos = read_number(strings, pos, end)
        bg = value + (bg if n_pairs > 1 else 0)
        start = stop + bg
        if pos < 0 or bg < (n_pairs > 0) or start > n_pixels:
            return REFUSED, x0, x0, y0, y1
        if pos == end:
            break
        value, pos = read_number(strings, pos, end)
        fg = value + (fg if n_pairs > 0 else 0)
        if pos < 0 or fg < 1 or start + fg > n_pixels:
            return REFUSED, x0, x0, y0, y1
        if n_pairs == 0:
            x0 = start // h
        stop = start + fg
        start = stop
        top = (stop - fg) % h
        is_crossing = top + fg > h
        y0 = 0 if is_crossing else min(y0, top)
        y1 = h if is_crossing else max(y1, top + fg)
        area += fg
        n_pairs += 1
    if start != n_pixels:
        return REFUSED, x0, x0, y0, y1
    if area == 0:
        return int64(0), int64(0), int64(0), int64(0), int64(0)
    return area, x0, (stop - 1) // h + 1, y0, y1


@part
def digest_string(bytes_B, start, end):
    """Hash a string, 16 bytes a step."""
    pos = start
    even = uint64(end - start) * _MIX
    odd = even
    while pos + 16 <= end:
        even = (even ^ load_word(bytes_B, pos)) * _MIX
        odd = (odd ^ load_word(bytes_B, pos + 8)) * _MIX
        even ^= even >> uint64(29)
        odd ^= odd >> uint64(29)
        pos += 16
    if end - start >= 16:
        even = (even ^ load_word(bytes_B, end - 16)) * _MIX
        odd = (odd ^ load_word(bytes_B, end - 8)) * _MIX
    else:
        while pos < end:
            even = (even ^ uint64(bytes_B[pos])) * _MIX
            pos += 1
    even ^= (even >> uint64(32)) ^ odd ^ (odd >> uint64(31))
    return even * _MIX


@part
def is_same_string(bytes_B, a, b, n_bytes):
    """Compare two strings of one length."""
    place = 0
    while place + 8 <= n_bytes:
        if load_word(bytes_B, a + place) != load_word(bytes_B, b + place):
            return False
        place += 8
    while place < n_bytes:
        if bytes_B[a + place] != bytes_B[b + place]:
            return False
        place += 1
    return True
