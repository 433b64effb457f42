"""Compiled copying of ragged rows (public names: `pipeline.masks.rows`)."""

# Numba infers the parameters' types; the public functions state them.
# pyright: reportMissingParameterType=false

from __future__ import annotations

from pipeline.masks._jit import kernel


@kernel
def gather(values, offsets_N1, index_M, out_values, out_offsets_M1):
    """Copy the rows ``index_M`` of ragged data to where ``out_offsets_M1`` says."""
    for m in range(len(index_M)):
        start = offsets_N1[index_M[m]]
        out = out_offsets_M1[m]
        for place in range(out_offsets_M1[m + 1] - out):
            out_values[out + place] = values[start + place]
