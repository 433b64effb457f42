"""The text of a JSON file, as a stream and by byte range."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

from pipeline import storage
from pipeline.errors import InputError, StorageError
from pipeline.read.json_stream import WINDOW_BYTES, JsonWindow

_BYTE_ORDER_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")


@contextmanager
def open_window(uri: str, window_bytes: int = WINDOW_BYTES) -> Generator[JsonWindow]:
    """Open the text of a file as a window that stands at its first byte that is no space.

    Raises
    ------
    InputError
        If the file is empty, or begins with a byte order mark.
    """
    with storage.open_input(uri) as stream:
        window = JsonWindow(uri, _guarded(uri, stream.read), window_bytes)
        window.extend()
        if window.text.startswith(_BYTE_ORDER_MARKS):
            raise InputError(
                f"{uri}: byte 0: expected UTF-8 without a byte order mark, got "
                f"{window.text[:3]!a}; write the file with encoding='utf-8'"
            )
        if not window.peek():
            raise InputError(
                f"{uri}: byte {window.offset}: expected JSON, the file is empty; write it again or "
                "leave it out"
            )
        yield window


def read_range(uri: str, start: int, stop: int) -> bytes:
    """Return the bytes [start, stop) of the text.

    Raises
    ------
    InputError
        If the file is shorter than it was.
    """
    data = storage.read_bytes(uri, start, stop)
    if len(data) != stop - start:
        raise InputError(
            f"{uri}: expected {stop - start} bytes from byte {start} on, got {len(data)}; the file "
            "was changed during the run: start it again"
        )
    return data


def _guarded(uri: str, read: Callable[[int], bytes]) -> Callable[[int], bytes]:
    def guarded(n: int) -> bytes:
        try:
            return read(n)
        except OSError as error:
            reason = storage.redact(str(error)) or type(error).__name__
            raise StorageError(f"{uri}: could not read it: {reason}") from error

    return guarded
