"""The same job by the libraries that are installed: greedy mask NMS per image and category.

Each peer gets its masks in the form that it likes best, made outside the timing
(dicts of COCO strings, boxes, image by image, rows in score order), and returns
which rows survive. A peer whose package is absent is listed as absent.
"""

from __future__ import annotations

import importlib
import importlib.util
import itertools
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.workload import Workload

Keep = NDArray[np.bool_]
Runner = Callable[[Sequence["Image"], float], Keep]


@dataclass(frozen=True)
class Image:
    """One image's rows, in score order.

    Attributes
    ----------
    rles : list of dict
        ``{"size": [h, w], "counts": bytes}``.
    categories : list of int
    predictions : float64 (n, 6)
        ``x0, y0, x1, y1, score, category``; the box is tight, its ends inclusive.
    """

    rles: list[dict[str, Any]]
    categories: list[int]
    predictions: NDArray[np.float64]


@dataclass(frozen=True)
class Peer:
    """A way to do the job.

    Attributes
    ----------
    name : str
        What the table calls it.
    module : str
        What must be importable.
    make : callable
        Imports the package and returns the runner.
    max_masks : int
        A slow peer gets only the first images with so many masks; times are scaled.
    has_our_rule : bool
        Whether its survivors must be ours.
    """

    name: str
    module: str
    make: Callable[[], Runner]
    max_masks: int = 1 << 62
    has_our_rule: bool = True

    def is_installed(self) -> bool:
        """Say whether the package is there, without importing it."""
        return importlib.util.find_spec(self.module.split(".")[0]) is not None


def in_score_order(workload: Workload) -> Workload:
    """Return the rows sorted by image and score, descending; ties keep their order."""
    return workload.take(np.lexsort((-workload.score, workload.image_id)))


def image_offsets(workload: Workload) -> NDArray[np.int64]:
    """Return where each image's rows begin, int64 (G + 1,)."""
    first = np.flatnonzero(np.diff(workload.image_id, prepend=workload.image_id[:1] - 1))
    return np.append(first, len(workload)).astype(np.int64)


def to_images(workload: Workload, box_xyxy_N4: NDArray[np.float64]) -> list[Image]:
    """Cut the rows into images."""
    rles = [
        {"size": size, "counts": counts}
        for size, counts in zip(workload.size_hw_N2.tolist(), workload.strings(), strict=True)
    ]
    categories = workload.category_id.tolist()
    predictions = np.column_stack([box_xyxy_N4, workload.score, workload.category_id])
    offsets = image_offsets(workload).tolist()
    return [
        Image(rles[a:b], categories[a:b], predictions[a:b]) for a, b in itertools.pairwise(offsets)
    ]


def iou_and_greedy(module: str) -> Runner:
    """Call a pycocotools-like module's ``iou`` once per image and category, then be greedy."""
    mask = importlib.import_module(module)

    def run(images: Sequence[Image], threshold: float) -> Keep:
        return np.concatenate(
            [
                _leaders(image, lambda rles: mask.iou(rles, rles, [0] * len(rles)), threshold)[0]
                for image in images
            ]
        )

    return run


def iou_greedy_and_merge(module: str) -> Runner:
    """As `iou_and_greedy`, and the union of every group as a COCO string."""
    unite = union_strings(module)
    return lambda images, threshold: unite(images, threshold)[0]


def union_strings(
    module: str,
) -> Callable[[Sequence[Image], float], tuple[Keep, list[bytes]]]:
    """Return who survives, and the string of each survivor's group, in the order of the rows."""
    mask = importlib.import_module(module)

    def run(images: Sequence[Image], threshold: float) -> tuple[Keep, list[bytes]]:
        keeps: list[Keep] = []
        strings: list[bytes] = []
        for image in images:
            keep, groups = _leaders(
                image, lambda rles: mask.iou(rles, rles, [0] * len(rles)), threshold
            )
            stored = [rle["counts"] for rle in image.rles]
            for members in groups:
                stored[members[0]] = mask.merge([image.rles[n] for n in members])["counts"]
            keeps.append(keep)
            strings += [stored[n] for n in np.flatnonzero(keep)]
        return np.concatenate(keeps), strings

    return run


