"""Invented objects and their detections: where they lie, what they look like, how sure.

A shape is where ``f > 0`` in a frame of its own: a radial blob, a union of
ellipses (a body with limbs), or one of these with a hole. See
`benchmarks.workload` for what is made of them.

Shape suffixes: N detections, K objects, E ellipses a shape (the first is a hole
where it has a radius), H harmonics, C cells (28).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

CELLS = 28
_HARMONICS = np.arange(2, 6)
_N_LIMBS = 5
_DETECTIONS_AN_OBJECT = {
    "dense": 4.8,
    "scattered": 4.8,
    "sparse": 1.1,
    "crowded": 1.5,
    "nested": 1.6,
    "detector": 1.1,
}
# Median of the objects' sizes as a share of the image's side, and spread of its logarithm:
# as in LVIS, and of a real Mask R-CNN's boxes on COCO (its results file in detectron2).
_SIZES = (0.051, 0.85)
_DETECTOR_SIZES = (0.104, 0.87)


@dataclass(frozen=True)
class Objects:
    """K objects.

    Attributes
    ----------
    box_xyxy_K4
        The tight box of the object, in pixels; may reach out of the image.
    frame_xyxy_K4
        Where the shape's frame, [-1, 1] both ways, lies in the image.
    amplitude_KH, phase_KH
        Radial harmonics of its blob.
    limbs_KE5
        Ellipses (x, y, radius along, radius across, angle); radius 0: none.
    hole_K3
        A round hole (x, y, radius); radius 0: none.
    category_K
        Its true category.
    """

    box_xyxy_K4: Floats
    frame_xyxy_K4: Floats
    amplitude_KH: Floats
    phase_KH: Floats
    limbs_KE5: Floats
    hole_K3: Floats
    category_K: NDArray[np.int64]


@dataclass(frozen=True)
class Detections:
    """N detections of K objects; `owner_N` is the place of a detection's object."""

    objects: Objects
    owner_N: NDArray[np.int64]
    box_xyxy_N4: Floats
    score: Floats
    category_id: NDArray[np.int64]


def concat(scenes: Sequence[Detections]) -> Detections:
    """Join the detections of several images, in their order."""
    first = np.cumsum([0] + [len(scene.objects.category_K) for scene in scenes])
    objects = Objects(
        **{
            field.name: np.concatenate([getattr(scene.objects, field.name) for scene in scenes])
            for field in fields(Objects)
        }
    )
    return Detections(
        objects,
        np.concatenate([scene.owner_N + n for scene, n in zip(scenes, first, strict=False)]),
        np.concatenate([scene.box_xyxy_N4 for scene in scenes]),
        np.concatenate([scene.score for scene in scenes]),
        np.concatenate([scene.category_id for scene in scenes]),
    )


def image_sizes(rng: np.random.Generator, n_images: int, side: int) -> NDArray[np.int32]:
    """Return (height, width) of each image: COCO's mix of 3:4, 2:3, square and portrait."""
    ratio = rng.choice([0.75, 2 / 3, 1.0], n_images, p=[0.6, 0.3, 0.1])
    shorter = np.rint(side * ratio)
    landscape = rng.random(n_images) < 0.75
    height = np.where(landscape, shorter, side)
    width = np.where(landscape, side, shorter)
    return np.stack([height, width], axis=1).astype(np.int32)


def make_scene(
    rng: np.random.Generator, kind: str, n_masks: int, height: int, width: int, side: int
) -> Detections:
    """Return one image's detections, the surest first."""
    owner = _owners(rng, n_masks, _DETECTIONS_AN_OBJECT[kind])
    n_objects = int(owner[-1]) + 1
    extent = _extents(rng, n_objects, side, _DETECTOR_SIZES if kind == "detector" else _SIZES)
    centre = rng.random((n_objects, 2)) * (width, height)
    category = np.minimum(rng.zipf(1.3, n_objects), 80)
    if kind == "dense":  # a pile in the middle
        centre = np.array([width, height]) / 2 + rng.normal(0, 0.03 * side, (n_objects, 2))
        category[:] = category[0]
    if kind == "crowded":
        _crowd(rng, extent, centre, category, height, width, side)
    if kind == "nested":
        _nest(rng, extent, centre, category)
    objects = _objects(rng, extent, centre, category)
    detections = _detect(rng, objects, owner, height, width)
    order = np.argsort(-detections.score, kind="stable")
    return Detections(
        objects,
        owner[order],
        detections.box_xyxy_N4[order],
        detections.score[order],
        detections.category_id[order],
    )


def make_carpet(rng: np.random.Generator, n_masks: int, side: int, mask_px: float) -> Detections:
    """Return one square image full of objects of one size and category."""
    owner = _owners(rng, n_masks, 4.0)
    n_objects = int(owner[-1]) + 1
    extent = mask_px * np.exp(rng.normal(0, 0.15, (n_objects, 2)))
    centre = rng.random((n_objects, 2)) * side
    objects = _objects(rng, extent, centre, np.ones(n_objects, np.int64))
    detections = _detect(rng, objects, owner, side, side)
    return replace(detections, category_id=np.ones(n_masks, np.int64))


