"""Numbers as people read them."""

from __future__ import annotations

import re

DASH = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"

CLIP_CHARS = 80
"""Longest text of the input that is shown."""

_TURNS = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_TURNING = re.compile(f"[\x00-\x1f\x7f-\x9f\u2028\u2029{_TURNS}]")


def human_bytes(count: float) -> str:
    """Return a size in powers of ten: 1.2 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def percent(part: float, whole: float) -> str:
    """Return a share: 12.3 %; a dash where there is no whole."""
    if not whole:
        return DASH
    share = 100 * part / whole
    return f"{share:.2f} %" if 0 < abs(share) < 1 else f"{share:.1f} %"


def signed_percent(value: float | None, sign: str = "") -> str:
    """Return a relative change: +0.123 %; a dash for none; `sign` replaces its own."""
    if value is None:
        return DASH
    text = f"{sign}{100 * abs(value):.3f} %" if sign else f"{100 * value:+.3f} %"
    return text.replace("-", MINUS)


def change(before: float | None, after: float | None) -> str:
    """Return a difference with its sign and four decimals; a dash where one is missing."""
    if before is None or after is None:
        return DASH
    return f"{after - before:+.4f}".replace("-", MINUS)


def clip(text: object, chars: int = CLIP_CHARS) -> str:
    """Return a text of the input that is safe to show: cut, without what turns lines around.

    Control characters (a terminal would obey them) and marks that change the direction
    of writing become U+FFFD; letters of every script stay.
    """
    whole = str(text)
    shown = _TURNING.sub("\N{REPLACEMENT CHARACTER}", whole[:chars])
    return shown if len(whole) <= chars else f"{shown}\N{HORIZONTAL ELLIPSIS}"


def decimals(value: float | None, digits: int = 3) -> str:
    """Return a number with fixed decimals; a dash for none."""
    return DASH if value is None else f"{value:.{digits}f}"


def seconds(value: float) -> str:
    """Return a duration: 3.21 s, 12 min 5 s, 3 h 20 min."""
    if value < 100:
        return f"{value:.2f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def name_of(uri: str) -> str:
    """Return the last part of a path or URI."""
    return uri.rstrip("/").rsplit("/", 1)[-1] or uri
