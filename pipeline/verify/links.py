"""Order and identity of the kept rows, and LINEAGE closing on them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.arrow import pc
from pipeline.columns import is_valid, one_chunk
from pipeline.config import DedupConfig
from pipeline.dedup import mix
from pipeline.order import image_codes
from pipeline.verify.findings import Findings, read_row_groups, short_name
from pipeline.verify.published import Published, total_rows
from schemas.lineage import REASONS

_PASS_ROWS = 1 << 24
_MERGED = REASONS[:2]


def check_order(published: Published, findings: Findings) -> None:
    """Check that compacted is sorted by image_id, its files disjoint, its row groups whole."""
    last: Any = None
    last_uri = ""
    for uri in published.files["compacted"]:
        for group in read_row_groups(uri, ["image_id"]):
            column = group.rows["image_id"]
            code_N = image_codes(column)
            is_back_N = np.diff(code_N, prepend=code_N[:1]) < 0
            findings.add_rows(
                short_name(uri),
                is_back_N,
                "rows sorted by image_id",
                lambda row, column=column: (
                    f"image_id {column[row].as_py()!r} after {column[row - 1].as_py()!r}"
                ),
                group.first_row + np.arange(len(is_back_N)),
            )
            first = _key(column[0].as_py())
            if last is not None and first <= last:
                where = f"{short_name(uri)} row group {group.number}"
                expected = "row groups of whole images, in order"
                if uri != last_uri:
                    where = short_name(uri)
                    expected = f"image ids beyond those of {short_name(last_uri)}"
                shown = column[0].as_py()
                findings.add(where, expected, f"that it starts with image_id {shown!r}")
            last, last_uri = _key(column[-1].as_py()), uri


def check_lineage(published: Published, config: DedupConfig, findings: Findings) -> None:
    """Check every row of lineage on its own: reason, and overlap with the leader."""
    names = ["reason", "kept_instance_id", "iou", "ios", "linked_source", "linked_source_row"]
    for uri in published.files["lineage"]:
        for group in read_row_groups(uri, names):
            _check_lineage_rows(uri, group.first_row, group.rows, config, findings)


def _check_lineage_rows(
    uri: str, first_row: int, rows: pa.Table, config: DedupConfig, findings: Findings
) -> None:
    reason = rows["reason"]
    iou_N, ios_N = (pc.fill_null(rows[name], np.nan).to_numpy() for name in ("iou", "ios"))
    is_known_N = _is_in(reason, REASONS)
    is_merged_N = _is_in(reason, _MERGED)
    is_twin_N = _is_in(reason, _MERGED[1:])
    lowest = 0.0 if config.group == "component" else np.nextafter(0, 1)
    is_inside_N = (iou_N >= lowest) & (ios_N >= iou_N) & (ios_N <= 1)
    overlap_N = iou_N if config.overlap == "iou" else ios_N
    reached_N = overlap_N >= config.threshold if config.group == "leader" else np.True_
    is_set = {name: is_valid(one_chunk(rows[name])) for name in rows.column_names[1:]}
    filled_N = is_set["kept_instance_id"] & is_set["iou"] & is_set["ios"]
    empty_N = ~(is_set["kept_instance_id"] | is_set["iou"] | is_set["ios"])
    is_linked_N = is_merged_N & (config.group == "component")
    linked_N = (is_set["linked_source"] == is_linked_N) & (
        is_set["linked_source_row"] == is_linked_N
    )
    checks: list[tuple[NDArray[np.bool_], str]] = [
        (is_known_N, f"a reason of {', '.join(REASONS)}"),
        (
            ~is_known_N | np.where(is_merged_N, filled_N, empty_N),
            "kept_instance_id, iou and ios of a merged row, and of no other",
        ),
        (~is_known_N | linked_N, "linked_source of rows merged with --dedup.group component only"),
        (~(is_merged_N & filled_N) | is_inside_N, "overlaps with 0 < iou <= ios <= 1"),
        (
            ~(is_merged_N & filled_N) | reached_N,
            f"{config.overlap} of at least the threshold {config.threshold}",
        ),
        (~(is_twin_N & filled_N) | (iou_N == 1), "an iou of 1 of an exact duplicate"),
    ]
    for is_good_N, expected in checks:
        findings.add_rows(
            short_name(uri),
            ~is_good_N,
            expected,
            lambda row: str(rows.slice(row, 1).to_pylist()[0]),
            first_row + np.arange(len(rows)),
        )


def check_identities(published: Published, findings: Findings) -> None:
    """Check that instance_id is unique, and that lineage names each row n_merged times.

    Memory: that of 2**24 rows, however many there are; more rows are looked at in
    several passes, each over the ids with one remainder of their hash.
    """
    rows = total_rows(published, "compacted") + total_rows(published, "lineage")
    n_passes = max(1, -(-rows // _PASS_ROWS))
    for number in range(n_passes):
        kept = _collect(published, "compacted", ["instance_id", "n_merged"], n_passes, number)
        named = _collect(published, "lineage", ["kept_instance_id"], n_passes, number)
        _check_identities(kept[0], kept[1], named[0], findings)


def _check_identities(
    id_M: NDArray[np.int64],
    n_merged_M: NDArray[np.int64],
    named_L: NDArray[np.int64],
    findings: Findings,
) -> None:
    order_M = np.argsort(id_M, kind="stable")
    id_M, n_merged_M = id_M[order_M], n_merged_M[order_M]
    twice = np.unique(id_M[1:][id_M[1:] == id_M[:-1]])
    if len(twice):
        expected = "instance_id to be unique"
        findings.add("compacted", expected, f"{len(twice)} that are not: {_few(twice)}")
    named, times = np.unique(named_L, return_counts=True)
    unknown = named[~np.isin(named, id_M)]
    if len(unknown):
        expected = "every kept_instance_id to be in compacted"
        findings.add("lineage", expected, f"{len(unknown)} that are not: {_few(unknown)}")
    place_M = np.minimum(np.searchsorted(named, id_M), max(len(named) - 1, 0))
    times_M = np.zeros(len(id_M), np.int64)
    if len(named):
        times_M = np.where(named[place_M] == id_M, times[place_M], 0)
    bad_M = np.flatnonzero(times_M != n_merged_M)
    if len(bad_M):
        first = bad_M[0]
        findings.add(
            f"compacted, instance_id {id_M[first]}",
            f"n_merged {times_M[first]}, as often as lineage names it",
            f"{n_merged_M[first]} (so are {len(bad_M)} rows in all: {_few(id_M[bad_M])})",
        )


def _collect(
    published: Published, table: str, columns: list[str], n_passes: int, number: int
) -> list[NDArray[np.int64]]:
    """Return integer columns of the rows whose id, the first of them, is of one pass; no nulls."""
    parts: list[list[NDArray[np.int64]]] = [[np.empty(0, np.int64)] for _ in columns]
    for uri in published.files[table]:
        for group in read_row_groups(uri, columns):
            rows = group.rows.filter(group.rows[columns[0]].is_valid())
            values = [rows[name].to_numpy().astype(np.int64) for name in columns]
            is_own_N = mix(values[0].astype(np.uint64)) % np.uint64(n_passes) == number
            for part, value_N in zip(parts, values, strict=True):
                part.append(value_N[is_own_N])
    return [np.concatenate(part) for part in parts]


def _is_in(column: pa.ChunkedArray, names: tuple[str, ...]) -> NDArray[np.bool_]:
    return pc.is_in(column, value_set=pa.array(names, column.type)).to_numpy()


def _few(ids: NDArray[np.int64]) -> str:
    return ", ".join(map(str, ids[:5].tolist())) + (", …" if len(ids) > 5 else "")


def _key(image_id: int | str) -> Any:
    return image_id.encode() if isinstance(image_id, str) else image_id
