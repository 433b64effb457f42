"""What other settings would do, tried on a sample of the images and named an estimate."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from pipeline.config import CompactConfig
from pipeline.dedup import Deduplicated, group_rows, image_seeds, mix
from pipeline.order import OrderedRows, take_rows


def estimate_agnostic(
    result: Deduplicated, config: CompactConfig, fraction: float
) -> dict[str, float]:
    """Count on sampled images what ``--dedup.per_category false`` would merge.

    Returns
    -------
    dict
        ``sample_images``, ``sample_rows`` (that may be merged), ``sample_merged``
        by the present settings, ``sample_merged_agnostic`` across categories.
    """
    is_in_G = sample_images(result.rows, fraction)
    sizes_G = np.diff(result.rows.image_offsets_G1)
    index_M = np.flatnonzero(np.repeat(is_in_G, sizes_G))
    offsets = np.concatenate(([0], np.cumsum(sizes_G[is_in_G]))).astype(np.int64)
    sample = OrderedRows(take_rows(result.rows.table, index_M), offsets)
    is_out_M = result.filter_N[index_M] > 0
    agnostic = dataclasses.replace(config.dedup, per_category=False)
    leader_M = group_rows(sample, is_out_M, agnostic).leader_N
    is_crowd_M = sample.table["iscrowd"].to_numpy(zero_copy_only=False)
    return {
        "sample_images": int(is_in_G.sum()),
        "sample_rows": int((~is_out_M & ~is_crowd_M).sum()),
        "sample_merged": int((result.grouping.leader_N[index_M] != index_M).sum()),
        "sample_merged_agnostic": int((leader_M != np.arange(len(index_M))).sum()),
    }


def sample_images(rows: OrderedRows, fraction: float) -> NDArray[np.bool_]:
    """Return which images are in the sample, bool (G,): by a hash of the image_id alone."""
    hashed_G = mix(image_seeds(rows).astype(np.uint64))
    return hashed_G <= np.uint64(min(int(fraction * 2**64), 2**64 - 1))
