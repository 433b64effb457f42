"""Hypothesis strategies for masks, and their way into the kernels' two forms.

Everything starts as a dense bool array, the form in which a test's expectation
is obvious. `to_strings` and `to_batch` turn it into `CocoStrings` and
`MaskBatch` through the oracle, not through the code under test.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.masks.batch import CocoStrings, MaskBatch
from tests import oracle

Bitmap = NDArray[np.bool_]

MAX_SIDE = 24


def sizes(max_side: int = MAX_SIDE) -> st.SearchStrategy[tuple[int, int]]:
    """(height, width): mostly both sides free, often a single row, column or pixel."""
    side = st.integers(1, max_side)
    return st.one_of(
        st.tuples(side, side),
        st.tuples(side, side),
        st.tuples(st.just(1), side),
        st.tuples(side, st.just(1)),
        st.just((1, 1)),
    )


@st.composite
def _boxes(draw: st.DrawFn, size_hw: tuple[int, int]) -> Bitmap:
    """Draw a few rectangles, set or cut out: solid shapes, holes, parts that touch at a corner."""
    height, width = size_hw
    bitmap = np.zeros(size_hw, bool)
    for is_set in draw(st.lists(st.booleans(), min_size=1, max_size=5)):
        top = draw(st.integers(0, height - 1))
        left = draw(st.integers(0, width - 1))
        bottom = draw(st.integers(top, height - 1)) + 1
        right = draw(st.integers(left, width - 1)) + 1
        bitmap[top:bottom, left:right] = is_set or not bitmap.any()
    return bitmap


@st.composite
def _noise(draw: st.DrawFn, size_hw: tuple[int, int]) -> Bitmap:
    density = draw(st.sampled_from([0.02, 0.2, 0.5, 0.8, 0.98]))
    seed = draw(st.integers(0, 2**32 - 1))
    return np.random.default_rng(seed).random(size_hw) < density


@st.composite
def _ring(draw: st.DrawFn, size_hw: tuple[int, int]) -> Bitmap:
    """Draw a rectangle with a hole, which may hold an island that touches the rim at a corner."""
    height, width = size_hw
    bitmap = np.zeros(size_hw, bool)
    top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
    bitmap[top:, left:] = True
    thickness = draw(st.integers(1, 3))
    bitmap[top + thickness : height - thickness, left + thickness : width - thickness] = False
    if draw(st.booleans()):
        y, x = min(top + thickness, height - 1), min(left + thickness, width - 1)
        bitmap[y, x] = False
        bitmap[min(y + 1, height - 1), min(x + 1, width - 1)] = True
    return bitmap


def _checkerboard(size_hw: tuple[int, int], phase: int) -> Bitmap:
    return (np.indices(size_hw).sum(axis=0) + phase) % 2 == 0


def bitmaps_of(size_hw: tuple[int, int]) -> st.SearchStrategy[Bitmap]:
    """One dense mask, bool (H, W), of the given size."""
    return st.one_of(
        _boxes(size_hw),
        _boxes(size_hw),
        _noise(size_hw),
        _noise(size_hw),
        _ring(size_hw),
        st.builds(np.zeros, st.just(size_hw), st.just(bool)),
        st.builds(np.ones, st.just(size_hw), st.just(bool)),
        st.builds(_checkerboard, st.just(size_hw), st.integers(0, 1)),
    )


def bitmaps(max_side: int = MAX_SIDE) -> st.SearchStrategy[Bitmap]:
    """One dense mask, bool (H, W)."""
    return sizes(max_side).flatmap(bitmaps_of)


def bitmap_stacks(
    min_masks: int = 0, max_masks: int = 6, max_side: int = MAX_SIDE
) -> st.SearchStrategy[Bitmap]:
    """N masks of one size, bool (N, H, W)."""

    def of(size_hw: tuple[int, int]) -> st.SearchStrategy[Bitmap]:
        return st.lists(bitmaps_of(size_hw), min_size=min_masks, max_size=max_masks).map(
            lambda masks: np.array(masks, dtype=bool).reshape(len(masks), *size_hw)
        )

    return sizes(max_side).flatmap(of)


def images(
    min_images: int = 0, max_images: int = 4, max_masks: int = 5, max_side: int = MAX_SIDE
) -> st.SearchStrategy[list[Bitmap]]:
    """Several images, each a stack bool (N, H, W) of its own size."""
    stack = bitmap_stacks(max_masks=max_masks, max_side=max_side)
    return st.lists(stack, min_size=min_images, max_size=max_images)


def flat(stacks: Iterable[Bitmap]) -> list[Bitmap]:
    """All masks of several images, one after the other."""
    return [mask for stack in stacks for mask in stack]


def strings_of(strings: Sequence[bytes]) -> CocoStrings:
    """Pack plain byte strings, valid or not."""
    lengths = np.array([len(one) for one in strings], dtype=np.int64)
    offsets_N1 = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return CocoStrings(np.frombuffer(b"".join(strings), dtype=np.uint8), offsets_N1)


def list_strings(strings: CocoStrings) -> list[bytes]:
    """Unpack into plain byte strings."""
    data, offsets = strings.bytes_B.tobytes(), strings.offsets_N1.tolist()
    return [data[a:b] for a, b in pairwise(offsets)]


def list_runs(batch: MaskBatch) -> list[list[int]]:
    """Unpack into plain lists of run lengths."""
    counts, offsets = batch.counts_R.tolist(), batch.offsets_N1.tolist()
    return [counts[a:b] for a, b in pairwise(offsets)]


def sizes_of(masks: Sequence[Bitmap] | Bitmap) -> NDArray[np.int32]:
    """int32 (N, 2) heights and widths of dense masks."""
    return np.array([mask.shape for mask in masks], dtype=np.int32).reshape(-1, 2)


def to_strings(masks: Sequence[Bitmap] | Bitmap) -> CocoStrings:
    """Canonical COCO strings of dense masks, by the oracle."""
    return strings_of([oracle.encode(mask) for mask in masks])


def batch_of_runs(sizes_hw: Sequence[Sequence[int]], runs: Sequence[Sequence[int]]) -> MaskBatch:
    """Pack canonical run lengths into a batch."""
    lengths = np.array([len(one) for one in runs], dtype=np.int64)
    return MaskBatch(
        np.array(sizes_hw, dtype=np.int32).reshape(-1, 2),
        np.array([run for one in runs for run in one], dtype=np.uint32),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
    )


def to_batch(masks: Sequence[Bitmap] | Bitmap) -> MaskBatch:
    """Canonical runs of dense masks, by the oracle."""
    runs = [oracle.parse(mask.shape, oracle.encode(mask)) for mask in masks]
    return batch_of_runs([mask.shape for mask in masks], runs)


def to_bitmaps(batch: MaskBatch) -> list[Bitmap]:
    """Dense masks of a batch, by the oracle (which refuses runs that are not canonical)."""
    masks: list[Bitmap] = []
    for size_hw, runs in zip(batch.size_hw_N2.tolist(), list_runs(batch), strict=True):
        if runs != oracle.canonical_runs(runs):
            raise ValueError(f"not canonical: {runs}")
        masks.append(oracle.decode(size_hw, oracle.to_string(runs)))
    return masks
