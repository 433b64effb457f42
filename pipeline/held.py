"""The bytes of small files, kept while they are looked at.

A file is opened half a dozen times to find out what it is and how its rows lie. For one of a few
kilobytes that costs more than all else, and on an object store each time is a request.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

HELD_BYTES = 1 << 20
"""Files up to this size are held."""

_held: dict[str, bytes] = {}


@contextmanager
def holding(uri: str, file_bytes: int, read: Callable[[str, int, int], bytes]) -> Generator[None]:
    """Read a small file whole, once: within the block `storage` takes its bytes from memory.

    Parameters
    ----------
    uri : str
        The file.
    file_bytes : int
        Its size; one of more than `HELD_BYTES` is read as ever, where and as often as asked for.
    read : callable
        Gives the bytes of a URI in a range; asked for all of them so, a store's client does
        not ask for the size first.
    """
    if not 0 < file_bytes <= HELD_BYTES or uri in _held:
        yield
        return
    _held[uri] = read(uri, 0, file_bytes)
    try:
        yield
    finally:
        del _held[uri]


def held_bytes(uri: str) -> bytes | None:
    """Return the bytes of a file that is held, else None."""
    return _held.get(uri)
