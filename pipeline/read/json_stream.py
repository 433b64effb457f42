"""JSON files of any size: a window that moves over the text, and the elements found in it.

Only a window is held, so memory stays bounded by the window and the longest
element. Everything here is about where things lie; nothing is decoded but keys.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.read import _numba_json as compiled

WINDOW_BYTES = 4 << 20
"""Text that is looked at in one go; small enough for memory, large enough for speed."""

MAX_ELEMENT_BYTES = 256 << 20
"""Longest element that a window grows for; a longer one stops the file."""

_MAX_FOUND = 1 << 16
_SPACE = re.compile(rb"[ \t\n\r]*")

_FAULTS = {
    compiled.NONFINITE: (
        "expected JSON, got a NaN or Infinity literal",
        "JSON has no such value: write null or leave the row out (in Python: "
        "json.dump(..., allow_nan=False) finds the place)",
    ),
    compiled.DUPLICATE_KEY: (
        "expected each key once in a row, got a key for the second time",
        "which value counts is not defined: keep one",
    ),
    compiled.TOO_DEEP: (
        f"expected at most {compiled.MAX_DEPTH} nested brackets, got more",
        "this is no file of masks",
    ),
    compiled.MISMATCH: (
        "expected the bracket that closes the open one, got another",
        "the file is damaged: copy or write it again",
    ),
    compiled.NO_VALUE: ("expected a JSON value", "the file is damaged: copy or write it again"),
    compiled.NO_COMMA: (
        "expected ',' or ']' after an element",
        "the file is damaged: copy or write it again",
    ),
}


class Elements(NamedTuple):
    """Some elements of one array, in order.

    Attributes
    ----------
    text : bytes
        The window they lie in.
    base : int
        Byte offset of the window in the (decompressed) file.
    start_N, stop_N : int64 (N,)
        Element n is ``text[start_N[n]:stop_N[n]]``.
    id_at_N : int64 (N,)
        Where in the window the value of its key image_id starts; -1 without one.
    id_kind_N : uint8 (N,)
        ``ID_*`` of `pipeline.read._numba_json`.
    id_value_N : int64 (N,)
        Its image_id where the kind is ``ID_INT``.
    own_id_N : int64 (N,)
        Its key id where that is an integer (`flags_N` says so).
    flags_N : uint32 (N,)
        Which of the keys of a row have a value (bits by ``KEYS``).
    """

    text: bytes
    base: int
    start_N: NDArray[np.int64]
    stop_N: NDArray[np.int64]
    id_at_N: NDArray[np.int64]
    id_kind_N: NDArray[np.uint8]
    id_value_N: NDArray[np.int64]
    own_id_N: NDArray[np.int64]
    flags_N: NDArray[np.uint32]


class JsonWindow:
    """A window over the text of one JSON file, and a place in it.

    Parameters
    ----------
    uri : str
        For messages.
    read : callable
        ``read(n)`` gives the next bytes, at most n, none at the end.
    window_bytes : int
        How much to read in one go.
    """

    def __init__(
        self, uri: str, read: Callable[[int], bytes], window_bytes: int = WINDOW_BYTES
    ) -> None:
        self.uri = uri
        self.text = b""
        self.base = 0
        self.place = 0
        self.is_final = False
        self._read = read
        self._window_bytes = window_bytes

    @property
    def offset(self) -> int:
        """Byte offset of the place in the file."""
        return self.base + self.place

    def extend(self) -> None:
        """Drop what lies before the place and read on; longer, the more is kept."""
        kept = self.text[self.place :]
        if len(kept) > MAX_ELEMENT_BYTES:
            raise self.fault(
                f"expected elements of at most {MAX_ELEMENT_BYTES >> 20} MB, got a longer one",
                "split or remove it (VALUE_TOO_LARGE)",
            )
        more = self._read(max(self._window_bytes, len(kept)))
        self.is_final = not more
        self.base += self.place
        self.place = 0
        self.text = kept + more

    def peek(self) -> bytes:
        """Move past white space; return the byte there, or no byte at the end of the file."""
        while True:
            self.place = _SPACE.match(self.text, self.place).end()  # pyright: ignore
            if self.place < len(self.text):
                return self.text[self.place : self.place + 1]
            if self.is_final:
                return b""
            self.extend()

    def take(self, byte: bytes, expected: str) -> None:
        """Move past white space and this byte."""
        if self.peek() != byte:
            raise self.fault(f"expected {expected}")
        self.place += 1

    def take_value(self) -> bytes:
        """Move past the next value; return its bytes."""
        for found in self._elements(has_commas=False, max_found=1):
            return found.text[found.start_N[0] : found.stop_N[0]]
        raise self.fault("expected a JSON value")

    def take_array(self) -> Iterator[Elements]:
        """Move past the array that starts here; yield its elements, some at a time."""
        self.take(b"[", "'['")
        return self._elements(has_commas=True, max_found=_MAX_FOUND)

    def take_lines(self) -> Iterator[Elements]:
        """Move to the end of the file; yield the values, which nothing but space separates."""
        return self._elements(has_commas=False, max_found=_MAX_FOUND)

    def fault(self, what: str, hint: str = "the file is damaged: copy or write it again") -> Any:
        """Return the error that says what is wrong at the place."""
        found = self.text[self.place : self.place + 24]
        got = f"got {found.decode('utf-8', 'replace')!a}" if found else "the file ends"
        comma = "" if "got" in what else f", {got}"
        return InputError(f"{self.uri}: byte {self.offset}: {what}{comma}; {hint}")

    def _elements(self, *, has_commas: bool, max_found: int) -> Iterator[Elements]:
        is_after = False
        while True:
            arrays = _found_arrays(min(max_found, len(self.text) // 2 + 1))
            text_B = np.frombuffer(self.text, np.uint8)
            status, place, is_after, n = compiled.scan_elements(
                text_B, self.place, is_after, has_commas, self.is_final, *arrays
            )
            text, base = self.text, self.base
            self.place = place
            if n:
                yield Elements(text, base, *(array[:n] for array in arrays))
            if status == compiled.ARRAY_END or (n and max_found == 1):
                return
            if status == compiled.NEED_MORE:
                if not self.is_final:
                    self.extend()
                elif not has_commas and self.peek() == b"":
                    return
                else:
                    raise self._truncated()
            elif status != compiled.OUTPUT_FULL:
                raise self.fault(*_FAULTS[status])

    def _truncated(self) -> InputError:
        size = self.base + len(self.text)
        self.peek()
        return InputError(
            f"{self.uri}: byte {size}: expected, before the file ends, the rest of the value "
            f"that starts at byte {self.offset}; it was cut off: copy or write it again"
        )


def _found_arrays(n: int) -> tuple[NDArray[Any], ...]:
    """Return room for n elements: start, stop, id place, id kind, id value, own id, flags."""
    int64s = [np.empty(n, np.int64) for _ in range(5)]
    return (*int64s[:3], np.empty(n, np.uint8), *int64s[3:], np.empty(n, np.uint32))
