"""Drawings of two masks, by hand."""

from __future__ import annotations

import struct
import zlib

import numpy as np

from pipeline.report import drawing
from tests import oracle


def strings() -> list[str]:
    kept, own = np.zeros((4, 6), bool), np.zeros((4, 6), bool)
    kept[:, 1:4] = True
    own[:, 2:5] = True
    return [oracle.encode(kept).decode(), oracle.encode(own).decode()]


def test_characters_tell_the_masks_apart() -> None:
    assert drawing.draw_text(strings(), 4, 6) == "·▓██░·\n·▓██░·"


def test_one_mask_alone() -> None:
    assert drawing.draw_text(strings()[:1], 4, 6) == "·▓▓▓·\n·▓▓▓·"


def test_png_has_the_pixels() -> None:
    data = drawing.draw_png(strings(), 4, 6)
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", data[16:24]) == (6, 4)
    length = struct.unpack(">I", data[33:37])[0]
    assert data[37:41] == b"IDAT"
    raw = np.frombuffer(zlib.decompress(data[41 : 41 + length]), np.uint8).reshape(4, 19)
    assert len(np.unique(raw[:, 1:].reshape(-1, 3), axis=0)) == 4
