"""The numbers of a run: from unit records to report.json.

``report.json`` is written before the commit, so that gates can read it. Every
figure is a sum over units; estimates are named so. docs/report.md explains every key.
"""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from pipeline.config import FORMAT_VERSION, KERNEL_VERSION, CompactConfig
from pipeline.estimate import EncodingTrial, choices, near_range
from pipeline.evaluate import Truth
from pipeline.measures import CATEGORIES, bounded
from pipeline.plan import Plan
from pipeline.records import CategoryCounts, UnitRecord, total_sources
from pipeline.report.gates import gate_rows
from pipeline.report.names import category_names

REPORT_VERSION = 2
"""Version of the schema of report.json; raised when a key changes its meaning."""

PARQUET_FORMATS = ("parquet", "parquet_images", "compacted")
"""Inputs that have row groups."""

PROTECTION = ("inventory", "begin", "verify", "publish")
"""Stages of the driver that do nothing but keep the promises."""

REPORTING = ("report", "page")
"""Stages of the driver that make the report."""

WAITING = ("ray_start", "execute", "encodings")
"""Stages in which the driver waits; what is worked meanwhile is booked by who does it."""

PACKAGES = ("maskpress", "ray", "pyarrow", "numpy", "numba", "deltalake")


class Timer:
    """Wall seconds of the driver's stages, one after the other, and what workers did for them."""

    def __init__(self) -> None:
        self.stage_s: dict[str, float] = {}
        self.worker_s: dict[str, float] = {}
        self._last = time.perf_counter()

    def done(self, stage: str) -> None:
        """Book the time since the last call on a stage, beside what it has already."""
        now = time.perf_counter()
        self.stage_s[stage] = round(self.stage_s.get(stage, 0.0) + now - self._last, 4)
        self._last = now

    def worked(self, stage: str, seconds: float) -> None:
        """Book seconds of a worker that are in no unit's record."""
        self.worker_s[stage] = self.worker_s.get(stage, 0.0) + seconds


