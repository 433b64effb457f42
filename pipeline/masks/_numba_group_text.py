"""Writing COCO strings in the grouping kernels, run by run, as the runs come.

Callers keep room for them. Worked example: runs 3..5 and 9..10 of 12 pixels are the
counts 3 2 4 1 2, of which the fourth and the fifth are differences to the second and
the third: 3, 2, 4, -1, -2, the string ``324ON``.
"""

# Numba infers the types of parameters from the call.
# pyright: reportMissingParameterType=false

from __future__ import annotations

from numba import int64, uint64

from pipeline.masks._jit import inlined


@inlined
def put_number(text, out, value):
    """Write one number of a COCO string; the next position."""
    while value < -16 or value > 15:
        text[out] = 80 + (value & 31)
        out += 1
        value >>= 5
    text[out] = 48 + (value & 31)
    return out + 1


@inlined
def put_pair(text, out, first, second):
    """Write two numbers, mostly of one character each; the next position."""
    if uint64(first + 16) < uint64(32) and uint64(second + 16) < uint64(32):
        text[out] = 48 + (first & 31)
        text[out + 1] = 48 + (second & 31)
        return out + 2
    return put_number(text, put_number(text, out, first), second)


@inlined
def put_run(text, run, start, end):
    """Add a run that starts where the last one ended, or later.

    ``run`` is (next position in the text, start and end of the run that is not
    written yet, last foreground and background count, runs written, pixels). A count is
    written as its difference to the last one of its kind, but not the second background.
    """
    out, begin, stop, fg, bg, n_runs, area = run
    area += end - start
    if n_runs > 0 and start == stop:
        return out, begin, end, fg, bg, n_runs, area
    if n_runs == 0:
        return put_number(text, out, start), start, end, fg, bg, int64(1), area
    out = put_pair(text, out, stop - begin - fg, start - stop - bg)
    return out, start, end, stop - begin, start - stop, n_runs + 2, area


@inlined
def put_end(text, run, n_pixels):
    """Write what is left of a mask: (next position, pixels)."""
    out, begin, stop, fg, bg, n_runs, area = run
    if n_runs == 0:
        return put_number(text, out, n_pixels), area
    out = put_number(text, out, stop - begin - fg)
    if stop < n_pixels:
        out = put_number(text, out, n_pixels - stop - bg)
    return out, area
