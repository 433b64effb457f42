"""What a person sees while a run goes on and when it is done."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from pipeline.plan import Plan
from pipeline.records import UnitRecord
from pipeline.report.words import human_bytes

LINE_EVERY_S = 5.0
"""Seconds between two lines of progress where there is no terminal."""


class RunProgress:
    """A bar on a terminal, a line every few seconds elsewhere; both on stderr."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._last_line_s = 0.0
        self._rows = 0
        self._seen = 0
        self._task: Any = None
        self._bar = Progress(
            TextColumn("compacting"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("units, {task.fields[rows]} masks"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
            transient=True,
        )

    def __enter__(self) -> RunProgress:
        self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.stop()

    def __call__(self, plan: Plan, records: Sequence[UnitRecord]) -> None:
        """Show how far the run is."""
        for record in records[self._seen :]:
            self._rows += sum(counts.read for counts in record.sources.values())
        self._seen = len(records)
        if not self._bar.disable:
            if self._task is None:
                self._task = self._bar.add_task("", total=plan.n_units, rows="0")
            self._bar.update(self._task, completed=len(records), rows=f"{self._rows:,}")
            return
        elapsed_s = time.perf_counter() - self._started
        if elapsed_s - self._last_line_s >= LINE_EVERY_S or len(records) == plan.n_units:
            self._last_line_s = elapsed_s
            self._bar.console.print(
                f"compacting: {len(records)} of {plan.n_units} units, "
                f"{self._rows:,} masks, {elapsed_s:.0f} s",
                highlight=False,
            )


def print_plan(plan: Plan, output: str) -> None:
    """Print what a run would do."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"dry run {plan.run_id}: nothing was written")
    console.print(f"  {len(plan.inventory)} files, {human_bytes(plan.input_bytes)}")
    for file in plan.inventory[:20]:
        console.print(
            f"    {plan.formats[file.uri]:<17} {human_bytes(file.file_bytes):>9}  {file.uri}"
        )
    if len(plan.inventory) > 20:
        console.print(f"    ... and {len(plan.inventory) - 20} more")
    how = "rows of one image lie together" if plan.bounds is None else "one shuffle by image_id"
    console.print(f"  {plan.n_rows:,} rows in {plan.n_units} units of work ({how})")
    console.print(f"  would replace the tables in {output}")


def print_summary(
    document: dict[str, Any], versions: dict[str, int], output: str, page: str
) -> None:
    """Print what a run did: rows, bytes, times, the estimate, and how to read the result."""
    console = Console(highlight=False, soft_wrap=True)
    rows, time_s = document["rows"], document["time"]
    console.print(
        f"run {document['run_id']} is published (compacted version {versions['compacted']})"
    )
    console.print(_rows_table(document))
    console.print(_bytes_table(document))
    stages = time_s["driver_stage_s"] | {
        f"worker {name}": value for name, value in time_s["worker_stage_s"].items()
    }
    listed = ", ".join(f"{name} {seconds:.2f}" for name, seconds in stages.items())
    rate = time_s["masks_per_s"]
    console.print(
        f"time: {time_s['wall_s']:.1f} s"
        + (f", {rate:,.0f} masks/s while executing" if rate else "")
    )
    console.print(f"  by stage, in seconds: {listed}")
    used = ", ".join(name.replace(".", " on ") for name in document["backend"])
    console.print(f"masks compared by: {used or 'nothing'} ({document['backend_reason']})")
    if document["estimate"]["choices"] and rows["read"]:
        console.print(_estimate_line(document["estimate"]))
    for uri, error in document["plan"]["skipped_files"].items():
        console.print(f"skipped {uri}: {error}", markup=False)
    path = output.removeprefix("file://")
    console.print("read it:")
    code = f'from deltalake import DeltaTable; print(DeltaTable("{path}/compacted").to_pandas())'
    console.print(f"  python -c {shlex.quote(code)}", markup=False)
    console.print(f"report: {path}/reports/{document['run_id']}/report.json", markup=False)
    console.print(f"page: {page.removeprefix('file://')}", markup=False)
    console.print(_one_line(document, versions), markup=False)


def _one_line(document: dict[str, Any], versions: dict[str, int]) -> str:
    """Return the run in a line, the last of the output: what a nightly log shows."""
    rows, sizes = document["rows"], document["bytes"]
    counts = ", ".join(f"{name} {count}" for name, count in rows.items())
    after = sizes["output_files"].get("compacted", 0)
    return (
        f"maskpress {document['run_id']}: {counts}; {sizes['input_files']} B -> {after} B; "
        f"{document['time']['wall_s']:.1f} s; version {versions['compacted']}"
    )


def _rows_table(document: dict[str, Any]) -> Table:
    rows = document["rows"]
    table = Table("rows", "count", "share", box=None, pad_edge=False)
    table.columns[1].justify = table.columns[2].justify = "right"

    def add(name: str, count: int) -> None:
        share = f"{count / rows['read']:.1%}" if rows["read"] else ""
        table.add_row(name, f"{count:,}", share)

    add("read", rows["read"])
    add("kept", rows["kept"])
    for fate, reasons in (("merged", ("merged", "exact_duplicate")), ("filtered", ())):
        add(fate, rows[fate])
        names = reasons or ("min_score", "min_area", "empty")
        for name in names:
            if document["reasons"].get(name):
                add(f"  {name}", document["reasons"][name])
    add("rejected", rows["rejected"])
    for code, count in document["rejects"].items():
        add(f"  {code}", count)
    for name, count in document["counters"].items():
        if count:
            add(f"counted: {name}", count)
    return table


def _bytes_table(document: dict[str, Any]) -> Table:
    sizes, rows = document["bytes"], document["rows"]
    table = Table("bytes", "before", "after", "ratio", box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    compacted = sizes["output_files"].get("compacted", 0)

    def add(name: str, before: float, after: float, decimals: bool = False) -> None:
        show = (lambda value: f"{value:.1f} B") if decimals else human_bytes
        table.add_row(name, show(before), show(after), f"{after / before:.2f}" if before else "")

    add("files", sizes["input_files"], compacted)
    add("masks", sizes["input_masks"], sizes["stored_masks"])
    if rows["read"] and rows["kept"]:
        add("file per mask", sizes["input_files"] / rows["read"], compacted / rows["kept"], True)
    return table


def _estimate_line(estimate: dict[str, Any]) -> str:
    word = "an estimate, from" if estimate["is_estimate"] else "tried on all"
    parts: list[str] = []
    for choice in estimate["choices"].values():
        more = choice["more_rows_merged"]
        parts.append(f"{choice['flag']} {abs(more):,} {'fewer' if more < 0 else 'more'}")
    return f"would merge about: {', '.join(parts)} ({word} {estimate['sample_images']:,} images)"
