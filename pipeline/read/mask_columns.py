"""Decoded ``segmentation`` values as the columns of raw rows that hold masks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline.masks.batch import CocoStrings
from pipeline.read.image_ids import INT64_MAX, INT64_MIN
from pipeline.read.raw_rows import (
    COUNTS_MASK,
    NO_MASK,
    POLYGON_MASK,
    STRING_MASK,
    RawCounts,
    RawPolygons,
)

Int64 = Annotated[int, msgspec.Meta(ge=INT64_MIN, le=INT64_MAX)]


class Rle(msgspec.Struct, gc=False):
    """A mask as run lengths: a COCO string, or plain counts."""

    size: tuple[Int64, Int64]
    counts: str | list[Int64]


def mask_columns(masks: Sequence[Any]) -> dict[str, Any]:
    """Return the fields of RawRows that hold masks."""
    rles = [mask for mask in masks if type(mask) is Rle]
    if len(rles) == len(masks):
        kind_N = np.full(len(masks), STRING_MASK, np.uint8)
    else:
        kinds = {list: POLYGON_MASK, Rle: STRING_MASK, type(None): NO_MASK}
        kind_N = np.array([kinds[type(mask)] for mask in masks], np.uint8)
    sizes = np.fromiter(chain.from_iterable([rle.size for rle in rles]), np.int64, 2 * len(rles))
    size_hw_N2 = np.full((len(masks), 2), -1, np.int64)
    size_hw_N2[kind_N == STRING_MASK] = sizes.reshape(-1, 2)
    counts = [rle.counts for rle in rles]
    is_plain_M = np.array([type(value) is list for value in counts], np.bool_)
    kind_N[np.flatnonzero(kind_N == STRING_MASK)[is_plain_M]] = COUNTS_MASK
    return {
        "size_hw_N2": size_hw_N2,
        "mask_kind_N": kind_N,
        "strings": _string_column([value for value in counts if type(value) is str]),
        "counts": _counts_column([value for value in counts if type(value) is list]),
        "polygons": _polygon_column([mask for mask in masks if type(mask) is list]),
    }


def _string_column(texts: list[str]) -> CocoStrings:
    joined = "".join(texts)
    if joined.isascii():
        data, lengths = joined.encode(), map(len, texts)
    else:
        encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
        data, lengths = b"".join(encoded), map(len, encoded)
    return CocoStrings(np.frombuffer(data, np.uint8), _offsets(lengths, len(texts)))


def _counts_column(lists: list[list[int]]) -> RawCounts:
    offsets_M1 = _offsets(map(len, lists), len(lists))
    counts = np.fromiter(chain.from_iterable(lists), np.int64, int(offsets_M1[-1]))
    return RawCounts(counts, offsets_M1)


def _polygon_column(polygons: list[list[list[float]]]) -> RawPolygons:
    rings = list(chain.from_iterable(polygons))
    ring_offsets_K1 = _offsets(map(len, rings), len(rings))
    xy_V = np.fromiter(chain.from_iterable(rings), np.float64, int(ring_offsets_K1[-1]))
    return RawPolygons(xy_V, ring_offsets_K1, _offsets(map(len, polygons), len(polygons)))


def _offsets(lengths: Iterable[int], n: int) -> NDArray[np.int64]:
    offsets = np.zeros(n + 1, np.int64)
    np.cumsum(np.fromiter(lengths, np.int64, n), out=offsets[1:])
    return offsets
