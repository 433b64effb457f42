"""Facts of the rows that were read, and what is to be known of them before a run."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike

from pipeline.arrow import pc
from pipeline.columns import size_hw, to_strings
from pipeline.look.found import QUANTILES, SHOWN_FILES, SHOWN_VALUES, FoundFile, Masks, Problem
from pipeline.masks import rle
from pipeline.order import OrderedRows
from pipeline.plan import Plan, parse_extras
from pipeline.read.slices import FileScan, ReadResult


def describe(table: pa.Table, plan: Plan) -> Masks:
    """Return what the valid rows of a part are like; the table has at least one."""
    facts = rle.inspect_coco(to_strings(table["counts"]), size_hw(table))
    rows: dict[int | None, int] = _counts(table["category_id"])
    categories = sorted(rows.items(), key=lambda pair: (-pair[1], str(pair[0])))
    sizes_U2, count_U = np.unique(size_hw(table), axis=0, return_counts=True)
    sizes = [(int(h), int(w), int(n)) for (h, w), n in zip(sizes_U2, count_U, strict=True)]
    score = table["score"]
    return Masks(
        categories=len([one for one in rows if one is not None]),
        top_categories=categories[:SHOWN_VALUES],
        sizes=len(sizes),
        top_sizes=sorted(sizes, key=lambda size: (-size[2], size))[:SHOWN_VALUES],
        area=quantiles(table["area"].to_numpy()),
        runs=quantiles(facts.n_runs_N),
        string_bytes=quantiles(pc.binary_length(table["counts"]).to_numpy()),
        score=quantiles(pc.drop_null(score).to_numpy()),
        without_score=score.null_count,
        crowds=int(pc.sum(table["iscrowd"]).as_py() or 0),
        empty=int((table["area"].to_numpy() == 0).sum()),
        extras=[f"{field.name}: {field.type}" for field in parse_extras(plan.extras)],
    )


def quantiles(values: ArrayLike) -> list[float]:
    """Return `QUANTILES` of values that are there, each one of them; empty for none."""
    array = np.asarray(values)
    if not len(array):
        return []
    return [float(value) for value in np.quantile(array, QUANTILES, method="lower")]


def row_problems(results: Sequence[ReadResult], scans: Sequence[FileScan]) -> list[Problem]:
    """Return the codes of rejects and the counters, each with its rows, most first."""
    first: dict[str, str] = {}
    n_rows: Counter[str] = Counter()
    counters: Counter[str] = Counter()
    for scan in scans:
        counters.update(scan.counters)
    for result in results:
        counters.update(result.counters)
        for row in result.rejects.select(["code", "source", "source_row", "message"]).to_pylist():
            n_rows[row["code"]] += 1
            where = f"{row['source']}: row {row['source_row']}: {row['message']}"
            first.setdefault(row["code"], where)
    rejects = [Problem("reject", code, n, first[code]) for code, n in n_rows.most_common()]
    return rejects + [Problem("counted", name, n) for name, n in counters.most_common() if n]


def count_images(scans: Sequence[FileScan], rows: OrderedRows | None) -> int | None:
    """Return the distinct images where that is known: all rows were read, or files keep apart."""
    if rows is not None:
        return len(rows.image_offsets_G1) - 1
    known = [scan.n_images for scan in scans if scan.n_images is not None]
    spans: list[tuple[Any, Any]] = []
    for scan in scans:
        ranged: list[Any] = [part for part in scan.slices if part.min_image_id is not None]
        if ranged:
            low = min(part.min_image_id for part in ranged)
            spans.append((low, max(part.max_image_id for part in ranged)))
    is_apart = all(left[1] < right[0] for left, right in itertools.pairwise(sorted(spans)))
    return sum(known) if is_apart and len(known) == len(scans) else None


def list_files(plan: Plan, scans: Sequence[FileScan]) -> list[FoundFile]:
    """Return the first `SHOWN_FILES` of the files that can be read."""
    pairs = zip(plan.inventory[:SHOWN_FILES], scans, strict=False)
    return [
        FoundFile(
            file.uri,
            scan.format,
            file.file_bytes,
            sum(part.n_rows for part in scan.slices),
            scan.n_images,
        )
        for file, scan in pairs
    ]


def _counts(column: pa.ChunkedArray) -> dict[int | None, int]:
    counted = pc.value_counts(column.combine_chunks())
    return {item["values"]: item["counts"] for item in counted.to_pylist()}
