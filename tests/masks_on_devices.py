"""Rows of masks for the tests of kernels on devices, and how their results are compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from pipeline.masks import rle
from tests import model, strategies

FILES = [
    "detectron2_mask_rcnn_coco_instances_results.json",
    "instances_val2014_fakesegm100_results.json",
]


def assert_same(found: Any, expected: Any) -> None:
    """Compare arrays with their dtypes; counters of pairs may differ."""
    for one, other in zip(found, expected, strict=True):
        if isinstance(other, np.ndarray):
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)


@st.composite
def near_copies(draw: st.DrawFn, max_images: int = 4) -> tuple[list[Any], Any]:
    """Draw masks of several images, most of them nearly or quite the same as another."""
    masks: list[Any] = []
    image_offsets = [0]
    for _ in range(draw(st.integers(0, max_images))):
        size_hw = draw(strategies.sizes(14))
        originals = draw(st.lists(strategies.bitmaps_of(size_hw), min_size=1, max_size=3))
        for _ in range(draw(st.integers(0, 9))):
            mask = draw(st.sampled_from(originals)).copy()
            for _ in range(draw(st.integers(0, 2))):
                y, x = (draw(st.integers(0, side - 1)) for side in size_hw)
                mask[y, x] = not mask[y, x]
            masks.append(mask)
        image_offsets.append(len(masks))
    return masks, np.array(image_offsets, np.int64)


def strip(starts: list[int], length: int, width: int) -> tuple[Any, ...]:
    """Return rows of one image 1 px high: stretches of ``length`` px."""
    runs = [[s, length, width - s - length][: 2 + (s + length < width)] for s in starts]
    batch = strategies.batch_of_runs([(1, width)] * len(runs), runs)
    n_rows = len(runs)
    return (
        rle.to_coco(batch),
        batch.size_hw_N2,
        np.array([0, n_rows], np.int64),
        np.zeros(n_rows, np.int64),
        np.zeros(n_rows, bool),
        None,
    )


def load(path: Path) -> tuple[Any, ...]:
    """Return a file of results as the arguments of `group_masks`, rows in the total order."""
    ordered = sorted(
        model.load_results(path),
        key=lambda row: (row.image_id, model.order_key(row, model.Policy())),
    )
    image_N = np.array([row.image_id for row in ordered])
    starts_G = np.flatnonzero(np.diff(image_N, prepend=image_N[0] - 1))
    return (
        strategies.strings_of([row.mask for row in ordered]),
        np.array([(row.height, row.width) for row in ordered], np.int32),
        np.append(starts_G, len(ordered)),
        np.array([row.category_id for row in ordered]),
        np.zeros(len(ordered), bool),
        None,
    )


def many(given_rows: tuple[Any, ...], n_images: int) -> tuple[Any, ...]:
    """Repeat one image's rows as so many images."""
    strings, sizes_N2, _, category_N, is_crowd_N, _ = given_rows
    n_rows = len(sizes_N2)
    return (
        rle.take_strings(strings, np.tile(np.arange(n_rows), n_images)),
        np.tile(sizes_N2, (n_images, 1)),
        np.arange(n_images + 1) * n_rows,
        np.tile(category_N, n_images),
        np.tile(is_crowd_N, n_images),
        None,
    )