def build(
    plan: Plan,
    records: Sequence[UnitRecord],
    config: CompactConfig,
    timer: Timer,
    metrics: dict[str, Any] | None = None,
    truth: Truth | None = None,
    backend_reason: str = "",
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
    metrics : dict, optional
        AP before and after, see `pipeline.evaluate`.
    truth : Truth, optional
        The ground truth, which may name categories.
    backend_reason : str
        Why masks were compared by what they were compared by.
    """
    totals = total_sources(records)
    numbers = _sum([record.numbers for record in records])
    categories = total_categories(records)
    rows = {
        fate: sum(getattr(counts, fate) for counts in totals.values())
        for fate in ("read", "kept", "merged", "filtered", "rejected")
    }
    document: dict[str, Any] = {
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
        "files": {
            "input": len(plan.inventory),
            "compacted": sum(f.table == "compacted" for record in records for f in record.files),
        },
        "row_groups": {
            "input": input_row_groups(plan),
            "compacted": sum(
                f.row_groups for record in records for f in record.files if f.table == "compacted"
            ),
        },
        "encodings": _encodings(categories),
        "categories": {name: _category(counts) for name, counts in categories.items()},
        "category_names": category_names(plan, truth, categories),
        "pairs": {
            "candidate": int(numbers.get("candidate_pairs", 0)),
            "walked": int(numbers.get("walked_pairs", 0)),
        },
        "merged_fraction": _ratio(rows["merged"], rows["read"]),
        "mean_iou": _ratio(numbers.get("iou_sum", 0.0), rows["merged"]),
        "metrics": metrics,
        "ap_drop": metrics["segm"]["ap_drop"] if metrics else None,
        "mean_fidelity": _ratio(numbers.get("fidelity_sum", 0.0), rows["kept"]),
        "mean_boundary_iou": _mean_boundary(categories),
        "area_drift": _drift(numbers.get("stored_area", 0), numbers.get("mask_area", 0)),
        "counters": _counts(numbers, "counter."),
        "backend": _counts(numbers, "backend."),
        "backend_reason": backend_reason,
        "histograms": _sum_histograms(records),
        "near_miss_range": list(near_range(config.dedup.threshold)),
        "estimate": _estimate(plan, numbers, rows["read"], config),
        "plan": {
            "files": len(plan.inventory),
            "units": plan.n_units,
            "is_shuffled": plan.bounds is not None,
            "skipped_files": {bad.file.uri: bad.error for bad in plan.skipped},
        },
    }
    document["gates"] = gate_rows(document, config.gate)
    timer.done("report")
    document["time"] = times(plan, records, timer, rows["read"])
    return document


def total_categories(records: Sequence[UnitRecord]) -> dict[str, CategoryCounts]:
    """Return by category what became of its rows, most kept rows first, over all units."""
    totals: dict[str, CategoryCounts] = {}
    for record in records:
        for name, counts in record.categories.items():
            totals.setdefault(name, CategoryCounts()).add(counts)
    return bounded(totals, CATEGORIES)


def _category(counts: CategoryCounts) -> dict[str, Any]:
    kept, merged = sum(counts.masks.values()), counts.merged
    return {
        "kept": kept,
        "merged": merged,
        "filtered": counts.filtered,
        "masks": dict(sorted(counts.masks.items())),
        "stored_bytes": dict(sorted(counts.stored_bytes.items())),
        "input_bytes": counts.input_bytes,
        "mean_iou": _ratio(counts.iou_sum, merged),
        "mean_fidelity": _ratio(counts.fidelity_sum, kept),
        "min_fidelity": counts.min_fidelity if kept else None,
        "boundary_masks": counts.boundary_masks,
        "mean_boundary_iou": _ratio(counts.boundary_sum, counts.boundary_masks),
        "min_boundary_iou": counts.min_boundary if counts.boundary_masks else None,
        "area_drift": _drift(counts.stored_area, counts.mask_area),
        "max_area_drift": counts.max_drift if kept else None,
    }


def input_row_groups(plan: Plan) -> int | None:
    """Return the row groups of Parquet inputs that are read; None where no input is Parquet."""
    found = {
        (part.uri, number)
        for unit in plan.read_units
        for part in unit.slices
        if part.format in PARQUET_FORMATS
        for number in range(part.start, part.stop)
    }
    return len(found) or None


def _mean_boundary(categories: dict[str, CategoryCounts]) -> float | None:
    total = sum(counts.boundary_sum for counts in categories.values())
    return _ratio(total, sum(counts.boundary_masks for counts in categories.values()))


def _drift(stored_area: float, mask_area: float) -> float | None:
    return (stored_area - mask_area) / mask_area if mask_area else None


def _encodings(categories: dict[str, CategoryCounts]) -> dict[str, dict[str, int]]:
    masks = _sum([counts.masks for counts in categories.values()])
    stored = _sum([counts.stored_bytes for counts in categories.values()])
    return {name: {"masks": masks[name], "bytes": stored[name]} for name in masks}


def _bytes(plan: Plan, records: Sequence[UnitRecord], numbers: dict[str, float]) -> dict[str, Any]:
    by_table: dict[str, int] = {}
    for record in records:
        for file in record.files:
            by_table[file.table] = by_table.get(file.table, 0) + file.file_bytes
    masks = ("input_mask", "filtered_mask", "merged_mask", "stored_mask")
    return {
        "input_files": plan.input_bytes,
        "output_files": by_table,
        **{f"{name}s": int(numbers.get(f"{name}_bytes", 0)) for name in masks},
    }


def add_encodings(document: dict[str, Any], trial: EncodingTrial) -> None:
    """Add to a report what some sampled masks take in every encoding.

    Apart from `build`, for after the commit: a new node compiles polygons for half a minute.
    """
    document["estimate"] |= {"encoded_masks": trial.n_masks, "encoded_bytes": trial.sizes}


def _estimate(
    plan: Plan, numbers: dict[str, float], n_rows: int, config: CompactConfig
) -> dict[str, Any]:
    """Return what neighbouring choices would give, by the sampled images."""
    sampled, merged = int(numbers.get("sample_rows", 0)), int(numbers.get("sample_merged", 0))
    tried: dict[str, Any] = {}
    for name, (flag, _) in choices(config.dedup).items():
        count = int(numbers.get(f"sample_merged.{name}", 0))
        more = round((count - merged) / sampled * n_rows) if sampled else 0
        tried[name] = {"flag": flag, "merged": count, "more_rows_merged": more}
    return {
        "is_estimate": plan.sample_fraction < 1,
        "sample_fraction": plan.sample_fraction,
        "sample_images": int(numbers.get("sample_images", 0)),
        "sample_rows": sampled,
        "sample_kept": int(numbers.get("sample_kept", 0)),
        "merged": merged,
        "choices": tried,
        "encoded_masks": 0,
        "encoded_bytes": {},
    }


def times(plan: Plan, records: Sequence[UnitRecord], timer: Timer, n_rows: int) -> dict[str, Any]:
    """Return what took how long, as far as the timer has come."""
    wall_s = sum(timer.stage_s.values())
    execute_s = timer.stage_s.get("execute", 0.0)
    worker_s = _sum([*(record.stage_s for record in records), timer.worker_s])
    gpu_s = sum(record.numbers.get("gpu_s", 0.0) for record in records)
    return {
        "wall_s": round(wall_s, 3),
        "driver_stage_s": dict(timer.stage_s),
        "worker_stage_s": {name: round(value, 4) for name, value in worker_s.items()},
        "masks_per_s": round(n_rows / execute_s, 1) if execute_s else None,
        "worker_masks_per_s": {
            name: round(n_rows / value, 1) for name, value in worker_s.items() if value
        },
        "worker_input_bytes_per_s": {
            name: round(plan.input_bytes / value, 1) for name, value in worker_s.items() if value
        },
        "core_hours": round(sum(worker_s.values()) / 3600, 6),
        "gpu_hours": round(gpu_s / 3600, 6),
        "report_share": _share_of_work(worker_s, timer, "measure", REPORTING),
        "protection_share": _share_of_work(worker_s, timer, "protect", PROTECTION),
    }


def _share_of_work(
    worker_s: dict[str, float], timer: Timer, worker_stage: str, driver_stages: Sequence[str]
) -> float | None:
    """Return the part that some stages have of all seconds that were worked."""
    driver_s = {k: v for k, v in timer.stage_s.items() if k not in WAITING}
    own = worker_s.get(worker_stage, 0.0) + sum(driver_s.get(k, 0.0) for k in driver_stages)
    whole = sum(worker_s.values()) + sum(driver_s.values())
    return round(own / whole, 4) if whole else None


def _versions() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return {"format": FORMAT_VERSION, "kernels": KERNEL_VERSION, **found}


def _counts(numbers: dict[str, float], prefix: str) -> dict[str, int]:
    """Return the numbers whose names start with a prefix, without it."""
    return {
        name.removeprefix(prefix): int(count)
        for name, count in sorted(numbers.items())
        if name.startswith(prefix)
    }


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


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
