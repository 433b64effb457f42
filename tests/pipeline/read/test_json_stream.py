"""The structural scan finds what the json module finds, however the text is cut into windows."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.read import _numba_json as compiled
from pipeline.read.json_stream import JsonWindow

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=12),
    st.sampled_from(['"', "\\", '\\"', "[", "}", "{]", "NaN", ",", "\\u0022", "é", "image_id"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=12,
)
IDS = st.one_of(st.integers(-(2**66), 2**66), st.text(max_size=4), st.floats(-9, 9), st.none())
ROWS = st.one_of(
    VALUES,
    st.fixed_dictionaries(
        {"segmentation": VALUES}, optional={"image_id": IDS, "category_id": VALUES, "x": VALUES}
    ),
)
SPACES = st.sampled_from(["", " ", "\n", "\t\r\n  "])


def open_window(data: bytes, window_bytes: int) -> JsonWindow:
    return JsonWindow("test", io.BytesIO(data).read, window_bytes)


def find_all(data: bytes, window_bytes: int) -> list[tuple[int, int, int, int, int]]:
    """Return start, stop, kind and value of the image_id, and flags of every element."""
    window = open_window(data, window_bytes)
    out: list[tuple[int, int, int, int, int]] = []
    for found in window.take_array():
        columns = (found.start_N + found.base, found.stop_N + found.base, found.id_kind_N)
        out += zip(*(c.tolist() for c in (*columns, found.id_value_N, found.flags_N)), strict=True)
    assert window.peek() == b""
    return out


@given(st.lists(ROWS, max_size=6), SPACES, st.booleans(), st.integers(1, 60))
@settings(max_examples=200)
def test_elements_are_those_of_json(
    rows: list[Any], space: str, is_ascii: bool, window_bytes: int
) -> None:
    separators = (f"{space},{space}", f"{space}:{space}")
    text = json.dumps(rows, ensure_ascii=is_ascii, separators=separators)
    data = f"{space}{text}{space}".encode("utf-8", "surrogatepass")
    found = find_all(data, window_bytes)
    assert [data[start:stop] for start, stop, *_ in found] == [
        json.dumps(row, ensure_ascii=is_ascii, separators=separators).encode(
            "utf-8", "surrogatepass"
        )
        for row in rows
    ]
    assert find_all(data, 1 << 20) == found
    for row, (_, _, kind, value, flags) in zip(rows, found, strict=True):
        check_row(row, kind, value, flags)


def check_row(row: Any, kind: int, value: int, flags: int) -> None:
    keys = row if isinstance(row, dict) else {}
    assert kind == expected_kind(keys)
    if kind == compiled.ID_INT:
        assert value == keys["image_id"]
    has_mask = keys.get("segmentation") not in (None, [])
    assert bool(flags & compiled.HAS_SEGMENTATION) == has_mask
    assert bool(flags & compiled.HAS_CATEGORY) == (keys.get("category_id") is not None)


def expected_kind(keys: dict[str, Any]) -> int:
    if "image_id" not in keys:
        return compiled.ID_MISSING
    value = keys["image_id"]
    if isinstance(value, str):
        return compiled.ID_STRING
    if isinstance(value, float):
        return compiled.ID_FLOAT
    is_int64 = type(value) is int and abs(value) < 2**63
    return compiled.ID_INT if is_int64 else compiled.ID_OTHER


@given(st.binary(max_size=60) | st.text(alphabet='[]{}",:\\ 0aN', max_size=60), st.integers(1, 70))
@settings(max_examples=300)
def test_any_bytes_end(noise: bytes | str, window_bytes: int) -> None:
    data = noise if isinstance(noise, bytes) else noise.encode()
    for prefix in (b"[", b'[{"image_id":1},', b'[{"image_id":'):
        try:
            find_all(prefix + data, window_bytes)
        except (InputError, AssertionError):  # the latter where something follows the array
            continue


@given(st.lists(ROWS, min_size=1, max_size=3), st.data())
@settings(max_examples=50)
def test_cut_off_text_is_refused(rows: list[Any], data: st.DataObject) -> None:
    text = json.dumps(rows).encode()
    size = data.draw(st.integers(1, len(text) - 1))
    with pytest.raises(InputError, match=rf"byte {size}: "):
        find_all(text[:size], 16)


def test_lines_need_no_commas() -> None:
    window = open_window(b'{"a": 1}\n {"a": 2}\n\n3', 4)
    texts = [
        f.text[a:b] for f in window.take_lines() for a, b in zip(f.start_N, f.stop_N, strict=True)
    ]
    assert texts == [b'{"a": 1}', b'{"a": 2}', b"3"]


def test_single_values_follow_each_other() -> None:
    window = open_window(b'"key" : [1, {"a": "]"}] , true', 3)
    assert window.take_value() == b'"key"'
    window.take(b":", "':'")
    assert window.peek() == b"["
    assert window.take_value() == b'[1, {"a": "]"}]'
    window.take(b",", "','")
    assert window.take_value() == b"true"
    assert window.peek() == b""
    with pytest.raises(InputError, match=r"byte 30: .*the file ends"):
        window.take_value()


def test_window_stays_small() -> None:
    rows = b"[" + b",".join([b'{"image_id": 12345}'] * 20_000) + b"]"
    window = open_window(rows, 1_000)
    longest = 0
    for _ in window.take_array():
        longest = max(longest, len(window.text))
    assert longest <= 1_100
