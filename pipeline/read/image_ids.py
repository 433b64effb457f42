"""One type of image_id per table: which values are usable as one, and as what.

With ``--read.id_mode auto`` an id is taken as it is, of the type that the table
has. ``int`` and ``string`` convert between 139, "000000000139" and 139.0, which
is never done unasked: "007" and 7 may be two images.
"""

from __future__ import annotations

import re

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1

_DIGITS = re.compile(r"-?[0-9]+")


def convert_id(value: object, id_type: str, id_mode: str) -> int | str | None:
    """Return a value from outside as an image_id, or None where it is not usable as one.

    Parameters
    ----------
    value : object
        As decoded.
    id_type : str
        ``"int"`` or ``"string"``, the type of the table.
    id_mode : str
        ``--read.id_mode``.
    """
    if isinstance(value, bool):
        return None
    if id_mode != "auto":
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if id_type == "int" and isinstance(value, str) and _DIGITS.fullmatch(value):
            value = int(value) if len(value) < 40 else None
        if id_type == "string" and isinstance(value, int):
            value = str(value) if INT64_MIN <= value <= INT64_MAX else None
    if id_type == "string":
        return value if isinstance(value, str) else None
    return value if isinstance(value, int) and INT64_MIN <= value <= INT64_MAX else None


def describe_expected(id_type: str, id_mode: str) -> str:
    """Return what is usable as an image_id, for messages."""
    if id_mode == "auto":
        return "a 64-bit integer" if id_type == "int" else "a string"
    return f"a value that --read.id_mode {id_mode} can convert"
