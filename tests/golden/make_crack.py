"""Write the golden files of the crack code: ``python -m tests.golden.make_crack``.

Nothing here uses the product. `encode` follows the rules of docs/format.md pixel
by pixel; the table of phrases and the reader are the code blocks of that page.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests import oracle

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(__file__).resolve().parent / "crack"
Bitmap = NDArray[np.bool_]
Page = dict[str, Any]

# name: rows of the image, X for a pixel of the mask
PICTURES = {
    "worked example": ". X X / . X . / . . .",
    "empty": ". . / . .",
    "one pixel": "X",
    "full": "X X X / X X X",
    "row": ". X X X X .",
    "column": ". / X / X / .",
    "two parts": "X X . . / . . . . / . X . X",
    "touch at a corner, falling": "X . / . X",
    "touch at a corner, rising": ". X / X .",
    "hole": "X X X / X . X / X X X",
    "holes that touch at a corner": "X X X X / X . X X / X X . X / X X X X",
    "part in a hole": "X X X X X / X . . . X / X . X . X / X . . . X / X X X X X",
    "hole in a part in a hole": (
        "X X X X X X X / X . . . . . X / X . X X X . X / X . X . X . X / "
        "X . X X X . X / X . . . . . X / X X X X X X X"
    ),
    "part in a hole that touches its rim": "X X X X / X . . X / X . X X / X X X X",
    "checkerboard": "X . X . / . X . X / X . X . / . X . X",
    "every border": ". . X . . / . . . . . / X . . . X / . . . . . / . . X . .",
    "two prongs to the left": "X X X / . . X / X X X / . . X / . X X",
    "stairs": "X . . . . / X X . . . / X X X . . / X X X X . / X X X X X",
    "long edges": " / ".join([" ".join("X" * 40)] * 2),
    "tall edges": " / ".join(["X X"] * 40),
}


def bitmap_of(picture: str) -> Bitmap:
    """Bool (H, W) of a picture."""
    return np.array([[char == "X" for char in row.split()] for row in picture.split(" / ")])


def load_page() -> Page:
    """Names defined by the Python blocks of docs/format.md."""
    page = (ROOT / "docs" / "format.md").read_text(encoding="utf-8")
    names: Page = {}
    for block in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
        exec(block, names)
    return names


def rings_of(mask: Bitmap) -> list[tuple[int, int, str]]:
    """Start (x, y) and symbols of each ring."""
    padded = np.pad(mask, 1)
    seen: set[tuple[int, int]] = set()
    rings: list[tuple[int, int, str]] = []
    for column, row in np.argwhere((padded[1:] & ~padded[:-1]).T).tolist():
        x0, y0 = column - 1, row
        if (x0, y0) in seen:
            continue
        x, y, heading, symbols, side = x0, y0, 0, "", "R"
        while True:
            if heading == 0:
                seen.add((x, y))
            x, y = x + (1, 0, -1, 0)[heading], y + (0, 1, 0, -1)[heading]
            if (x, y) == (x0, y0):
                break
            # Clockwise from north-east: the pixels around the corner.
            around = [padded[y, x + 1], padded[y + 1, x + 1], padded[y + 1, x], padded[y, x]]
            left, right = around[heading], around[(heading + 1) % 4]
            turn = "L" if left else "S" if right else "R"
            heading = (heading + {"L": 3, "S": 0, "R": 1}[turn]) % 4
            symbols += "S" if turn == "S" else "D" if turn == side else "A"
            side = side if turn == "S" else turn
        rings.append((x0, y0, symbols))
    return rings


def phrases_of(symbols: str, page: Page) -> bytes:
    """Bytes of the phrases of one ring, the last one filled up."""
    value = bytearray()
    context, ahead = 31, symbols + "S" * 16
    while len(ahead) > 16:
        [byte] = [n for n, one in enumerate(page["PHRASES"][context]) if ahead.startswith(one)]
        phrase = page["PHRASES"][context][byte]
        context, ahead = page["follow"](context, phrase), ahead[len(phrase) :]
        value.append(byte)
    return bytes(value)


def integer(number: int) -> bytes:
    """7 bits a byte, lowest first."""
    out = bytearray()
    while number > 127:
        out.append(128 | number & 127)
        number >>= 7
    return bytes([*out, number])


def encode(mask: Bitmap, page: Page) -> bytes:
    """Crack value of a dense mask."""
    value = b""
    before: tuple[int, int] | None = None
    for x, y, symbols in rings_of(mask):
        if before is not None:
            rows = y - before[1]
            value += integer(x - before[0]) + integer(2 * rows if rows >= 0 else -2 * rows - 1)
        before = (x, y)
        value += phrases_of(symbols, page)
    return value.rstrip(b"\0")


def bbox_of(mask: Bitmap) -> list[int]:
    """Tight box, zeros for the empty mask."""
    if not mask.any():
        return [0, 0, 0, 0]
    (top, bottom), (left, right) = (np.flatnonzero(mask.any(axis=a))[[0, -1]] for a in (1, 0))
    return [int(left), int(top), int(right - left + 1), int(bottom - top + 1)]


def masks(page: Page) -> list[dict[str, Any]]:
    """Sound values."""
    return [
        {
            "name": name,
            "size": list(mask.shape),
            "bbox": bbox_of(mask),
            "counts": oracle.encode(mask).decode("ascii"),
            "crack": encode(mask, page).hex(),
        }
        for name, mask in ((name, bitmap_of(picture)) for name, picture in PICTURES.items())
    ]


def faults(page: Page) -> list[dict[str, Any]]:
    """Values that must be refused, with the cause."""

    def ring(symbols: str) -> bytes:
        return phrases_of(symbols, page)

    square = ring("DDD")
    bar = ring("SSDDSSD")
    domino = ring("SDDSD")
    cases: list[tuple[str, str, bytes, list[int]]] = [
        ("box without bytes", "OPEN", b"", [0, 0, 1, 1]),
        ("bytes without a box", "BBOX", square, [0, 0, 0, 0]),
        ("empty mask with a place", "BBOX", b"", [1, 0, 0, 0]),
        ("box left of the image", "BBOX", square, [-1, 0, 1, 1]),
        ("box right of the image", "BBOX", square, [8, 0, 1, 1]),
        ("box with a side below zero", "BBOX", square, [2, 2, -1, 1]),
        ("no such phrase", "PHRASE", bytes([127]), [0, 0, 1, 1]),
        ("one byte short", "OPEN", square[:-1], [0, 0, 1, 1]),
        ("one ring short", "OPEN", square + bytes([2, 2]), [0, 0, 3, 2]),
        ("start without rows", "START", square + integer(2), [0, 0, 3, 1]),
        ("padded start", "START", square + bytes([130, 0, 0]) + square, [0, 0, 3, 1]),
        ("start of six bytes", "START", square + bytes([255] * 6), [0, 0, 3, 1]),
        ("start outside", "OUTSIDE", square + bytes([7, 0]) + square, [0, 0, 3, 1]),
        ("ring leaves the box", "OUTSIDE", ring("S" * 20 + "D"), [0, 0, 3, 1]),
        ("box too wide", "NOT_TIGHT", square, [0, 0, 2, 1]),
        ("box too high", "NOT_TIGHT", square, [0, 0, 1, 2]),
        ("box too narrow", "OUTSIDE", bar, [0, 0, 2, 1]),
        ("box too low", "OUTSIDE", ring("SDSDSD"), [0, 0, 2, 1]),
        ("zero at the end", "NOT_CANONICAL", square + b"\0", [0, 0, 1, 1]),
        ("only zeros", "NOT_CANONICAL", b"\0", [0, 0, 1, 1]),
        ("padding that turns", "NOT_CANONICAL", ring("SDDAADSA"), [0, 0, 2, 2]),
        ("rings out of order", "NOT_CANONICAL", square + b"\0\3" + square, [0, 0, 1, 3]),
        (
            "ring not from its first crack",
            "NOT_CANONICAL",
            ring("ADADSDSSDSD"),
            [0, 0, 2, 3],
        ),
        ("the same pixel twice", "NOT_CANONICAL", square + b"\0\0" + square, [0, 0, 1, 1]),
        (
            "rings that overlap",
            "CROSSING",
            domino + b"\1\0" + domino,
            [0, 0, 3, 1],
        ),
        ("parts joined at the corner as two", "CROSSING", square + b"\1\2" + square, [0, 0, 2, 2]),
        ("two pixels in one ring", "CROSSING", ring("DSSDDDADA"), [0, 0, 1, 3]),
        ("from its second crack on", "OUTSIDE", ring("DSDSDSD"), [0, 0, 2, 2]),
        ("walked the other way", "CROSSING", ring("ADD"), [0, 0, 1, 1]),
    ]
    return [
        {"name": name, "size": [8, 8], "bbox": bbox, "crack": crack.hex(), "code": code}
        for name, code, crack, bbox in cases
    ]


def files() -> dict[str, str]:
    """Text of each golden file."""
    page = load_page()
    makers: dict[str, Callable[[Page], list[dict[str, Any]]]]
    makers = {"masks.json": masks, "faults.json": faults}
    return {
        name: "[\n" + ",\n".join(json.dumps(entry) for entry in make(page)) + "\n]\n"
        for name, make in makers.items()
    }


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in files().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
