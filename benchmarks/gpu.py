"""Grouping, crack code and dense input on a device, beside one CPU core.

``python -m benchmarks.gpu``, or ``make bench-gpu``. Without a CUDA device torch runs on the CPU,
and the table says so. With one, a call is warmed up, and timed by the host's clock from an idle
device to an idle device, so that uploads, waits and the way back are in it; beside that stands
the time between two events on the device. What does not fit into its memory is a row that says
so. The fraction of the device's bandwidth counts the bytes of all arrays that torch's calls
read and write (docs/gpu.md), not what sorting and searching move inside a call.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from benchmarks import ours
from benchmarks.measure import Pair, machine, paired, use_one_thread
from benchmarks.peers import in_score_order
from benchmarks.workload import Workload, cached, make_workload
from pipeline.masks import contour, dense, group, rle, torch_backend, torch_contour, torch_dense

BANDWIDTH = {"H100": 3.35e12, "H200": 4.8e12, "A100": 2.0e12}
"""Bytes per second of the device's memory, by a part of its name; SXM parts."""


GATHERS = ("index_select", "searchsorted", "gather", "repeat_interleave")
"""Calls that do not read the whole of what they look into; as much as they write is counted."""


class CountBytes(TorchDispatchMode):
    """Add up the bytes that calls read and write on the device, each once; views are free."""

    def __init__(self) -> None:
        super().__init__()
        self.moved_bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not getattr(func, "is_view", False):
            name = func.overloadpacket.__name__
            outputs = [t for t in tree_flatten(result)[0] if isinstance(t, torch.Tensor)]
            inputs = [t for t in tree_flatten((args, kwargs))[0] if isinstance(t, torch.Tensor)]
            written = sum(t.nbytes for t in outputs)
            if name in GATHERS:
                self.moved_bytes += 2 * written + min((t.nbytes for t in inputs[1:]), default=0)
            else:
                self.moved_bytes += written + sum(t.nbytes for t in inputs)
        return result


