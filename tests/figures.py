"""Every figure of a report as a DuckDB query over the input, the three tables and their pixels.

What is asked: ``input`` (the files, with `source` and `source_row`), ``compacted``,
``lineage``, ``rejects``, ``pixels`` (of every kept row: areas, IoU and boundary IoU of the
stored mask with the one that is meant, counted on bitmaps), ``pairs`` (kept rows of an image
with their IoU), ``sample`` (images of the sample), ``neighbour`` and ``other_encoding``
(lineage and compacted of runs with one setting changed), ``files`` and ``groups`` (sizes and
row groups as DuckDB sees them on disk).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Path = tuple[str, ...]

REJECTED = "(select * from rejects where repaired is null)"
VALID = f"(select i.* from input i anti join {REJECTED} r using (source, source_row))"
NAME = "coalesce(category_id::varchar, 'null')"
BYTES = "coalesce(octet_length(counts), octet_length(crack), octet_length(polygon))"
MERGED = "kept_instance_id is not null"
FATES = f"""(select source, 'kept' fate from compacted
    union all select source, case when {MERGED} then 'merged' else 'filtered' end from lineage
    union all select source, 'rejected' from {REJECTED}
    union all select source, 'read' from input)"""
KEPT = "(select * from compacted join pixels using (instance_id))"
SAMPLED = (
    "(select * from compacted join pixels using (instance_id) semi join sample using (image_id))"
)
COMPARED = f"""(select v.*, not exists (select 1 from lineage l where not ({MERGED}) and
    l.source = v.source and l.source_row = v.source_row) and not iscrowd is_compared
    from {VALID} v semi join sample using (image_id))"""
MORE = f"""(select choice, count(s.image_id) n from neighbour
    left join sample s using (image_id) where {MERGED} group by 1)"""
NOW = f"(select count(*) from lineage semi join sample using (image_id) where {MERGED})"


def _histogram(value: str, table: str, bins: int = 100) -> str:
    return (
        f"select least(floor({value} * {bins}), {bins - 1})::int, count(*) from {table} group by 1"
    )


SCALARS: dict[str, str] = {
    "images": f"select count(distinct image_id) from {VALID}",
    "bytes.input_files": "select sum(size) from files where kind = 'input'",
    "bytes.input_masks": f"select sum(octet_length(counts)) from {VALID}",
    "bytes.filtered_masks": f"""select sum(octet_length(counts)) from {VALID}
        join (select source, source_row from lineage where not ({MERGED}))
        using (source, source_row)""",
    "bytes.merged_masks": f"""select sum(octet_length(counts)) from {VALID}
        join (select source, source_row from lineage where {MERGED}) using (source, source_row)""",
    "bytes.stored_masks": f"select sum({BYTES}) from compacted",
    "files.input": "select count(*) from files where kind = 'input'",
    "files.compacted": "select count(*) from files where kind = 'compacted'",
    "row_groups.input": "select count(*) from groups where kind = 'input'",
    "row_groups.compacted": "select count(*) from groups where kind = 'compacted'",
    "merged_fraction": f"""select count(*) filter ({MERGED}) / (select count(*) from input)
        from lineage""",
    "mean_iou": f"select avg(iou) from lineage where {MERGED}",
    "mean_fidelity": "select avg(iou) from pixels",
    "mean_boundary_iou": f"select avg(boundary) from {SAMPLED}",
    "area_drift": "select sum(stored_area) / sum(mask_area) - 1 from pixels",
    "estimate.sample_images": f"""select count(distinct image_id) from {VALID}
        semi join sample using (image_id)""",
    "estimate.sample_rows": f"select count(*) from {COMPARED} where is_compared",
    "estimate.sample_kept": f"select count(*) from {SAMPLED}",
    "estimate.encoded_masks": f"select count(*) from {SAMPLED}",
    "estimate.merged": f"select {NOW}",
    "counters.score_out_of_range": f"select count(*) from {VALID} where score not between 0 and 1",
    "plan.files": "select count(*) from files where kind = 'input'",
}
"""Figure -> a query of one value."""

FAMILIES: dict[str, str] = {
    "rows.*": f"select fate, count(*) from {FATES} group by 1",
    "reasons.*": "select reason, count(*) from lineage group by 1",
    "rejects.*": f"select code, count(*) from {REJECTED} group by 1",
    "bytes.output_files.*": "select kind, sum(size) from files where kind != 'input' group by 1",
    "encodings.*.masks": "select encoding, count(*) from compacted group by 1",
    "encodings.*.bytes": f"select encoding, sum({BYTES}) from compacted group by 1",
    "categories.*.kept": f"select {NAME}, count(*) from compacted group by 1",
    "categories.*.merged": f"select {NAME}, count(*) filter ({MERGED}) from lineage group by 1",
    "categories.*.filtered": f"""select {NAME}, count(*) filter (not ({MERGED})) from lineage
        group by 1""",
    "categories.*.input_bytes": f"select {NAME}, sum(octet_length(counts)) from {VALID} group by 1",
    "categories.*.mean_iou": f"select {NAME}, avg(iou) from lineage where {MERGED} group by 1",
    "categories.*.mean_fidelity": f"select {NAME}, avg(iou) from {KEPT} group by 1",
    "categories.*.min_fidelity": f"select {NAME}, min(iou) from {KEPT} group by 1",
    "categories.*.boundary_masks": f"select {NAME}, count(*) from {SAMPLED} group by 1",
    "categories.*.mean_boundary_iou": f"select {NAME}, avg(boundary) from {SAMPLED} group by 1",
    "categories.*.min_boundary_iou": f"select {NAME}, min(boundary) from {SAMPLED} group by 1",
    "categories.*.area_drift": f"""select {NAME}, sum(stored_area) / sum(mask_area) - 1
        from {KEPT} group by 1""",
    "categories.*.max_area_drift": f"""select {NAME}, max(abs(stored_area / mask_area - 1))
        from {KEPT} group by 1""",
    "estimate.choices.*.merged": f"select choice, n from {MORE}",
    "estimate.choices.*.more_rows_merged": f"""select choice, round((n - {NOW}) *
        (select count(*) from input) / (select count(*) from {COMPARED} where is_compared))
        from {MORE}""",
    "estimate.encoded_bytes.*": f"""select tried, sum({BYTES}) from other_encoding
        semi join sample using (image_id) group by 1""",
}
"""Figures by name -> a query of names and values; a name that it does not give is 0 or null."""

PAIRS: dict[str, str] = {
    "sources.*.*": f"select source, fate, count(*) from {FATES} group by all",
    "categories.*.masks.*": f"select {NAME}, encoding, count(*) from compacted group by all",
    "categories.*.stored_bytes.*": f"""select {NAME}, encoding, sum({BYTES}) from compacted
        group by all""",
}
"""Figures by two names -> a query of both and the value."""

HISTOGRAMS: dict[str, str] = {
    "merged_iou": _histogram("iou", f"(select iou from lineage where {MERGED})"),
    "fidelity": _histogram("iou", "pixels"),
    "boundary": _histogram("boundary", SAMPLED),
    "group_size": "select floor(log2(n_merged + 1))::int, count(*) from compacted group by 1",
    "near_miss": """select least(floor((iou - low) / (high - low) * 10), 9)::int, count(*)
        from pairs, range_of where iou >= low and iou < high group by 1""",
}
"""Histogram -> a query of bins and counts."""

NOT_OF_THE_TABLES: dict[str, str] = {
    "report_version": "of the program",
    "run_id": "a hash; compared with the tables' column",
    "versions": "of the program",
    "config": "what was asked for; compared with it",
    "backend": "kernels that ran, not what they gave; one per unit",
    "backend_reason": "text",
    "pairs": "work that was done; bounded by the pairs that there are",
    "plan": "units and shuffle; compared with the records on disk",
    "estimate.is_estimate": "follows from the fraction",
    "estimate.sample_fraction": "set before the run",
    "estimate.choices.*.flag": "text",
    "near_miss_range": "the threshold and 0.1 less",
    "metrics": "AP: test_evaluate.py, test_flow_gates.py",
    "ap_drop": "AP: test_evaluate.py, test_flow_gates.py",
    "time": "clocks; their sums are compared",
    "gates": "limits that were set, and figures from above; compared with both",
}
"""The figures that no query can give, and what they are compared with instead."""


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield every value of a report that is no object, with the keys that lead to it."""
    if not isinstance(value, dict):
        yield path, value
        return
    for key, inner in value.items():
        yield from leaves(inner, (*path, key))


def matches(pattern: str, path: Path) -> bool:
    """Whether a path begins as a pattern says, whose stars stand for any one key."""
    keys = pattern.split(".")
    return len(keys) <= len(path) and all(
        key in ("*", own) for key, own in zip(keys, path, strict=False)
    )


def ask_all(connection: Any) -> dict[Path, Any]:
    """Return the figures that queries give, by path."""
    found: dict[Path, Any] = {}
    for name, sql in SCALARS.items():
        (row,) = connection.sql(sql).fetchall()
        found[tuple(name.split("."))] = row[0]
    for name, sql in (FAMILIES | PAIRS).items():
        for *keys, value in connection.sql(sql).fetchall():
            own = iter(keys)
            found[tuple(next(own) if key == "*" else key for key in name.split("."))] = value
    for name, sql in HISTOGRAMS.items():
        found["histograms", name] = dict(connection.sql(sql).fetchall())
    return found
