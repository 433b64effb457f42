"""Kept rows -> COMPACTED: the mask of each group, stored as RLE, crack code or polygon."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.backend import NUMBA, Kernels
from pipeline.columns import from_strings, size_hw, to_strings
from pipeline.config import CompactConfig
from pipeline.dedup import Deduplicated, vote_fraction
from pipeline.masks import rle
from pipeline.masks.group_merge import merge_groups
from pipeline.stored import StoredMasks, store_masks
from schemas.compacted import compacted_schema
from schemas.instances import FIXED_COLUMNS

COPIED = (
    "image_id",
    "input_id",
    "category_id",
    "score",
    "iscrowd",
    "height",
    "width",
    "input_bbox_x",
    "input_bbox_y",
    "input_bbox_w",
    "input_bbox_h",
    "input_area",
    "source",
    "source_row",
)
"""Columns that a kept row takes over from its leader as they are."""


class Encoded(NamedTuple):
    """The kept rows of a unit as they are written, and the masks that they stand for.

    Attributes
    ----------
    table : pa.Table
        COMPACTED.
    counts : pa.Array
        The mask of each group as a canonical COCO string, large_binary (M,).
    mask_area_M : int64 (M,)
        Its pixels.
    """

    table: pa.Table
    counts: pa.Array
    mask_area_M: NDArray[np.int64]


def encode_rows(
    result: Deduplicated, config: CompactConfig, run_id: str, kernels: Kernels = NUMBA
) -> Encoded:
    """Return the leaders, in order, each with the mask of its group.

    Parameters
    ----------
    result : Deduplicated
        Rows of whole images and what became of them.
    config : CompactConfig
        `dedup.merge` and `encode` decide.
    run_id : str
        Written into every row.
    kernels : Kernels
        What writes crack code.
    """
    index_M = result.kept_M
    sizes = result.rows.table.select(["height", "width"]).take(pa.array(index_M))
    counts = merged_masks(result, index_M, config)
    stored = store_masks(counts, sizes, config.encode, kernels)
    return Encoded(assemble(result, stored, run_id), counts, stored.mask_area_M)


def assemble(result: Deduplicated, stored: StoredMasks, run_id: str) -> pa.Table:
    """Return COMPACTED of the leaders, in order, with the given masks."""
    table = result.rows.table
    index_M = result.kept_M
    kept = table.select(_kept_columns(table)).take(pa.array(index_M))
    values: dict[str, pa.Array | pa.ChunkedArray] = {
        **dict(zip(kept.column_names, kept.columns, strict=True)),
        **stored.columns,
        **{
            name: pa.array(stored.bbox_xywh_M4[:, n])
            for n, name in enumerate(("bbox_x", "bbox_y", "bbox_w", "bbox_h"))
        },
        "instance_id": pa.array(result.instance_id_N[index_M]),
        "area": pa.array(stored.area_M),
        "fidelity": pa.array(stored.fidelity_M),
        "n_merged": pa.array(members(result)[index_M].astype(np.int32) - 1),
        "run_id": pa.repeat(run_id, len(index_M)),
    }
    schema = _schema(table)
    return pa.table([values[name] for name in schema.names], names=schema.names).cast(schema)


def merged_masks(
    result: Deduplicated, index_M: NDArray[np.int64], config: CompactConfig
) -> pa.Array:
    """Return the mask that each kept row stands for, as canonical COCO strings.

    ``best`` needs no run to be read: the leaders' strings are returned as they
    are, and so are those of rows that stand for themselves alone. ``union`` and
    ``vote`` were made with the groups, or are made now; a vote that leaves no
    pixel keeps the leader's mask.
    """
    table = result.rows.table
    counts = table["counts"].combine_chunks()
    is_group_M = members(result)[index_M] > 1
    if config.dedup.merge == "best" or not is_group_M.any():
        return counts.take(pa.array(index_M))
    leader_G = index_M[is_group_M]
    merged = result.merged or merge_groups(
        to_strings(counts),
        size_hw(table),
        result.grouping.leader_N,
        vote_fraction(config.dedup),
        leader_K=leader_G,
    )
    place_G = np.searchsorted(merged.leader_K, leader_G)
    choice_M = index_M.copy()
    choice_M[is_group_M] = np.where(merged.area_K[place_G] > 0, len(table) + place_G, leader_G)
    return from_strings(rle.choose_strings(to_strings(counts), merged.strings, choice_M))


def members(result: Deduplicated) -> NDArray[np.int64]:
    """Return the number of rows that each row leads, itself counted; 0 for claimed rows."""
    leader_N = result.grouping.leader_N
    return np.bincount(leader_N, minlength=len(leader_N)).astype(np.int64)


def _kept_columns(table: pa.Table) -> list[str]:
    extras = [name for name in table.column_names if name not in FIXED_COLUMNS]
    return [*COPIED, *extras]


def _schema(table: pa.Table) -> pa.Schema:
    id_type = "int" if pa.types.is_integer(table.schema.field("image_id").type) else "string"
    extras = [field for field in table.schema if field.name not in FIXED_COLUMNS]
    return compacted_schema(id_type, extras)
