"""What other settings would do, tried on a sample of the images and named an estimate."""

from __future__ import annotations

import dataclasses
import time
import typing
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline import dedup
from pipeline.columns import size_hw, to_strings
from pipeline.config import CompactConfig, DedupConfig, EncodeConfig, Encoding
from pipeline.dedup import Deduplicated, group_rows, image_seeds, mix
from pipeline.encode import Encoded
from pipeline.masks import overlap, rle
from pipeline.measures import stored_lengths
from pipeline.order import OrderedRows, take_rows
from pipeline.records import MaskSample
from pipeline.stored import store_masks

STEP = 0.1
"""How far the neighbouring thresholds are from the present one, and near misses at most."""

NEAR_BINS = 10
"""Bins of the histogram of near misses, over [threshold - STEP, threshold)."""


ENCODED_ROWS = 128
"""About so many rows of the input, or rather the kept ones of them, are tried in all encodings."""

STRING_BYTES = 1 << 18
"""Longest COCO string of a mask that is tried: a unit's record has to hold it."""


class NearMisses(NamedTuple):
    """Pairs of kept rows of one image that overlap by nearly the threshold.

    Attributes
    ----------
    i_P, j_P : int64 (P,)
        Rows of the unit, i before j in the order.
    overlap_P, iou_P : float64 (P,)
        By the measure of ``--dedup.overlap``, and the IoU.
    """

    i_P: NDArray[np.int64]
    j_P: NDArray[np.int64]
    overlap_P: NDArray[np.float64]
    iou_P: NDArray[np.float64]


class Tried(NamedTuple):
    """What was found on the sampled images of a unit, and the masks to try in all encodings."""

    numbers: dict[str, float]
    histograms: dict[str, list[int]]
    near: NearMisses
    masks: list[MaskSample]


def choices(config: DedupConfig) -> dict[str, tuple[str, DedupConfig]]:
    """Return by name the neighbouring settings of dedup, each with the flag that asks for it."""
    if config.group == "none":
        return {}
    found: dict[str, tuple[str, DedupConfig]] = {}
    for name, value in (
        ("lower_threshold", round(config.threshold - STEP, 10)),
        ("higher_threshold", min(1.0, round(config.threshold + STEP, 10))),
    ):
        if value > 0 and value != config.threshold:
            changed = dataclasses.replace(config, threshold=value)
            found[name] = (f"--dedup.threshold {value:g}", changed)
    name = "across_categories" if config.per_category else "within_category"
    flag = f"--dedup.per_category {'false' if config.per_category else 'true'}"
    found[name] = (flag, dataclasses.replace(config, per_category=not config.per_category))
    return found


class Share(NamedTuple):
    """Parts that are tried: of the images, and of their kept masks for other encodings."""

    images: float
    masks: float


class Chosen(NamedTuple):
    """What of a unit is in the sample: by hashes, so that it does not depend on the units.

    Attributes
    ----------
    is_in_G : bool (G,)
        Images.
    sampled_M, encoded_M : int64
        Places among the kept rows: of those images, and of those tried in other encodings.
    """

    is_in_G: NDArray[np.bool_]
    sampled_M: NDArray[np.int64]
    encoded_M: NDArray[np.int64]


def mask_fraction(n_rows: int, image_fraction: float) -> float:
    """Return the share of the sampled images' masks that are tried in other encodings.

    So many that about `ENCODED_ROWS` rows of the input are: a polygon costs a thousand
    times what comparing a mask does.
    """
    return min(1.0, ENCODED_ROWS / max(n_rows * image_fraction, 1.0))


def choose_rows(result: Deduplicated, share: Share) -> Chosen:
    """Choose images by a hash of their id, and masks by a hash of their instance_id."""
    is_in_G = sample_images(result.rows, share.images)
    is_in_N = np.repeat(is_in_G, np.diff(result.rows.image_offsets_G1))
    sampled_M = np.flatnonzero(is_in_N[result.kept_M])
    hash_S = mix(~result.instance_id_N[result.kept_M[sampled_M]].astype(np.uint64))
    return Chosen(is_in_G, sampled_M, sampled_M[_is_below(hash_S, share.masks)])


