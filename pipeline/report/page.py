"""report.json and the sampled groups -> report.html: one file, no script, nothing from elsewhere.

Needs the packages of ``maskpress[report]``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from pipeline.records import GroupSample
from pipeline.report import charts, html, words
from pipeline.report.charts import Bar, Column
from pipeline.report.names import ImageFolder
from pipeline.report.pictures import Picture, picture

MAX_ROWS = 25
"""Rows of a table by category or by source; report.json has all."""


def make_page(
    document: dict[str, Any], samples: Sequence[GroupSample], folder: ImageFolder | None = None
) -> str:
    """Return report.html.

    Parameters
    ----------
    document : dict
        report.json.
    samples : sequence of GroupSample
        Groups to draw.
    folder : ImageFolder, optional
        Images to draw them over.

    Returns
    -------
    str
        HTML that loads nothing and runs nothing: its policy allows its own style only.
    """
    return html.render(
        "page.html.j2",
        d=document,
        waterfall=waterfall(document),
        fates=fates(document),
        iou_chart=iou_chart(document),
        near_chart=near_chart(document),
        group_chart=group_chart(document),
        fidelity_chart=lossy_chart(document, "fidelity", "mean_fidelity"),
        boundary_chart=lossy_chart(document, "boundary", "mean_boundary_iou"),
        encodings=encoding_bars(document),
        knobs=choice_bars(document),
        stored=stored_encodings(document),
        stages=stage_bars(document),
        stage_rows=stage_rows(document),
        category_aps=category_aps(document),
        kinds=[(kind, shown) for kind in _KINDS if (shown := _pictures(samples, kind[0], folder))],
        categories=list(document["categories"].items())[:MAX_ROWS],
        sources=list(document["sources"].items())[:MAX_ROWS],
        settings=settings(document),
    )


_KINDS = (
    ("largest", "Largest groups", "The kept masks that stand for most rows."),
    (
        "least_certain",
        "Least certain groups",
        "The groups with the lowest overlap between a merged row and the row that was kept.",
    ),
    (
        "near_miss",
        "Near misses",
        "Pairs that were both kept although they overlap by almost the threshold "
        "(on the sampled images).",
    ),
    (
        "worst_fidelity",
        "Worst fidelity",
        "The stored masks that differ most from what they stand for.",
    ),
    (
        "worst_boundary",
        "Worst boundaries",
        "The stored masks whose outlines differ most from what they stand for "
        "(on the sampled images).",
    ),
)


def waterfall(document: dict[str, Any]) -> list[Bar]:
    """Return the steps from the bytes that came to the bytes that are stored."""
    sizes = document["bytes"]
    masks, stored = sizes["input_masks"], sizes["stored_masks"]
    kept = masks - sizes["filtered_masks"] - sizes["merged_masks"]
    after = sizes["output_files"].get("compacted", 0)
    levels = (
        ("Input files", sizes["input_files"], "total", _files(document, "input")),
        ("Masks as COCO strings", masks, "step", "text, boxes and other fields left behind"),
        ("Filters", masks - sizes["filtered_masks"], "step", "masks of filtered rows"),
        ("Dedup", kept, "step", "masks of merged rows"),
        ("Merging and encoding", stored, "step", "what is kept, as it is encoded"),
        ("Parquet", after, "step", "compressed, with all other columns"),
        ("Table compacted", after, "total", _files(document, "compacted")),
    )
    most = max(level for _, level, _, _ in levels) or 1
    bars: list[Bar] = []
    before = 0
    for label, level, kind, note in levels:
        if kind == "total":
            bars.append(Bar(label, words.human_bytes(level), 0, level / most, "total", note))
        else:
            change = level - before
            sign = words.MINUS if change < 0 else "+"
            text = f"{sign}{words.human_bytes(abs(change))}" if change else "0 B"
            note += f"; {words.human_bytes(level)} left"
            low, way = min(level, before), "gain" if change <= 0 else "loss"
            bars.append(Bar(label, text, low / most, abs(change) / most, way, note))
        before = level
    return bars


def fates(document: dict[str, Any]) -> list[Bar]:
    """Return what became of the rows, reasons below their fate."""
    rows, reasons = document["rows"], document["reasons"]
    whole = rows["read"] or 1
    bars: list[Bar] = []
    below = {
        "merged": {name: reasons.get(name, 0) for name in ("merged", "exact_duplicate")},
        "filtered": {name: reasons.get(name, 0) for name in ("min_score", "min_area", "empty")},
        "rejected": document["rejects"],
    }
    start = 0.0
    for fate in ("kept", "merged", "filtered", "rejected"):
        share = rows[fate] / whole
        parts = [f"{name} {count:,}" for name, count in below.get(fate, {}).items() if count]
        text = f"{rows[fate]:,} · {words.percent(rows[fate], rows['read'])}"
        bars.append(Bar(fate, text, start, share, f"fate-{fate}", ", ".join(parts)))
        start += share
    return bars


def iou_chart(document: dict[str, Any]) -> Markup | None:
    """Return the histogram of IoU between merged rows and their leaders; None without any.

    It begins with the tenth that holds the lowest; bins of 0.01, or of 0.02 over more than a half.
    """
    fine = document["histograms"].get("merged_iou", [])
    lowest = next((n for n, count in enumerate(fine) if count), None)
    if lowest is None:
        return None
    first = min(lowest // 10 * 10, 90)
    wide = 1 if first >= 50 else 2
    counts = [sum(fine[n : n + wide]) for n in range(first, 100, wide)]
    config = document["config"]["dedup"]
    mark = None
    if config["overlap"] == "iou" and 100 * config["threshold"] >= first:
        mark = (config["threshold"] - first / 100) / (1 - first / 100)
    return charts.histogram(_unit_columns(counts, first, wide), mark)


def near_chart(document: dict[str, Any]) -> Markup | None:
    """Return the histogram of near misses; None where there is none."""
    counts = document["histograms"].get("near_miss", [])
    if not any(counts):
        return None
    low, high = document["near_miss_range"]
    step = (high - low) / len(counts)
    columns = [
        Column(
            f"{low + n * step:.2f}" if n % 2 == 0 else "",
            count,
            f"{low + n * step:.3f} to {low + (n + 1) * step:.3f}: {count:,} pairs",
            "accent",
        )
        for n, count in enumerate(counts)
    ]
    return charts.histogram(columns)


def group_chart(document: dict[str, Any]) -> Markup:
    """Return the histogram of group sizes, up to the largest bin that has any."""
    counts = document["histograms"].get("group_size", [0])
    last = max((n for n, count in enumerate(counts) if count), default=0)
    columns = []
    for n, count in enumerate(counts[: max(last + 1, 4)]):
        low, high = 2**n, 2 ** (n + 1) - 1
        label = str(low) if low == high else f"{low}{words.DASH}{high}"
        columns.append(Column(label, count, f"{label} rows: {count:,} kept masks"))
    return charts.histogram(columns)


def lossy_chart(document: dict[str, Any], name: str, mean: str) -> Markup | None:
    """Return a histogram of likeness from 0.9 up; None where everything is lossless."""
    counts = document["histograms"].get(name, [0] * 100)
    if document[mean] in (None, 1.0):
        return None
    shown = [sum(counts[:90]), *counts[90:]]
    labels = ["< .90", *(f".{n}" for n in range(90, 100))]
    columns = [
        Column(label, count, f"{label}: {count:,} masks")
        for label, count in zip(labels, shown, strict=True)
    ]
    return charts.histogram(columns)


def encoding_bars(document: dict[str, Any]) -> list[Bar]:
    """Return the bytes per mask that each encoding gives on the sampled images."""
    estimate = document["estimate"]
    sizes, kept = estimate["encoded_bytes"], estimate["encoded_masks"]
    most = max(sizes.values(), default=0) or 1
    present = document["config"]["encode"]["encoding"]
    return [
        Bar(
            f"{name} (present)" if name == present else name,
            f"{size / kept:.1f} B per mask" if kept else words.DASH,
            0,
            size / most,
            "main" if name == present else "other",
        )
        for name, size in sizes.items()
    ]


def stored_encodings(document: dict[str, Any]) -> list[str]:
    """Return in words how many masks are stored in each encoding, and their bytes."""
    return [
        f"{name} {one['masks']:,} masks, {one['bytes'] / one['masks']:.1f} B per mask"
        for name, one in document["encodings"].items()
        if one["masks"]
    ]


def choice_bars(document: dict[str, Any]) -> list[Bar]:
    """Return what the present settings and their neighbours merge on the sampled images."""
    estimate = document["estimate"]
    whole = estimate["sample_rows"] or 1
    merged = estimate["merged"]
    bars = [Bar("present settings", f"{merged:,} merged", 0, merged / whole, "main")]
    about = "about " if estimate["is_estimate"] else ""
    for choice in estimate["choices"].values():
        more = choice["more_rows_merged"]
        change = f"{abs(more):,} rows {'fewer' if more < 0 else 'more'}"
        text = f"{choice['merged']:,} merged"
        share = choice["merged"] / whole
        bars.append(Bar(choice["flag"], text, 0, share, "other", f"all images: {about}{change}"))
    return bars


def stage_bars(document: dict[str, Any]) -> list[Bar]:
    """Return where the time went, on the driver and summed over workers."""
    bars: list[Bar] = []
    for where, kind in (("driver", "main"), ("worker", "accent")):
        stages = document["time"][f"{where}_stage_s"]
        most = max(stages.values(), default=0) or 1
        for name, value in stages.items():
            bars.append(Bar(f"{where}: {name}", words.seconds(value), 0, value / most, kind))
    return bars


def settings(document: dict[str, Any]) -> list[tuple[str, str]]:
    """Return every resolved setting as its flag and its value."""
    return [
        (f"--{step}.{name}", words.clip(value, 400))
        for step, values in document["config"].items()
        for name, value in values.items()
    ]


def _pictures(
    samples: Sequence[GroupSample], kind: str, folder: ImageFolder | None
) -> list[Picture]:
    return [picture(sample, folder) for sample in samples if sample.kind == kind]


def stage_rows(document: dict[str, Any]) -> list[tuple[str, float, float | None, float | None]]:
    """Return seconds, masks/s and input bytes/s of every stage of the workers."""
    times = document["time"]
    return [
        (
            name,
            value,
            times["worker_masks_per_s"].get(name),
            times["worker_input_bytes_per_s"].get(name),
        )
        for name, value in times["worker_stage_s"].items()
    ]


def category_aps(document: dict[str, Any]) -> dict[str, dict[str, float | None]]:
    """Return mask AP before and after by category; empty without a ground truth."""
    found = document["metrics"]["categories"] if document["metrics"] else {}
    return {name: kinds["segm"] for name, kinds in found.items() if "segm" in kinds}


def _unit_columns(counts: Sequence[int], first: int, wide: int) -> list[Column]:
    """Return bins of `wide` hundredths from `first` hundredths on, every tenth or so labelled."""
    every = 10 if wide == 1 else 20
    if 100 - first <= 20:
        every = 2
    starts = range(first, 100, wide)
    return [
        Column(
            f"{start / 100:.2f}" if (start - first) % every == 0 else "",
            count,
            f"{start / 100:.2f} to {(start + wide) / 100:.2f}: {count:,}",
        )
        for start, count in zip(starts, counts, strict=True)
    ]


def _files(document: dict[str, Any], where: str) -> str:
    n, groups = document["files"][where], document["row_groups"][where]
    text = "1 file" if n == 1 else f"{n:,} files"
    if groups is None:
        return text
    return f"{text}, {groups:,} row group{'' if groups == 1 else 's'}"
