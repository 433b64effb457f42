"""Numbers as people read them."""

from __future__ import annotations

DASH = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"


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
    return f"{sign}{100 * abs(value):.3f} %" if sign else f"{100 * value:+.3f} %"


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
