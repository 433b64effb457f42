"""Masks as pixels or probabilities, as runs: PNG, packed bits, detectron2's ROI masks."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.read import _numba_dense as compiled
from pipeline.read.raw_rows import Fault, RawCounts

MAX_PIXELS = 1 << 28
"""Pixels of a dense mask, at most: it is decoded whole. Runs and polygons have no such bound."""

MAX_RUNS = 1 << 24
"""Runs of a dense mask, at most: noise has as many as pixels, at 8 bytes each."""

ROI_THRESHOLD = 0.5
"""Probability from which a pixel is set, detectron2's default."""

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_GRAY, _PALETTE = 0, 3
_INFLATE_BYTES = 1 << 20


class DenseMasks(NamedTuple):
    """N masks as runs.

    Attributes
    ----------
    counts : RawCounts
        Run lengths; none for a row at fault.
    size_hw_N2 : int64 (N, 2)
        Height and width; -1, -1 for a row at fault.
    faults : dict of int to Fault
        By row.
    """

    counts: RawCounts
    size_hw_N2: NDArray[np.int64]
    faults: dict[int, Fault]


def read_bitmaps(values: Sequence[bytes | None], size_hw_N2: NDArray[np.int64]) -> DenseMasks:
    """Read masks as PNG bytes or packed bits.

    Parameters
    ----------
    values : sequence of bytes or None
        N values: a PNG in gray or with a palette (what is not 0 is set), or
        height x width bits, row by row, eight to a byte, the first in the top bit.
    size_hw_N2 : int64 (N, 2)
        Height and width of each image; -1 where not known, which a PNG needs not.

    Returns
    -------
    DenseMasks
        No values in, none out. Cost: linear in pixels.
    """

    def read(row: int) -> tuple[NDArray[np.int64], tuple[int, int]] | Fault:
        value = values[row]
        height, width = size_hw_N2[row].tolist()
        if value is None:
            return Fault("NO_SEGMENTATION", "mask", "expected a mask, got null")
        if value.startswith(_PNG_MAGIC):
            return _read_png(value, height, width)
        return _read_packed(value, height, width)

    return _collect(len(values), read)


def paste_rois(
    values_NSS: Sequence[NDArray[np.float32] | None],
    box_xyxy_N4: NDArray[np.float32],
    size_hw_N2: NDArray[np.int64],
) -> DenseMasks:
    """Paste squares of probabilities into their boxes, by detectron2's rule.

    Parameters
    ----------
    values_NSS : sequence of float32 (S, S)
        N squares, 28 x 28 as a rule, row by row.
    box_xyxy_N4 : float32 (N, 4)
        Corners of each box, pixels.
    size_hw_N2 : int64 (N, 2)
        Height and width of each image.

    Returns
    -------
    DenseMasks
        Set is each pixel whose centre, interpolated between the values around
        it (0 outside the box), reaches 0.5. Cost: pixels of the boxes.

    Notes
    -----
    Source: ``detectron2/layers/mask_ops.py: paste_masks_in_image``, and torch's
    ``grid_sample`` with ``align_corners=False``, in float32.
    """

    def paste(row: int) -> tuple[NDArray[np.int64], tuple[int, int]] | Fault:
        square = values_NSS[row]
        height, width = size_hw_N2[row].tolist()
        if square is None:
            return Fault("NO_SEGMENTATION", "roi_mask", "expected n x n numbers, got others")
        if not 0 < height * width <= MAX_PIXELS or min(height, width) < 1:
            return _bad_size(height, width)
        box = box_xyxy_N4[row]
        is_box = np.isfinite(box).all() and box[2] > box[0] and box[3] > box[1]
        if not is_box or np.abs(box).max() > 2**24:
            return Fault("BBOX", "bbox", f"expected a box with an area, got {box.tolist()}")
        room = 1 << 12
        while True:
            counts_R = np.empty(room, np.int64)
            n = compiled.count_pasted(
                square, box, height, width, np.float32(ROI_THRESHOLD), counts_R
            )
            if n >= 0:
                return counts_R[:n].copy(), (height, width)
            if room >= MAX_RUNS:
                return _too_many_runs("roi_mask")
            room *= 4

    return _collect(len(values_NSS), paste)


def _collect(
    n_rows: int, read: Callable[[int], tuple[NDArray[np.int64], tuple[int, int]] | Fault]
) -> DenseMasks:
    size_hw_N2 = np.full((n_rows, 2), -1, np.int64)
    counts: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
    lengths = np.zeros(n_rows + 1, np.int64)
    faults: dict[int, Fault] = {}
    for row in range(n_rows):
        found = read(row)
        if isinstance(found, Fault):
            faults[row] = found
            continue
        counts.append(found[0])
        lengths[row + 1] = len(found[0])
        size_hw_N2[row] = found[1]
    return DenseMasks(RawCounts(np.concatenate(counts), np.cumsum(lengths)), size_hw_N2, faults)


