"""Deduplication, ours against the peers: ``python -m benchmarks.dedup``.

One process, one thread, everything warm, each peer timed right beside ours;
ratios are medians over the repetitions. Wall seconds and CPU seconds are both
given: on a shared machine the latter are the steadier ones. Survivors are
compared wherever the rule is the same.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks import measure, ours
from benchmarks.files import to_table, write_parquet
from benchmarks.fresh import in_fresh_process
from benchmarks.peers import (
    BASELINE,
    PEERS,
    Image,
    Peer,
    image_offsets,
    in_score_order,
    to_images,
    union_strings,
)
from benchmarks.workload import Workload, cached, huge_image, make_workload
from pipeline.masks import rle
from pipeline.masks.batch import CocoStrings

Result = dict[str, Any]

THRESHOLD = 0.8
_WITH_MERGE = "pycocotools iou + greedy + merge"


def main() -> None:
    """Run what the command line asks for, print tables, write JSON."""
    arguments = _parse()
    measure.use_one_thread("benchmarks.dedup")
    pa.set_cpu_count(1)
    console = Console(width=130)
    result: Result = {"machine": measure.machine(), "threshold": THRESHOLD}
    if arguments.workload == "huge":
        result |= {"workload": {"kind": "huge"}, "huge": huge(arguments.repeat, arguments.seed)}
        print_huge(console, result["huge"])
    else:
        name, workload = _workload(arguments)
        result |= compare(name, workload, arguments.repeat)
        print_comparison(console, result)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.dedup")
    kinds = ["dense", "scattered", "sparse", "crowded", "nested", "huge"]
    parser.add_argument("--workload", choices=kinds, default="dense")
    parser.add_argument("--side", type=int, default=640, help="longer side of an image, px")
    parser.add_argument("--images", type=int, default=200, help="images of 100 masks each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repeat", type=int, default=5, help="rounds over all peers")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    return parser.parse_args()


def _workload(arguments: argparse.Namespace) -> tuple[str, Workload]:
    kind, side, n_images = arguments.workload, arguments.side, arguments.images
    name = f"{kind}-{n_images}x100-{side}px-seed{arguments.seed}"
    workload = cached(
        name, lambda: make_workload(kind, n_images=n_images, side=side, seed=arguments.seed)
    )
    return name, in_score_order(workload)


def compare(name: str, workload: Workload, repeat: int) -> Result:
    """Time ours, the policies, the peers and the floor on one workload."""
    facts = rle.inspect_coco(
        CocoStrings(workload.bytes_B, workload.offsets_N1), workload.size_hw_N2
    )
    images = to_images(workload, _inclusive_xyxy(facts.bbox_xywh_N4))
    jobs = {policy.name: ours.job(workload, policy, THRESHOLD) for policy in ours.POLICIES}
    default = jobs[ours.DEFAULT.name]
    grouping = default()
    keep = grouping.leader_N == np.arange(len(workload))
    return {
        "workload": {
            "name": name,
            "masks": len(workload),
            "mean_runs": workload.n_runs / len(workload),
            "mean_string_bytes": len(workload.bytes_B) / len(workload),
            "survivors": int(keep.sum()),
            "pairs_of_overlapping_boxes": _box_pairs(workload, facts.bbox_xywh_N4),
            "candidate_pairs": grouping.n_candidate_pairs,
            "walked_pairs": grouping.n_walked_pairs,
        },
        "peers": [compare_peer(peer, workload, images, keep, default, repeat) for peer in PEERS],
        "union": compare_union(workload, images, jobs[ours.UNION.name], repeat),
        "policies": compare_policies(jobs, repeat),
        "floor": compare_floor(workload, default, repeat),
        "fresh_process": in_fresh_process(name),
    }


def compare_peer(
    peer: Peer,
    workload: Workload,
    images: Sequence[Image],
    keep: NDArray[np.bool_],
    default: Callable[[], Any],
    repeat: int,
) -> Result:
    """Time one peer beside ours, on the first images where it is slow; times are scaled."""
    if not peer.is_installed():
        return {"name": peer.name, "absent": True}
    run = peer.make()
    n_images = int(np.searchsorted(image_offsets(workload), peer.max_masks, side="right")) - 1
    part = images[: max(1, n_images)]
    keeps: list[NDArray[np.bool_]] = []
    rounds = 1 if len(part) < len(images) else repeat
    pair = measure.paired(default, {"": lambda: keeps.append(run(part, THRESHOLD))}, rounds)[""]
    survivors = keeps[0]
    times = pair.other.summary()
    result = {
        "name": peer.name,
        "masks": len(survivors),
        "masks_per_s": len(survivors) / times["wall_s"],
        **times,
        **pair.ratios(len(workload) / len(survivors)),
        "ours": pair.reference.summary(),
    }
    if peer.has_our_rule:
        result["survivors_differ"] = int((survivors != keep[: len(survivors)]).sum())
    return result


def compare_union(
    workload: Workload, images: Sequence[Image], job: Callable[[], Any], repeat: int
) -> Result:
    """Time union and re-encoding beside pycocotools, and compare every string."""
    peer = next(peer for peer in PEERS if peer.name == _WITH_MERGE)
    if not peer.is_installed():
        return {"name": peer.name, "absent": True}
    unite = union_strings(peer.module)
    _, theirs = unite(images, THRESHOLD)
    merged = ours.union_strings(workload, THRESHOLD)
    equal = merged.bytes_B.tobytes() == b"".join(theirs)
    pair = measure.paired(job, {"": lambda: unite(images, THRESHOLD)}, repeat)[""]
    return {
        "name": peer.name,
        "strings_equal": equal,
        **pair.other.summary(),
        **pair.ratios(1.0),
        "ours": pair.reference.summary(),
    }


def compare_policies(jobs: dict[str, Callable[[], Any]], repeat: int) -> list[Result]:
    """Time each policy beside the default, in all and per candidate pair."""
    default = jobs[ours.DEFAULT.name]
    base_pairs = max(1, default().n_candidate_pairs)
    others = {name: job for name, job in jobs.items() if job is not default}
    results: list[Result] = []
    for name, pair in measure.paired(default, others, 3 * repeat).items():
        grouping = others[name]()
        n_pairs = max(1, grouping.n_candidate_pairs)
        ratios = pair.ratios(1.0)
        results.append(
            {
                "name": name,
                "candidate_pairs": n_pairs,
                "survivors": int((grouping.leader_N == np.arange(len(grouping.leader_N))).sum()),
                **pair.other.summary(),
                **ratios,
                "cpu_ratio_per_pair": ratios["cpu_ratio"] * base_pairs / n_pairs,
            }
        )
    return results


def compare_floor(workload: Workload, default: Callable[[], Any], repeat: int) -> Result:
    """Time Parquet write and read of the same rows, zstd 3: the floor of any pipeline."""
    table = to_table(workload)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.parquet"

        def write_and_read() -> None:
            write_parquet(table, path)
            pq.read_table(path, use_threads=False)

        pair = measure.paired(default, {"": write_and_read}, 3 * repeat)[""]
        file_bytes = path.stat().st_size
    return {"file_bytes": file_bytes, **pair.other.summary(), **pair.ratios(1.0)}


def huge(repeat: int, seed: int) -> list[Result]:
    """Time one image of 10,000 and one of 100,000 masks, equally dense."""
    results: list[Result] = []
    for n_masks, side in ((10_000, 6_325), (100_000, 20_000)):
        name = f"huge-{n_masks}-{side}px-seed{seed}"

        def make(n_masks: int = n_masks, side: int = side) -> Workload:
            return huge_image(n_masks, side, seed=seed)

        workload = in_score_order(cached(name, make))
        job = ours.job(workload, ours.DEFAULT, THRESHOLD)
        grouping = job()
        times = measure.Times()
        for _ in range(repeat):
            times.add(job)
        results.append(
            {
                "masks": n_masks,
                "side_px": side,
                "mean_runs": workload.n_runs / n_masks,
                "survivors": int((grouping.leader_N == np.arange(n_masks)).sum()),
                "candidate_pairs": grouping.n_candidate_pairs,
                **times.summary(),
                **in_fresh_process(name),
            }
        )
    return results


def print_comparison(console: Console, result: Result) -> None:
    """Print the tables of one workload."""
    facts = result["workload"]
    console.print(
        f"{facts['name']}: {facts['masks']:,} masks of {facts['mean_runs']:.0f} runs, "
        f"{facts['survivors'] / facts['masks']:.1%} survive, "
        f"{facts['pairs_of_overlapping_boxes']:,} pairs of overlapping boxes, "
        f"{facts['candidate_pairs']:,} candidates, {facts['walked_pairs']:,} walked"
    )
    table = Table(title="peers, beside ours (ratio: theirs / ours)")
    for column in ("", "masks/s", "wall ratio", "CPU ratio", "survivors", "measured on"):
        table.add_column(column, justify="left" if column in ("", "measured on") else "right")
    baseline = next((row for row in result["peers"] if row["name"] == BASELINE), {})
    if "ours" in baseline:
        rate = facts["masks"] / baseline["ours"]["wall_s"]
        table.add_row(ours.DEFAULT.name, f"{rate:,.0f}", "1", "1", "", "all")
    for row in result["peers"]:
        table.add_row(*_peer_cells(row, facts["masks"]))
    console.print(table)
    union = result["union"]
    if "absent" not in union:
        console.print(
            f"union and COCO strings, against {union['name']}: {union['wall_ratio']:.1f}x wall, "
            f"{union['cpu_ratio']:.1f}x CPU, strings equal: {union['strings_equal']}"
        )
    table = Table(title="policies, beside the default (ratio: policy / default)")
    for column in ("", "candidates", "survivors", "wall ratio", "CPU ratio", "CPU ratio per pair"):
        table.add_column(column, justify="left" if column == "" else "right")
    for row in result["policies"]:
        ratios = [f"{row[key]:.2f}" for key in ("wall_ratio", "cpu_ratio", "cpu_ratio_per_pair")]
        counts = [f"{row[key]:,}" for key in ("candidate_pairs", "survivors")]
        table.add_row(row["name"], *counts, *ratios)
    console.print(table)
    floor, fresh = result["floor"], result["fresh_process"]
    console.print(
        f"Parquet write and read of the rows, zstd 3: {floor['wall_ratio']:.2f}x ours wall, "
        f"{floor['cpu_ratio']:.2f}x CPU"
    )
    console.print(_fresh_line(fresh))


def print_huge(console: Console, rows: list[Result]) -> None:
    """Print the two huge images and how the time grows between them."""
    for row in rows:
        console.print(
            f"{row['masks']:,} masks on {row['side_px']:,} px: {row['wall_s']:.3f} s wall, "
            f"{row['cpu_s']:.3f} s CPU, {row['candidate_pairs']:,} candidates, "
            f"{row['survivors']:,} survive; {_fresh_line(row)}"
        )
    small, large = rows
    console.print(
        f"ten times the masks: {large['wall_best_s'] / small['wall_best_s']:.1f}x the best wall "
        f"time, {large['cpu_s'] / small['cpu_s']:.1f}x the CPU time"
    )


def _peer_cells(row: Result, n_masks: int) -> list[str]:
    if row.get("absent"):
        return [row["name"], "", "", "", "", "absent"]
    differ = row.get("survivors_differ")
    agree = "own rule" if differ is None else "same" if differ == 0 else f"{differ} differ"
    part = "all" if row["masks"] == n_masks else f"{row['masks']:,} masks, scaled"
    ratios = [f"{row['wall_ratio']:.1f}", f"{row['cpu_ratio']:.1f}"]
    return [row["name"], f"{row['masks_per_s']:,.0f}", *ratios, agree, part]


def _fresh_line(row: Result) -> str:
    return (
        f"new process: imports {row['import_s']:.2f} s, first call {row['first_call_s']:.2f} s, "
        f"peak {row['peak_bytes'] / 1e6:.1f} MB of {row['input_bytes'] / 1e6:.1f} MB input"
    )


def _inclusive_xyxy(bbox_xywh_N4: NDArray[np.int32]) -> NDArray[np.float64]:
    corner_N2, size_N2 = bbox_xywh_N4[:, :2], bbox_xywh_N4[:, 2:]
    return np.concatenate([corner_N2, corner_N2 + np.maximum(size_N2, 1) - 1], axis=1).astype(float)


def _box_pairs(workload: Workload, bbox_xywh_N4: NDArray[np.int32]) -> int:
    """Count the pairs of one image and category whose tight boxes share a pixel."""
    offsets_G1 = image_offsets(workload).tolist()
    total = 0
    for first, last in itertools.pairwise(offsets_G1):
        x, y, w, h = bbox_xywh_N4[first:last].T.astype(np.int64)
        category = workload.category_id[first:last]
        meets = category[:, None] == category
        for start, extent in ((x, w), (y, h)):
            end = start + extent
            meets &= np.minimum(end[:, None], end) > np.maximum(start[:, None], start)
        total += int(np.triu(meets, 1).sum())
    return total


if __name__ == "__main__":
    main()
