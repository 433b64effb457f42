"""pycocotools as an oracle: the only place in the tests that imports it.

pycocotools computes on malformed input without a word (masks of different sizes
give an IoU of -1 or a merge of size [0, 0], counts that sum short decode to
uninitialised memory, one more zero run moves the bbox). So every input is first
read by the plain parser here, which shares nothing with the code under test,
refused with `Refused` (a ValueError that carries the reject code) where it
breaks a rule, and handed on in canonical form.

Masks are ``bool (H, W)``, strings are ``bytes``, sizes are ``(height, width)``.
"""

from __future__ import annotations

import contextlib
import io
import math
import warnings
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

Size = tuple[int, int]

MAX_DENSE_PIXELS = 1 << 26
MAX_VARINT_CHARS = 7
EXTRA_RUNS = 64


class Refused(ValueError):
    """Input that the oracle does not hand to pycocotools; ``code`` says why."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code


def check_size(size_hw: Sequence[int]) -> Size:
    """Height and width as given, or `Refused`."""
    if len(size_hw) != 2 or any(int(side) != side for side in size_hw):
        raise Refused("SIZE_INVALID", f"two integers expected, got {size_hw!r}")
    height, width = (int(side) for side in size_hw)
    if not (1 <= height < 2**31 and 1 <= width < 2**31 and height * width < 2**40):
        raise Refused("SIZE_INVALID", f"{height} x {width}")
    if height * width >= 2**31:
        raise Refused("IMAGE_TOO_LARGE", f"{height} x {width}")
    return height, width


def parse(size_hw: Sequence[int], counts: bytes) -> list[int]:
    """Run lengths exactly as the string says, zero runs included, or `Refused`.

    Faults are reported in the order in which a reader meets them from left to
    right; the number of runs, then their sum, are judged last.
    """
    height, width = check_size(size_hw)
    runs: list[int] = []
    groups: list[int] = []
    total = 0
    for byte in counts:
        if not 48 <= byte <= 111:
            raise Refused("RLE_ALPHABET", f"byte {byte}")
        groups.append(byte - 48)
        if groups[-1] >= 32:
            if len(groups) == MAX_VARINT_CHARS:
                raise Refused("RLE_VARINT", f"more than {MAX_VARINT_CHARS} characters")
            continue
        value = sum((group % 32) << (5 * place) for place, group in enumerate(groups))
        if groups[-1] & 16:
            value -= 1 << (5 * len(groups))
        groups = []
        run = value + (runs[-2] if len(runs) > 2 else 0)
        if run < 0:
            raise Refused("RLE_NEGATIVE", f"run {len(runs)} is {run}")
        runs.append(run)
        total += run
        if total > height * width:
            raise Refused("RLE_SUM", f"{total} > {height * width}")
    if groups:
        raise Refused("RLE_TRUNCATED")
    if len(runs) > height * width + EXTRA_RUNS:
        raise Refused("RLE_TOO_MANY_RUNS", f"{len(runs)} runs")
    if total != height * width:
        raise Refused("RLE_SUM", f"{total} != {height * width}")
    return runs


def canonical_runs(runs: Sequence[int]) -> list[int]:
    """The same mask with no zero run but, where it is foreground first, the first."""
    coloured = [(place % 2, length) for place, length in enumerate(runs) if length]
    merged = [
        (colour, sum(length for _, length in same))
        for colour, same in groupby(coloured, key=lambda pair: pair[0])
    ]
    lengths = [length for _, length in merged]
    return [0, *lengths] if merged and merged[0][0] == 1 else lengths


def to_string(runs: Sequence[int]) -> bytes:
    """COCO's compressed string of run lengths (plain model of ``maskApi.c: rleToString``)."""
    chars = bytearray()
    for place, run in enumerate(runs):
        value = run - (runs[place - 2] if place > 2 else 0)
        while True:
            group, value = value & 31, value >> 5
            done = value == (-1 if group & 16 else 0)
            chars.append(48 + group + (0 if done else 32))
            if done:
                break
    return bytes(chars)


def canonical(size_hw: Sequence[int], counts: bytes) -> bytes:
    """Return the canonical string of a valid one."""
    return to_string(canonical_runs(parse(size_hw, counts)))


def _rle(size_hw: Sequence[int], counts: bytes) -> dict[str, Any]:
    return {"size": [int(side) for side in size_hw], "counts": canonical(size_hw, counts)}


