"""Seeded masks that look like a detector's, without its weights or images.

A mask head (Mask R-CNN) gives every detection a 28x28 soft mask in the frame of
its box; detectron2 pastes it into the image with bilinear sampling at pixel
centres and keeps what reaches 0.5. This module does the same with invented
objects: each has a shape, a place and a category, and gives several detections
whose boxes are jittered and whose logits are noisy, so that they are near
duplicates of each other. Kinds of scenes:

- ``dense``: what a mask generator or several models leave of the things in the
  middle of a picture: about five detections an object, one category (but for one
  label in ten), most boxes overlap (the default; 35-40 % survive IoU 0.8).
- ``scattered``: as many near duplicates, but all over the picture and in 80
  categories: few boxes overlap.
- ``sparse``: one detector after its box NMS: mostly one detection an object.
- ``crowded``: objects of one size packed into clusters: boxes overlap, masks do less.
- ``nested``: objects with parts of their own inside, in the same category.
- ``detector``: as ``sparse``, with objects as large as a real Mask R-CNN's boxes on COCO (the
  others' are as large as LVIS's, half of that).

How long a library takes that walks every pair whose boxes overlap depends on the
number of those pairs, so results must name it.

The same arguments give the same bytes: soft masks and sampling weights are
rounded to multiples of 2**-8 and 2**-12, so their products and sums are exact
in float64 whatever the order of summation.

Shape suffixes: N masks, K objects, R runs, B bytes.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks import shapes
from benchmarks.runs import counts_to_strings, paste_counts

Kind = Literal["dense", "scattered", "sparse", "crowded", "nested", "detector"]

GENERATOR_VERSION = 1
"""Raised when the same arguments give other bytes; part of the cache's key."""

CACHE_VARIABLE = "MASKPRESS_BENCHMARK_CACHE"
CACHE = Path(
    os.environ.get(CACHE_VARIABLE, Path(__file__).resolve().parents[1] / "build" / "benchmarks")
)


@dataclass(frozen=True)
class Workload:
    """N detections, image by image, in the order in which a detector would write them.

    Attributes
    ----------
    image_id, category_id : int64 (N,)
    score : float64 (N,)
        In (0, 1], rounded to float32 as detectors give them.
    size_hw_N2 : int32 (N, 2)
        Height and width of the image, in pixels.
    bbox_xywh_N4 : float64 (N, 4)
        The detection's own box, not the tight box of its mask.
    bytes_B : uint8 (B,)
        The canonical COCO strings, one after the other.
    offsets_N1 : int64 (N + 1,)
        String n is ``bytes_B[offsets_N1[n]:offsets_N1[n + 1]]``.
    """

    image_id: NDArray[np.int64]
    category_id: NDArray[np.int64]
    score: NDArray[np.float64]
    size_hw_N2: NDArray[np.int32]
    bbox_xywh_N4: NDArray[np.float64]
    bytes_B: NDArray[np.uint8]
    offsets_N1: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.image_id)

    @property
    def n_runs(self) -> int:
        """All runs of all masks: the last character of each has no continuation bit."""
        return int(np.count_nonzero(self.bytes_B - 48 < 32))

    def strings(self) -> list[bytes]:
        """Return the COCO strings as N Python objects."""
        data = self.bytes_B.tobytes()
        return [data[a:b] for a, b in itertools.pairwise(self.offsets_N1.tolist())]

    def take(self, rows: NDArray[np.integer]) -> Workload:
        """Return the rows at `rows`, in that order."""
        lengths = np.diff(self.offsets_N1)[rows]
        offsets_N1 = np.concatenate([[0], np.cumsum(lengths)])
        source = np.repeat(self.offsets_N1[:-1][rows] - offsets_N1[:-1], lengths)
        return Workload(
            self.image_id[rows],
            self.category_id[rows],
            self.score[rows],
            self.size_hw_N2[rows],
            self.bbox_xywh_N4[rows],
            self.bytes_B[source + np.arange(offsets_N1[-1])],
            offsets_N1,
        )


def make_workload(
    kind: Kind = "dense",
    *,
    n_images: int = 200,
    masks_per_image: int = 100,
    side: int = 640,
    seed: int = 0,
) -> Workload:
    """Make `n_images` images of `masks_per_image` detections each.

    Parameters
    ----------
    kind
        The kind of scene.
    n_images, masks_per_image
        How many images, and detections in each of them.
    side
        The longer side of an image in pixels; objects grow with it.
    seed
        Same arguments and seed: same bytes.
    """
    rng = np.random.default_rng([GENERATOR_VERSION, seed, *kind.encode()])
    size_hw = shapes.image_sizes(rng, n_images, side)
    scenes = [
        shapes.make_scene(rng, kind, masks_per_image, int(h), int(w), side) for h, w in size_hw
    ]
    image = np.repeat(np.arange(n_images), masks_per_image)
    return _paste(rng, shapes.concat(scenes), image + 1, size_hw[image])


def huge_image(n_masks: int, side: int, *, mask_px: float = 40.0, seed: int = 0) -> Workload:
    """Make one square image with `n_masks` masks of about `mask_px` pixels across.

    Four detections an object, one category, objects anywhere: what a tiled
    inference over a satellite or microscope image gives.
    """
    rng = np.random.default_rng([GENERATOR_VERSION, seed, n_masks, side])
    detections = shapes.make_carpet(rng, n_masks, side, mask_px)
    size_hw = np.full((n_masks, 2), side, np.int32)
    return _paste(rng, detections, np.ones(n_masks, np.int64), size_hw)


def cached(name: str, make: Callable[[], Workload], cache: Path = CACHE) -> Workload:
    """Return what `make` makes, kept under `name` in an ignored folder of the checkout."""
    path = cache / f"{name}-v{GENERATOR_VERSION}.npz"
    if path.exists():
        with np.load(path) as stored:
            return Workload(**{field.name: stored[field.name] for field in fields(Workload)})
    workload = make()
    cache.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".part{os.getpid()}.npz")
    np.savez(part, **{field.name: getattr(workload, field.name) for field in fields(Workload)})
    part.replace(path)
    return workload


def _paste(
    rng: np.random.Generator,
    detections: shapes.Detections,
    image_id: NDArray[np.int64],
    size_hw_N2: NDArray[np.int32],
) -> Workload:
    """Turn detections into strings, in chunks, so that memory stays small."""
    parts_B = [np.empty(0, np.uint8)]
    lengths_N = [np.zeros(1, np.int64)]
    for start in range(0, len(detections.score), 1000):
        rows = np.arange(start, min(start + 1000, len(detections.score)))
        soft = shapes.soft_masks(rng, detections, rows)
        boxes = detections.box_xyxy_N4[rows].tolist()
        sizes = size_hw_N2[rows].tolist()
        counts = [
            paste_counts(mask, box, h, w)
            for mask, box, (h, w) in zip(soft, boxes, sizes, strict=True)
        ]
        runs_N = np.array([len(runs) for runs in counts], np.int64)
        bytes_B, offsets_N1 = counts_to_strings(np.concatenate(counts), runs_N)
        parts_B.append(bytes_B)
        lengths_N.append(np.diff(offsets_N1))
    box = detections.box_xyxy_N4
    return Workload(
        image_id=image_id.astype(np.int64),
        category_id=detections.category_id,
        score=detections.score,
        size_hw_N2=size_hw_N2.astype(np.int32),
        bbox_xywh_N4=np.concatenate([box[:, :2], box[:, 2:] - box[:, :2]], axis=1),
        bytes_B=np.concatenate(parts_B),
        offsets_N1=np.cumsum(np.concatenate(lengths_N)),
    )