def _leaders(
    image: Image, iou: Callable[[list[dict[str, Any]]], Any], threshold: float
) -> tuple[Keep, list[list[int]]]:
    """Return who survives, and the groups of two or more."""
    by_category: dict[int, list[int]] = defaultdict(list)
    for n, category in enumerate(image.categories):
        by_category[category].append(n)
    keep = np.ones(len(image.rles), bool)
    groups: list[list[int]] = []
    for rows in by_category.values():
        if len(rows) == 1:
            continue
        reaches = np.asarray(iou([image.rles[n] for n in rows])) >= threshold
        is_taken = np.zeros(len(rows), bool)
        for n in range(len(rows)):
            if is_taken[n]:
                continue
            takes = np.flatnonzero(reaches[n, n + 1 :] & ~is_taken[n + 1 :]) + n + 1
            if len(takes):
                is_taken[takes] = True
                groups.append([rows[n], *(rows[m] for m in takes)])
        keep[[rows[n] for n in np.flatnonzero(is_taken)]] = False
    return keep, groups


def supervision_compact() -> Runner:
    """Make a CompactMask from COCO RLE, then mask NMS; its rule is ``>``, ours ``>=``."""
    sv = importlib.import_module("supervision")
    compact = importlib.import_module("supervision.detection.compact_mask").CompactMask

    def run(images: Sequence[Image], threshold: float) -> Keep:
        strict = float(np.nextafter(threshold, 0))
        keeps: list[Keep] = []
        for image in images:
            size = tuple(image.rles[0]["size"])
            masks = compact.from_coco_rle(image.rles, image.predictions[:, :4], size)
            keeps.append(sv.mask_non_max_suppression(image.predictions, masks, strict))
        return np.concatenate(keeps)

    return run


def supervision_dense(*, is_merge: bool) -> Runner:
    """Decode to pixels, then mask NMS or NMM (non-maximum merging, a rule of its own)."""
    sv = importlib.import_module("supervision")
    decode = importlib.import_module("pycocotools.mask").decode

    def run(images: Sequence[Image], threshold: float) -> Keep:
        strict = float(np.nextafter(threshold, 0))
        keeps: list[Keep] = []
        for image in images:
            masks = np.moveaxis(decode(image.rles), 2, 0).astype(bool)
            if is_merge:
                groups = sv.mask_non_max_merge(image.predictions, masks, strict)
                keep = np.zeros(len(masks), bool)
                keep[[members[0] for members in groups]] = True
            else:
                keep = sv.mask_non_max_suppression(image.predictions, masks, strict)
            keeps.append(keep)
        return np.concatenate(keeps)

    return run


def dense_double_loop() -> Runner:
    """Do as most tutorials: decode, then ``logical_and`` and ``logical_or`` of every pair."""
    decode = importlib.import_module("pycocotools.mask").decode

    def run(images: Sequence[Image], threshold: float) -> Keep:
        keeps: list[Keep] = []
        for image in images:
            masks = [decode(rle).astype(bool) for rle in image.rles]
            keep = np.ones(len(masks), bool)
            for i in range(len(masks)):
                for j in range(i + 1, len(masks)):
                    if not (keep[i] and keep[j]) or image.categories[i] != image.categories[j]:
                        continue
                    union = np.logical_or(masks[i], masks[j]).sum()
                    if union and np.logical_and(masks[i], masks[j]).sum() / union >= threshold:
                        keep[j] = False
            keeps.append(keep)
        return np.concatenate(keeps)

    return run


BASELINE = "pycocotools iou + greedy"

PEERS = (
    Peer(BASELINE, "pycocotools.mask", lambda: iou_and_greedy("pycocotools.mask")),
    Peer(
        "pycocotools iou + greedy + merge",
        "pycocotools.mask",
        lambda: iou_greedy_and_merge("pycocotools.mask"),
    ),
    Peer(
        "ultrafast-pycocotools iou + greedy",
        "ultrafast_pycocotools.mask",
        lambda: iou_and_greedy("ultrafast_pycocotools.mask"),
    ),
    Peer(
        "faster-coco-eval iou + greedy",
        "faster_coco_eval.core.mask",
        lambda: iou_and_greedy("faster_coco_eval.core.mask"),
    ),
    Peer("hotcoco iou + greedy", "hotcoco.mask", lambda: iou_and_greedy("hotcoco.mask")),
    Peer("supervision NMS, CompactMask", "supervision", supervision_compact, 100),
    Peer("supervision NMS, dense", "supervision", lambda: supervision_dense(is_merge=False), 100),
    Peer(
        "supervision NMM, dense",
        "supervision",
        lambda: supervision_dense(is_merge=True),
        100,
        has_our_rule=False,
    ),
    Peer("NumPy double loop, dense", "pycocotools.mask", dense_double_loop, 100),
)