def soft_masks(rng: np.random.Generator, detections: Detections, rows: NDArray[np.int64]) -> Floats:
    """Return the soft masks (rows, 28, 28) of some detections, multiples of 2**-8.

    The logits fall off over about two cells, as a mask head's do, with noise
    that is smooth over four cells and a little that is not.
    """
    objects, owner = detections.objects, detections.owner_N[rows]
    x0, y0, x1, y1 = objects.frame_xyxy_K4[owner].T
    box = detections.box_xyxy_N4[rows]
    cells = (np.arange(CELLS) + 0.5) / CELLS
    x_NC = box[:, :1] + cells * (box[:, 2:3] - box[:, :1])
    y_NC = box[:, 1:2] + cells * (box[:, 3:4] - box[:, 1:2])
    x_NC = (x_NC - x0[:, None]) / (x1 - x0)[:, None] * 2 - 1
    y_NC = (y_NC - y0[:, None]) / (y1 - y0)[:, None] * 2 - 1
    inside = _inside(objects, owner, x_NC[:, None, :], y_NC[:, :, None])
    coarse = rng.normal(0, 0.9, (len(rows), 8, 8))
    up = np.maximum(0, 1 - np.abs(np.linspace(0, 7, CELLS)[:, None] - np.arange(8)))
    noise = up @ coarse @ up.T + rng.normal(0, 0.05, inside.shape)
    logits = np.clip(14 * inside + noise, -30, 30)
    return np.rint(256 / (1 + np.exp(-logits))) / 256


def _owners(rng: np.random.Generator, n_masks: int, mean: float) -> NDArray[np.int64]:
    """Return for each of `n_masks` detections its object: 1 + Poisson of them an object."""
    n_detections = 1 + rng.poisson(mean - 1, n_masks)
    return np.repeat(np.arange(n_masks), n_detections)[:n_masks]


def _extents(
    rng: np.random.Generator, n_objects: int, side: int, sizes: tuple[float, float]
) -> Floats:
    """Return widths and heights (K, 2) in pixels, log-normal."""
    median, spread = sizes
    size = side * median * np.exp(rng.normal(0, spread, n_objects))
    aspect = np.exp(rng.normal(0, 0.4, n_objects))
    extent = np.stack([size * np.sqrt(aspect), size / np.sqrt(aspect)], axis=1)
    return np.clip(extent, side * 0.008, side * 0.9)


def _crowd(
    rng: np.random.Generator,
    extent: Floats,
    centre: Floats,
    category: NDArray[np.int64],
    height: int,
    width: int,
    side: int,
) -> None:
    """Pack the objects into four clusters of one size and category each (in place)."""
    cluster = rng.integers(0, 4, len(extent))
    size = side * rng.uniform(0.04, 0.12, 4)
    middle = rng.uniform(0.25, 0.75, (4, 2)) * (width, height)
    extent[:] = size[cluster, None] * np.exp(rng.normal(0, 0.15, extent.shape)) * (0.7, 1.4)
    centre[:] = middle[cluster] + rng.normal(0, 1.0, extent.shape) * size[cluster, None]
    category[:] = 1 + cluster % 2


def _nest(
    rng: np.random.Generator, extent: Floats, centre: Floats, category: NDArray[np.int64]
) -> None:
    """Make two of three objects a part inside the one before them (in place)."""
    whole = np.arange(len(extent)) // 3 * 3
    part = np.flatnonzero(whole != np.arange(len(extent)))
    extent[whole] *= 1.8
    scale = rng.uniform(0.25, 0.6, (len(part), 1))
    extent[part] = extent[whole[part]] * scale
    centre[part] = centre[whole[part]] + rng.uniform(-0.3, 0.3, (len(part), 2)) * extent[part]
    category[part] = category[whole[part]]


def _objects(
    rng: np.random.Generator, extent: Floats, centre: Floats, category: NDArray[np.int64]
) -> Objects:
    """Give each object a shape, and the frame in which its shape fills its box."""
    n_objects = len(extent)
    look = rng.choice(3, n_objects, p=[0.3, 0.45, 0.25])  # ellipse, blob, body with limbs
    decay = 0.75 / _HARMONICS
    amplitude = rng.normal(0, decay, (n_objects, 4)) * (look != 0)[:, None]
    amplitude[look == 2] *= 0.3
    angle = rng.uniform(0, 2 * np.pi, (n_objects, _N_LIMBS))
    length = rng.uniform(0.5, 0.9, (n_objects, _N_LIMBS)) * (look == 2)[:, None]
    limbs = np.stack(
        [
            np.cos(angle) * length * 1.1,
            np.sin(angle) * length * 1.1,
            length,
            length * rng.uniform(0.2, 0.45, length.shape),
            angle,
        ],
        axis=2,
    )
    limbs[rng.random(length.shape) < 0.35, 2:4] = 0
    hole = rng.uniform((-0.2, -0.2, 0.2), (0.2, 0.2, 0.45), (n_objects, 3))
    hole[rng.random(n_objects) > 0.08, 2] = 0
    phase = rng.uniform(0, 2 * np.pi, (n_objects, 4))
    box = np.concatenate([centre - extent / 2, centre + extent / 2], axis=1)
    rough = Objects(box, box, amplitude, phase, limbs, hole, category)
    low, high = _shape_extent(rough)
    scale = extent / (high - low)
    start = box[:, :2] - (low + 1) * scale
    frame = np.concatenate([start, start + 2 * scale], axis=1)
    return replace(rough, frame_xyxy_K4=frame)