def try_choices(
    result: Deduplicated, encoded: Encoded, config: CompactConfig, chosen: Chosen
) -> Tried:
    """Count on sampled images what neighbouring settings and other encodings would give.

    Parameters
    ----------
    result : Deduplicated
        The unit's rows and what became of them.
    encoded : Encoded
        What is kept, in the order of the rows.
    config : CompactConfig
        The present settings.
    chosen : Chosen
        The sample.

    Returns
    -------
    Tried
        Numbers: ``sample_images``, ``sample_rows`` (that may be merged), ``sample_merged`` by
        the present settings, ``sample_merged.<choice>`` by the others (see `choices`),
        ``sample_kept`` rows. Histogram ``near_miss``: pairs of kept rows by their overlap,
        just below the threshold.
    """
    is_in_G = chosen.is_in_G
    index_M = np.flatnonzero(np.repeat(is_in_G, np.diff(result.rows.image_offsets_G1)))
    sample = take_images(result.rows, is_in_G)
    is_out_M = result.filter_N[index_M] > 0
    is_crowd_M = sample.table["iscrowd"].to_numpy(zero_copy_only=False)
    numbers: dict[str, float] = {
        "sample_images": int(is_in_G.sum()),
        "sample_rows": int((~is_out_M & ~is_crowd_M).sum()),
        "sample_merged": int((result.grouping.leader_N[index_M] != index_M).sum()),
        "sample_kept": len(chosen.sampled_M),
    }
    own_M = np.arange(len(index_M))
    for name, (_, changed) in choices(config.dedup).items():
        leader_M = group_rows(sample, is_out_M, changed).leader_N
        numbers[f"sample_merged.{name}"] = int((leader_M != own_M).sum())
    near = near_misses(sample, result.is_kept_N[index_M] & ~is_crowd_M, config.dedup)
    near = near._replace(i_P=index_M[near.i_P], j_P=index_M[near.j_P])
    counts = np.histogram(near.overlap_P, NEAR_BINS, near_range(config.dedup.threshold))[0]
    masks = sample_masks(encoded, chosen.encoded_M)
    return Tried(numbers, {"near_miss": counts.tolist()}, near, masks)


def near_range(threshold: float) -> tuple[float, float]:
    """Return from where to where an overlap is a near miss; the upper bound is not one."""
    return max(round(threshold - STEP, 10), 0.0), threshold


def near_misses(
    sample: OrderedRows, is_asked_M: NDArray[np.bool_], config: DedupConfig
) -> NearMisses:
    """Return the pairs of kept rows whose overlap is below the threshold by at most `STEP`.

    Parameters
    ----------
    sample : OrderedRows
        M rows of whole images.
    is_asked_M : bool (M,)
        The rows that may be in a pair: kept, and no crowd.
    config : DedupConfig
        Threshold, measure, and which rows compare at all.

    Returns
    -------
    NearMisses
        Row numbers in the sample; empty with ``group="none"``.
    """
    index_A = np.flatnonzero(is_asked_M)
    table = sample.table.select(_compared_columns(config)).take(pa.array(index_A))
    low, high = near_range(config.threshold)
    i_P = j_P = np.zeros(0, np.int64)
    batch = rle.from_coco(to_strings(table["counts"]), size_hw(table))
    area_A = table["area"].to_numpy()
    if config.group != "none":
        i_P, j_P = overlap.candidate_pairs(
            np.stack([table[f"bbox_{axis}"].to_numpy() for axis in "xywh"], axis=1),
            area_A,
            np.searchsorted(index_A, sample.image_offsets_G1),
            dedup.category_codes(table["category_id"], is_on=config.per_category),
            np.zeros(len(index_A), bool),
            threshold=low or None,
            overlap=config.overlap,
        )
    if config.across:
        source_M = dedup.source_codes(table, config)
        is_pair_P = source_M[i_P] != source_M[j_P]
        i_P, j_P = i_P[is_pair_P], j_P[is_pair_P]
    shared_P = overlap.matched_intersection(batch, i_P, j_P)
    iou_P = overlap.matched_iou(shared_P, area_A[i_P], area_A[j_P])
    ios_P = overlap.matched_ios(shared_P, area_A[i_P], area_A[j_P])
    overlap_P = iou_P if config.overlap == "iou" else ios_P
    is_near_P = (overlap_P >= low) & (overlap_P < high) & (shared_P > 0)
    i_P, j_P = index_A[i_P[is_near_P]], index_A[j_P[is_near_P]]
    return NearMisses(i_P, j_P, overlap_P[is_near_P], iou_P[is_near_P])


