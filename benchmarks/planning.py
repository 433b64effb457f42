"""Planning many small files: ``python -m benchmarks.planning [--files N] [--folder DIR|URI]``.

Writes N results files of about 4 KB (a dozen masks each) into a new folder, or below a URI, then
lists, looks at and packs them as a run does that starts, in this one process, and says what each
step took and how large the plan is. The files are left where they are if ``--folder`` names a
place, and are then found there by the next call.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks.rows import Recipe, batches, result_rows
from pipeline import storage, tasks
from pipeline.config import CompactConfig
from pipeline.plan import make_plan
from pipeline.read import FileScan

MASKS_PER_FILE = 12

T = TypeVar("T")


@dataclass
class Step:
    """What one step took."""

    name: str
    wall_s: float
    cpu_s: float


def write_files(folder_uri: str, n_files: int) -> None:
    """Write the files, named by ascending numbers."""
    recipe = Recipe(n_files * MASKS_PER_FILE, masks_per_image=MASKS_PER_FILE, n_distinct=24_000)
    number = 0
    with ThreadPoolExecutor(max_workers=16) as pool:
        for batch in batches(recipe):
            rows = result_rows(batch)
            texts = [
                b"[%b]" % b", ".join(rows[start : start + MASKS_PER_FILE])
                for start in range(0, len(rows), MASKS_PER_FILE)
            ]
            uris = [storage.join(folder_uri, f"{number + n:07d}.json") for n in range(len(texts))]
            list(pool.map(_write, uris, texts))
            number += len(texts)


def _write(uri: str, text: bytes) -> None:
    if storage.is_local(uri):
        storage.local_path(uri).write_bytes(text)  # without fsync, which takes a disk's time
    else:
        storage.write_bytes(uri, text)


def measure(folder_uri: str) -> tuple[list[Step], str]:
    """List, look and pack; return what the steps took, and a sentence about the plan."""
    config = CompactConfig(inputs=(folder_uri,), output=storage.join(folder_uri, "..", "none"))
    steps: list[Step] = []

    def timed(name: str, call: Callable[[], T]) -> T:
        wall, cpu = time.perf_counter(), time.process_time()
        result = call()
        steps.append(Step(name, time.perf_counter() - wall, time.process_time() - cpu))
        return result

    inventory = timed("list, hash or tag", lambda: storage.list_inputs(config.inputs))
    tasks.try_scan(inventory[0], config.read, config.run.unit_bytes)  # compile
    found = timed("look", lambda: tasks.scan_all(inventory, config.read, config.run.unit_bytes))
    scans = [scan for scan in found if isinstance(scan, FileScan)]
    plan = timed("pack into units", lambda: make_plan(inventory, scans, config))
    data = timed("plan to JSON", lambda: msgspec.json.encode(plan))
    messages = timed("tasks", lambda: tasks.read_tasks(plan, frozenset()))
    timed("look whether they changed", lambda: storage.changed_files(inventory))
    return steps, (
        f"{len(inventory):,} files, {plan.input_bytes / 1e6:.0f} MB, {plan.n_rows:,} rows; "
        f"{plan.n_units} units, {len(tasks.scan_batches(inventory))} tasks would look at them; "
        f"plan {len(data) / len(inventory):.0f} B a file, largest task "
        f"{max(map(len, messages)) / 1e6:.1f} MB"
    )


def main() -> None:
    """Measure once and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--files", type=int, default=50_000)
    parser.add_argument("--folder", help="a folder or URI of its own")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as own:
        folder_uri = storage.to_uri(arguments.folder or own)
        if not storage.list_names(folder_uri):
            if storage.is_local(folder_uri):
                storage.local_path(folder_uri).mkdir(parents=True, exist_ok=True)
            write_files(folder_uri, arguments.files)
        steps, sentence = measure(folder_uri)
    table = Table("step", "wall s", "CPU s")
    for step in steps:
        table.add_row(step.name, f"{step.wall_s:.2f}", f"{step.cpu_s:.2f}")
    table.add_row(
        "all", f"{sum(s.wall_s for s in steps):.2f}", f"{sum(s.cpu_s for s in steps):.2f}"
    )
    console = Console()
    console.print(table)
    console.print(f"{sentence}; load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
