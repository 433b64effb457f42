"""COCO strings -> outlines as SVG paths, at the resolution of a small picture.

Masks are sampled at the centres of squares, straight from their runs, so that the
cost depends on the picture and not on the image. A page shows a few dozen masks, valid ones,
so they are read without the compiled kernels, which take longer to load than that.
Worked example: the 2x2 mask ``X . / X X`` is the path ``M0 0H1V1H2V2H0Z``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.masks.batch import MaskBatch

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
    """Return valid COCO strings of one image as runs."""
    counts = [_counts(text) for text in texts]
    offsets_N1 = np.cumsum([0, *map(len, counts)]).astype(np.int64)
    sizes_N2 = np.tile(np.array([[height, width]], np.int32), (len(counts), 1))
    counts_R = np.concatenate([np.empty(0, np.uint32), *counts])
    return MaskBatch(size_hw_N2=sizes_N2, counts_R=counts_R, offsets_N1=offsets_N1)


def _counts(text: str) -> NDArray[np.uint32]:
    """Return the runs of a valid COCO string: pycocotools' format, a number at a time there."""
    char_C = np.frombuffer(text.encode("ascii"), np.uint8).astype(np.int64) - 48
    last_C = (char_C & 32) == 0
    stop_R = np.flatnonzero(last_C) + 1
    start_R = np.concatenate(([0], stop_R[:-1])).astype(np.int64)
    place_C = np.arange(len(char_C)) - np.repeat(start_R, stop_R - start_R)
    step_R = np.add.reduceat((char_C & 31) << 5 * place_C, start_R) if len(start_R) else start_R
    step_R -= (char_C[stop_R - 1] & 16 > 0) * (np.int64(1) << 5 * (stop_R - start_R))
    # From the fourth on, a number is the difference to the run two before.
    step_R[1::2] = np.cumsum(step_R[1::2])
    step_R[2::2] = np.cumsum(step_R[2::2])
    return step_R.astype(np.uint32)


def window(batch: MaskBatch, height: int, width: int, side: int = SIDE) -> Window:
    """Return the window that shows all the masks with a margin, cut at the image's border."""
    boxes = [_box(batch, row) for row in range(len(batch.size_hw_N2))]
    found = [box for box in boxes if box is not None]
    if not found:
        return Window(0, 0, 1, 1, 1)
    left, top = (min(box[side] for box in found) for side in (0, 1))
    right, bottom = (max(box[side] for box in found) for side in (2, 3))
    margin = max(1, round(MARGIN * max(right - left, bottom - top)))
    left, top = max(0, left - margin), max(0, top - margin)
    right, bottom = min(width, right + margin), min(height, bottom + margin)
    step = max(1, -(-max(right - left, bottom - top) // side))
    return Window(left, top, -(-(right - left) // step), -(-(bottom - top) // step), step)


def sample(batch: MaskBatch, row: int, view: Window) -> NDArray[np.bool_]:
    """Return whether a mask has the pixel in the middle of every square, bool (rows, columns)."""
    height, width = (int(value) for value in batch.size_hw_N2[row])
    ends_R = _ends(batch, row)
    middle = view.step // 2
    x_W = np.minimum(view.x + view.step * np.arange(view.columns) + middle, width - 1)
    y_H = np.minimum(view.y + view.step * np.arange(view.rows) + middle, height - 1)
    place_HW = x_W[None, :] * np.int64(height) + y_H[:, None]
    return np.searchsorted(ends_R, place_HW, side="right") % 2 == 1


def _ends(batch: MaskBatch, row: int) -> NDArray[np.int64]:
    """Return where the runs of a mask end, int64 (R,)."""
    first, end = batch.offsets_N1[row : row + 2]
    return np.cumsum(batch.counts_R[first:end], dtype=np.int64)


def _box(batch: MaskBatch, row: int) -> tuple[int, int, int, int] | None:
    """Return left, top, right and bottom of a mask, the latter two exclusive; None if empty."""
    height = int(batch.size_hw_N2[row, 0])
    ends_R = _ends(batch, row)
    start_F, stop_F = ends_R[0:-1:2], ends_R[1::2]
    is_run_F = stop_F > start_F
    start_F, last_F = start_F[is_run_F], stop_F[is_run_F] - 1
    if not len(start_F):
        return None
    is_across = bool(np.any(start_F // height != last_F // height))
    top, bottom = (0, height) if is_across else (start_F % height, last_F % height + 1)
    return (
        int(start_F.min() // height),
        int(np.min(top)),
        int(last_F.max() // height) + 1,
        int(np.max(bottom)),
    )


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
