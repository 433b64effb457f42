"""Make the demo's input: region proposals on photographs, as a detectron2 results file.

    photograph -> views (scales) -> small regions -> merge the most alike, one pair at a time
               -> every region on the way is a proposal: category, score, box, COCO RLE

The photographs come with scikit-image. Each is cut into small regions five times, as a detector
with test-time augmentation sees an image at several scales; in each view the two neighbours of
most similar colour are united again and again, and every region that existed on the way is
proposed. So one object is proposed many times over, with outlines that differ by a few pixels:
what a deduplication by exact mask overlap is for.

The same file comes out every time, byte for byte.
"""

from __future__ import annotations

import argparse
import heapq
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import msgspec

from pipeline.cli import run_job
from pipeline.errors import ConfigError
from pipeline.masks import rle
from pipeline.masks.batch import MaskBatch

RESULTS_NAME = "proposals_results.json"

PHOTOGRAPHS = (
    "astronaut.png",
    "camera.png",
    "chelsea.png",
    "coffee.png",
    "coins.png",
    "ihc.png",
    "motorcycle_left.png",
    "rocket.jpg",
)
"""Files that scikit-image's package holds itself; image_id is the place in this list, from 1."""

MIN_AREA, MAX_AREA = 0.002, 0.6
"""Smallest and largest region that is proposed, as fractions of the photograph."""

N_PROPOSALS = 600
"""Proposals per photograph at most, the best ones."""

CATEGORIES = {1: "dark", 2: "light", 3: "warm", 4: "cold"}
"""Categories by mean colour: a rule that two outlines of one object nearly always agree on."""


class Regions(NamedTuple):
    """T regions of one view: its B small ones, then those that merging made of them.

    Attributes
    ----------
    labels_HW : int64 (H, W)
        Small region of each pixel, 0..B-1.
    members_TB : bool (T, B)
        The small regions that a region is made of.
    area_T : int64 (T,)
        Pixels.
    color_T3 : float64 (T, 3)
        Mean colour, CIE Lab.
    border_T : float64 (T,)
        Pixel edges to other regions and to the frame.
    step_T : float64 (T,)
        Colour difference to the neighbours, mean over the border; the frame counts as none.
    """

    labels_HW: NDArray[np.int64]
    members_TB: NDArray[np.bool_]
    area_T: NDArray[np.int64]
    color_T3: NDArray[np.float64]
    border_T: NDArray[np.float64]
    step_T: NDArray[np.float64]


