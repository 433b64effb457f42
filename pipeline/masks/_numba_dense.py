"""Compiled passes from pixels to runs (public names: `pipeline.masks.dense`).

Rows lie in memory one after the other, runs go down the columns. Nothing is
transposed: each row is compared with the one above it, a chunk at a time, since
most chunks are equal. Where a pixel differs from the one above it, a run ends. Those
places are counted by column, then written into their column, where they come in
order because rows do.
"""

# Numba infers the parameters' types; the public functions state them.
# pyright: reportMissingParameterType=false, reportCallIssue=false

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from pipeline.masks._jit import kernel, part

CHUNK_BYTES = 32


@intrinsic
def load_word(typingctx: Any, bytes_B: Any, at: Any) -> Any:
    """Load 8 bytes at any address, without a check: the caller proves that they are there."""

    def lower(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        word = ir.IntType(64)
        address = builder.bitcast(builder.gep(data, [args[1]]), word.as_pointer())
        return builder.load(address, align=1)

    return types.uint64(bytes_B, types.intp), lower


@part
def is_set(bytes_B, row, x, is_packed):
    """Whether a pixel is foreground; packed bits start at the highest."""
    if is_packed:
        return (bytes_B[row + (x >> 3)] >> (7 - (x & 7))) & 1 != 0
    return bytes_B[row + x] != 0


@part
def differs(bytes_B, at, above):
    """Whether any of `CHUNK_BYTES` bytes differs from those above."""
    changed = load_word(bytes_B, at) ^ load_word(bytes_B, above)
    changed |= load_word(bytes_B, at + 8) ^ load_word(bytes_B, above + 8)
    changed |= load_word(bytes_B, at + 16) ^ load_word(bytes_B, above + 16)
    changed |= load_word(bytes_B, at + 24) ^ load_word(bytes_B, above + 24)
    return changed != 0


@part
def find_chunks(bytes_B, first, height, stride, chunk_K):
    """List the chunks of a mask that differ from the one above, and the ends of rows."""
    n_chunks = 0
    for y in range(1, height):
        row = first + y * stride
        byte = 0
        while byte + CHUNK_BYTES <= stride:
            chunk_K[n_chunks] = y * stride + byte
            n_chunks += differs(bytes_B, row + byte, row + byte - stride)
            byte += CHUNK_BYTES
        if byte < stride:
            chunk_K[n_chunks] = y * stride + byte
            n_chunks += 1
    return n_chunks


@part
def note_changes(
    bytes_B,
    first,
    height,
    width,
    stride,
    is_packed,
    chunk_K,
    n_chunks,
    is_counting,
    column_W,
    row_C,
):
    """Count the changes of a mask in their columns, or write them there."""
    bottom = first + (height - 1) * stride
    before = False
    for x in range(width):
        if is_set(bytes_B, first, x, is_packed) != before:
            if not is_counting:
                row_C[column_W[x]] = 0
            column_W[x] += 1
        before = is_set(bytes_B, bottom, x, is_packed)
    per_byte = 8 if is_packed else 1
    for k in range(n_chunks):
        y = chunk_K[k] // stride
        row = first + y * stride
        start = chunk_K[k] - y * stride
        for byte in range(start, min(start + CHUNK_BYTES, stride)):
            if bytes_B[row + byte] == bytes_B[row + byte - stride]:
                continue
            for x in range(byte * per_byte, min((byte + 1) * per_byte, width)):
                above = is_set(bytes_B, row - stride, x, is_packed)
                if is_set(bytes_B, row, x, is_packed) != above:
                    if not is_counting:
                        row_C[column_W[x]] = y
                    column_W[x] += 1


@kernel
def read_bitmaps(
    bytes_B,
    n_masks,
    height,
    width,
    stride,
    is_packed,
    row,
    chunk_K,
    column_W,
    row_C,
    counts_R,
    offsets_N1,
):
    """Write the runs of the masks from ``row`` on; the row for which there was no room, or N.

    ``chunk_K`` has room for all chunks of a mask, ``row_C`` as much as ``counts_R``.
    """
    out = offsets_N1[row]
    for n in range(row, n_masks):
        first = n * height * stride
        n_chunks = find_chunks(bytes_B, first, height, stride, chunk_K)
        column_W[:] = 0
        note_changes(
            bytes_B,
            first,
            height,
            width,
            stride,
            is_packed,
            chunk_K,
            n_chunks,
            True,
            column_W,
            row_C,
        )
        n_changes = 0
        for x in range(width):
            in_column = column_W[x]
            column_W[x] = n_changes
            n_changes += in_column
        if out + n_changes + 1 > len(counts_R):
            return n
        note_changes(
            bytes_B,
            first,
            height,
            width,
            stride,
            is_packed,
            chunk_K,
            n_chunks,
            False,
            column_W,
            row_C,
        )
        before = 0
        start = 0
        for x in range(width):
            for place in range(start, column_W[x]):
                position = x * height + row_C[place]
                counts_R[out] = position - before
                before = position
                out += 1
            # Each column was moved on to its own end while it was written.
            start = column_W[x]
        counts_R[out] = height * width - before
        out += 1
        offsets_N1[n + 1] = out
    return n_masks


@part
def sample(at, start, end, n_cells):
    """Cell in front of a pixel's centre and the share of the next one, in float32."""
    half = np.float32(0.5)
    one = np.float32(1)
    two = np.float32(2)
    place = (np.float32(at) + half - start) / (end - start) * two - one
    cell = ((place + one) * np.float32(n_cells) - one) / two
    floor = np.floor(cell)
    return int(floor), cell - floor


@part
def cell_value(value_NHW, n, y, x):
    """Probability of a cell, 0 around the ROI."""
    if y < 0 or x < 0 or y >= value_NHW.shape[1] or x >= value_NHW.shape[2]:
        return np.float32(0)
    return value_NHW[n, y, x]


@part
def paste_mask(
    value_NHW, n, box_N4, area_N4, height, width, threshold, cell_Y, share_Y, counts_R, out
):
    """Write the runs of one pasted soft mask; the new end, or -1 where there is no room."""
    one = np.float32(1)
    n_pixels = height * width
    first_y = area_N4[n, 1]
    stop_y = area_N4[n, 3]
    for y in range(first_y, stop_y):
        cell_Y[y], share_Y[y] = sample(y, box_N4[n, 1], box_N4[n, 3], value_NHW.shape[1])
    before = 0
    was_set = False
    for x in range(area_N4[n, 0], area_N4[n, 2]):
        # At most an end at the top, one per pixel, one at the bottom, and the last run.
        if out + (stop_y - first_y) + 3 > len(counts_R):
            return -1
        cell_x, east = sample(x, box_N4[n, 0], box_N4[n, 2], value_NHW.shape[2])
        west = one - east
        for y in range(first_y, stop_y):
            cell_y = cell_Y[y]
            south = share_Y[y]
            north = one - south
            value = cell_value(value_NHW, n, cell_y, cell_x) * (west * north)
            value += cell_value(value_NHW, n, cell_y, cell_x + 1) * (east * north)
            value += cell_value(value_NHW, n, cell_y + 1, cell_x) * (west * south)
            value += cell_value(value_NHW, n, cell_y + 1, cell_x + 1) * (east * south)
            now = value >= threshold
            if now != was_set:
                counts_R[out] = x * height + y - before
                before = x * height + y
                out += 1
                was_set = now
        # A run goes on in the next column only from the image's bottom to its top.
        if was_set and (first_y > 0 or stop_y < height or x + 1 == area_N4[n, 2]):
            counts_R[out] = x * height + stop_y - before
            before = x * height + stop_y
            out += 1
            was_set = False
    if before < n_pixels:
        if out == len(counts_R):
            return -1
        counts_R[out] = n_pixels - before
        out += 1
    return out


@kernel
def paste(
    value_NHW,
    box_N4,
    area_N4,
    size_hw_N2,
    threshold,
    row,
    cell_Y,
    share_Y,
    counts_R,
    offsets_N1,
):
    """Write the runs of the soft masks from ``row`` on; the row without room, or N."""
    for n in range(row, len(value_NHW)):
        out = paste_mask(
            value_NHW,
            n,
            box_N4,
            area_N4,
            int(size_hw_N2[n, 0]),
            int(size_hw_N2[n, 1]),
            threshold,
            cell_Y,
            share_Y,
            counts_R,
            offsets_N1[n],
        )
        if out < 0:
            return n
        offsets_N1[n + 1] = out
    return len(value_NHW)