def encode(bitmap_HW: NDArray[Any]) -> bytes:
    """COCO string of one dense mask (bool, or uint8 of 0 and 1)."""
    bitmap_HW = np.asarray(bitmap_HW)
    if bitmap_HW.ndim != 2 or bitmap_HW.dtype not in (np.dtype(bool), np.dtype(np.uint8)):
        raise ValueError(f"bool or uint8 (H, W) expected, got {bitmap_HW.dtype} {bitmap_HW.shape}")
    if bitmap_HW.size and bitmap_HW.max() > 1:
        raise ValueError("a uint8 mask must hold 0 and 1 only")
    size_hw = check_size(bitmap_HW.shape)
    _check_dense(size_hw)
    return coco_mask.encode(np.asfortranarray(bitmap_HW, dtype=np.uint8))["counts"]


def decode(size_hw: Sequence[int], counts: bytes) -> NDArray[np.bool_]:
    """Dense mask, bool (H, W), of one valid string."""
    rle = _rle(size_hw, counts)
    _check_dense(check_size(size_hw))
    with warnings.catch_warnings():
        # Its array wrapper predates NumPy 2 and says so at every call.
        warnings.filterwarnings("ignore", message="__array__", category=DeprecationWarning)
        return np.ascontiguousarray(coco_mask.decode(rle), dtype=bool)


def area(size_hw: Sequence[int], counts: bytes) -> int:
    """Foreground pixels."""
    return int(coco_mask.area(_rle(size_hw, counts)))


def to_bbox(size_hw: Sequence[int], counts: bytes) -> tuple[int, int, int, int]:
    """Tight XYWH box, zeros for the empty mask."""
    x, y, w, h = (int(value) for value in coco_mask.toBbox(_rle(size_hw, counts)))
    return x, y, w, h


def iou(
    size_hw: Sequence[int], counts_a: Sequence[bytes], counts_b: Sequence[bytes]
) -> NDArray[np.float64]:
    """IoU of each of N masks with each of M, float64 (N, M), all of one size."""
    if not counts_a or not counts_b:
        return np.zeros((len(counts_a), len(counts_b)))
    rles_a = [_rle(size_hw, counts) for counts in counts_a]
    rles_b = [_rle(size_hw, counts) for counts in counts_b]
    return np.asarray(coco_mask.iou(rles_a, rles_b, [0] * len(rles_b)), dtype=np.float64)


def merge(size_hw: Sequence[int], counts: Sequence[bytes], intersect: bool = False) -> bytes:
    """Union (or intersection) of one or more masks of one size."""
    if not counts:
        raise ValueError("merge needs at least one mask")
    merged = coco_mask.merge([_rle(size_hw, one) for one in counts], intersect=intersect)
    return canonical(size_hw, merged["counts"])


def from_polygons(rings: Sequence[Sequence[float]], height: int, width: int) -> bytes:
    """COCO string of the union of rings ``[x0, y0, x1, y1, ...]``, each filled by COCO's rule."""
    check_size((height, width))
    if not rings:
        raise ValueError("at least one ring expected")
    for ring in rings:
        if len(ring) < 6 or len(ring) % 2:
            raise ValueError(f"a ring has an even number of 6 or more values, got {len(ring)}")
        if not all(math.isfinite(value) and abs(value) <= 1e5 for value in ring):
            raise ValueError("coordinates must be finite and within 1e5 of the image")
    # frPyObjects tells boxes from polygons by the first ring's length: pass floats, rings >= 6.
    rles = coco_mask.frPyObjects([[float(v) for v in ring] for ring in rings], height, width)
    return merge((height, width), [canonical((height, width), rle["counts"]) for rle in rles])


def _check_dense(size_hw: Size) -> None:
    if size_hw[0] * size_hw[1] > MAX_DENSE_PIXELS:
        raise ValueError(f"{size_hw} is too large to be made dense in a test")


class Loaded(NamedTuple):
    """What pycocotools' COCO makes of a dataset and results, in the order of the files."""

    annotation_ids: list[int]
    annotation_masks: list[bytes]
    result_masks: list[bytes]


def load_dataset(annotations: Path, results: Path | None = None) -> Loaded:
    """Load annotations, and results onto them, with ``COCO`` and ``COCO.loadRes``."""
    with contextlib.redirect_stdout(io.StringIO()):
        dataset = COCO(str(annotations))
        loaded = dataset.loadRes(str(results)) if results else None
    own = dataset.dataset["annotations"]
    found = loaded.dataset["annotations"] if loaded else []
    return Loaded(
        [row["id"] for row in own],
        [dataset.annToRLE(row)["counts"].encode() for row in own],
        [loaded.annToRLE(row)["counts"].encode() for row in found] if loaded else [],
    )
