"""Reading COCO strings in the grouping kernels: a number, a pair, a whole mask, a digest.

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
def join_groups(groups):
    """Join the lower 5 bits of 8 bytes to 40 bits: in pairs, fours, eights."""
    bits = groups & (_EACH * uint64(31))
    bits = (bits & uint64(0x001F001F001F001F)) | ((bits & uint64(0x1F001F001F001F00)) >> uint64(3))
    bits = (bits & uint64(0x000003FF000003FF)) | ((bits & uint64(0x03FF000003FF0000)) >> uint64(6))
    return (bits & uint64(0xFFFFF)) | (bits >> uint64(32) << uint64(20))


@inlined
def is_in_alphabet(word, n_chars):
    """Say whether the first 1 to 8 characters of a word are in 48..111."""
    low = word & ~_TOP
    good = (low + _EACH * uint64(80)) & ~(low + _EACH * uint64(16)) & ~word & _TOP
    return (good ^ _TOP) << uint64(64 - 8 * n_chars) == 0


@inlined
def signed_bits(bits, first, end):
    """Take 5-bit groups first..end of joined ones as a signed number."""
    return int64(bits << uint64(64 - 5 * end)) >> (64 - 5 * (end - first))


@inlined
def is_shortest(value, n_chars):
    """Say whether one group less could not hold a number."""
    return (value ^ (value >> 63)) >= (int64(1) << (5 * n_chars - 5)) >> 1


@inlined
def read_number(strings, pos, end):
    """Read one number of at most 7 characters: (value, next position or REFUSED).

    Of eight bytes, the first without the continuation bit ends the number.
    """
    if pos + 8 > strings.n_bytes:
        return read_number_slowly(strings, pos, end)
    word = load_word(strings.bytes_B, pos)
    groups = word - _EACH * uint64(48)
    n_chars = (trailing_zeros(~groups & (_EACH * uint64(32))) >> 3) + 1
    if n_chars > MAX_CHARS or pos + n_chars > end or not is_in_alphabet(word, n_chars):
        return int64(0), int64(REFUSED)
    value = signed_bits(join_groups(groups), 0, n_chars)
    if not is_shortest(value, n_chars):
        return int64(0), int64(REFUSED)
    return value, pos + n_chars


@part
def read_pair_slowly(strings, pos, end):
    """Read one number, and another one if the string goes on: as `read_pair`."""
    first, pos = read_number(strings, pos, end)
    if pos < 0 or pos == end:
        return first, int64(0), pos, 1
    second, pos = read_number(strings, pos, end)
    return first, second, pos, 2


@inlined
def read_pair(strings, pos, end):
    """Read two numbers: (first, second, next position or REFUSED, how many there were).

    Mostly both are among the next eight characters, and are read at once.
    """
    if pos + 8 > strings.n_bytes:
        return read_pair_slowly(strings, pos, end)
    word = load_word(strings.bytes_B, pos)
    groups = word - _EACH * uint64(48)
    stops = ~groups & (_EACH * uint64(32))
    n_first = (trailing_zeros(stops) >> 3) + 1
    n_both = (trailing_zeros(stops & (stops - uint64(1))) >> 3) + 1
    if n_both > 8 or pos + n_both > end or not is_in_alphabet(word, n_both):
        return read_pair_slowly(strings, pos, end)
    bits = join_groups(groups)
    first = signed_bits(bits, 0, n_first)
    second = signed_bits(bits, n_first, n_both)
    if not is_shortest(first, n_first) or not is_shortest(second, n_both - n_first):
        return int64(0), int64(0), int64(REFUSED), 2
    return first, second, pos + n_both, 2


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
