"""Grouping, merging and strings on a device, through PyTorch.

Same names, arguments and results, bit for bit, as `pipeline.masks.group`,
`pipeline.masks.merge` and `pipeline.masks.rle`, whose docstrings say what the
numbers mean. What differs is where the work is done: thousands of images are one
set of launches on ``device``, "cpu" or "cuda". Nothing loops over masks, images or
pairs. The number of launches depends on two things only: *stretches*, into which
a batch is cut so that memory stays bounded, and *rounds*, in which leaders are found.

Memory of a stretch: a character costs at most `BYTES_PER_CHAR` bytes on the device
at the worst moment, a pair that is looked at or a column that is expanded
`BYTES_PER_ITEM`; the limits follow from these and `SCRATCH_BYTES`, and a test holds
what is allocated against them. Pairs that box and area leave are kept, and take as
much again each. One image, or one row's pairs, is never cut: a larger one is a stretch
of its own.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from pipeline.errors import ConfigError, MaskError
from pipeline.masks import _checks, merge, rle
from pipeline.masks import _torch_merge as merging
from pipeline.masks import _torch_rle as reading
from pipeline.masks._torch_arrays import (
    at_once,
    counts_of_bits,
    counts_to_host,
    cut,
    to_host,
    upload,
)
from pipeline.masks._torch_pairs import Rules
from pipeline.masks._torch_streams import Arrays, send_ahead
from pipeline.masks._torch_stretch import Stretch, group_stretch
from pipeline.masks.batch import CocoStrings, MaskBatch
from pipeline.masks.group import Grouping

__all__ = ["from_coco", "group_masks", "to_coco", "union", "vote"]

SCRATCH_BYTES = 2**30
"""What the arrays of one stretch may take on the device, beside the result."""

BYTES_PER_CHAR = 128
"""Sixteen int64 per run at once in `to_coco`, which takes the most; a run a character."""

BYTES_PER_ITEM = 128
"""Sixteen int64 per pair that is looked at, or per run or column that is expanded."""

CHARS_AT_ONCE = SCRATCH_BYTES // BYTES_PER_CHAR
ITEMS_AT_ONCE = SCRATCH_BYTES // BYTES_PER_ITEM


class _Rows(NamedTuple):
    """Checked arguments of `group_masks`, on the host."""

    strings: CocoStrings
    size_hw_N2: NDArray[np.int32]
    image_offsets_G1: NDArray[np.int64]
    category_N: NDArray[np.int64]
    is_crowd_N: NDArray[np.bool_]
    source_N: NDArray[np.int32] | None


def group_masks(
    strings: CocoStrings,
    size_hw_N2: NDArray[np.int32],
    image_offsets_G1: NDArray[np.int64],
    category_N: NDArray[np.int64],
    is_crowd_N: NDArray[np.bool_],
    source_N: NDArray[np.int32] | None,
    *,
    threshold: float,
    overlap: Literal["iou", "ios"] = "iou",
    group: Literal["leader", "component"] = "leader",
    device: str = "cpu",
) -> Grouping:
    """Find the leader of every mask, image by image; see `pipeline.masks.group.group_masks`.

    Parameters
    ----------
    strings, size_hw_N2, image_offsets_G1, category_N, is_crowd_N, source_N
        As there.
    threshold, overlap, group
        As there.
    device : str
        Where it is done: "cpu" or "cuda".

    Returns
    -------
    Grouping
        As there, but for the counters: more pairs are candidates and are walked,
        since few rows are known to be taken when pairs are compared. No rows in,
        none out. Cost: bytes and candidate pairs' runs, times log2 of all
        runs for the searches, plus a few small launches a round.

    Raises
    ------
    MaskError
        Where an array breaks its contract or a string is not canonical.
    ConfigError
        Where an option is not one of those of `pipeline.masks.group`.
    """
    if not 0.0 < threshold <= 1.0:
        raise ConfigError(f"expected a threshold in (0, 1], got {threshold}")
    if overlap not in ("iou", "ios") or group not in ("leader", "component"):
        raise ConfigError(f"unknown overlap {overlap!r} or group {group!r}")
    rows = _checked(strings, size_hw_N2, image_offsets_G1, category_N, is_crowd_N, source_N)
    images_G1 = rows.image_offsets_G1
    mixed = _first_of_another_size(rows)
    out_5N = np.zeros((5, int(images_G1[-1])), np.int64)
    on = torch.device(device)
    n_pairs = np.zeros(2, np.int64)
    bounds = cut(rows.strings.offsets_N1[images_G1], at_once(CHARS_AT_ONCE, on))
    sent = send_ahead(bounds, lambda bound: _gather(rows, *bound), on)
    for (a, b), arrays in zip(bounds, sent, strict=True):
        part = slice(int(images_G1[a]), int(images_G1[b]))
        n_columns = len(Stretch._fields)
        source = arrays[n_columns] if len(arrays) > n_columns else None
        rules = Rules(float(threshold), overlap == "ios", source)
        refused, found_5N, n_found = group_stretch(
            Stretch(*arrays[:n_columns]),
            rules,
            at_once(ITEMS_AT_ONCE, on),
            is_component=group == "component",
        )
        wrong = [row for row in (refused + part.start if refused >= 0 else -1, mixed) if row >= 0]
        if wrong and min(wrong) < part.stop:
            raise MaskError(
                f"row {min(wrong)}: expected a canonical COCO string of an image of one size, "
                f"got another; read rows through `pipeline.masks.rle` first"
            )
        out_5N[:, part] = to_host(found_5N)
        out_5N[:2, part] += part.start
        n_pairs += n_found
    leader_N, linked_N, intersection_N, area_N, is_duplicate_N = out_5N
    is_duplicate_N = is_duplicate_N.astype(bool)
    columns = leader_N, linked_N, intersection_N, is_duplicate_N, area_N
    return Grouping(*columns, *n_pairs.tolist())


def union(
    batch: MaskBatch, group_offsets_G1: ArrayLike, member_M: ArrayLike, *, device: str = "cpu"
) -> MaskBatch:
    """Unite the masks of each group; see `pipeline.masks.merge.union`.

    Parameters
    ----------
    batch, group_offsets_G1, member_M
        As there, the masks canonical.
    device : str
        Where it is done: "cpu" or "cuda".

    Returns
    -------
    MaskBatch
        G masks, canonical. No groups in, no masks out. Cost: one sort of all runs
        of all members.

    Raises
    ------
    MaskError
        As there.
    """
    n_groups = max(len(np.asarray(group_offsets_G1)) - 1, 0)
    votes_G = np.ones(n_groups, np.int64)
    return vote(batch, group_offsets_G1, member_M, votes_G, device=device)


def vote(
    batch: MaskBatch,
    group_offsets_G1: ArrayLike,
    member_M: ArrayLike,
    min_votes_G: ArrayLike,
    *,
    device: str = "cpu",
) -> MaskBatch:
    """Keep the pixels that enough members of each group have; see `pipeline.masks.merge.vote`.

    Parameters
    ----------
    batch, group_offsets_G1, member_M, min_votes_G
        As there, the masks canonical.
    device : str
        Where it is done: "cpu" or "cuda".

    Returns
    -------
    MaskBatch
        G masks, canonical. No groups in, no masks out. Cost: as in `union`.

    Raises
    ------
    MaskError
        As there.
    """
    sizes_N2, counts_R, offsets_N1 = _checks.frozen_batch(batch)
    member_M = _checks.frozen_index(member_M, len(sizes_N2), "members of groups")
    offsets_G1 = _checks.frozen_offsets(group_offsets_G1, len(member_M), "groups")
    member_M = member_M[: offsets_G1[-1]]
    votes_G = _checks.frozen(min_votes_G, np.int64)
    merge.check_groups(sizes_N2, offsets_G1, member_M, votes_G)
    if len(votes_G) == 0:
        return rle.empty_batch()
    on = torch.device(device)
    sizes_G2 = sizes_N2[member_M[offsets_G1[:-1]]]
    runs_M1 = np.concatenate([[0], np.cumsum(np.diff(offsets_N1)[member_M])])
    counts = counts_of_bits(upload(counts_R.view(np.int32), on))
    starts = upload(offsets_N1, on)
    bounds = cut(runs_M1[offsets_G1], at_once(ITEMS_AT_ONCE, on))

    def gather(bound: tuple[int, int]) -> Arrays:
        a, b = bound
        return (
            sizes_G2[a:b, 0].astype(np.int64) * sizes_G2[a:b, 1],
            offsets_G1[a : b + 1] - offsets_G1[a],
            member_M[offsets_G1[a] : offsets_G1[b]],
            votes_G[a:b],
        )

    parts = [
        _to_batch(sizes_G2[a:b], *merging.vote(counts, starts, *arrays))
        for (a, b), arrays in zip(bounds, send_ahead(bounds, gather, on), strict=True)
    ]
    return parts[0] if len(parts) == 1 else rle.concat(parts)


def to_coco(batch: MaskBatch, *, device: str = "cpu") -> CocoStrings:
    """Write runs as COCO strings; see `pipeline.masks.rle.to_coco`.

    Parameters
    ----------
    batch : MaskBatch
        N masks.
    device : str
        Where it is done: "cpu" or "cuda".

    Returns
    -------
    CocoStrings
        Canonical where the runs are. Empty in, empty out. Cost: linear in runs.

    Raises
    ------
    MaskError
        Where the arrays break the contract.
    """
    _, counts_R, offsets_N1 = _checks.frozen_batch(batch)
    on = torch.device(device)
    parts: list[CocoStrings] = []

    def gather(bound: tuple[int, int]) -> Arrays:
        a, b = bound
        runs = slice(int(offsets_N1[a]), int(offsets_N1[b]))
        return counts_R[runs].view(np.int32), offsets_N1[a : b + 1] - runs.start

    bounds = cut(offsets_N1, at_once(CHARS_AT_ONCE, on))
    for counts, starts in send_ahead(bounds, gather, on):
        bytes_B, offsets_M1 = reading.write_strings(counts_of_bits(counts), starts)
        parts.append(CocoStrings(to_host(bytes_B), to_host(offsets_M1)))
    return parts[0] if len(parts) == 1 else rle.concat_strings(parts)


def from_coco(strings: CocoStrings, size_hw_N2: ArrayLike, *, device: str = "cpu") -> MaskBatch:
    """Read valid strings into canonical runs; see `pipeline.masks.rle.from_coco`.

    Parameters
    ----------
    strings : CocoStrings
        N strings, valid for their sizes, canonical or not.
    size_hw_N2 : int (N, 2)
        Heights and widths.
    device : str
        Where it is done: "cpu" or "cuda".

    Returns
    -------
    MaskBatch
        Canonical runs. Empty in, empty out. Cost: linear in bytes.

    Raises
    ------
    MaskError
        Naming the first row at fault and its `RleCode`.
    """
    strings = _checks.frozen_strings(strings)
    sizes_N2 = np.asarray(size_hw_N2)
    if np.any(rle.size_code(sizes_N2)) or len(sizes_N2) != len(strings.offsets_N1) - 1:
        return rle.from_coco(strings, sizes_N2)  # which names the row
    sizes_N2 = sizes_N2.astype(np.int32)
    on = torch.device(device)
    parts: list[MaskBatch] = []

    def gather(bound: tuple[int, int]) -> Arrays:
        a, b = bound
        first, end = int(strings.offsets_N1[a]), int(strings.offsets_N1[b])
        return (
            strings.bytes_B[first:end],
            strings.offsets_N1[a : b + 1] - first,
            sizes_N2[a:b, 0].astype(np.int64) * sizes_N2[a:b, 1],
        )

    bounds = cut(strings.offsets_N1, at_once(CHARS_AT_ONCE, on))
    sent = send_ahead(bounds, gather, on)
    for (a, b), (chars, starts, n_pixels) in zip(bounds, sent, strict=True):
        runs, refused = reading.read_strings(chars, starts, n_pixels, is_strict=False)
        if refused >= 0:
            return rle.from_coco(strings, sizes_N2)  # which names the row and its fault
        parts.append(_to_batch(sizes_N2[a:b], *reading.merge_zero_runs(runs, n_pixels)))
    return parts[0] if len(parts) == 1 else rle.concat(parts)


def _to_batch(
    size_hw_N2: NDArray[np.int32], counts_R: torch.Tensor, offsets_N1: torch.Tensor
) -> MaskBatch:
    """Bring runs back to the host."""
    return MaskBatch(size_hw_N2, counts_to_host(counts_R), to_host(offsets_N1))


def _checked(
    strings: CocoStrings,
    size_hw_N2: NDArray[np.int32],
    image_offsets_G1: NDArray[np.int64],
    category_N: NDArray[np.int64],
    is_crowd_N: NDArray[np.bool_],
    source_N: NDArray[np.int32] | None,
) -> _Rows:
    """Prove shapes, dtypes, offsets and sizes."""
    strings = _checks.frozen_strings(strings)
    n_rows = len(strings.offsets_N1) - 1
    sizes_N2 = _checks.frozen_sizes(size_hw_N2, n_rows)
    images_G1 = _checks.frozen_offsets(image_offsets_G1, n_rows, "image offsets")
    if images_G1[-1] != n_rows:
        raise MaskError(f"image offsets end at {images_G1[-1]}, expected {n_rows} rows")
    rows = _Rows(
        strings,
        sizes_N2,
        images_G1,
        _checks.frozen(category_N, np.int64),
        _checks.frozen(is_crowd_N, np.bool_),
        None if source_N is None else _checks.frozen(source_N, np.int32),
    )
    columns = (rows.category_N, rows.is_crowd_N, rows.source_N)
    if any(column is not None and len(column) != n_rows for column in columns):
        raise MaskError(f"expected category, is_crowd and source of {n_rows} rows each")
    return rows


def _first_of_another_size(rows: _Rows) -> int:
    """First row whose size is not that of its image's first row, or -1."""
    images_G1 = rows.image_offsets_G1
    starts_N = np.repeat(images_G1[:-1], np.diff(images_G1))
    differs_N = np.any(rows.size_hw_N2 != rows.size_hw_N2[starts_N], axis=1)
    return int(np.argmax(differs_N)) if differs_N.any() else -1


def _gather(rows: _Rows, a: int, b: int) -> Arrays:
    """Arrays of `Stretch` for the images a to b, and the sources of their rows where there are."""
    images_G1 = rows.image_offsets_G1[a : b + 1]
    part = slice(int(images_G1[0]), int(images_G1[-1]))
    offsets_N1 = rows.strings.offsets_N1[part.start : part.stop + 1]
    sizes_N2 = rows.size_hw_N2[part].astype(np.int64)
    stretch = (
        rows.strings.bytes_B[offsets_N1[0] : offsets_N1[-1]],
        offsets_N1 - offsets_N1[0],
        sizes_N2[:, 0],
        sizes_N2[:, 0] * sizes_N2[:, 1],
        np.repeat(np.arange(len(images_G1) - 1), np.diff(images_G1)),
        rows.category_N[part],
        rows.is_crowd_N[part],
    )
    return stretch if rows.source_N is None else (*stretch, rows.source_N[part])
