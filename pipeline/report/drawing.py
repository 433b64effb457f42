"""Masks on a terminal and as PNG: the kept one and the one that it stands for."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.report.outline import read_masks, sample, window

COLUMNS = 72
"""Characters of a drawing, at most."""

PIXELS = 480
"""Pixels along the longer side of a PNG, at most."""

MARKS = "·░▓█"
"""Neither mask, the row's own alone, the kept one alone, both."""

_COLOURS = np.array([[238, 241, 243], [209, 73, 91], [120, 168, 192], [47, 111, 143]], np.uint8)


def overlay(texts: Sequence[str], height: int, width: int, side: int) -> NDArray[np.uint8]:
    """Return which masks have each square of a picture: 2 for the first, 1 for the second.

    Parameters
    ----------
    texts : sequence of str
        COCO strings of the kept mask and, where it is to be had, of the row's own.
    height, width : int
        Of the image.
    side : int
        Squares along the longer side of the window that holds the masks.

    Returns
    -------
    uint8 (rows, columns)
        Sum of the masks' values, 0 to 3.
    """
    batch = read_masks(texts, height, width)
    view = window(batch, height, width, side)
    weights = (2, 1)
    return np.sum(
        [
            weight * sample(batch, n, view)
            for n, weight in zip(range(len(texts)), weights, strict=False)
        ],
        axis=0,
    ).astype(np.uint8)


def draw_text(texts: Sequence[str], height: int, width: int) -> str:
    """Return lines of block characters; a character is as wide as one square and two high."""
    squares = overlay(texts, height, width, COLUMNS)
    return "\n".join("".join(MARKS[value] for value in row) for row in squares[::2].tolist())


def draw_png(texts: Sequence[str], height: int, width: int) -> bytes:
    """Return a PNG of the same."""
    pixels = _COLOURS[overlay(texts, height, width, PIXELS)]
    rows, columns, _ = pixels.shape
    lines = np.zeros((rows, 1 + 3 * columns), np.uint8)
    lines[:, 1:] = pixels.reshape(rows, -1)
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", columns, rows, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(lines.tobytes(), 9)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )
