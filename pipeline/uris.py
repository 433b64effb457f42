"""Names of places: URIs taken apart and put together, without looking at a store.

`pipeline.storage` has these too: whoever reads and writes imports that.
"""

from __future__ import annotations

import re
from pathlib import Path


def redact(text: str) -> str:
    """Return the text with the credentials of any URI in it replaced by ``***``."""
    return re.sub(r"(\w+://)[^/\s@]+@", r"\1***@", text)


def join(uri: str, *parts: str) -> str:
    """Return the URI of a file below a directory's URI."""
    return "/".join([uri.rstrip("/"), *parts])


def is_local(uri: str) -> bool:
    """Return whether the URI names a file of this machine."""
    return uri.startswith("file://")


def local_path(uri: str) -> Path:
    """Return the path of a local URI."""
    return Path(uri.removeprefix("file://"))


def is_inside(inner_uri: str, outer_uri: str) -> bool:
    """Return whether one URI is the other or lies below it."""
    return inner_uri == outer_uri or inner_uri.startswith(outer_uri.rstrip("/") + "/")
