"""Reading strings eight characters at once says of each what reading number by number says."""

# Numba infers the types of parameters from the call.
# pyright: reportMissingParameterType=false, reportCallIssue=false

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.masks import _numba_inspect, _numba_rle, rle
from pipeline.masks._jit import kernel
from pipeline.masks._numba_group_strings import Strings
from pipeline.masks._numba_group_vector import pointer_to
from tests import oracle, strategies

BEHIND = b"0" * 80
"""A string behind the last one, so that all others are read eight characters at once."""

TALL = _numba_inspect.MAX_VECTOR_HEIGHT

Row = tuple[bytes, tuple[int, int]]


def by_numbers(text: bytes, size_hw: tuple[int, int]) -> list[int]:
    """Code, whether canonical, area, box, runs: read number by number."""
    facts = _numba_rle.inspect_one(np.frombuffer(text, np.uint8), 0, len(text), *size_hw)
    code, is_canonical, area, x0, y0, x1, y1, n_runs = map(int, facts)
    return [code, is_canonical, area, x0, y0, x1 - x0, y1 - y0, n_runs]


def assert_same_facts(rows: Sequence[Row]) -> None:
    strings = strategies.strings_of([*(text for text, _ in rows), BEHIND])
    facts = rle.inspect_coco(strings, np.array([*(size_hw for _, size_hw in rows), (1, 1)]))
    for n, (text, size_hw) in enumerate(rows):
        numbers = [facts.code_N[n], facts.is_canonical_N[n], facts.area_N[n]]
        found = [*numbers, *facts.bbox_xywh_N4[n], facts.n_runs_N[n]]
        assert list(map(int, found)) == by_numbers(text, size_hw), (text, size_hw)


@kernel
def read_at_once(bytes_B, offsets_N1, h, w, room):
    """Read the first string by the fast reader alone: (is it valid and canonical, x0, x1, ...)."""
    strings = Strings(pointer_to(bytes_B), len(bytes_B), pointer_to(offsets_N1))
    inside = _numba_inspect.Room(pointer_to(room.table), pointer_to(room.steps))
    return _numba_inspect.inspect_canonical(
        strings, offsets_N1[0], offsets_N1[1], h, w, _numba_inspect.shape_of(h), inside
    )


def box_at_once(text: bytes, size_hw: tuple[int, int]) -> list[int] | None:
    """Return area and box [x0, y0, x1, y1] by the fast reader alone; None where it refuses."""
    strings = strategies.strings_of([text, BEHIND])
    is_canonical, area, x0, x1, y0, y1, _ = read_at_once(
        *strings, *size_hw, _numba_inspect.make_room()
    )
    return list(map(int, (area, x0, y0, x1, y1))) if is_canonical else None


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        # A run in each column.
        ([(2, 4), (1, 4), (1, 5), (2, 5), (3, 6)], [15, 1, 1, 6, 6]),
        # A column left out, then two of them.
        ([(2, 4), (1, 4), (), (2, 5), (3, 6), (), (), (4, 5)], [12, 1, 1, 9, 6]),
        # Runs that go on in the next column, and one that ends with its column.
        ([(2, 4), (1, 4), (6, 8), (0, 3), (2, 8), (5, 8), (0, 1)], [20, 1, 0, 8, 8]),
        # The first row and the last one.
        ([(0, 1), (7, 8), (3, 5), (0, 2)], [6, 1, 0, 5, 8]),
    ],
)
def test_worked_examples(columns: list[tuple[int, ...]], expected: list[int]) -> None:
    mask = np.zeros((8, 24), bool)
    for x, rows in enumerate(columns):
        mask[slice(*rows) if rows else slice(0), x + 1] = True
    text = oracle.encode(mask)
    assert box_at_once(text, mask.shape) == expected
    assert oracle.area(mask.shape, text) == expected[0]
    assert_same_facts([(text, mask.shape)])


def test_second_runs_of_columns() -> None:
    mask = np.zeros((20, 40), bool)
    for x in range(3, 30):
        mask[4:17, x] = np.arange(13) % (2 + x % 5) > 0
    text = oracle.encode(mask)
    assert box_at_once(text, mask.shape) == [int(mask.sum()), 3, 5, 30, 17]


@given(st.lists(strategies.bitmaps(max_side=90), min_size=1, max_size=5))
@settings(max_examples=100)
def test_what_is_read_at_once_is_as_number_by_number(masks: list[strategies.Bitmap]) -> None:
    rows = [(oracle.encode(mask), mask.shape) for mask in masks]
    for text, size_hw in rows:
        _, _, area, x, y, w, h, _ = by_numbers(text, size_hw)
        assert box_at_once(text, size_hw) in ([area, x, y, x + w, y + h], None)
    assert_same_facts(rows)


@st.composite
def walks(draw: st.DrawFn) -> Row:
    """Draw runs that stay in a column, move on by one or by some, or go on in the next."""
    h = draw(st.sampled_from([1, 2, 7, 8, 33, 640, 2_000, TALL - 1, TALL, TALL + 1, 30_000]))
    w = draw(st.integers(1, 70))
    near = [st.integers(max(1, k * h - 3), k * h + 3) for k in range(5)]
    numbers = st.one_of(*near, st.integers(1, h), st.integers(1, 2**15 + 9))
    runs = draw(st.lists(numbers, min_size=1, max_size=40))
    runs[0] = draw(st.one_of(st.just(0), st.just(runs[0])))
    left = h * w
    for n, run in enumerate(runs):
        runs[n] = min(run, left)
        left -= runs[n]
    text = bytearray(oracle.to_string([*runs, left] if left and draw(st.booleans()) else runs))
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(text)))
        char = draw(st.one_of(st.integers(48, 111), st.integers(0, 255)))
        text[at : at + draw(st.integers(0, 1))] = bytes([char])
    return bytes(text), (h, w)


@given(st.lists(walks(), min_size=1, max_size=4))
@settings(max_examples=200)
def test_any_runs_are_judged_as_number_by_number(rows: list[Row]) -> None:
    assert_same_facts(rows)


def test_masks_of_any_shape_are_judged_as_number_by_number() -> None:
    rng = np.random.default_rng(20_241_129)
    rows: list[Row] = []
    n_fast = 0
    for n in range(1_500):
        h, w = (int(side) for side in np.exp(1 + 4 * rng.random(2)).astype(int))
        y, x = np.indices((h, w)) / np.array([h, w])[:, None, None] - rng.random(2)[:, None, None]
        mask = np.hypot(y, x) < rng.random()
        mask &= rng.random((h, w)) < (1.0, 0.98, 0.8)[n % 3]
        text = bytearray(oracle.encode(mask))
        if n % 4 == 3:
            text[rng.integers(len(text))] = rng.integers(48, 112)
        rows.append((bytes(text), (h, w)))
        n_fast += n % 4 != 3 and box_at_once(*rows[-1]) is not None
    assert n_fast > 1_100
    assert_same_facts(rows)