def _bad_size(height: int, width: int) -> Fault:
    code = "SIZE_INVALID" if min(height, width) < 1 else "IMAGE_TOO_LARGE"
    message = f"expected a height and width with at most {MAX_PIXELS} pixels, got {height}x{width}"
    return Fault(code, "segmentation.size", message)


def _read_packed(
    value: bytes, height: int, width: int
) -> tuple[NDArray[np.int64], tuple[int, int]] | Fault:
    if min(height, width) < 1 or height * width > MAX_PIXELS:
        return _bad_size(height, width)
    expected = (height * width + 7) // 8
    if len(value) != expected:
        message = (
            f"expected a PNG, or {expected} bytes of bits for an image of {height}x{width}, got "
            f"{len(value)} bytes"
        )
        return Fault("SIZE_MISMATCH", "mask", message)
    return _count_bits(np.frombuffer(value, np.uint8), height, width)


def _count_bits(
    bits_B: NDArray[np.uint8], height: int, width: int
) -> tuple[NDArray[np.int64], tuple[int, int]] | Fault:
    # Pages of the runs that are never written are never touched.
    counts_R = np.empty(min(height * width + 1, MAX_RUNS), np.int64)
    n = compiled.count_packed(bits_B, height, width, counts_R)
    return (counts_R[:n].copy(), (height, width)) if n >= 0 else _too_many_runs("mask")


def _too_many_runs(field: str) -> Fault:
    message = f"expected a mask of at most {MAX_RUNS} runs, got more: noise, or not a mask"
    return Fault("VALUE_TOO_LARGE", field, message)


def _read_png(
    value: bytes, height: int, width: int
) -> tuple[NDArray[np.int64], tuple[int, int]] | Fault:
    """Read a PNG that is not interlaced, of one channel."""
    chunks = _png_chunks(value)
    header = chunks.get(b"IHDR", b"")
    if len(header) != 13:
        return _bad_png("a header")
    own_width, own_height, depth, kind, _, _, interlace = struct.unpack(">IIBBBBB", header)
    if min(own_height, own_width) < 1 or own_height * own_width > MAX_PIXELS:
        return _bad_size(own_height, own_width)
    if -1 not in (height, width) and (own_height, own_width) != (height, width):
        message = f"expected the image's {height}x{width}, got a PNG of {own_height}x{own_width}"
        return Fault("SIZE_MISMATCH", "mask", message)
    if kind not in (_GRAY, _PALETTE) or depth not in (1, 2, 4, 8, 16) or interlace:
        return _bad_png("one channel, not interlaced")
    stride = (own_width * depth + 7) // 8 + 1
    if stride * own_height > MAX_PIXELS + own_height:
        message = (
            f"expected a PNG of at most {MAX_PIXELS} bytes of pixels, got {stride * own_height}"
        )
        return Fault("IMAGE_TOO_LARGE", "segmentation.size", message)
    try:
        rows_HS = _inflate(chunks.get(b"IDAT", b""), own_height, stride)
    except zlib.error:
        return _bad_png("pixels that decompress")
    if rows_HS is None:
        return _bad_png(f"{own_height} rows of pixels")
    if not compiled.unfilter(rows_HS, max(1, depth // 8)):
        return _bad_png("known filters")
    bits_B = np.packbits(_png_pixels(rows_HS[:, 1:], depth, own_width).ravel())
    return _count_bits(bits_B, own_height, own_width)


def _inflate(packed: bytes, height: int, stride: int) -> NDArray[np.uint8] | None:
    """Return the rows of a PNG with their filters; None if there are fewer."""
    rows_HS = np.empty((height, stride), np.uint8)
    view, place = rows_HS.data.cast("B"), 0
    unpacker = zlib.decompressobj()
    while place < len(view):
        data = unpacker.decompress(packed, min(_INFLATE_BYTES, len(view) - place))
        if not data:
            return None
        view[place : place + len(data)] = data
        place += len(data)
        packed = unpacker.unconsumed_tail
    return rows_HS


def _png_pixels(rows_HS: NDArray[np.uint8], depth: int, width: int) -> NDArray[np.bool_]:
    if depth == 8:
        return rows_HS != 0
    if depth == 16:
        return np.any(rows_HS.reshape(len(rows_HS), width, depth // 8), axis=2)
    bits_HB = np.unpackbits(rows_HS, axis=1)[:, : width * depth]
    return np.any(bits_HB.reshape(len(rows_HS), width, depth), axis=2)


def _png_chunks(value: bytes) -> dict[bytes, bytes]:
    """Return the data of the chunks by name, of equal ones joined."""
    chunks: dict[bytes, list[bytes]] = {}
    place = len(_PNG_MAGIC)
    while place + 12 <= len(value):
        size = int.from_bytes(value[place : place + 4], "big")
        name = value[place + 4 : place + 8]
        chunks.setdefault(name, []).append(value[place + 8 : place + 8 + size])
        place += size + 12
    return {name: b"".join(parts) for name, parts in chunks.items()}


def _bad_png(expected: str) -> Fault:
    return Fault("NO_SEGMENTATION", "mask", f"expected a PNG with {expected}, got another")
