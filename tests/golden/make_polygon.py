"""Write the golden files of the polygon column: ``python -m tests.golden.make_polygon``.

Nothing here uses the product. `write` follows docs/format-polygon.md, pycocotools
fills, and the reader is the code block of that page.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests import oracle
from tests.golden.make_crack import integer

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(__file__).resolve().parent / "polygon"
Loop = Sequence[tuple[int, int]]
Rings = list[list[float]]


class Drawing(NamedTuple):
    """Loops on the lattice of 2**exponent half-pixels; each with whether it is a hole."""

    size_hw: tuple[int, int]
    exponent: int
    loops: Sequence[tuple[bool, Loop]]


def rectangle(x0: int, y0: int, x1: int, y1: int) -> Loop:
    """Corners, clockwise as seen."""
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


HOLE = [(4, 4), (6, 3), (4, 3)]
DRAWINGS = {
    "worked example": Drawing((7, 8), 1, [(False, rectangle(2, 1, 7, 6)), (True, HOLE)]),
    "one pixel": Drawing((1, 1), 1, [(False, rectangle(0, 0, 1, 1))]),
    "triangle on half-pixels": Drawing((9, 9), 0, [(False, [(1, 1), (17, 3), (5, 15)])]),
    "the other way round": Drawing((9, 9), 0, [(False, [(5, 15), (17, 3), (1, 1)])]),
    "two parts": Drawing(
        (8, 20), 1, [(False, rectangle(0, 0, 3, 8)), (False, rectangle(12, 2, 20, 5))]
    ),
    "parts that overlap": Drawing(
        (8, 8), 1, [(False, rectangle(0, 0, 5, 5)), (False, rectangle(3, 3, 8, 8))]
    ),
    "hole, part in it, hole in that": Drawing(
        (14, 14),
        1,
        [
            (False, rectangle(0, 0, 14, 14)),
            (True, rectangle(2, 2, 12, 12)),
            (False, rectangle(4, 4, 10, 10)),
            (True, rectangle(6, 6, 8, 8)),
        ],
    ),
    "two holes": Drawing(
        (9, 16),
        1,
        [
            (False, rectangle(1, 1, 15, 8)),
            (True, rectangle(3, 3, 6, 6)),
            (True, rectangle(9, 3, 12, 6)),
        ],
    ),
    "bow tie": Drawing((12, 12), 1, [(False, [(0, 0), (12, 12), (12, 0), (0, 12)])]),
    "coarse lattice, beyond the image": Drawing((13, 10), 3, [(False, rectangle(0, 1, 3, 4))]),
    "lattice of two pixels": Drawing((40, 30), 2, [(False, [(2, 3), (13, 6), (11, 18), (4, 12)])]),
    "steps of several bytes": Drawing(
        (900, 1200), 0, [(False, [(100, 90), (2300, 200), (2100, 1700), (300, 1500)])]
    ),
}


def signed(number: int) -> bytes:
    """Zigzag, 7 bits a byte, lowest first."""
    return integer(2 * number if number >= 0 else -2 * number - 1)


def write(drawing: Drawing, left: int, top: int) -> bytes:
    """Value of loops whose filled mask has its box at (left, top)."""
    step = 2**drawing.exponent
    x, y = 2 * left // step, 2 * top // step
    value = integer((len(drawing.loops) - 1) * 4 + drawing.exponent)
    for is_hole, loop in drawing.loops:
        value += integer((len(loop) - 3) * 2 + is_hole)
        for next_x, next_y in loop:
            value += signed(next_x - x) + signed(next_y - y)
            x, y = next_x, next_y
    return value


def rings_of(drawing: Drawing) -> Rings:
    """The loops as COCO takes them: x, y, … in pixels, holes bridged."""
    rings: Rings = []
    for is_hole, loop in drawing.loops:
        points = [value * 2**drawing.exponent / 2 for point in loop for value in point]
        if is_hole:
            rings[-1] += rings[-1][:2] + points + points[:2]
        else:
            rings.append(points)
    return rings


def masks() -> list[dict[str, Any]]:
    """Sound values."""
    found: list[dict[str, Any]] = []
    for name, drawing in DRAWINGS.items():
        rings = rings_of(drawing)
        counts = oracle.from_polygons(rings, *drawing.size_hw)
        bbox = [int(side) for side in oracle.to_bbox(drawing.size_hw, counts)]
        found.append(
            {
                "name": name,
                "size": list(drawing.size_hw),
                "bbox": bbox,
                "polygon": write(drawing, *bbox[:2]).hex(),
                "rings": rings,
                "counts": counts.decode("ascii"),
            }
        )
    return found


def faults() -> list[dict[str, Any]]:
    """Values that must be refused, with words of the cause."""
    drawing = DRAWINGS["worked example"]
    sound, box = write(drawing, 2, 1), [2, 1, 5, 5]
    header, outline, hole = sound[:1], sound[1:10], sound[10:]
    inside, longer, outside = "ends inside", "longer than it need be", "outside the image"
    cases: list[tuple[str, str, bytes, list[int]]] = [
        ("no bytes", inside, b"", box),
        ("header alone", inside, header, box),
        ("one byte short", inside, sound[:-1], box),
        ("one loop short", inside, header + outline, box),
        ("one byte left", "bytes are left", sound + b"\0", box),
        ("one loop left", "bytes are left", b"\1" + outline + hole, box),
        ("padded header", longer, b"\x85\0" + sound[1:], box),
        ("padded step", longer, header + outline[:1] + b"\x80\0" + outline[2:] + hole, box),
        ("number of six bytes", longer, b"\x85" + b"\x80" * 4 + b"\1" + sound[1:], box),
        ("a hole first", "begins with a hole", b"\1" + b"\3" + outline[1:], box),
        ("more loops than bytes", inside, b"\xfd\xff\xff\xff\x0f" + sound[1:], box),
        ("more vertices than bytes", inside, header + b"\xfe\xff\xff\xff\x0f" + sound[2:], box),
        ("right of the image", outside, header + b"\2\x0e" + outline[2:] + hole, box),
        ("left of the image", outside, header + b"\2\5" + outline[2:] + hole, box),
        ("above the image", outside, header + b"\2\0\3" + outline[3:] + hole, box),
        ("the largest step", outside, header + b"\2\xff\xff\xff\xff\x0f" + outline[2:], box),
        ("another box", "expected a mask with the box", sound, [2, 1, 5, 4]),
        ("a narrow box", "expected a mask with the box", sound, [2, 1, 4, 5]),
        ("no pixel", "expected a mask with the box", bytes([1, 0, 0, 0, 2, 2, 2, 2]), box),
    ]
    return [
        {"name": name, "size": [7, 8], "bbox": bbox, "polygon": value.hex(), "cause": cause}
        for name, cause, value, bbox in cases
    ]


def load_reader() -> Callable[[bytes, int, int], list[list[tuple[float, float]]]]:
    """The reader of docs/format-polygon.md."""
    page = (ROOT / "docs" / "format-polygon.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
        exec(block, names)
    return names["read_polygon"]


def files() -> dict[str, str]:
    """Text of each golden file."""
    return {
        name: "[\n" + ",\n".join(json.dumps(entry) for entry in entries) + "\n]\n"
        for name, entries in (("masks.json", masks()), ("faults.json", faults()))
    }


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in files().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
