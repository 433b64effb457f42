"""Torch and the compiled kernels on one CPU core beside pycocotools.

``python -m benchmarks.torch_peers``.

Leaders from COCO strings, at IoU 0.8, against ``iou`` once per image and category and a greedy
loop; and COCO strings from 100 bitmaps of 1080p, against ``np.asfortranarray`` and ``encode`` a
mask, as detectron2 does it. CPU seconds of one process, taken in turn; results are compared.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from pycocotools import mask as coco
from rich.console import Console
from rich.table import Table

from benchmarks import ours
from benchmarks.gpu import discs
from benchmarks.measure import machine, paired, use_one_thread
from benchmarks.peers import in_score_order, iou_and_greedy, to_images
from benchmarks.workload import cached, make_workload
from pipeline.masks import dense, group, rle, torch_backend, torch_dense
from pipeline.masks.batch import CocoStrings

SCENES: dict[str, dict[str, Any]] = {
    "dense, 640 px": {"kind": "dense", "n_images": 200, "side": 640},
    "dense, 1,920 px": {"kind": "dense", "n_images": 20, "side": 1920},
    "scattered, 640 px": {"kind": "scattered", "n_images": 200, "side": 640},
}


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--only", help="part of a scene's name")
    arguments = parser.parse_args()
    use_one_thread("benchmarks.torch_peers")
    torch.set_num_threads(1)
    table = Table(title="CPU ms of one core, and how many times as long pycocotools takes")
    for heading in ("what", "pycocotools", "compiled", "torch", "compiled, times", "torch, times"):
        table.add_column(heading)
    jobs = {name: lambda name=name: _grouping(SCENES[name]) for name in SCENES}
    jobs["bitmaps, 100 of 1080p, to strings"] = _bitmaps
    for name, make in jobs.items():
        if not arguments.only or arguments.only in name:
            table.add_row(name, *_compare(*make(), arguments.repeat))
    console = Console(width=120)
    console.print(table)
    console.print(machine())


def _grouping(scene: dict[str, Any]) -> tuple[Callable[[], Any], ...]:
    name = "-".join(map(str, scene.values()))
    workload = in_score_order(cached(f"peers-{name}", lambda: make_workload(**scene)))
    given = ours.arguments(workload)
    images = to_images(workload, np.zeros((len(workload), 4)))
    reference = iou_and_greedy("pycocotools.mask")

    def kept(group_masks: Callable[..., group.Grouping]) -> Any:
        leader_N = group_masks(*given, threshold=0.8).leader_N
        return leader_N == np.arange(len(leader_N))

    return (
        lambda: reference(images, 0.8),
        lambda: kept(group.group_masks),
        lambda: kept(torch_backend.group_masks),
    )


def _bitmaps() -> tuple[Callable[[], Any], ...]:
    bitmaps = discs()
    tensor = torch.from_numpy(bitmaps)

    def reference() -> Any:
        return [
            coco.encode(np.asfortranarray(one[:, :, None], dtype=np.uint8))[0]["counts"]
            for one in bitmaps
        ]

    return (
        reference,
        lambda: _cut(rle.to_coco(dense.from_bitmaps(bitmaps))),
        lambda: _cut(torch_backend.to_coco(torch_dense.from_bitmaps(tensor))),
    )


def _cut(strings: CocoStrings) -> list[bytes]:
    data = strings.bytes_B.tobytes()
    return [data[a:b] for a, b in itertools.pairwise(strings.offsets_N1.tolist())]


def _compare(
    reference: Callable[[], Any], compiled: Callable[[], Any], by_torch: Callable[[], Any], n: int
) -> list[str]:
    expected = reference()
    for call in (compiled, by_torch):
        assert np.array_equal(call(), expected)
    pairs = paired(reference, {"compiled": compiled, "torch": by_torch}, n)
    least = [min(pairs[name].other.cpu_s) for name in ("compiled", "torch")]
    base = min(min(pair.reference.cpu_s) for pair in pairs.values())
    times = [f"{base / own:.1f}" for own in least]
    return [*(f"{own * 1e3:.1f}" for own in (base, *least)), *times]


if __name__ == "__main__":
    main()
