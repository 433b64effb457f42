"""The total order of a unit's rows: what decides who leads and where a row is written.

SEMANTICS: score descending (null last), area descending, canonical COCO string
bytewise, category_id, input id (null last), source URI, source_row. With
``--dedup.across``, the rank of the row's source precedes the score.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.arrow import pc
from pipeline.config import DedupConfig

_TIE_KEYS = ("counts", "category_id", "input_id", "source", "source_row")


class OrderedRows(NamedTuple):
    """The rows of whole images, in order.

    Attributes
    ----------
    table : pa.Table
        INSTANCES sorted by image_id and then by the total order, in one chunk.
    image_offsets_G1 : int64 (G + 1,)
        Image g has the rows ``[image_offsets_G1[g], image_offsets_G1[g + 1])``.
    """

    table: pa.Table
    image_offsets_G1: NDArray[np.int64]


def order_rows(instances: pa.Table, config: DedupConfig) -> OrderedRows:
    """Sort INSTANCES by image_id and the total order.

    Parameters
    ----------
    instances : pa.Table
        By `schemas.instances.instances_schema`, whole images, in any order.
    config : DedupConfig
        `source_priority` and `source_column` precede the score.

    Returns
    -------
    OrderedRows
        Equal for any order of the same rows. Empty for no rows.
    """
    image_N = image_codes(instances["image_id"])
    keys = [_numeric(instances["area"], descending=True), _score_key(instances["score"])]
    if config.source_priority:
        keys.append(_priority(instances, config))
    keys.append(image_N)
    order_N = np.lexsort(keys)
    order_N = _break_ties(instances, order_N, keys)
    table = take_rows(instances, order_N)
    sorted_N = image_N[order_N]
    is_first_N = np.ones(len(sorted_N), bool)
    is_first_N[1:] = sorted_N[1:] != sorted_N[:-1]
    offsets = np.append(np.flatnonzero(is_first_N), len(sorted_N)).astype(np.int64)
    return OrderedRows(table, offsets)


def image_codes(image_id: pa.ChunkedArray) -> NDArray[np.int64]:
    """Return integers that order and tell apart image ids as their own values do.

    Strings compare by their UTF-8 bytes.
    """
    if pa.types.is_integer(image_id.type):
        return image_id.to_numpy()
    encoded = image_id.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    rank = np.empty(len(encoded.dictionary), np.int64)
    rank[pc.sort_indices(encoded.dictionary).to_numpy()] = np.arange(len(rank))
    return rank[encoded.indices.to_numpy(zero_copy_only=False)]


def source_names(instances: pa.Table, config: DedupConfig) -> pa.ChunkedArray:
    """Return what counts as each row's source: the named column, or its file."""
    return instances[config.source_column or "source"].cast(pa.large_string())


def take_rows(table: pa.Table, index_M: NDArray[np.int64]) -> pa.Table:
    """Return the rows at the given places, in one chunk; no copy where nothing moves."""
    if len(index_M) == len(table) and np.array_equal(index_M, np.arange(len(table))):
        return table.combine_chunks()
    return table.combine_chunks().take(pa.array(index_M)).combine_chunks()


def _score_key(score: pa.ChunkedArray) -> NDArray[np.float64]:
    return -pc.fill_null(score, -np.inf).to_numpy() + 0.0


def _numeric(column: pa.ChunkedArray, *, descending: bool) -> NDArray[np.int64]:
    values = column.to_numpy()
    return -values if descending else values


def _priority(instances: pa.Table, config: DedupConfig) -> NDArray[np.int64]:
    known = pa.array(config.source_priority, pa.large_string())
    rank = pc.index_in(source_names(instances, config), known)
    return pc.fill_null(rank, len(known)).to_numpy().astype(np.int64)


def _break_ties(
    instances: pa.Table, order_N: NDArray[np.int64], keys: list[NDArray]
) -> NDArray[np.int64]:
    """Sort the rows that the numeric keys leave equal by the remaining keys."""
    is_equal_N = np.ones(max(len(order_N) - 1, 0), bool)
    for key_N in keys:
        sorted_N = key_N[order_N]
        is_equal_N &= sorted_N[1:] == sorted_N[:-1]
    if not is_equal_N.any():
        return order_N
    starts_N = np.concatenate(([True], ~is_equal_N))
    is_tied_N = np.zeros(len(order_N), bool)
    is_tied_N[1:] |= is_equal_N
    is_tied_N[:-1] |= is_equal_N
    place_T = np.flatnonzero(is_tied_N)
    rows_T = order_N[place_T]
    tied = instances.select(list(_TIE_KEYS)).take(pa.array(rows_T))
    tied = tied.append_column("tie", pa.array(np.cumsum(starts_N)[place_T]))
    sort_keys = [("tie", "ascending")] + [(name, "ascending") for name in _TIE_KEYS]
    result = order_N.copy()
    result[place_T] = rows_T[pc.sort_indices(tied, sort_keys=sort_keys).to_numpy()]
    return result
