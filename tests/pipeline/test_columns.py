"""Arrow columns to ragged NumPy and back: the values of every row, on the same memory."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import columns
from pipeline.masks.batch import CocoStrings

BINARY = [pa.binary(), pa.large_binary(), pa.string(), pa.large_string()]
LISTS = [pa.list_(pa.int64()), pa.large_list(pa.int64())]
TEXTS = st.lists(st.text(alphabet="ab0é", max_size=4) | st.none(), max_size=8)
NUMBERS = st.lists(st.lists(st.integers(-5, 5), max_size=4) | st.none(), max_size=8)
CUTS = st.tuples(st.integers(0, 8), st.integers(0, 8))


def rows_of(strings: CocoStrings) -> list[bytes]:
    data, ends = strings.bytes_B.tobytes(), strings.offsets_N1.tolist()
    return [data[start:stop] for start, stop in pairwise(ends)]


def check_offsets(offsets_N1: Any, n_values: int) -> None:
    assert offsets_N1.dtype == np.int64
    assert offsets_N1[0] == 0
    assert offsets_N1[-1] == n_values


@given(st.sampled_from(BINARY), TEXTS, CUTS)
def test_strings_of_any_slice(dtype: pa.DataType, texts: list[Any], cut: tuple[int, int]) -> None:
    array = pa.array(["x", *texts], pa.large_string()).cast(dtype)
    array = array.slice(*cut)
    strings = columns.to_strings(array)
    check_offsets(strings.offsets_N1, len(strings.bytes_B))
    expected = [(text or "") for text in ["x", *texts][cut[0] :][: cut[1]]]
    assert rows_of(strings) == [text.encode() for text in expected]
    back = columns.from_strings(strings)
    back.validate(full=True)
    assert back.to_pylist() == [text.encode() for text in expected]


@given(st.sampled_from(LISTS), NUMBERS, CUTS)
def test_lists_of_any_slice(dtype: pa.DataType, lists: list[Any], cut: tuple[int, int]) -> None:
    lists = [[9, 9], *lists]
    values, offsets_N1 = columns.to_ragged(pa.array(lists, dtype).slice(*cut))
    check_offsets(offsets_N1, len(values))
    expected = [row or [] for row in lists[cut[0] :][: cut[1]]]
    found = [values[a:b].to_pylist() for a, b in pairwise(offsets_N1)]
    assert found == expected
    back = columns.from_ragged(values, offsets_N1)
    assert back.to_pylist() == expected


@given(st.integers(0, 8), CUTS)
def test_fixed_size_lists_of_any_slice(n_rows: int, cut: tuple[int, int]) -> None:
    rows = [[n, n + 1, n + 2] for n in range(n_rows)]
    array = pa.array(rows, pa.list_(pa.int32(), 3)).slice(*cut)
    values, offsets_N1 = columns.to_ragged(array)
    check_offsets(offsets_N1, len(values))
    assert values.to_pylist() == [n for row in rows[cut[0] :][: cut[1]] for n in row]


def test_nested_lists_of_a_slice() -> None:
    array = pa.array([[[1.0]], [[2.0, 3.0], []], [], [[4.0]]]).slice(1)
    rings, row_offsets = columns.to_ragged(array)
    values, ring_offsets = columns.to_ragged(rings)
    assert row_offsets.tolist() == [0, 2, 2, 3]
    assert ring_offsets.tolist() == [0, 2, 2, 3]
    assert values.to_pylist() == [2.0, 3.0, 4.0]


def test_nothing_is_copied() -> None:
    array = pa.array(["abc", "de"], pa.large_string())
    strings = columns.to_strings(array)
    buffers = array.buffers()
    assert strings.bytes_B.ctypes.data == buffers[2].address
    assert strings.offsets_N1.ctypes.data == buffers[1].address
    back = columns.from_strings(strings)
    assert back.buffers()[2].address == buffers[2].address


def test_no_rows() -> None:
    for dtype in BINARY:
        for empty in (pa.array([], dtype), pa.chunked_array([], dtype)):
            strings = columns.to_strings(empty)
            assert (strings.bytes_B.tolist(), strings.offsets_N1.tolist()) == ([], [0])
    values, offsets_N1 = columns.to_ragged(pa.chunked_array([], pa.list_(pa.int64())))
    assert (len(values), offsets_N1.tolist()) == (0, [0])
    assert columns.from_strings(columns.to_strings(pa.array([], pa.binary()))).to_pylist() == []


def test_chunks_are_joined() -> None:
    column = pa.chunked_array([["a"], [], ["bc"]])
    assert rows_of(columns.to_strings(column)) == [b"a", b"bc"]
    assert columns.one_chunk(column).to_pylist() == ["a", "bc"]
    single = pa.chunked_array([["a", "b"]])
    address = single.chunk(0).buffers()[2].address
    assert columns.one_chunk(single).buffers()[2].address == address


def test_nulls() -> None:
    assert columns.is_valid(pa.array([1, None, 3]).slice(1)).tolist() == [False, True]
    assert columns.is_valid(pa.array([1, 2])).tolist() == [True, True]


def test_other_types_are_refused() -> None:
    with pytest.raises(TypeError, match="string or binary"):
        columns.to_strings(pa.array([1]))
    with pytest.raises(TypeError, match="list column"):
        columns.to_ragged(pa.array(["a"]))