def _shape_extent(objects: Objects) -> tuple[Floats, Floats]:
    """Return where each shape begins and ends in its own frame, both (K, 2)."""
    grid = np.linspace(-2.2, 2.2, 45)
    low = np.full((len(objects.category_K), 2), -1.0)
    high = -low
    for start in range(0, len(low), 500):
        rows = np.arange(start, min(start + 500, len(low)))
        inside = _inside(objects, rows, grid[None, None, :], grid[None, :, None]) > 0
        for axis, seen in enumerate((inside.any(axis=1), inside.any(axis=2))):
            low[rows, axis] = grid[np.argmax(seen, axis=1)] - 0.05
            high[rows, axis] = grid[len(grid) - 1 - np.argmax(seen[:, ::-1], axis=1)] + 0.05
    return low, high


def _inside(objects: Objects, rows: NDArray[np.int64], x: Floats, y: Floats) -> Floats:
    """Return f at the points of a grid, (rows, len(y), len(x)): positive inside the shape."""
    radius = np.sqrt(x * x + y * y)
    direction = (x + 1j * y) / np.maximum(radius, 1e-12)
    edge = np.ones((len(rows), *radius.shape[1:]))
    power = direction
    for n in range(len(_HARMONICS)):
        power = power * direction
        swing = objects.amplitude_KH[rows, n] * np.exp(1j * objects.phase_KH[rows, n])
        edge += (power * swing[:, None, None]).real
    inside = 1 - radius / np.maximum(edge, 0.25)
    for limb in np.moveaxis(objects.limbs_KE5[rows], 1, 0):
        has = np.flatnonzero(limb[:, 2])
        inside[has] = np.maximum(inside[has], _ellipse(limb[has], *_at(has, x, y)))
    has = np.flatnonzero(objects.hole_K3[rows, 2])
    centre_x, centre_y, hole = (v[:, None, None] for v in objects.hole_K3[rows[has]].T)
    at_x, at_y = _at(has, x, y)
    outside_hole = np.hypot(at_x - centre_x, at_y - centre_y) / hole - 1
    inside[has] = np.minimum(inside[has], outside_hole)
    return inside


def _at(rows: NDArray[np.int64], x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Return the grids of some rows; a grid that all rows share stays one."""
    return (x, y) if len(x) == 1 else (x[rows], y[rows])


def _ellipse(limb: Floats, x: Floats, y: Floats) -> Floats:
    """Return 1 at the centre of each ellipse, 0 on its edge, negative outside."""
    centre_x, centre_y, along, across, angle = (v[:, None, None] for v in limb.T)
    dx, dy = x - centre_x, y - centre_y
    cos, sin = np.cos(angle), np.sin(angle)
    lengthwise, crosswise = (dx * cos + dy * sin) / along, (dy * cos - dx * sin) / across
    return 1 - np.sqrt(lengthwise * lengthwise + crosswise * crosswise)


def _detect(
    rng: np.random.Generator,
    objects: Objects,
    owner: NDArray[np.int64],
    height: int,
    width: int,
) -> Detections:
    """Jitter each object's box once a detection; the worse the box, the lower the score."""
    true = objects.box_xyxy_K4[owner]
    extent = true[:, 2:] - true[:, :2]
    spread = 0.045 * np.exp(rng.normal(0, 0.7, (len(owner), 1)))
    shift = rng.normal(0, 1, extent.shape) * spread * extent
    growth = np.exp(rng.normal(0, 1, extent.shape) * spread)
    centre = (true[:, :2] + true[:, 2:]) / 2 + shift
    half = extent * growth / 2
    box = np.concatenate([centre - half, centre + half], axis=1)
    box = np.clip(box, 0, (width, height, width, height))
    # A box wholly outside the image would be empty: it is put on the border instead.
    box[:, :2] = np.minimum(box[:, :2], np.array([width, height]) - 1.0)
    box[:, 2:] = np.maximum(box[:, 2:], box[:, :2] + 1.0)
    sure = rng.beta(2, 1.2, len(objects.category_K))[owner]
    score = sure * np.exp(-4 * spread[:, 0]) * rng.uniform(0.8, 1, len(owner))
    other = rng.random(len(owner)) < 0.1
    category = np.where(other, rng.integers(1, 81, len(owner)), objects.category_K[owner])
    return Detections(
        objects,
        owner,
        box,
        np.maximum(score.astype(np.float32), np.float32(0.001)).astype(np.float64),
        category,
    )
