"""The text of a JSON file, plain or compressed, as a stream and by byte range.

All offsets are of the text, decompressed. A compressed file can only be read
from its start; so a process keeps the place where it last stopped, and a
worker that is given the slices of a file in order decompresses it once.
"""

from __future__ import annotations

import io
from collections.abc import Generator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NamedTuple

import pyarrow as pa

from pipeline import storage
from pipeline.errors import InputError, StorageError
from pipeline.read.json_stream import WINDOW_BYTES, JsonWindow
from pipeline.read.slices import SourceContext
from pipeline.read.torch_text import torch_to_json
from pipeline.storage import InputFile

MAX_RATIO = 500
"""Text may be this many times as long as the file, beyond `FREE_BYTES`."""

FREE_BYTES = 1 << 30

_BYTE_ORDER_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
_MAGIC = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "torch",
    b"\x80": "torch",
}


class TextFile(NamedTuple):
    """A file whose text is read.

    Attributes
    ----------
    uri : str
        Where it is.
    compression : str
        ``"gzip"``, ``"zstd"``, ``"torch"`` (whose text is what it holds, as JSON), or ``""``.
    file_bytes : int
        Its size, compressed.
    tag : str
        Names its content, so that a place in it is not kept for another file.
    """

    uri: str
    compression: str
    file_bytes: int
    tag: str


def text_file(file: InputFile) -> TextFile:
    """Return a file of the inventory as text; its first bytes say how it is compressed."""
    head = storage.read_bytes(file.uri, 0, 4)
    found = [name for magic, name in _MAGIC.items() if head.startswith(magic)]
    return TextFile(file.uri, found[0] if found else "", file.file_bytes, file.tag)


def source_text(uri: str, source: SourceContext) -> TextFile:
    """Return a file that was scanned as text."""
    return TextFile(uri, source.compression, source.file_bytes, source.tag)


@contextmanager
def open_window(file: TextFile, window_bytes: int = WINDOW_BYTES) -> Generator[JsonWindow]:
    """Open the text of a file as a window that stands at its first byte that is no space.

    Raises
    ------
    InputError
        If the text is empty, or begins with a byte order mark.
    """
    stream = _Stream(file)
    try:
        window = JsonWindow(file.uri, stream.read, window_bytes)
        window.extend()
        if window.text.startswith(_BYTE_ORDER_MARKS):
            raise InputError(
                f"{file.uri}: byte 0: expected UTF-8 without a byte order mark, got "
                f"{window.text[:3]!a}; write the file with encoding='utf-8'"
            )
        if not window.peek():
            raise InputError(
                f"{file.uri}: byte {window.offset}: expected JSON, the file is empty; write it "
                "again or leave it out"
            )
        yield window
    finally:
        stream.close()


def read_range(file: TextFile, start: int, stop: int) -> bytes:
    """Return the bytes [start, stop) of the text.

    Raises
    ------
    InputError
        If the text is shorter than it was.
    """
    if file.compression:
        data = _kept_stream(file, start).read_exactly(start, stop)
    else:
        data = storage.read_bytes(file.uri, start, stop)
    if len(data) != stop - start:
        raise InputError(
            f"{file.uri}: expected {stop - start} bytes from byte {start} on, got {len(data)}; the "
            "file was changed during the run: start it again"
        )
    return data


class _Stream:
    """The text of one file from its start on, and how far it has been read."""

    def __init__(self, file: TextFile) -> None:
        self.file = file
        self.offset = 0
        if file.compression == "torch":
            self._raw: Any = io.BytesIO(_torch_text(file.uri, file.tag))
        else:
            self._raw = storage.open_input(file.uri)
        self._stream: Any = self._raw
        if file.compression in ("gzip", "zstd"):
            self._stream = pa.CompressedInputStream(
                pa.PythonFile(self._raw, mode="r"), file.compression
            )

    def read(self, n_bytes: int) -> bytes:
        """Return the next bytes, at most so many; none at the end."""
        data = self._guarded(n_bytes)
        self.offset += len(data)
        if self.offset > max(FREE_BYTES, MAX_RATIO * self.file.file_bytes):
            raise InputError(
                f"{self.file.uri}: byte {self.offset}: VALUE_TOO_LARGE: expected text of at most "
                f"{MAX_RATIO} times the file's {self.file.file_bytes} bytes, got more; this looks "
                "like a bomb: leave the file out, or decompress it yourself"
            )
        return data

    def read_exactly(self, start: int, stop: int) -> bytes:
        """Return the bytes [start, stop) of the text, or fewer at its end."""
        while self.offset < start and self.read(min(WINDOW_BYTES, start - self.offset)):
            pass
        parts: list[bytes] = []
        while self.offset < stop and (data := self.read(stop - self.offset)):
            parts.append(data)
        return b"".join(parts)

    def close(self) -> None:
        """Close the file."""
        self._raw.close()

    def _guarded(self, n_bytes: int) -> bytes:
        try:
            return self._stream.read(n_bytes)
        except OSError as error:
            reason = storage.redact(str(error)) or type(error).__name__
            if self.file.compression and error.errno is None:
                raise InputError(
                    f"{self.file.uri}: byte {self.offset}: expected {self.file.compression} data, "
                    f"got: {reason}; the file was cut off or damaged: copy or write it again"
                ) from error
            raise StorageError(f"{self.file.uri}: could not read it: {reason}") from error


@lru_cache(maxsize=1)
def _torch_text(uri: str, tag: str) -> bytes:
    """Return the text of a torch file; kept, since it is looked at several times."""
    return torch_to_json(uri)


_kept: dict[TextFile, _Stream] = {}


def _kept_stream(file: TextFile, start: int) -> _Stream:
    """Return a stream that is not past the place: the one that is kept, or a new one."""
    stream = _kept.pop(file, None)
    if stream is None or stream.offset > start:
        for other in [stream, *_kept.values()]:
            if other is not None:
                other.close()
        _kept.clear()
        stream = _Stream(file)
    _kept[file] = stream
    return stream
