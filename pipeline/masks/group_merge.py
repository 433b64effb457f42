"""Group masks and merge each group: COCO strings in, leaders and the groups' strings out.

While an image is grouped its masks lie parsed in memory, so its groups are merged
right then (`pipeline.masks._numba_group_merge`), and a mask that is alone is never
touched. The few groups that do not fit there are merged by `pipeline.masks.merge`;
so are those of a grouping that was made elsewhere, on a device (`merge_groups`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError
from pipeline.masks import measure, merge, rle
from pipeline.masks._numba_group import MergeRoom
from pipeline.masks.batch import CocoStrings, MaskBatch
from pipeline.masks.group import Grouping, check_rows, make_policy, run_kernel


class Merged(NamedTuple):
    """The masks of K groups of two rows or more.

    Attributes
    ----------
    leader_K : int64 (K,)
        Row that leads the group; rising.
    strings : CocoStrings
        Canonical COCO strings of the K masks.
    area_K : int64 (K,)
        Their pixels; a vote may leave none.
    """

    leader_K: NDArray[np.int64]
    strings: CocoStrings
    area_K: NDArray[np.int64]


def group_and_merge(
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
    vote_fraction: float = 0.0,
) -> tuple[Grouping, Merged]:
    """Find the leader of every mask and merge each group, in one pass over the strings.

    Parameters
    ----------
    strings, size_hw_N2, image_offsets_G1, category_N, is_crowd_N, source_N
        As for `pipeline.masks.group.group_masks`.
    threshold, overlap, group
        As there.
    vote_fraction : float
        Part of a group's members, in [0, 1], that must have a pixel; one of them
        at least, so that 0 gives the union.

    Returns
    -------
    Grouping
        As `group_masks` gives it.
    Merged
        The masks of the groups. Cost: linear in runs where members are alike, else
        as that of `pipeline.masks.merge.vote`.

    Raises
    ------
    MaskError
        Where an array breaks its contract or a string is not canonical.
    ConfigError
        Where an option is not one of those above.
    """
    check_fraction(vote_fraction)
    checked = check_rows(strings, size_hw_N2, image_offsets_G1)
    policy = make_policy(threshold, overlap, group, has_source=source_N is not None)
    source = np.zeros(1, np.int32) if source_N is None else source_N
    found, room, n_groups = run_kernel(
        *checked, category_N, is_crowd_N, source, policy, vote_fraction
    )
    return found, _finish(*checked[:2], found.leader_N, room, n_groups, vote_fraction)


def check_fraction(vote_fraction: float) -> None:
    """Refuse what is no part of a group; raises ConfigError."""
    if not 0.0 <= vote_fraction <= 1.0:
        raise ConfigError(f"expected a vote_fraction in [0, 1], got {vote_fraction}")


def merge_groups(
    strings: CocoStrings,
    size_hw_N2: NDArray[np.int32],
    leader_N: NDArray[np.int64],
    vote_fraction: float,
    vote: Callable[..., MaskBatch] = merge.vote,
    leader_K: NDArray[np.int64] | None = None,
) -> Merged:
    """Merge the groups of a grouping.

    Parameters
    ----------
    strings : CocoStrings
        N canonical COCO strings.
    size_hw_N2 : int32 (N, 2)
        Height and width in pixels; the same for all rows of a group.
    leader_N : int64 (N,)
        Leader of each row; a row that leads has itself.
    vote_fraction : float
        As for `group_and_merge`.
    vote : callable
        `pipeline.masks.merge.vote`, or one that gives the same on a device.
    leader_K : int64 (K,), optional
        Merge the groups of these leaders only; rising. Default: all of two rows or more.

    Returns
    -------
    Merged
        In the order of their leaders. No groups, no masks.
    """
    n_rows = len(leader_N)
    members_N = np.bincount(leader_N, minlength=n_rows)
    if leader_K is None:
        leader_K = np.flatnonzero(members_N > 1)
    is_asked_N = np.zeros(n_rows, np.bool_)
    is_asked_N[leader_K] = True
    row_M = np.flatnonzero(is_asked_N[leader_N])
    row_M = row_M[np.argsort(leader_N[row_M], kind="stable")]
    members_K = members_N[leader_K]
    votes_K = np.maximum(1, np.ceil(vote_fraction * members_K)).astype(np.int64)
    offsets_K1 = np.concatenate([[0], np.cumsum(members_K)])
    batch = rle.from_coco(rle.take_strings(strings, row_M), size_hw_N2[row_M])
    merged = vote(batch, offsets_K1, np.arange(len(row_M)), votes_K)
    return Merged(leader_K, rle.to_coco(merged), measure.area(merged))


def _finish(
    strings: CocoStrings,
    sizes_N2: NDArray[np.int32],
    leader_N: NDArray[np.int64],
    room: MergeRoom,
    n_groups: int,
    vote_fraction: float,
) -> Merged:
    """Cut the room down to what there is in it, and merge what was left."""
    offsets_K1 = room.offsets_K1[: n_groups + 1]
    leader_K, area_K = room.leader_K[:n_groups], room.area_K[:n_groups]
    done = CocoStrings(room.text[: offsets_K1[-1]], offsets_K1)
    left_L = np.flatnonzero(room.is_left_K[:n_groups])
    if len(left_L) == 0:
        return Merged(leader_K, done, area_K)
    rest = merge_groups(strings, sizes_N2, leader_N, vote_fraction, leader_K=leader_K[left_L])
    choice_K = np.arange(n_groups)
    choice_K[left_L] = n_groups + np.arange(len(left_L))
    area_K[left_L] = rest.area_K
    return Merged(leader_K, rle.choose_strings(done, rest.strings, choice_K), area_K)