def main() -> None:
    """Run and print; ``--json`` writes the figures."""
    arguments = _parse()
    use_one_thread("benchmarks.gpu")
    torch.set_num_threads(1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    name = torch.cuda.get_device_name() if device == "cuda" else "CPU, one thread"
    images = arguments.images or ([200, 1000] if device == "cuda" else [200])
    rows = [
        *[_grouping(n, device, arguments.repeat) for n in images],
        _crack(images[0], device, arguments.repeat),
        _bitmaps(device, arguments.repeat),
        _soft_masks(device, arguments.repeat),
    ]
    _print(rows, name)
    if arguments.json:
        found = {"machine": machine(), "device": name, "torch": torch.__version__, "rows": rows}
        arguments.json.write_text(json.dumps(found, indent=1))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, nargs="+", help="images of 100 masks each")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def _workload(n_images: int) -> Workload:
    """Make the dense scene at 640 px: 200 images, as often as it takes."""
    some = min(n_images, 200)
    name = f"dense-{some}x100-640px-seed0"
    workload = in_score_order(cached(name, lambda: make_workload(n_images=some)))
    n_rows = len(workload)
    many = workload.take(np.tile(np.arange(n_rows), -(-n_images // some)))
    copy_N = np.arange(len(many)) // n_rows
    return dataclasses.replace(many, image_id=many.image_id + copy_N * 10**9)


def _grouping(n_images: int, device: str, repeat: int) -> dict[str, Any]:
    """COCO strings in, leaders out, at 640 px."""
    workload = _workload(n_images)
    given = ours.arguments(workload)
    return _pair(
        f"group, {len(workload):,} masks",
        lambda: group.group_masks(*given, threshold=0.8),
        lambda: torch_backend.group_masks(*given, threshold=0.8, device=device),
        device,
        repeat,
    )


def _crack(n_images: int, device: str, repeat: int) -> dict[str, Any]:
    """Write the masks that grouping keeps, at 640 px, from runs to crack code."""
    strings, sizes_N2, *rest = ours.arguments(_workload(n_images))
    leader_N = group.group_masks(strings, sizes_N2, *rest, threshold=0.8).leader_N
    kept_M = np.flatnonzero(leader_N == np.arange(len(leader_N)))
    batch = rle.take(rle.from_coco(strings, sizes_N2), kept_M)
    return _pair(
        f"crack code, {len(kept_M):,} masks",
        lambda: contour.encode_crack(batch),
        lambda: torch_contour.encode_crack(batch, device=device),
        device,
        repeat,
    )


def _bitmaps(device: str, repeat: int) -> dict[str, Any]:
    """Read a hundred bitmaps of 1080p."""
    bitmaps = discs()
    resident = torch.from_numpy(bitmaps).to(device)
    return _pair(
        "bitmaps, 100 of 1080p, on the device already",
        lambda: dense.from_bitmaps(bitmaps),
        lambda: torch_dense.from_bitmaps(resident, device=device),
        device,
        repeat,
    )


def discs() -> NDArray[np.bool_]:
    """Return a hundred bitmaps of 1080p, a disc each, some of them cut by the border."""
    y, x = np.mgrid[:1080, :1920]
    random = np.random.default_rng(0)
    places = random.uniform((0, 0, 40), (1080, 1920, 300), (100, 3))
    return np.array([(y - cy) ** 2 + (x - cx) ** 2 < r * r for cy, cx, r in places])


def _soft_masks(device: str, repeat: int) -> dict[str, Any]:
    """Paste a thousand soft masks at 640 px."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:28, :28]
    disc = 1 / (1 + np.exp(((y - 14) ** 2 + (x - 14) ** 2 - 100) / 20))
    soft = np.repeat(disc[None].astype(np.float32), 1000, axis=0)
    corner = random.uniform(0, 400, (1000, 2))
    boxes = np.concatenate([corner, corner + random.uniform(20, 200, (1000, 2))], axis=1)
    given = (soft, boxes.astype(np.float32), np.full((1000, 2), 640, np.int32))
    return _pair(
        "soft masks, 1000 of 28x28",
        lambda: dense.from_roi(*given),
        lambda: torch_dense.from_roi(*given, device=device),
        device,
        repeat,
    )


def _pair(
    name: str, core: Callable[[], Any], on_device: Callable[[], Any], device: str, repeat: int
) -> dict[str, Any]:
    """Time one core and the device in turn; both must give the same arrays."""
    device_ms: list[float] = []

    def waited() -> Any:
        if device != "cuda":
            return on_device()
        torch.cuda.synchronize()
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        result = on_device()
        end.record()
        torch.cuda.synchronize()
        device_ms.append(begin.elapsed_time(end))
        return result

    try:
        pair = paired(core, {"torch": waited}, repeat)["torch"]
        with CountBytes() as count:
            found = on_device()
    except torch.OutOfMemoryError as error:
        torch.cuda.empty_cache()
        return {"name": name, "error": f"out of memory: {str(error).splitlines()[0]}"}
    return _row(name, pair, device_ms, count.moved_bytes, _are_same(core(), found))


def _row(
    name: str, pair: Pair, device_ms: list[float], moved_bytes: int, is_same: bool
) -> dict[str, Any]:
    return {
        "name": name,
        "core_s": min(pair.reference.wall_s),
        "core_cpu_s": min(pair.reference.cpu_s),
        "device_s": min(pair.other.wall_s),
        "device_cpu_s": min(pair.other.cpu_s),
        "between_events_s": min(device_ms) / 1e3 if device_ms else None,
        "moved_bytes": moved_bytes,
        "same": is_same,
    }


def _are_same(expected: Any, found: Any) -> bool:
    return all(
        np.array_equal(one, other)
        for one, other in zip(expected, found, strict=True)
        if isinstance(one, np.ndarray)
    )


def _print(rows: list[dict[str, Any]], device: str) -> None:
    bandwidth = next((rate for part, rate in BANDWIDTH.items() if part in device), None)
    table = Table(title=f"torch on {device}, beside the compiled kernels on one core")
    headings = ("core ms", "torch ms", "CPU ms each", "ratio", "moved MB", "bandwidth", "same")
    for heading in ("what", *headings):
        table.add_column(heading)
    for row in rows:
        if "error" in row:
            table.add_row(row["name"], row["error"])
            continue
        share = "-"
        if bandwidth:
            share = f"{row['moved_bytes'] / row['device_s'] / bandwidth:.1%}"
        ratio = row["core_s"] / row["device_s"]
        table.add_row(
            row["name"],
            f"{row['core_s'] * 1e3:.1f}",
            f"{row['device_s'] * 1e3:.1f}",
            f"{row['core_cpu_s'] * 1e3:.0f}, {row['device_cpu_s'] * 1e3:.0f}",
            f"{ratio:.2f}",
            f"{row['moved_bytes'] / 1e6:.0f}",
            share,
            "yes" if row["same"] else "NO",
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
