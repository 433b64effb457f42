"""Crack code on a device, through PyTorch: same bytes as `pipeline.masks.contour.encode_crack`.

The masks of a stretch are one set of launches, however many rings they have. Rounds
follow the logarithm of the longest ring. A crack costs about `BYTES_PER_CRACK` at the
worst moment; stretches are cut so that `SCRATCH_BYTES` hold them.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.masks import _torch_contour, contour
from pipeline.masks._checks import frozen_batch
from pipeline.masks._torch_arrays import at_once, counts_of_bits, cut, to_host
from pipeline.masks._torch_streams import Arrays, send_ahead
from pipeline.masks.batch import MaskBatch
from pipeline.masks.contour import CrackBatch
from pipeline.masks.measure import boundary_length

__all__ = ["encode_crack"]

SCRATCH_BYTES = 2**30
"""What the arrays of one stretch may take on the device, beside the result."""

BYTES_PER_CRACK = 192
"""Twenty int64 a node, of which there is one per horizontal crack, or six a symbol with padding."""

CRACKS_AT_ONCE = SCRATCH_BYTES // BYTES_PER_CRACK


def encode_crack(batch: MaskBatch, *, device: str = "cpu") -> CrackBatch:
    """Write masks as crack codes; see `pipeline.masks.contour.encode_crack`.

    Parameters
    ----------
    batch : MaskBatch
        N masks in canonical form.
    device : str
        Where it is done: "cpu" or "cuda".

    Returns
    -------
    CrackBatch
        As there. Cost: linear in boundary length, times log2 of the longest ring.

    Raises
    ------
    MaskError
        As there.
    """
    sizes_N2, counts_R, offsets_N1 = frozen_batch(batch)
    if not _is_canonical(sizes_N2, counts_R, offsets_N1):
        return contour.encode_crack(batch)  # which names the row
    length_N = boundary_length(batch)
    if np.any(length_N > contour.MAX_STEPS):
        return contour.encode_crack(batch)
    on = torch.device(device)
    parts: list[tuple[NDArray[np.uint8], NDArray[np.int64]]] = []
    bounds = cut(np.concatenate([[0], np.cumsum(length_N)]), at_once(CRACKS_AT_ONCE, on))

    def gather(bound: tuple[int, int]) -> Arrays:
        a, b = bound
        runs = slice(int(offsets_N1[a]), int(offsets_N1[b]))
        return (
            counts_R[runs].view(np.int32),
            offsets_N1[a : b + 1] - runs.start,
            sizes_N2[a:b, 0].astype(np.int64),
        )

    for counts, starts, heights in send_ahead(bounds, gather, on):
        bytes_B, ends_N1 = _torch_contour.encode(counts_of_bits(counts), starts, heights)
        parts.append((to_host(bytes_B), to_host(ends_N1)))
    n_bytes = np.cumsum([0, *(len(bytes_B) for bytes_B, _ in parts)])
    ends = [ends_N1[1:] + base for (_, ends_N1), base in zip(parts, n_bytes, strict=False)]
    return CrackBatch(
        np.concatenate([np.empty(0, np.uint8), *(bytes_B for bytes_B, _ in parts)]),
        np.concatenate([np.zeros(1, np.int64), *ends]),
    )


def _is_canonical(
    sizes_N2: NDArray[np.int32], counts_R: NDArray[np.uint32], offsets_N1: NDArray[np.int64]
) -> bool:
    """Whether runs fill their images and none but the first of a mask is 0."""
    ends_R1 = np.concatenate([[0], np.cumsum(counts_R, dtype=np.int64)])
    n_pixels_N = sizes_N2[:, 0].astype(np.int64) * sizes_N2[:, 1]
    is_first_R = np.zeros(len(counts_R) + 1, bool)
    is_first_R[offsets_N1[:-1]] = True
    has_gap = np.any((counts_R == 0) & ~is_first_R[:-1])
    return not has_gap and np.array_equal(np.diff(ends_R1[offsets_N1]), n_pixels_N)
