"""What every way to merge keeps, and the distinct masks that come up: each is encoded once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline import encode
from pipeline.config import CompactConfig, DedupConfig
from pipeline.dedup import Deduplicated
from pipeline.tune.overlaps import Overlaps, decide


class Merged(NamedTuple):
    """What one way to merge keeps.

    Attributes
    ----------
    dedup : DedupConfig
        The way.
    result : Deduplicated
        Who leads whom.
    mask_N : int64 (N,)
        The mask of `MaskPool` that stands for each row; -1 for filtered rows.
    """

    dedup: DedupConfig
    result: Deduplicated
    mask_N: NDArray[np.int64]

    @property
    def kept_M(self) -> NDArray[np.int64]:
        """Rows that are kept."""
        return self.result.kept_M


class MaskPool(NamedTuple):
    """U distinct masks: the rows' own, and those that merging makes of them.

    Attributes
    ----------
    counts : pa.Array
        Canonical COCO strings, large_binary (U,).
    sizes : pa.Table
        Height and width of each.
    own_N : int64 (N,)
        The mask of each row.
    """

    counts: pa.Array
    sizes: pa.Table
    own_N: NDArray[np.int64]


def merge_all(
    base: Deduplicated, found: Overlaps, dedups: Sequence[DedupConfig], config: CompactConfig
) -> tuple[list[Merged], MaskPool]:
    """Decide every way to merge from the same pairs, and make the masks of all groups.

    Parameters
    ----------
    base : Deduplicated
        Rows and filters.
    found : Overlaps
        Pairs down to the lowest threshold.
    dedups : sequence of DedupConfig
        The ways.
    config : CompactConfig
        The rest of the settings.
    """
    table = base.rows.table
    n_rows = len(table)
    parts: list[pa.Array] = [table["counts"].combine_chunks()]
    homes = [np.arange(n_rows)]
    merged: list[Merged] = []
    n_masks = n_rows
    for dedup in dedups:
        result = decide(base, found, dedup)
        leader_N = result.grouping.leader_N
        mask_N = leader_N.copy()
        group_G = np.flatnonzero(result.is_kept_N & (encode.members(result) > 1))
        if dedup.merge != "best" and len(group_G):
            changed = CompactConfig(inputs=config.inputs, output=config.output, dedup=dedup)
            parts.append(encode.merged_masks(result, group_G, changed))
            homes.append(group_G)
            place_N = np.full(n_rows, -1)
            place_N[group_G] = n_masks + np.arange(len(group_G))
            mask_N = np.where(place_N[leader_N] >= 0, place_N[leader_N], leader_N)
            n_masks += len(group_G)
        mask_N[base.filter_N > 0] = -1
        merged.append(Merged(dedup, result, mask_N))
    pool, distinct_A = _distinct(parts, np.concatenate(homes), table, n_rows)
    return [
        one._replace(mask_N=np.where(one.mask_N < 0, -1, distinct_A[one.mask_N])) for one in merged
    ], pool


def _distinct(
    parts: list[pa.Array], home_A: NDArray[np.int64], table: pa.Table, n_rows: int
) -> tuple[MaskPool, NDArray[np.int64]]:
    """Return the distinct masks of all, and which of them each is; sizes tell masks apart too."""
    counts = pa.concat_arrays(parts)
    sizes = table.select(["height", "width"]).take(pa.array(home_A))
    code_A = counts.dictionary_encode().indices.to_numpy(zero_copy_only=False).astype(np.int64)
    height_A = sizes["height"].to_numpy().astype(np.int64)
    height_A = np.unique(height_A, return_inverse=True)[1]
    key_A = code_A * (int(height_A.max(initial=0)) + 1) + height_A
    _, first_U, distinct_A = np.unique(key_A, return_index=True, return_inverse=True)
    index = pa.array(first_U)
    return MaskPool(counts.take(index), sizes.take(index), distinct_A[:n_rows]), distinct_A
