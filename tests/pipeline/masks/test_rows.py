"""Selecting and joining rows of the two mask forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import MaskError
from pipeline.masks import rows
from pipeline.masks.batch import CocoStrings
from tests import strategies


@given(strategies.images(max_side=8), st.data())
@settings(max_examples=60)
def test_take(stacks: list[Any], data: st.DataObject) -> None:
    masks = strategies.flat(stacks)
    index = data.draw(st.lists(st.integers(0, len(masks) - 1), max_size=9)) if masks else []
    batch, strings = strategies.to_batch(masks), strategies.to_strings(masks)
    taken = rows.take(batch, index)
    expected = [strategies.list_runs(batch)[row] for row in index]
    assert strategies.list_runs(taken) == expected
    assert taken.size_hw_N2.tolist() == [list(masks[row].shape) for row in index]
    assert [array.dtype for array in taken] == [np.int32, np.uint32, np.int64]
    taken_strings = rows.take_strings(strings, index)
    wanted = [strategies.list_strings(strings)[row] for row in index]
    assert strategies.list_strings(taken_strings) == wanted
    assert [array.dtype for array in taken_strings] == [np.uint8, np.int64]


@given(strategies.images(max_side=8), strategies.images(max_side=8), st.data())
@settings(max_examples=60)
def test_strings_of_two_sets_are_chosen_as_if_one_followed_the_other(
    ones: list[Any], others: list[Any], data: st.DataObject
) -> None:
    first, second = (strategies.to_strings(strategies.flat(s)) for s in (ones, others))
    n_rows = len(first.offsets_N1) + len(second.offsets_N1) - 2
    index = data.draw(st.lists(st.integers(0, n_rows - 1), max_size=12)) if n_rows else []
    chosen = rows.choose_strings(first, second, index)
    joined = rows.concat_strings([first, second])
    for ours, theirs in zip(chosen, rows.take_strings(joined, index), strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)
    for outside in (-1, n_rows):
        with pytest.raises(MaskError):
            rows.choose_strings(first, second, [outside])


@given(strategies.images(max_side=8))
@settings(max_examples=60)
def test_concat(stacks: list[Any]) -> None:
    masks = strategies.flat(stacks)
    joined = rows.concat([strategies.to_batch(stack) for stack in stacks])
    for ours, theirs in zip(joined, strategies.to_batch(masks), strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)
    strings = rows.concat_strings([strategies.to_strings(stack) for stack in stacks])
    expected = strategies.list_strings(strategies.to_strings(masks))
    assert strategies.list_strings(strings) == expected


def test_empty_batch() -> None:
    empty = rows.empty_batch()
    assert [(array.shape, array.dtype) for array in empty] == [
        ((0, 2), np.int32),
        ((0,), np.uint32),
        ((1,), np.int64),
    ]
    assert strategies.list_runs(rows.concat([])) == []
    assert strategies.list_runs(rows.take(empty, np.zeros(0, np.int64))) == []
    assert strategies.list_strings(rows.concat_strings([])) == []


def test_values_beyond_the_last_offset_are_left_out() -> None:
    strings = CocoStrings(np.frombuffer(b"04rest", np.uint8), np.array([0, 2]))
    joined = rows.concat_strings([strings, strategies.strings_of([b"4"])])
    assert strategies.list_strings(joined) == [b"04", b"4"]
    assert joined.bytes_B.tobytes() == b"044"


@pytest.mark.parametrize("index", [[1], [-1], [0.0], [[0]], [2**62]])
def test_rows_that_are_not_there(index: list[Any]) -> None:
    with pytest.raises(MaskError):
        rows.take(strategies.batch_of_runs([(2, 2)], [[4]]), index)
    with pytest.raises(MaskError):
        rows.take_strings(strategies.strings_of([b"4"]), index)
