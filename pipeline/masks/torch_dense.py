"""Pixels to runs on a device, through PyTorch: same names and results as `pipeline.masks.dense`.

Arrays may be NumPy's, or tensors that are on a device already (a detector's own
output): those are read where they are. A stretch of masks is done at once, cut so
that it has fewer than 2**31 pixels and its scratch stays below `SCRATCH_BYTES`; one
mask is never cut.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from pipeline.errors import MaskError
from pipeline.masks import _torch_dense, dense, rle
from pipeline.masks._torch_arrays import at_once, counts_to_host, cut, to_host
from pipeline.masks._torch_streams import PINNED_BYTES, Arrays, send_ahead
from pipeline.masks.batch import MaskBatch

__all__ = ["from_bitmaps", "from_packed", "from_roi"]

SCRATCH_BYTES = 2**30
"""What the arrays of one stretch may take on the device, beside input and result."""

BYTES_PER_PIXEL = 4
"""The pixels, unpacked or as bool, their changes, and two more for what changes."""

BYTES_PER_SAMPLE = 160
"""Twenty int64 or pairs of float32 per pixel of a box."""

SENT_AT_ONCE = PINNED_BYTES
"""Bytes of pixels that are sent at once, so that work on some overlaps with the way of others."""

PIXELS_AT_ONCE = SCRATCH_BYTES // BYTES_PER_PIXEL
SAMPLES_AT_ONCE = SCRATCH_BYTES // BYTES_PER_SAMPLE


def from_bitmaps(
    bitmaps_NHW: NDArray[np.bool_] | NDArray[np.uint8] | Tensor, *, device: str = "cpu"
) -> MaskBatch:
    """Run-length encode dense masks of one size; see `pipeline.masks.dense.from_bitmaps`.

    Parameters
    ----------
    bitmaps_NHW : bool or uint8 (N, H, W), array or tensor
        Foreground where not 0.
    device : str
        Where it is done: "cpu" or "cuda".

    Returns
    -------
    MaskBatch
        Canonical runs. No masks in, none out. Cost: linear in pixels.

    Raises
    ------
    MaskError
        Where dtype or shape are others, or H x W is no image size.
    """
    dtype = bitmaps_NHW.dtype
    if bitmaps_NHW.ndim != 3 or dtype not in (np.bool_, np.uint8, torch.bool, torch.uint8):
        raise MaskError(
            f"expected bool or uint8 of shape (N, H, W), got {dtype} of shape "
            f"{tuple(bitmaps_NHW.shape)}"
        )
    return _read(bitmaps_NHW, int(bitmaps_NHW.shape[2]), torch.device(device), is_packed=False)


def from_packed(
    bits_NHB: NDArray[np.uint8] | Tensor, width: int, *, device: str = "cpu"
) -> MaskBatch:
    """Run-length encode packed masks of one size; see `pipeline.masks.dense.from_packed`.

    Parameters
    ----------
    bits_NHB : uint8 (N, H, ceil(width / 8)), array or tensor
        Eight pixels a byte, the highest bit leftmost.
    width : int
        Width in pixels.
    device : str
        Where it is done: "cpu" or "cuda".

    Returns
    -------
    MaskBatch
        Canonical runs. No masks in, none out. Cost: linear in pixels.

    Raises
    ------
    MaskError
        Where dtype or shape are others, or H x width is no image size.
    """
    shape = tuple(bits_NHB.shape)
    if (
        len(shape) != 3
        or bits_NHB.dtype not in (np.uint8, torch.uint8)
        or shape[2] != -(-width // 8)
    ):
        raise MaskError(
            f"expected uint8 of shape (N, H, {-(-width // 8)}) for a width of {width}, got "
            f"{bits_NHB.dtype} of shape {shape}"
        )
    return _read(bits_NHB, width, torch.device(device), is_packed=True)


def from_roi(
    probability_NHW: ArrayLike,
    box_xyxy_N4: ArrayLike,
    size_hw_N2: ArrayLike,
    *,
    threshold: float = 0.5,
    device: str = "cpu",
) -> MaskBatch:
    """Paste the soft masks of boxes by detectron2's rule; see `pipeline.masks.dense.from_roi`.

    Parameters
    ----------
    probability_NHW, box_xyxy_N4, size_hw_N2, threshold
        As there.
    device : str
        Where it is done: "cpu" or "cuda".

    Returns
    -------
    MaskBatch
        Canonical runs. No masks in, none out. Cost: linear in the boxes' pixels.

    Raises
    ------
    MaskError
        As there.
    """
    given = dense.checked_roi(probability_NHW, box_xyxy_N4, size_hw_N2, threshold)
    values_NHW, boxes_N4, sizes_N2 = given
    area_N4 = dense.touched(boxes_N4, sizes_N2, values_NHW.shape[1:])
    pixels_N = np.prod(area_N4[:, 2:] - area_N4[:, :2], axis=1)
    on = torch.device(device)
    parts: list[MaskBatch] = []
    bounds = cut(np.concatenate([[0], np.cumsum(pixels_N)]), at_once(SAMPLES_AT_ONCE, on))

    def gather(bound: tuple[int, int]) -> Arrays:
        part = slice(*bound)
        return values_NHW[part], boxes_N4[part], sizes_N2[part].astype(np.int64), area_N4[part]

    least = float(np.float32(threshold))
    sent = send_ahead(bounds, gather, on)
    for (a, b), (values, boxes, sizes, areas) in zip(bounds, sent, strict=True):
        runs = _torch_dense.paste(values, boxes, sizes, areas, least)
        parts.append(_to_batch(sizes_N2[a:b], *runs))
    return rle.concat(parts)


def _read(bitmaps: Any, width: int, device: torch.device, *, is_packed: bool) -> MaskBatch:
    """Read masks of one size, a stretch at a time."""
    n_masks, height = int(bitmaps.shape[0]), int(bitmaps.shape[1])
    dense.check_image(height, width)
    most = at_once(PIXELS_AT_ONCE, device) // (height * width)
    if not isinstance(bitmaps, Tensor):
        most = min(most, SENT_AT_ONCE // (height * int(bitmaps.shape[2])))
    bounds = cut(np.arange(n_masks + 1), max(1, most))
    if isinstance(bitmaps, Tensor):
        stretches = (bitmaps[a:b].to(device) for a, b in bounds)
    else:
        sent = send_ahead(bounds, lambda bound: (bitmaps[slice(*bound)],), device)
        stretches = (arrays[0] for arrays in sent)
    parts: list[MaskBatch] = []
    for stretch in stretches:
        pixels_NHW = _torch_dense.unpack(stretch, width) if is_packed else stretch.bool()
        size_hw_N2 = np.full((len(stretch), 2), (height, width), np.int32)
        parts.append(_to_batch(size_hw_N2, *_torch_dense.read_bitmaps(pixels_NHW)))
    return rle.concat(parts)


def _to_batch(size_hw_N2: NDArray[np.int32], counts_R: Tensor, offsets_N1: Tensor) -> MaskBatch:
    """Bring runs back to the host."""
    return MaskBatch(size_hw_N2.copy(), counts_to_host(counts_R), to_host(offsets_N1))
