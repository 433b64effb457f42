"""Numbers are rounded exactly as Python rounds them, or not read at all."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.read._numba_numbers import NO_NUMBER, read_number


def read(text: str) -> tuple[int, bool, int, float]:
    return read_number(np.frombuffer(text.encode() + b",", np.uint8), 0)


def check(text: str) -> bool:
    """Return whether the number is read; then it is the right one."""
    stop, is_integer, whole, value = read(text)
    if stop == NO_NUMBER:
        return False
    assert stop == len(text)
    assert struct.pack("d", value) == struct.pack("d", float(text))
    assert not is_integer or whole == int(text)
    return True


FLOATS = st.floats(allow_nan=False, allow_infinity=False)
DIGITS = st.text("0123456789", min_size=1, max_size=22)
DECIMALS = st.builds("{}{}.{}".format, st.sampled_from(["", "-"]), st.integers(0, 10**9), DIGITS)
POWERS = st.builds("{}e{}".format, st.integers(-(10**19), 10**19), st.integers(-90, 90))


@given(st.one_of(FLOATS.map(repr), DECIMALS, POWERS, st.integers(-(2**64), 2**64).map(str)))
@settings(max_examples=500)
@example("0.59666746854782104")
@example("9007199254740993")
@example("9007199254740993e1")
@example("-0")
@example("0.00000000000000000000001234567890123456789")
@example("1e22")
@example("1e23")
def test_numbers_are_right_or_left(text: str) -> None:
    check(text)


@given(st.integers(2**52, 2**53 - 1), st.integers(0, 10))
def test_numbers_half_way_go_to_the_even_neighbour(digits: int, power: int) -> None:
    check(str((2 * digits + 1) << power))
    check(f"{2 * digits + 1}.0")


@pytest.mark.parametrize("width", [32, 64])
def test_what_detectors_write_is_read(width: int) -> None:
    rng = np.random.default_rng(0)
    values = rng.random(2_000) * rng.choice([1e-6, 1e-3, 1.0, 1e3], 2_000)
    if width == 32:
        values = values.astype(np.float32).astype(np.float64)
    n_read = sum(check(repr(value)) for value in values.tolist())
    assert n_read > 0.99 * len(values)


@pytest.mark.parametrize("text", ["7", "-7", "0", "2.5", "1e2", str(2**63 - 1)])
def test_plain_numbers_are_read(text: str) -> None:
    assert check(text)


@pytest.mark.parametrize(
    "text",
    ["", "-", ".5", "1.", "01", "-01", "00", "1e", "1e+", "+1", "1.e5", "--1", "x", "1e99999"],
)
def test_what_is_no_number_is_left(text: str) -> None:
    stop = read(text)[0]
    assert stop == NO_NUMBER or stop < len(text)


@pytest.mark.parametrize("text", ["-9223372036854775808", "9223372036854775808"])
def test_integers_beyond_int64_are_no_integers(text: str) -> None:
    assert not read(text)[1]
