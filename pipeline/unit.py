"""One unit of work: rows of whole images in, three tables and a record out."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline import clean, dedup, encode, estimate, measures, quality, samples
from pipeline.arrow import pc
from pipeline.backend import NUMBA, Kernels
from pipeline.columns import rejected_rows, size_hw
from pipeline.config import CompactConfig
from pipeline.estimate import Share
from pipeline.order import OrderedRows, order_rows, take_rows
from pipeline.records import SourceCounts, UnitRecord
from schemas.rejects import rejects_schema

Payloads = Callable[[str, Sequence[int]], Sequence[tuple[int | None, bytes]]]
"""(source URI, source rows) -> byte offset and original bytes of those rows."""


class UnitResult(NamedTuple):
    """What a unit of work gave, before it is written."""

    compacted: pa.Table
    lineage: pa.Table
    rejects: pa.Table
    record: UnitRecord


def compact_unit(
    instances: pa.Table,
    rejects: pa.Table,
    record: UnitRecord,
    config: CompactConfig,
    sample_fraction: float,
    payloads: Payloads,
    kernels: Kernels = NUMBA,
    mask_fraction: float = 1.0,
) -> UnitResult:
    """Deduplicate and encode the rows of whole images.

    Parameters
    ----------
    instances : pa.Table
        INSTANCES of whole images, in any order.
    rejects : pa.Table
        REJECTS that reading the same rows gave, run_id not yet set.
    record : UnitRecord
        Number and run of the unit; what reading counted is kept.
    config : CompactConfig
        Decides everything.
    sample_fraction : float
        Share of the images on which estimates are made.
    payloads : callable
        Fetches the original bytes of rows that are rejected here.
    kernels : Kernels
        What compares, merges and encodes masks; only the record says which it was.
    mask_fraction : float
        Share of those images' masks that are encoded in other ways.

    Returns
    -------
    UnitResult
        The record lacks files, which the sink adds.
    """
    started = time.perf_counter()
    instances = clean.clean_rows(instances, config.clean)
    rows = order_rows(instances, config.dedup)
    rows, mismatched = split_sizes(rows, payloads)
    result = dedup.deduplicate(rows, config, kernels)
    lineage = dedup.lineage_table(result, config.dedup, record.run_id)
    grouped = time.perf_counter()
    encoded_rows = encode.encode_rows(result, config, record.run_id, kernels)
    compacted = encoded_rows.table
    encoded = time.perf_counter()
    rejects = _named(pa.concat_tables([rejects, mismatched]), record.run_id)
    _count(record, compacted, lineage, rejects)
    counted = time.perf_counter()
    record.numbers[f"backend.{kernels.name}.{kernels.device}"] = 1
    share = Share(sample_fraction, mask_fraction)
    chosen = estimate.choose_rows(result, share)
    drifts = quality.measure_drift(encoded_rows, chosen.sampled_M)
    measures.measure(record, result, compacted, lineage, drifts)
    tried = estimate.try_choices(result, encoded_rows, config, chosen)
    record.numbers |= tried.numbers
    record.histograms |= tried.histograms
    record.masks = tried.masks
    record.samples = samples.choose(result, compacted, lineage, tried.near, drifts, config)
    record.stage_s |= {
        "dedup": grouped - started,
        "encode": encoded - grouped,
        "account": counted - encoded,
        "measure": time.perf_counter() - counted,
    }
    return UnitResult(compacted, lineage, rejects, record)


def split_sizes(rows: OrderedRows, payloads: Payloads) -> tuple[OrderedRows, pa.Table]:
    """Take out the images whose rows disagree on height and width.

    All rows of such an image are rejected: nothing says which size is right.

    Returns
    -------
    tuple
        The remaining rows, and REJECTS (code ``SIZE_MISMATCH``) of the others.
    """
    offsets_G1 = rows.image_offsets_G1
    hw_N2 = size_hw(rows.table)
    sizes_G = np.diff(offsets_G1)
    first_N2 = np.repeat(hw_N2[offsets_G1[:-1]], sizes_G, axis=0)
    differs_N = (hw_N2 != first_N2).any(axis=1)
    if not differs_N.any():
        return rows, rejects_schema().empty_table()
    is_bad_G = np.add.reduceat(differs_N, offsets_G1[:-1]) > 0
    is_bad_N = np.repeat(is_bad_G, sizes_G)
    kept = take_rows(rows.table, np.flatnonzero(~is_bad_N))
    offsets = np.concatenate(([0], np.cumsum(sizes_G[~is_bad_G]))).astype(np.int64)
    return OrderedRows(kept, offsets), _size_rejects(rows.table, is_bad_N, payloads)


def _size_rejects(table: pa.Table, is_bad_N: NDArray[np.bool_], payloads: Payloads) -> pa.Table:
    columns = ["image_id", "height", "width", "source", "source_row"]
    bad = table.select(columns).filter(pa.array(is_bad_N)).to_pylist()
    by_source: dict[str, list[dict[str, object]]] = {}
    for row in bad:
        by_source.setdefault(str(row["source"]), []).append(row)
    out: list[dict[str, object]] = []
    for source, source_rows in sorted(by_source.items()):
        found = payloads(source, [row["source_row"] for row in source_rows])  # pyright: ignore
        for row, (byte_offset, payload) in zip(source_rows, found, strict=True):
            out.append(
                {
                    "run_id": "",
                    "source": source,
                    "source_row": row["source_row"],
                    "byte_offset": byte_offset,
                    "code": "SIZE_MISMATCH",
                    "field": "segmentation.size",
                    "message": "expected one size in all rows of image "
                    f"{row['image_id']!r}, got {row['height']}x{row['width']} beside another",
                    "payload": payload,
                }
            )
    return pa.Table.from_pylist(out, schema=rejects_schema())


def _named(rejects: pa.Table, run_id: str) -> pa.Table:
    rejects = rejects.set_column(0, rejects.schema.field(0), pa.repeat(run_id, len(rejects)))
    return rejects.sort_by([("source", "ascending"), ("source_row", "ascending")])


def _count(record: UnitRecord, compacted: pa.Table, lineage: pa.Table, rejects: pa.Table) -> None:
    """Say for every source what became of its rows."""
    rejected = rejected_rows(rejects)
    is_merged = pc.is_valid(lineage["kept_instance_id"])
    fates = {
        "kept": compacted["source"],
        "merged": lineage["source"].filter(is_merged),
        "filtered": lineage["source"].filter(pc.invert(is_merged)),
        "rejected": rejected["source"],
    }
    for fate, sources in fates.items():
        for source, count in _value_counts(sources).items():
            counts = record.sources.setdefault(source, SourceCounts())
            setattr(counts, fate, count)
    record.reasons = _value_counts(lineage["reason"])
    record.rejects = _value_counts(rejected["code"])
    record.numbers["repaired_rows"] = len(rejects) - len(rejected)


def _value_counts(column: pa.ChunkedArray) -> dict[str, int]:
    counted = pc.value_counts(column.combine_chunks())
    return dict(Counter({str(item["values"]): item["counts"] for item in counted.to_pylist()}))
