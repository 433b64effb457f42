"""INSTANCES of whole images -> the rows that are kept, who stands for whom, and LINEAGE.

The step is pure: the same rows give the same result whatever order they come in.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.arrow import pc
from pipeline.backend import NUMBA, Kernels
from pipeline.columns import size_hw, to_strings
from pipeline.config import CompactConfig, DedupConfig
from pipeline.masks.group import Grouping
from pipeline.masks.group_merge import Merged
from pipeline.order import OrderedRows, source_names
from schemas.lineage import lineage_schema

FILTERS = ("", "min_score", "min_area", "empty")
"""Why a row is filtered, by its number in `filter_N`; the first that applies counts."""


@dataclass(frozen=True)
class Deduplicated:
    """What became of every row of a unit.

    Attributes
    ----------
    rows : OrderedRows
        The rows, in order.
    grouping : Grouping
        Leader, link and overlap of every row.
    filter_N : int8 (N,)
        Index into `FILTERS`: why a row is left out; 0 for a row that is not.
    instance_id_N : int64 (N,)
        The instance_id that each row has if it is kept.
    merged : Merged or None
        The masks of the groups, where they were merged as they were found.
    """

    rows: OrderedRows
    grouping: Grouping
    filter_N: NDArray[np.int8]
    instance_id_N: NDArray[np.int64]
    merged: Merged | None = None

    @cached_property
    def is_kept_N(self) -> NDArray[np.bool_]:
        """Whether each row is in COMPACTED."""
        own = self.grouping.leader_N == np.arange(len(self.grouping.leader_N))
        return own & (self.filter_N == 0)

    @cached_property
    def kept_M(self) -> NDArray[np.int64]:
        """The rows that are in COMPACTED, in its order."""
        return np.flatnonzero(self.is_kept_N)

    @cached_property
    def gone_L(self) -> NDArray[np.int64]:
        """The rows that are in LINEAGE, in its order."""
        return np.flatnonzero(~self.is_kept_N)


def deduplicate(rows: OrderedRows, config: CompactConfig, kernels: Kernels = NUMBA) -> Deduplicated:
    """Filter the rows and group the masks of every image.

    Parameters
    ----------
    rows : OrderedRows
        Whole images in the total order.
    config : CompactConfig
        `filter` and `dedup` decide.
    kernels : Kernels
        What compares the masks; the result does not depend on it.

    Returns
    -------
    Deduplicated
        Filtered rows are compared with nothing and lead only themselves.
    """
    filter_N = _filter_reasons(rows.table, config)
    is_out_N = filter_N > 0
    if config.dedup.group == "none" or config.dedup.merge == "best":
        grouping, merged = group_rows(rows, is_out_N, config.dedup, kernels), None
    else:
        grouping, merged = kernels.group_and_merge(
            *_columns(rows, is_out_N, config.dedup),
            **_policy(config.dedup),
            vote_fraction=vote_fraction(config.dedup),
        )
    return Deduplicated(rows, grouping, filter_N, instance_ids(rows), merged)


def group_rows(
    rows: OrderedRows,
    is_out_N: NDArray[np.bool_],
    config: DedupConfig,
    kernels: Kernels = NUMBA,
) -> Grouping:
    """Group the masks of every image by the policy; rows that are out stay alone.

    ``group="none"`` compares nothing.
    """
    area_N = rows.table["area"].to_numpy()
    if config.group == "none":
        own_N = np.arange(len(area_N))
        is_duplicate_N = np.zeros(len(area_N), bool)
        return Grouping(own_N, own_N, area_N, is_duplicate_N, area_N, 0, 0)
    return kernels.group_masks(*_columns(rows, is_out_N, config), **_policy(config))


def vote_fraction(config: DedupConfig) -> float:
    """Return the part of a group that must have a pixel; 0 for the union: any member will do."""
    return config.vote_fraction if config.merge == "vote" else 0.0


def _columns(rows: OrderedRows, is_out_N: NDArray[np.bool_], config: DedupConfig) -> list[Any]:
    """Return what the kernels are given of the rows."""
    table = rows.table
    is_alone_N = is_out_N | table["iscrowd"].to_numpy(zero_copy_only=False)
    return [
        to_strings(table["counts"]),
        size_hw(table),
        rows.image_offsets_G1,
        category_codes(table["category_id"], is_on=config.per_category),
        is_alone_N,
        source_codes(table, config) if config.across else None,
    ]


def _policy(config: DedupConfig) -> dict[str, Any]:
    return {
        "threshold": config.threshold,
        "overlap": config.overlap,
        "group": config.group,
    }


def category_codes(category_id: pa.ChunkedArray, *, is_on: bool) -> NDArray[np.int64]:
    """Return an integer per row that is equal for rows that may be compared; null is a class."""
    if not is_on:
        return np.zeros(len(category_id), np.int64)
    return _dense_codes(category_id)


def source_codes(table: pa.Table, config: DedupConfig) -> NDArray[np.int32]:
    """Return an integer per row that tells its source from the others."""
    return _dense_codes(source_names(table, config)).astype(np.int32)


def instance_ids(rows: OrderedRows) -> NDArray[np.int64]:
    """Return an id per row, a function of its image_id and of its place in the image only.

    For 0 <= image_id < 2**38 it is image_id * 2**24 + place; for other ids and
    for strings it is 2**62 plus a 62-bit hash of both, so that the two kinds
    never meet. The place counts all valid rows of the image in the total order,
    so a mask keeps its id when the threshold changes.
    """
    sizes_G = np.diff(rows.image_offsets_G1)
    place_N = np.arange(len(rows.table)) - np.repeat(rows.image_offsets_G1[:-1], sizes_G)
    seed_N = np.repeat(image_seeds(rows), sizes_G)
    hashed_N = mix(seed_N.astype(np.uint64) + mix(place_N.astype(np.uint64)))
    large_N = (hashed_N >> np.uint64(2)).astype(np.int64) | np.int64(1 << 62)
    is_small_N = (seed_N >= 0) & (seed_N < 1 << 38) & (place_N < 1 << 24)
    is_small_N &= pa.types.is_integer(rows.table["image_id"].type)
    return np.where(is_small_N, (seed_N << 24) + place_N, large_N)


def image_seeds(rows: OrderedRows) -> NDArray[np.int64]:
    """Return an integer per image, int64 (G,): its id, or 64 bits of a hash of its string."""
    image_id = rows.table["image_id"].take(pa.array(rows.image_offsets_G1[:-1]))
    if pa.types.is_integer(image_id.type):
        return image_id.to_numpy()
    return np.array([_hash_text(text) for text in image_id.to_pylist()], np.int64)


def lineage_table(result: Deduplicated, config: DedupConfig, run_id: str) -> pa.Table:
    """Return LINEAGE: a row for every valid row that is not kept.

    ``linked_source`` and ``linked_source_row`` are set by ``group="component"`` only.
    """
    index_M = result.gone_L
    leader_M = result.grouping.leader_N[index_M]
    linked_M = result.grouping.linked_N[index_M]
    is_merged_M = leader_M != index_M
    is_linked_M = is_merged_M & (config.group == "component")
    iou_M, ios_M = overlaps(result.grouping, index_M)
    table = result.rows.table
    rows = table.select(
        ["image_id", "source", "source_row", "input_id", "category_id", "score"]
    ).take(pa.array(index_M))
    linked = table.select(["source", "source_row"]).take(pa.array(linked_M))
    reason_M = np.where(
        is_merged_M,
        np.where(result.grouping.is_exact_duplicate_N[index_M], "exact_duplicate", "merged"),
        np.array(FILTERS)[result.filter_N[index_M]],
    )
    schema = lineage_schema("int" if pa.types.is_integer(table["image_id"].type) else "string")
    columns = {
        **dict(zip(rows.column_names, rows.columns, strict=True)),
        "run_id": pa.repeat(run_id, len(index_M)),
        "reason": pa.array(reason_M.astype(object), pa.string()),
        "kept_instance_id": pa.array(result.instance_id_N[leader_M], mask=~is_merged_M),
        "iou": pa.array(iou_M, mask=~is_merged_M),
        "ios": pa.array(ios_M, mask=~is_merged_M),
        "linked_source": _where(is_linked_M, linked["source"]),
        "linked_source_row": _where(is_linked_M, linked["source_row"]),
    }
    arrays = [columns[name] for name in schema.names]
    return pa.table(arrays, names=schema.names).cast(schema)


def overlaps(
    grouping: Grouping, index_M: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return IoU and IoS of the given rows with their leaders' input masks; 0 for empty masks."""
    leader_M = grouping.leader_N[index_M]
    shared_M = grouping.intersection_N[index_M].astype(np.float64)
    area_M, leader_area_M = grouping.area_N[index_M], grouping.area_N[leader_M]
    union_M = area_M + leader_area_M - grouping.intersection_N[index_M]
    smaller_M = np.minimum(area_M, leader_area_M)
    iou_M = np.divide(shared_M, union_M, out=np.zeros_like(shared_M), where=union_M > 0)
    ios_M = np.divide(shared_M, smaller_M, out=np.zeros_like(shared_M), where=smaller_M > 0)
    return iou_M, ios_M


def _filter_reasons(table: pa.Table, config: CompactConfig) -> NDArray[np.int8]:
    area_N = table["area"].to_numpy()
    filter_N = np.where(area_N == 0, FILTERS.index("empty"), 0).astype(np.int8)
    filter_N[area_N < config.filter.min_area] = FILTERS.index("min_area")
    if config.filter.min_score is not None:
        score_N = pc.fill_null(table["score"], np.inf).to_numpy()
        filter_N[score_N < config.filter.min_score] = FILTERS.index("min_score")
    return filter_N


def _dense_codes(column: pa.ChunkedArray) -> NDArray[np.int64]:
    encoded = pc.dictionary_encode(column.combine_chunks(), null_encoding="encode")
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    return encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)


def _where(is_set_M: NDArray[np.bool_], column: pa.ChunkedArray) -> pa.Array:
    nulls = pa.nulls(len(column), column.type)
    return pc.if_else(pa.array(is_set_M), column.combine_chunks(), nulls)


def _hash_text(text: str) -> int:
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def mix(value_N: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return a bijective scramble of 64-bit integers (the finaliser of splitmix64)."""
    value_N = (value_N ^ (value_N >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value_N = (value_N ^ (value_N >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value_N ^ (value_N >> np.uint64(31))