def _compared_columns(config: DedupConfig) -> list[str]:
    """Return the columns by which rows are compared."""
    names = ["counts", "height", "width", "area", "category_id"]
    names += [f"bbox_{axis}" for axis in "xywh"]
    if config.across:
        names.append(config.source_column or "source")
    return names


def sample_masks(encoded: Encoded, place_M: NDArray[np.int64]) -> list[MaskSample]:
    """Return some of the kept masks, those with a string of more than `STRING_BYTES` left out."""
    index = pa.array(place_M)
    rows = encoded.table.select(["height", "width"]).take(index)
    strings = encoded.counts.take(index).to_pylist()
    return [
        MaskSample(counts=string.decode("ascii"), **row)
        for row, string in zip(rows.to_pylist(), strings, strict=True)
        if len(string) <= STRING_BYTES
    ]


class EncodingTrial(NamedTuple):
    """What some masks take in each encoding, by its name; nothing where that failed.

    `seconds` is how long whoever tried them took.
    """

    n_masks: int
    sizes: dict[str, int]
    seconds: float = 0.0


def try_encodings(masks: Sequence[MaskSample], config: EncodeConfig) -> EncodingTrial:
    """Find what some masks take in each encoding.

    The driver asks, once, of the masks of all units: workers need not load, or compile, what
    they do not write. A mask that an encoding cannot hold, or not with the present floor of
    fidelity, counts as what it would be stored as instead.
    """
    started = time.perf_counter()
    sizes = dict.fromkeys(sorted(typing.get_args(Encoding)), 0)
    if masks:
        counts = pa.array([mask.counts.encode() for mask in masks], pa.large_binary())
        schema = pa.schema([("height", pa.int32()), ("width", pa.int32())])
        rows = pa.Table.from_pylist(msgspec.to_builtins(masks), schema)
        for name in sizes:
            changed = dataclasses.replace(config, encoding=name)
            columns = pa.table(store_masks(counts, rows, changed).columns)
            sizes[name] = int(stored_lengths(columns).sum())
    return EncodingTrial(len(masks), sizes, time.perf_counter() - started)


def take_images(all_rows: OrderedRows, is_in_G: NDArray[np.bool_]) -> OrderedRows:
    """Return the rows of some images."""
    sizes_G = np.diff(all_rows.image_offsets_G1)
    index_M = np.flatnonzero(np.repeat(is_in_G, sizes_G))
    offsets = np.concatenate(([0], np.cumsum(sizes_G[is_in_G]))).astype(np.int64)
    return OrderedRows(take_rows(all_rows.table, index_M), offsets)


def sample_images(all_rows: OrderedRows, fraction: float) -> NDArray[np.bool_]:
    """Return which images are in the sample, bool (G,): by a hash of the image_id alone."""
    return _is_below(mix(image_seeds(all_rows).astype(np.uint64)), fraction)


def _is_below(hash_N: NDArray[np.uint64], fraction: float) -> NDArray[np.bool_]:
    return hash_N <= np.uint64(min(int(fraction * 2**64), 2**64 - 1))
