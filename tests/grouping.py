"""Grouping as tests call it: cases from dense masks or strings, a plain model, prunings off."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.masks import _checks, group
from pipeline.masks._numba_group_work import Policy
from pipeline.masks.batch import CocoStrings
from pipeline.masks.group import Grouping, group_masks
from tests import strategies

Bitmap = NDArray[np.bool_]


class Image(NamedTuple):
    """Masks of one image with what decides whether they compare."""

    masks_NHW: Bitmap
    category_N: list[int]
    is_crowd_N: list[bool]
    source_N: list[int]


class Case(NamedTuple):
    """What `group_masks` takes."""

    strings: CocoStrings
    size_hw_N2: NDArray[np.int32]
    image_offsets_G1: NDArray[np.int64]
    category_N: NDArray[np.int64]
    is_crowd_N: NDArray[np.bool_]
    source_N: NDArray[np.int32]


def case_of(images: Sequence[Image]) -> Case:
    masks = [mask for image in images for mask in image.masks_NHW]
    sizes = [len(image.masks_NHW) for image in images]
    return Case(
        strategies.to_strings(masks),
        strategies.sizes_of(masks),
        np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        np.array([c for image in images for c in image.category_N], np.int64),
        np.array([c for image in images for c in image.is_crowd_N], bool),
        np.array([c for image in images for c in image.source_N], np.int32),
    )


def strings_case(strings: Sequence[bytes], size_hw: tuple[int, int]) -> Case:
    """One image of one category, of plain strings."""
    n = len(strings)
    return Case(
        strategies.strings_of(strings),
        np.tile(np.array(size_hw, np.int32), (n, 1)),
        np.array([0, n]),
        np.zeros(n, np.int64),
        np.zeros(n, bool),
        np.zeros(n, np.int32),
    )


def run(case: Case, *, across: bool = False, threshold: float = 0.5, **options: Any) -> Grouping:
    source_N = case.source_N if across else None
    return group_masks(*case[:5], source_N, threshold=threshold, **options)


def model(
    images: Sequence[Image], *, across: bool, threshold: float, overlap: str, group: str
) -> list[list[Any]]:
    """Return the first five fields of `Grouping`, from dense masks and all pairs."""
    rows: list[list[Any]] = [[], [], [], [], []]
    first = 0
    for image in images:
        flat = [mask.reshape(-1) for mask in image.masks_NHW]
        area = [int(mask.sum()) for mask in flat]
        shared = [[int((a & b).sum()) for b in flat] for a in flat]

        def reaches(i: int, j: int, image=image, area=area, shared=shared) -> bool:
            if image.is_crowd_N[i] or image.is_crowd_N[j] or not area[i] or not area[j]:
                return False
            if image.category_N[i] != image.category_N[j]:
                return False
            if across and image.source_N[i] == image.source_N[j]:
                return False
            whole = min(area[i], area[j]) if overlap == "ios" else area[i] + area[j] - shared[i][j]
            return bool(np.float64(shared[i][j]) / np.float64(whole) >= threshold)

        leader: dict[int, int] = {}
        linked: dict[int, int] = {}
        for k in range(len(flat)):
            if k in leader:
                continue
            leader[k] = linked[k] = k
            queue = deque([k])
            while queue:
                i = queue.popleft()
                for j in range(len(flat)):
                    if j not in leader and reaches(i, j):
                        leader[j], linked[j] = k, i
                        if group == "component":
                            queue.append(j)
        for k in range(len(flat)):
            is_equal = leader[k] != k and bool((flat[k] == flat[leader[k]]).all())
            fields = (first + leader[k], first + linked[k], shared[k][leader[k]], is_equal, area[k])
            for column, value in zip(rows, fields, strict=True):
                column.append(value)
        first += len(flat)
    return rows


def unpruned(
    case: Case, policy: dict[str, Any], flags: int, grid_from: int, vote_fraction: float = -1.0
) -> Grouping:
    """Group with prunings switched off, or by the grid from few members on; merge too, or not."""
    return group.run_kernel(
        _checks.frozen_strings(case.strings),
        _checks.frozen_sizes(case.size_hw_N2, len(case.category_N)),
        _checks.frozen_offsets(case.image_offsets_G1, len(case.category_N), "images"),
        case.category_N,
        case.is_crowd_N,
        case.source_N,
        Policy(
            policy["threshold"],
            policy["overlap"] == "ios",
            policy["group"] == "component",
            policy["across"],
            flags,
            grid_from,
        ),
        vote_fraction,
    )[0]
