"""COCO strings -> outlines as SVG paths, at the resolution of a small picture.

Masks are sampled at the centres of squares, straight from their runs, so that the
cost depends on the picture and not on the image. Worked example: the 2x2 mask
``X . / X X`` is the path ``M0 0H1V1H2V2H0Z``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.masks import measure, rle
from pipeline.masks.batch import CocoStrings, MaskBatch

SIDE = 140
"""Squares along the longer side of a picture, at most."""

MARGIN = 0.08
"""Empty space around what is shown, as a share of its longer side."""


class Window(NamedTuple):
    """The part of an image that a picture shows, in squares of `step` pixels."""

    x: int
    y: int
    columns: int
    rows: int
    step: int


def read_masks(texts: Sequence[str], height: int, width: int) -> MaskBatch:
    """Return COCO strings of one image as runs."""
    data = [text.encode("ascii") for text in texts]
    offsets_N1 = np.concatenate(([0], np.cumsum([len(one) for one in data]))).astype(np.int64)
    sizes_N2 = np.tile(np.array([[height, width]], np.int32), (len(data), 1))
    return rle.from_coco(CocoStrings(np.frombuffer(b"".join(data), np.uint8), offsets_N1), sizes_N2)


def window(batch: MaskBatch, height: int, width: int, side: int = SIDE) -> Window:
    """Return the window that shows all the masks with a margin, cut at the image's border."""
    box_N4 = measure.bbox_xywh(batch)
    box_N4 = box_N4[box_N4[:, 2] > 0].astype(np.int64)
    if not len(box_N4):
        return Window(0, 0, 1, 1, 1)
    left, top = box_N4[:, :2].min(axis=0).tolist()
    right, bottom = (box_N4[:, :2] + box_N4[:, 2:]).max(axis=0).tolist()
    margin = max(1, round(MARGIN * max(right - left, bottom - top)))
    left, top = max(0, left - margin), max(0, top - margin)
    right, bottom = min(width, right + margin), min(height, bottom + margin)
    step = max(1, -(-max(right - left, bottom - top) // side))
    return Window(left, top, -(-(right - left) // step), -(-(bottom - top) // step), step)


def sample(batch: MaskBatch, row: int, view: Window) -> NDArray[np.bool_]:
    """Return whether a mask has the pixel in the middle of every square, bool (rows, columns)."""
    height, width = (int(value) for value in batch.size_hw_N2[row])
    ends_R = np.cumsum(
        batch.counts_R[batch.offsets_N1[row] : batch.offsets_N1[row + 1]], dtype=np.int64
    )
    middle = view.step // 2
    x_W = np.minimum(view.x + view.step * np.arange(view.columns) + middle, width - 1)
    y_H = np.minimum(view.y + view.step * np.arange(view.rows) + middle, height - 1)
    place_HW = x_W[None, :] * np.int64(height) + y_H[:, None]
    return np.searchsorted(ends_R, place_HW, side="right") % 2 == 1


def svg_path(is_in_HW: NDArray[np.bool_]) -> str:
    """Return the outlines of a bitmap's pixels as the data of an SVG path; "" for none."""
    steps = _border(is_in_HW)
    parts: list[str] = []
    while steps:
        start = next(iter(steps))
        parts.append(_loop(steps, start))
    return "".join(parts)


def _border(is_in_HW: NDArray[np.bool_]) -> dict[tuple[int, int], list[tuple[int, int]]]:
    """Return the pixel edges on the border by where they start, foreground on their right."""
    padded = np.pad(is_in_HW, 1)
    inside = padded[1:-1, 1:-1]
    steps: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for beyond, (x0, y0), (x1, y1) in (
        (padded[:-2, 1:-1], (0, 0), (1, 0)),
        (padded[1:-1, 2:], (1, 0), (1, 1)),
        (padded[2:, 1:-1], (1, 1), (0, 1)),
        (padded[1:-1, :-2], (0, 1), (0, 0)),
    ):
        for y, x in np.argwhere(inside & ~beyond).tolist():
            steps.setdefault((x + x0, y + y0), []).append((x + x1, y + y1))
    return steps


def _loop(steps: dict[tuple[int, int], list[tuple[int, int]]], start: tuple[int, int]) -> str:
    """Take one closed loop out of the steps; corners only."""
    path, place, heading = f"M{start[0]} {start[1]}", start, ""
    while True:
        ends = steps[place]
        following = ends.pop()
        if not ends:
            del steps[place]
        turned = "H" if following[1] == place[1] else "V"
        if heading and turned != heading:
            path += f"{heading}{place[0] if heading == 'H' else place[1]}"
        heading, place = turned, following
        if place == start:
            return path + "Z"
