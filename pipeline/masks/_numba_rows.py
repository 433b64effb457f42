"""Compiled copying of ragged rows (public names: `pipeline.masks.rows`)."""

# Numba infers the parameters' types; the public functions state them; intrinsics take one less
# than written.
# pyright: reportMissingParameterType=false, reportCallIssue=false

from __future__ import annotations

from pipeline.masks._jit import inlined, kernel
from pipeline.masks._numba_group_vector import load_16x8, pointer_to, store


@kernel
def gather(values, offsets_N1, index_M, out_values, out_offsets_M1):
    """Copy the rows ``index_M`` of ragged data to where ``out_offsets_M1`` says."""
    for m in range(len(index_M)):
        start = offsets_N1[index_M[m]]
        out = out_offsets_M1[m]
        for place in range(out_offsets_M1[m + 1] - out):
            out_values[out + place] = values[start + place]


@inlined
def copy_bytes(values, start, out, to, length):
    """Copy bytes, 16 at once; the last 16 may overlap those before."""
    if length < 16:
        for place in range(length):
            out[to + place] = values[start + place]
        return
    for place in range(0, length - 16, 16):
        store(out, to + place, load_16x8(values, start + place))
    store(out, to + length - 16, load_16x8(values, start + length - 16))


@kernel
def gather_of_two(first, first_offsets_N1, second, second_offsets_K1, index_M, out, out_offsets_M1):
    """Copy rows of two sets of strings, those of the second counted after the first's."""
    n_first = len(first_offsets_N1) - 1
    ones = pointer_to(first)
    others = pointer_to(second)
    to = pointer_to(out)
    for m in range(len(index_M)):
        row = index_M[m]
        place = out_offsets_M1[m]
        length = out_offsets_M1[m + 1] - place
        if row < n_first:
            copy_bytes(ones, first_offsets_N1[row], to, place, length)
        else:
            copy_bytes(others, second_offsets_K1[row - n_first], to, place, length)
