"""Compiled reading of JSON numbers, rounded to the nearest double as the standard asks.

Most numbers of masks have few digits: the digits fit a double, and so does the
power of ten, so one multiplication or division rounds right (Clinger 1990).
The rest, the 17 digits that a float32 has as text, take the digits as a 64-bit
integer times a 128-bit approximation of the power of five, which decides the
rounding nearly always (Lemire, "Number parsing at a gigabyte per second",
2021). What neither decides is left to slower code: the number is not read.

Worked example: 0.59666746854782104 is 59666746854782104 times 10**-17, more
digits than 2**53. Times 5**-17 (from the table) and a power of two, its upper
64 bits hold the 53 bits of the result and the bit that rounds them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.masks._jit import part

NO_NUMBER = -1
"""Instead of a place: what is there is no number, or none that is read here."""

_MAX_POWER = 64


def _five_to(power: int) -> int:
    """Return the upper 128 bits of 5**power, rounded down for powers >= 0, up for others."""
    if power >= 0:
        exact = 5**power
        shift = 128 - exact.bit_length()
        return exact << shift if shift >= 0 else exact >> -shift
    divisor = 5**-power
    n_bits = divisor.bit_length() + 127
    return (1 << n_bits) // divisor + 1


def _power_table() -> NDArray[np.uint64]:
    words = [_five_to(power) for power in range(-_MAX_POWER, _MAX_POWER + 1)]
    return np.array([[word >> 64, word & (2**64 - 1)] for word in words], np.uint64)


_FIVES = _power_table()
_TENS = 10.0 ** np.arange(23)

_U1, _U9, _U32, _U63 = np.uint64(1), np.uint64(9), np.uint64(32), np.uint64(63)
_LOW32 = np.uint64(2**32 - 1)
_LOW9 = np.uint64(2**9 - 1)
_ALL = np.uint64(2**64 - 1)
_EVEN = np.uint64(2**64 - 2)
_TEN = np.uint64(10)
_EXACT = np.uint64(2**53)
_HIDDEN = np.uint64(2**52)
_MAX_DIGITS = 19


@part
def _product(a: Any, b: Any) -> Any:
    """Return the upper and lower 64 bits of the product of two 64-bit integers."""
    a_low, a_high = a & _LOW32, a >> _U32
    b_low, b_high = b & _LOW32, b >> _U32
    low = a_low * b_low
    middle = a_high * b_low + (low >> _U32)
    other = a_low * b_high + (middle & _LOW32)
    high = a_high * b_high + (middle >> _U32) + (other >> _U32)
    return high, (other << _U32) | (low & _LOW32)


@part
def _n_leading_zeros(value: Any) -> Any:
    n = 0
    for step in (32, 16, 8, 4, 2, 1):
        if value >> np.uint64(64 - step) == np.uint64(0):
            value <<= np.uint64(step)
            n += step
    return n


@part
def _round(digits: Any, power: Any) -> Any:
    """Return (whether it is decided, digits * 10**power as a double); digits > 0."""
    n_zeros = _n_leading_zeros(digits)
    shifted = digits << np.uint64(n_zeros)
    high, low = _product(shifted, _FIVES[power + _MAX_POWER, 0])
    if high & _LOW9 == _LOW9:
        more, _ = _product(shifted, _FIVES[power + _MAX_POWER, 1])
        low += more
        if low < more:
            high += _U1
        if low == _ALL:
            return False, 0.0
    top = high >> _U63
    kept = high >> (top + _U9)
    # Exactly half way: the even neighbour. Only these powers of five divide 64-bit digits.
    if (
        low <= _U1
        and -4 <= power <= 23
        and kept & np.uint64(3) == _U1
        and kept << (top + _U9) == high
    ):
        kept &= _EVEN
    kept = (kept + (kept & _U1)) >> _U1
    # floor(log2(10**power)) in integers, right for all powers of the table.
    exponent = ((217706 * power) >> 16) + 63 + np.int64(top) - n_zeros + 1023
    if kept >> np.uint64(53) != np.uint64(0):
        kept >>= _U1
        exponent += 1
    if exponent < 1 or exponent > 2046:
        return False, 0.0
    bits = np.uint64((kept & (_HIDDEN - _U1)) | (np.uint64(exponent) << np.uint64(52)))
    return True, bits.view(np.float64)


@part
def read_number(text_B: Any, i: Any) -> Any:
    """Return (place behind the number or -1, whether it is an int64, its int64, its double)."""
    end = text_B.size
    is_negative = i < end and text_B[i] == 45
    if is_negative:
        i += 1
    digits = np.uint64(0)
    first = i
    while i < end and 48 <= text_B[i] <= 57:
        digits = digits * _TEN + np.uint64(text_B[i] - 48)
        i += 1
    n_digits = i - first
    if n_digits == 0 or n_digits > _MAX_DIGITS or (n_digits > 1 and text_B[first] == 48):
        return NO_NUMBER, False, 0, 0.0
    if digits == np.uint64(0):
        n_digits = 0
    power = 0
    is_integer = True
    if i < end and text_B[i] == 46:
        is_integer = False
        i += 1
        first = i
        while i < end and 48 <= text_B[i] <= 57:
            digits = digits * _TEN + np.uint64(text_B[i] - 48)
            n_digits += digits != np.uint64(0)
            i += 1
        power = first - i
        if power == 0 or n_digits > _MAX_DIGITS:
            return NO_NUMBER, False, 0, 0.0
    if i < end and (text_B[i] == 101 or text_B[i] == 69):
        is_integer = False
        i += 1
        sign = 1
        if i < end and (text_B[i] == 43 or text_B[i] == 45):
            sign = -1 if text_B[i] == 45 else 1
            i += 1
        exponent = 0
        first = i
        while i < end and 48 <= text_B[i] <= 57 and i - first < 4:
            exponent = exponent * 10 + (text_B[i] - 48)
            i += 1
        if i == first or (i < end and 48 <= text_B[i] <= 57):
            return NO_NUMBER, False, 0, 0.0
        power += sign * np.int64(exponent)
    value = 0.0
    is_decided = True
    if digits != np.uint64(0):
        if digits <= _EXACT and -22 <= power <= 22:
            value = np.float64(digits)
            value = value / _TENS[-power] if power < 0 else value * _TENS[power]
        elif -_MAX_POWER <= power <= _MAX_POWER:
            is_decided, value = _round(digits, power)
        else:
            is_decided = False
    if not is_decided:
        return NO_NUMBER, False, 0, 0.0
    whole = np.int64(0)
    if is_integer:
        is_integer = digits >> _U63 == np.uint64(0)
        whole = np.int64(digits & (_ALL >> _U1))
    if is_negative:
        return i, is_integer, -whole, -value
    return i, is_integer, whole, value