def main(arguments: list[str] | None = None) -> int:
    """Write the results file and say what is in it; return the exit code."""
    parser = argparse.ArgumentParser(prog="python jobs/demo.py", description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder to write the file into")
    folder: Path = parser.parse_args(arguments).data
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise ConfigError(f"--data: expected a folder, got {folder}, which is a file") from None
    rows = [row for name in PHOTOGRAPHS for row in propose(name)]
    path = write_results(rows, folder)
    print(
        f"{len(rows):,} region proposals on {len(PHOTOGRAPHS)} photographs, "
        f"{path.stat().st_size / 1e6:.1f} MB: {path}"
    )
    return 0


def propose(name: str) -> list[dict[str, Any]]:
    """Return the proposals on one photograph as rows of a COCO results file, best first."""
    image_id = PHOTOGRAPHS.index(name) + 1
    lab_HW3, views = cut_into_views(load_photograph(name))
    rows: list[dict[str, Any]] = []
    for labels_HW in views:
        regions = merge_hierarchy(labels_HW, lab_HW3)
        rows += describe(regions, image_id)
    rows.sort(key=lambda row: (-row["score"], row["segmentation"]["counts"]))
    return rows[:N_PROPOSALS]


def load_photograph(name: str) -> NDArray[np.uint8]:
    """Return a photograph of scikit-image's own package as RGB; never a download."""
    import skimage
    from skimage import io

    image = io.imread(os.path.join(skimage.data_dir, name))
    return image[..., :3] if image.ndim == 3 else np.stack([image] * 3, axis=-1)


def cut_into_views(
    rgb_HW3: NDArray[np.uint8],
) -> tuple[NDArray[np.float64], list[NDArray[np.int64]]]:
    """Return the photograph in CIE Lab, and the small regions that five views of it show."""
    from skimage.color import rgb2lab
    from skimage.segmentation import felzenszwalb, slic
    from skimage.transform import resize

    height, width, _ = rgb_HW3.shape
    half_HW3 = resize(rgb_HW3, (height // 2, width // 2), anti_aliasing=True)
    smallest = height * width // 1500
    cuts = [felzenszwalb(rgb_HW3, scale=100, sigma=0.8, min_size=smallest)]
    for scale, sigma in ((30, 0.4), (60, 0.6), (90, 0.8)):
        cuts.append(felzenszwalb(half_HW3, scale=scale, sigma=sigma, min_size=smallest // 4))
    cuts.append(slic(half_HW3, n_segments=250, compactness=8, start_label=0))
    views: list[NDArray[np.int64]] = []
    for cut_hw in cuts:
        row_H = np.arange(height) * cut_hw.shape[0] // height
        column_W = np.arange(width) * cut_hw.shape[1] // width
        views.append(cut_hw[np.ix_(row_H, column_W)])
    return rgb2lab(rgb_HW3), views


def merge_hierarchy(labels_HW: NDArray[np.int64], lab_HW3: NDArray[np.float64]) -> Regions:
    """Unite the two neighbours whose union raises the variance of colour least, until one is left.

    Parameters
    ----------
    labels_HW : int64 (H, W)
        Small region of each pixel, 0..B-1, each number taken.
    lab_HW3 : float64 (H, W, 3)
        The photograph.

    Returns
    -------
    Regions
        The B small regions and the at most B - 1 unions, in the order in which they arose.
    """
    n_small = int(labels_HW.max()) + 1
    area = np.bincount(labels_HW.ravel(), minlength=n_small).tolist()
    color = small_region_colors(labels_HW, lab_HW3)
    neighbours, border = adjacency(labels_HW, n_small)
    members = list(np.eye(n_small, dtype=np.bool_))
    step = [mean_step(color, neighbours[i], i, border[i]) for i in range(n_small)]

    def cost(i: int, j: int) -> float:
        difference = color[i] - color[j]
        return area[i] * area[j] / (area[i] + area[j]) * float(difference @ difference)

    queue = [(cost(i, j), i, j) for i in range(n_small) for j in neighbours[i] if i < j]
    heapq.heapify(queue)
    is_alive = [True] * n_small
    while queue:
        _, i, j = heapq.heappop(queue)
        if not (is_alive[i] and is_alive[j]):
            continue
        new = len(area)
        is_alive[i] = is_alive[j] = False
        is_alive.append(True)
        area.append(area[i] + area[j])
        color.append((area[i] * color[i] + area[j] * color[j]) / area[new])
        members.append(members[i] | members[j])
        border.append(border[i] + border[j] - 2 * neighbours[i][j])
        neighbours.append(join_neighbours(neighbours, i, j, new))
        step.append(mean_step(color, neighbours[new], new, border[new]))
        for k in neighbours[new]:
            heapq.heappush(queue, (cost(k, new), k, new))
    return Regions(
        labels_HW,
        np.array(members),
        np.array(area),
        np.array(color),
        np.array(border, np.float64),
        np.array(step),
    )


def small_region_colors(
    labels_HW: NDArray[np.int64], lab_HW3: NDArray[np.float64]
) -> list[NDArray[np.float64]]:
    """Return the mean colour of each small region."""
    labels = labels_HW.ravel()
    sums = [np.bincount(labels, lab_HW3[..., channel].ravel()) for channel in range(3)]
    return list(np.stack(sums, axis=1) / np.bincount(labels)[:, None])


def adjacency(labels_HW: NDArray[np.int64], n_small: int) -> tuple[list[dict[int, int]], list[int]]:
    """Return each small region's neighbours with the pixel edges shared, and all its edges."""
    framed = np.pad(labels_HW, 1, constant_values=n_small)
    sides = [(framed[:, :-1], framed[:, 1:]), (framed[:-1], framed[1:])]
    edges = [np.minimum(a, b) * (n_small + 1) + np.maximum(a, b) for a, b in sides]
    keys = np.concatenate([key[a != b] for key, (a, b) in zip(edges, sides, strict=True)])
    keys, lengths = np.unique(keys, return_counts=True)
    neighbours: list[dict[int, int]] = [{} for _ in range(n_small)]
    border = [0] * (n_small + 1)
    for key, length in zip(keys.tolist(), lengths.tolist(), strict=True):
        i, j = divmod(key, n_small + 1)
        border[i] += length
        border[j] += length
        if j < n_small:
            neighbours[i][j] = neighbours[j][i] = length
    return neighbours, border[:n_small]


def join_neighbours(neighbours: list[dict[int, int]], i: int, j: int, new: int) -> dict[int, int]:
    """Return the neighbours of the union of i and j, and name it to each of them instead."""
    joined: dict[int, int] = {}
    for old, other in ((i, j), (j, i)):
        for k, length in neighbours[old].items():
            if k != other:
                joined[k] = joined.get(k, 0) + length
                del neighbours[k][old]
    for k, length in joined.items():
        neighbours[k][new] = length
    return joined


def mean_step(
    color: list[NDArray[np.float64]], neighbours: dict[int, int], i: int, border: int
) -> float:
    """Return the colour difference of region i to its neighbours, weighted by the edges shared."""
    steps = (
        length * float(np.sqrt(((color[i] - color[k]) ** 2).sum()))
        for k, length in neighbours.items()
    )
    return sum(steps) / border


def describe(regions: Regions, image_id: int) -> Iterator[dict[str, Any]]:
    """Yield the regions of fitting size as rows of a COCO results file."""
    n_pixels = regions.labels_HW.size
    is_fit_T = (regions.area_T >= MIN_AREA * n_pixels) & (regions.area_T <= MAX_AREA * n_pixels)
    fit = np.flatnonzero(is_fit_T)
    score = scores(regions)
    category = categories(regions.color_T3)
    masks = encode(regions.labels_HW, regions.members_TB[fit])
    strings = rle.to_coco(masks)
    boxes = rle.inspect_coco(strings, masks.size_hw_N2).bbox_xywh_N4
    for n, region in enumerate(fit):
        start, end = strings.offsets_N1[n : n + 2]
        yield {
            "image_id": image_id,
            "category_id": int(category[region]),
            "bbox": [float(side) for side in boxes[n]],
            "score": round(float(score[region]), 6),
            "segmentation": {
                "size": list(regions.labels_HW.shape),
                "counts": strings.bytes_B[start:end].tobytes().decode("ascii"),
            },
        }


def encode(labels_HW: NDArray[np.int64], members_NB: NDArray[np.bool_]) -> MaskBatch:
    """Return the regions as runs, from the runs of the labels: no mask is ever dense.

    Parameters
    ----------
    labels_HW : int64 (H, W)
        Small region of each pixel, 0..B-1.
    members_NB : bool (N, B)
        The small regions that each mask is made of.
    """
    labels = labels_HW.ravel(order="F")
    starts = np.concatenate([[0], np.flatnonzero(np.diff(labels)) + 1])
    is_set = members_NB[:, labels[starts]]
    is_edge = np.diff(is_set, axis=1, prepend=False)
    offsets_N1 = np.concatenate([[0], np.cumsum(is_edge.sum(axis=1) + 1)])
    last = offsets_N1[1:] - 1
    ends = np.full(offsets_N1[-1], labels.size)
    ends[np.delete(np.arange(len(ends)), last)] = starts[np.nonzero(is_edge)[1]]
    counts = np.diff(ends, prepend=0)
    counts[offsets_N1[:-1]] = ends[offsets_N1[:-1]]
    size_hw_N2 = np.tile(np.array(labels_HW.shape, np.int32), (len(members_NB), 1))
    return MaskBatch(size_hw_N2, counts.astype(np.uint32), offsets_N1)


def scores(regions: Regions) -> NDArray[np.float64]:
    """Return in [0, 1] how well each region stands out, and how simple its outline is.

    Contrast is the colour step over the border, half way at 12 units of Lab; compactness is the
    area against that of the square with the same border, 1 for the square itself.
    """
    contrast = regions.step_T / (regions.step_T + 12)
    compactness = np.minimum(16 * regions.area_T / regions.border_T**2, 1)
    return contrast * np.sqrt(compactness)


def categories(color_T3: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the category of each mean colour: without much colour dark or light, else by hue."""
    lightness, green_red, blue_yellow = color_T3.T
    is_grey = np.hypot(green_red, blue_yellow) < 12
    by_light = np.where(lightness < 50, 1, 2)
    by_hue = np.where(green_red + blue_yellow > 0, 3, 4)
    return np.where(is_grey, by_light, by_hue)


def write_results(rows: list[dict[str, Any]], folder: Path) -> Path:
    """Write the rows as JSON, whole or not at all, and return the file's path."""
    path = folder / RESULTS_NAME
    half_done = path.with_suffix(".tmp")
    half_done.write_bytes(msgspec.json.encode(rows))
    half_done.replace(path)
    return path


if __name__ == "__main__":
    sys.exit(run_job(main))
