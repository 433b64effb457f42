"""Parse the rows of one image into the arena (see `pipeline.masks._numba_group_rows`)."""

# Numba infers the types of parameters from the call, and intrinsics take one less than written.
# pyright: reportMissingParameterType=false, reportCallIssue=false

from __future__ import annotations

from numba import int64

from pipeline.masks._jit import part
from pipeline.masks._numba_group_parse import DENSE, REFUSED, UNFIT, column_vectors, parse_mask
from pipeline.masks._numba_group_rows import MAX_LAYERS, PAD, ROW, ROW_64, SPARSE
from pipeline.masks._numba_group_strings import digest_string, measure

DONE = 0
REFUSED_ROW = 1
ARENA_FULL = 2
"""What parsing an image ends with."""

WIDE_WORDS = 1 << 17
WIDE_COLUMNS = 1024
FEW_COLUMNS = 64
"""Up to here an arena may be filled by masks of many columns and few characters."""


@part
def column_limit(n_chars, w, at):
    """Columns that a profile may have: as many as its characters, and then some."""
    return min(w, n_chars + (WIDE_COLUMNS if at < WIDE_WORDS else FEW_COLUMNS))


@part
def put_layers(arena, n_words, at, most, extras, n_extras, spans):
    """Lay down the further runs of a mask's columns behind its layer 0.

    Returns (number of layers or -1 if there are too many, end position; one
    behind the arena's end says that nothing was written).
    """
    n_layers = 0
    rank = 0
    last = int64(-1)
    for e in range(n_extras):
        col = int64(extras[2 * e])
        rank = rank + 1 if col == last else 1
        last = col
        if rank > MAX_LAYERS:
            return -1, at
        if rank > n_layers:
            n_layers = rank
            spans[3 * rank] = col
        spans[3 * rank + 1] = col + 1
    end = at
    for layer in range(1, n_layers + 1):
        spans[3 * layer + 2] = end + 2 - spans[3 * layer]
        end += 2 + spans[3 * layer + 1] - spans[3 * layer] + PAD
    if end - at > most:
        return -1, at
    if end > n_words:
        return n_layers, end
    for layer in range(1, n_layers + 1):
        header = spans[3 * layer + 2] + spans[3 * layer] - 2
        arena[header] = spans[3 * layer]
        arena[header + 1] = spans[3 * layer + 1]
    for e in range(n_extras):
        col = int64(extras[2 * e])
        rank = rank + 1 if col == last and e > 0 else 1
        last = col
        arena[spans[3 * rank + 2] + col] = extras[2 * e + 1]
    return n_layers, end


@part
def clear(words, start, end):
    """Set words to zero."""
    for place in range(start, end):
        words[place] = 0


@part
def parse_image(strings, size_hw_N2, first, n_rows, done, at, rows, arena, n_words, scratch):
    """Parse rows ``done`` to n_rows of the image that starts at row ``first``.

    Returns (code, rows done, words of the arena that they take, words that the
    arena must have for the next row).
    """
    h = int64(size_hw_N2[2 * first])
    w = int64(size_hw_N2[2 * first + 1])
    shape = column_vectors(h)
    for k in range(done, n_rows):
        n = first + k
        start = strings.offsets_N1[n]
        end = strings.offsets_N1[n + 1]
        if size_hw_N2[2 * n] != h or size_hw_N2[2 * n + 1] != w:
            return REFUSED_ROW, int64(k), at, at
        limit = column_limit(end - start, w, at)
        if at + limit + PAD > n_words:
            return ARENA_FULL, int64(k), at, at + limit + PAD
        code, area, rest, x0, x1, y0, y1, n_extras = parse_mask(
            strings, start, end, h, w, shape, arena, at, limit, scratch
        )
        if code == REFUSED:
            return REFUSED_ROW, int64(k), at, at
        n_layers = 0
        used = at
        if code == DENSE:
            used = at + x1 - x0 + PAD
            if n_extras > 0:
                most = 4 * (end - start) + WIDE_COLUMNS
                n_layers, used = put_layers(
                    arena, n_words, used, most, scratch.extras, n_extras, scratch.spans
                )
                if used > n_words:
                    return ARENA_FULL, int64(k), at, used
                code = DENSE if n_layers >= 0 else UNFIT
        if code == UNFIT:
            clear(arena, at, at + limit + PAD)
            used = at
            rest = int64(0)
            area, x0, x1, y0, y1 = measure(strings, start, end, h, w)
            if area < 0:
                return REFUSED_ROW, int64(k), at, at
        rows.x0[ROW * k] = x0
        rows.x1[ROW * k] = x1
        rows.y0[ROW * k] = y0
        rows.y1[ROW * k] = y1
        rows.area[ROW * k] = area
        rows.rest[ROW * k] = rest
        rows.n_layers[ROW * k] = n_layers
        rows.at[ROW_64 * k] = at if code == DENSE else SPARSE
        rows.digest[ROW_64 * k] = int64(digest_string(strings.bytes_B, start, end))
        at = used
    return DONE, int64(n_rows), at, at
