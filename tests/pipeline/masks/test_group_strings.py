"""Strings that are not canonical are refused by the grouping, and never read past their buffer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.errors import MaskError
from pipeline.masks import _numba_group_work as work
from pipeline.masks.batch import CocoStrings
from tests import oracle, strategies
from tests.grouping import run, strings_case, unpruned

ROOT = Path(__file__).resolve().parents[3]


def is_canonical(size_hw: tuple[int, int], string: bytes) -> bool:
    try:
        return oracle.canonical(size_hw, string) == string
    except oracle.Refused:
        return False


@st.composite
def damaged_strings(draw: st.DrawFn) -> tuple[tuple[int, int], bytes]:
    """Canonical strings with a few bytes changed, put in, or left out."""
    bitmap = draw(strategies.bitmaps(40))
    string = bytearray(oracle.encode(bitmap))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(string)))
        change = draw(st.sampled_from(["set", "insert", "remove"]))
        byte = draw(st.one_of(st.integers(48, 111), st.integers(0, 255)))
        if change == "insert":
            string.insert(at, byte)
        elif at < len(string):
            string[at : at + 1] = b"" if change == "remove" else bytes([byte])
    return bitmap.shape, bytes(string)


@settings(max_examples=200)
@given(damaged_strings(), st.integers(0, 90), st.booleans())
@example(((64, 64), b""), 0, True)
@example(((4, 4), b"P"), 0, True)
@example(((4, 4), b"O"), 0, True)
@example(((8, 8), b"P" * 40 + b"0"), 64, True)
@example(((1, 1), b"0" * 2000), 0, True)
@example(((2, 2), b"88"), 8, True)
@example(((64, 64), b"0@0"), 70, False)
def test_exactly_the_canonical_strings_are_taken(
    damaged: tuple[tuple[int, int], bytes], n_behind: int, is_vector: bool
) -> None:
    size_hw, string = damaged
    # What lies behind decides whether vectors may read that far.
    case = strings_case([string, oracle.to_string([size_hw[0] * size_hw[1]])], size_hw)
    data = np.concatenate([case.strings.bytes_B, np.full(n_behind, 200, np.uint8)])
    case = case._replace(strings=CocoStrings(data, case.strings.offsets_N1))
    policy = {"threshold": 0.5, "overlap": "iou", "group": "leader", "across": False}
    flags = 0 if is_vector else work.NO_VECTORS
    if is_canonical(size_hw, string):
        area = unpruned(case, policy, flags, 1024).area_N.tolist()
        assert area == [sum(oracle.parse(size_hw, string)[1::2]), 0]
    else:
        with pytest.raises(MaskError, match="row 0"):
            unpruned(case, policy, flags, 1024)


@pytest.mark.usefixtures("each_backend")
@settings(max_examples=100)
@given(damaged_strings())
@example(((64, 64), b""))
@example(((4, 4), b"P"))
@example(((4, 4), b"O"))
@example(((8, 8), b"P" * 40 + b"0"))
@example(((1, 1), b"0" * 2000))
@example(((64, 64), b"0@0"))
def test_each_backend_takes_exactly_the_canonical_strings(
    damaged: tuple[tuple[int, int], bytes],
) -> None:
    size_hw, string = damaged
    case = strings_case([string, oracle.to_string([size_hw[0] * size_hw[1]])], size_hw)
    if is_canonical(size_hw, string):
        assert run(case).area_N.tolist() == [sum(oracle.parse(size_hw, string)[1::2]), 0]
    else:
        with pytest.raises(MaskError, match="row 0"):
            run(case)


@pytest.mark.usefixtures("each_backend")
@settings(max_examples=100)
@given(st.lists(st.binary(max_size=200), min_size=1, max_size=4), st.integers(1, 300))
def test_any_bytes_are_refused_or_read(strings: list[bytes], side: int) -> None:
    case = strings_case(strings, (side, side))
    if all(is_canonical((side, side), string) for string in strings):
        run(case)
    else:
        with pytest.raises(MaskError):
            run(case)


@pytest.mark.parametrize("grid_from", ["1024", "2"])
def test_nothing_is_touched_behind_any_array(grid_from: str) -> None:
    # In a process of its own, as a touch ends it.
    done = subprocess.run(
        [sys.executable, "-m", "tests.guarded_group", grid_from],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, f"ended by signal or error {done.returncode}: {done.stderr}"
    n_read, n_refused = map(int, done.stdout.split())
    assert n_read > 50
    assert n_refused > 50
