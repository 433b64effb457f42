"""Ragged arrays on a device: the few moves that every kernel for it is made of.

Ragged data is (values, offsets). There is no loop over rows anywhere: a row is
*expanded* into one entry per element, all rows at once, and sums per row are
scattered back. Where a call needs the length of what it makes, the host waits for
that one number; nothing else synchronises.

``index_select`` stands where indexing would read better: on a CPU it is six times
as fast.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

ROW_BITS = 32
"""A position in an image takes fewer bits: ``row << ROW_BITS | position`` sorts by both."""


CPU_SHARE = 16
"""A CPU takes stretches so much smaller: its arrays come back into the cache."""


def at_once(limit: int, device: torch.device) -> int:
    """Elements of a stretch on this device, of those that the bound on memory allows."""
    return limit if device.type == "cuda" else max(1, limit // CPU_SHARE)


def upload(array: NDArray[Any], device: torch.device) -> Tensor:
    """Copy an array to the device, through pinned memory where that is a GPU.

    The host does not wait for the copy, and the array may be read-only (buffers
    of Arrow are), which `torch.from_numpy` warns of.
    """
    host = torch.empty(array.shape, dtype=dtype_of(array), pin_memory=device.type == "cuda")
    host.numpy()[...] = array
    return host.to(device, non_blocking=True)


def dtype_of(array: NDArray[Any]) -> torch.dtype:
    """Torch's name of an array's dtype."""
    return torch.from_numpy(np.empty(0, array.dtype)).dtype


def to_host(tensor: Tensor) -> NDArray[Any]:
    """Bring values to the host, which waits for them."""
    return tensor.cpu().numpy()


def counts_to_host(counts_R: Tensor) -> NDArray[np.uint32]:
    """Bring run lengths to the host as uint32, a dtype that devices hardly know."""
    return to_host(counts_R.int()).view(np.uint32)


def counts_of_bits(bits_R: Tensor) -> Tensor:
    """Run lengths int64 from the bits of uint32, which came over as int32."""
    return bits_R.long() & (2**32 - 1)


def pick(values_N: Tensor, index_M: Tensor) -> Tensor:
    """Entries ``index_M`` of an array."""
    return torch.index_select(values_N, 0, index_M)


def where_set(flag_N: Tensor) -> Tensor:
    """Places of the entries that are set; the host waits for their number."""
    return torch.nonzero(flag_N).squeeze(1)


def to_offsets(lengths_N: Tensor) -> Tensor:
    """Offsets int64 (N + 1,) of rows of the given lengths."""
    offsets_N1 = lengths_N.new_zeros(len(lengths_N) + 1, dtype=torch.int64)
    torch.cumsum(lengths_N, 0, dtype=torch.int64, out=offsets_N1[1:])
    return offsets_N1


def sums_of(values_M: Tensor, offsets_N1: Tensor) -> Tensor:
    """Sum up the int32 values of each row: int64 (N,), each sum below 2**31.

    The sum over all rows may wrap: the difference of two places then does too.
    """
    sums_M1 = values_M.new_zeros(len(values_M) + 1)
    torch.cumsum(values_M, 0, dtype=torch.int32, out=sums_M1[1:])
    return torch.diff(pick(sums_M1, offsets_N1)).long()


def tally(row_M: Tensor, n_rows: int) -> Tensor:
    """How often each row occurs, int64 (N,); `torch.bincount` would make the host wait."""
    return row_M.new_zeros(n_rows).scatter_add_(0, row_M, torch.ones_like(row_M))


def number(values_N: Tensor) -> Tensor:
    """Numbers from 0 on that are in the order of the values, and equal where these are.

    `torch.unique` does the same, but makes the host wait for how many there are.
    """
    sorted_N, order_N = torch.sort(values_N)
    is_new_N = torch.zeros_like(values_N)
    is_new_N[1:] = sorted_N[1:] != sorted_N[:-1]
    return torch.empty_like(values_N).index_copy_(0, order_N, torch.cumsum(is_new_N, 0))


def expand(lengths_N: Tensor, offsets_N1: Tensor, total: int) -> tuple[Tensor, Tensor]:
    """Row of each of ``total`` elements, and the element's place in its row."""
    row_M = torch.repeat_interleave(lengths_N, output_size=total)
    place_M = torch.arange(total, device=lengths_N.device) - pick(offsets_N1, row_M)
    return row_M, place_M


def cut(offsets_N1: NDArray[np.int64], limit: int) -> list[tuple[int, int]]:
    """Cut rows into stretches (first, end) of at most ``limit`` elements, or of one row."""
    n_rows = len(offsets_N1) - 1
    stretches: list[tuple[int, int]] = []
    first = 0
    while first < n_rows:
        reach = int(np.searchsorted(offsets_N1, offsets_N1[first] + limit, side="right")) - 1
        end = max(first + 1, min(reach, n_rows))
        stretches.append((first, end))
        first = end
    return stretches


def cut_lengths(lengths_N: Tensor, limit: int) -> list[tuple[int, int, int]]:
    """Cut rows on the device into stretches (first, end, elements); one number is waited for.

    Only where there are more than ``limit`` elements do the offsets come to the host.
    """
    offsets_N1 = to_offsets(lengths_N)
    total = int(offsets_N1[-1])
    if total == 0:
        return []
    if total <= limit:
        return [(0, len(lengths_N), total)]
    host_N1 = offsets_N1.cpu().numpy()
    return [(a, b, int(host_N1[b] - host_N1[a])) for a, b in cut(host_N1, limit)]


def first_faulty(fault_X: Tensor, row_X: Tensor, n_rows: int) -> Tensor:
    """Row (1,) of the first entry that is faulty; ``n_rows`` where none is."""
    if len(fault_X) == 0:
        return row_X.new_full((1,), n_rows)
    place = torch.argmax(fault_X.to(torch.uint8)).view(1)
    return torch.where(pick(fault_X, place), pick(row_X, place), n_rows)
