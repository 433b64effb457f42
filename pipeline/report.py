"""The numbers of a run: from unit records to report.json.

``report.json`` is written before the commit, so that gates can read it. Every
figure is a sum over units; estimates are named so.
"""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from pipeline import storage
from pipeline.config import FORMAT_VERSION, KERNEL_VERSION, CompactConfig
from pipeline.plan import Plan
from pipeline.records import UnitRecord, total_sources

REPORT_VERSION = 1
"""Version of the schema of report.json; raised when a key changes its meaning."""


class Timer:
    """Wall seconds of the driver's stages, one after the other."""

    def __init__(self) -> None:
        self.stage_s: dict[str, float] = {}
        self._last = time.perf_counter()

    def done(self, stage: str) -> None:
        """Book the time since the last call on a stage."""
        now = time.perf_counter()
        self.stage_s[stage] = round(now - self._last, 4)
        self._last = now


def build(
    plan: Plan, records: Sequence[UnitRecord], config: CompactConfig, timer: Timer
) -> dict[str, Any]:
    """Return the report of a run as plain values; docs/report.md explains every key.

    Parameters
    ----------
    plan : Plan
        What was to be done.
    records : sequence of UnitRecord
        What every unit did.
    config : CompactConfig
        The resolved configuration.
    timer : Timer
        Wall seconds so far.
    """
    totals = total_sources(records)
    numbers = _sum([record.numbers for record in records])
    rows = {
        fate: sum(getattr(counts, fate) for counts in totals.values())
        for fate in ("read", "kept", "merged", "filtered", "rejected")
    }
    return {
        "report_version": REPORT_VERSION,
        "run_id": plan.run_id,
        "versions": _versions(),
        "config": msgspec.to_builtins(config.decisive()),
        "rows": rows,
        "reasons": _sum([record.reasons for record in records]),
        "rejects": _sum([record.rejects for record in records]),
        "sources": {uri: msgspec.to_builtins(totals[uri]) for uri in sorted(totals)},
        "images": int(numbers.get("images", 0)),
        "bytes": _bytes(plan, records, numbers),
        "pairs": {
            "candidate": int(numbers.get("candidate_pairs", 0)),
            "walked": int(numbers.get("walked_pairs", 0)),
        },
        "mean_fidelity": numbers.get("fidelity_sum", 0.0) / rows["kept"] if rows["kept"] else None,
        "counters": {
            name.removeprefix("counter."): int(count)
            for name, count in sorted(numbers.items())
            if name.startswith("counter.")
        },
        "histograms": _sum_histograms(records),
        "estimate": _estimate(plan, numbers, rows["read"]),
        "time": _time(records, timer, rows["read"]),
        "plan": {
            "files": len(plan.inventory),
            "units": plan.n_units,
            "is_shuffled": plan.bounds is not None,
        },
    }


def write(output: str, run_id: str, document: dict[str, Any]) -> None:
    """Write report.json into the run's folder of reports."""
    data = msgspec.json.format(msgspec.json.encode(document))
    storage.write_bytes(storage.join(output, "reports", run_id, "report.json"), data)


def _bytes(plan: Plan, records: Sequence[UnitRecord], numbers: dict[str, float]) -> dict[str, Any]:
    by_table: dict[str, int] = {}
    for record in records:
        for file in record.files:
            by_table[file.table] = by_table.get(file.table, 0) + file.file_bytes
    return {
        "input_files": plan.input_bytes,
        "output_files": by_table,
        "input_masks": int(numbers.get("input_mask_bytes", 0)),
        "stored_masks": int(numbers.get("stored_mask_bytes", 0)),
    }


def _estimate(plan: Plan, numbers: dict[str, float], n_rows: int) -> dict[str, Any] | None:
    """Return what merging across categories would add, by the sampled images; None if not asked."""
    if "sample_rows" not in numbers:
        return None
    sampled = int(numbers["sample_rows"])
    more = int(numbers["sample_merged_agnostic"] - numbers["sample_merged"])
    return {
        "is_estimate": plan.sample_fraction < 1,
        "sample_fraction": plan.sample_fraction,
        "sample_images": int(numbers["sample_images"]),
        "sample_rows": sampled,
        "merged_within_category": int(numbers["sample_merged"]),
        "merged_across_categories": int(numbers["sample_merged_agnostic"]),
        "more_rows_merged_across_categories": round(more / sampled * n_rows) if sampled else 0,
    }


def _time(records: Sequence[UnitRecord], timer: Timer, n_rows: int) -> dict[str, Any]:
    wall_s = sum(timer.stage_s.values())
    execute_s = timer.stage_s.get("execute", 0.0)
    worker_s = _sum([record.stage_s for record in records])
    return {
        "wall_s": round(wall_s, 3),
        "driver_stage_s": dict(timer.stage_s),
        "worker_stage_s": {name: round(value, 4) for name, value in worker_s.items()},
        "masks_per_s": round(n_rows / execute_s, 1) if execute_s else None,
    }


def _versions() -> dict[str, Any]:
    names = ("maskpress", "ray", "pyarrow", "numpy", "numba", "deltalake")
    found: dict[str, Any] = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return {"format": FORMAT_VERSION, "kernels": KERNEL_VERSION, **found}


def _sum(items: Sequence[dict[str, Any]]) -> dict[str, Any]:
    total: dict[str, Any] = {}
    for item in items:
        for name, value in item.items():
            total[name] = total.get(name, 0) + value
    return dict(sorted(total.items()))


def _sum_histograms(records: Sequence[UnitRecord]) -> dict[str, list[int]]:
    total: dict[str, list[int]] = {}
    for record in records:
        for name, counts in record.histograms.items():
            known = total.setdefault(name, [0] * len(counts))
            total[name] = [a + b for a, b in zip(known, counts, strict=True)]
    return dict(sorted(total.items()))
