"""Masks of several masks: union, vote, and the removal of specks and pinholes.

Worked example, three masks of a 1x6 image and what at least two of them have::

    A  . X X X . .    counts [1, 3, 2]    changes at 1, 4
    B  . . X X X .    counts [2, 3, 1]    changes at 2, 5
    C  X . . . X X    counts [0, 1, 3, 2] changes at 0, 1, 4, 6

    union  X X X X X X    counts [0, 6]
    vote 2 . . X X X .    counts [2, 3, 1]

The changes of all members, sorted, are swept once, with a counter of the masks
that are inside: 0 up, 1 down and up, 2 up, 4 down and up, 5 down, 6 down.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.errors import MaskError
from pipeline.masks import _numba_clean, _numba_merge
from pipeline.masks._checks import (
    MAX_PIXELS,
    frozen,
    frozen_batch,
    frozen_index,
    frozen_offsets,
)
from pipeline.masks.batch import MaskBatch


def union(batch: MaskBatch, group_offsets_G1: ArrayLike, member_M: ArrayLike) -> MaskBatch:
    """Unite the masks of each group: a pixel is set where any member has it.

    Parameters
    ----------
    batch : MaskBatch
        N masks.
    group_offsets_G1 : int (G + 1,)
        Group g has the members ``member_M[group_offsets_G1[g]:group_offsets_G1[g + 1]]``,
        at least one, all of one size.
    member_M : int (M,)
        Row numbers in ``batch``; a row may be in any number of groups.

    Returns
    -------
    MaskBatch
        G masks, canonical; a group of one is a copy. No groups in, no masks out.
        Cost: runs of the group times log2 of its members, plus one sweep.

    Raises
    ------
    MaskError
        Where a group is empty or mixes sizes, or the arrays break the contract.

    Notes
    -----
    Source: ``maskApi.c: rleMerge``, which merges one mask after the other and so
    walks the growing union once per member.
    """
    n_groups = max(len(np.asarray(group_offsets_G1)) - 1, 0)
    return vote(batch, group_offsets_G1, member_M, np.ones(n_groups, np.int64))


def vote(
    batch: MaskBatch, group_offsets_G1: ArrayLike, member_M: ArrayLike, min_votes_G: ArrayLike
) -> MaskBatch:
    """Keep the pixels that enough members of each group have.

    Parameters
    ----------
    batch : MaskBatch
        N masks.
    group_offsets_G1 : int (G + 1,)
        As in `union`.
    member_M : int (M,)
        As in `union`; a row that is twice in a group votes twice.
    min_votes_G : int (G,)
        Votes that a pixel needs, 1 or more; more than there are members gives
        the empty mask.

    Returns
    -------
    MaskBatch
        G masks, canonical. No groups in, no masks out. Cost: as in `union`.

    Raises
    ------
    MaskError
        Where a group is empty or mixes sizes, a vote is below 1, or the arrays
        break the contract.
    """
    sizes_N2, counts_R, offsets_N1 = frozen_batch(batch)
    member_M = frozen_index(member_M, len(sizes_N2), "members of groups")
    group_offsets_G1 = frozen_offsets(group_offsets_G1, len(member_M), "groups")
    member_M = member_M[: group_offsets_G1[-1]]
    min_votes_G = frozen(min_votes_G, np.int64)
    n_groups = len(group_offsets_G1) - 1
    check_groups(sizes_N2, group_offsets_G1, member_M, min_votes_G)
    if n_groups == 0:
        return MaskBatch(sizes_N2[:0].copy(), counts_R[:0].copy(), np.zeros(1, np.int64))
    runs_M = (offsets_N1[1:] - offsets_N1[:-1])[member_M]
    keys_G = np.add.reduceat(runs_M + _numba_merge.KEYS_AROUND, group_offsets_G1[:-1])
    out_R = np.empty(int(runs_M.sum()) + n_groups, np.uint32)
    out_offsets_G1 = np.zeros(n_groups + 1, np.int64)
    n_runs = _numba_merge.vote(
        sizes_N2,
        counts_R,
        offsets_N1,
        group_offsets_G1,
        member_M,
        min_votes_G,
        keys_G.max(),
        np.diff(group_offsets_G1).max(),
        out_R,
        out_offsets_G1,
    )
    return MaskBatch(sizes_N2[member_M[group_offsets_G1[:-1]]], out_R[:n_runs], out_offsets_G1)


def clean(batch: MaskBatch, min_part_area: int, max_hole_area: int) -> MaskBatch:
    """Remove small parts of each mask, then fill small holes.

    Parts go first: a speck inside a hole neither splits the hole nor survives by
    being joined to its rim. A part of the result has at least ``min_part_area``
    pixels and a hole more than ``max_hole_area``, so cleaning again changes nothing.

    Parameters
    ----------
    batch : MaskBatch
        N masks.
    min_part_area : int
        Parts (8-connected foreground) of fewer pixels are removed, also if no
        other part is left; 0 or 1 removes none.
    max_hole_area : int
        Holes (4-connected background that does not touch the image's border) of
        at most this many pixels are filled; 0 fills none.

    Returns
    -------
    MaskBatch
        N masks, canonical; the batch given where nothing was asked for. No masks
        in, none out. Cost: nearly linear in runs, whatever their length.

    Raises
    ------
    MaskError
        Where a limit is negative or the arrays break the contract.
    """
    if min_part_area < 0 or max_hole_area < 0:
        raise MaskError(f"expected areas of 0 or more, got {min_part_area} and {max_hole_area}")
    if min_part_area <= 1 and max_hole_area == 0:
        return batch
    sizes_N2, counts_R, offsets_N1 = frozen_batch(batch)
    n_masks = len(sizes_N2)
    most_runs = int(np.max(offsets_N1[1:] - offsets_N1[:-1], initial=0))
    # Address space only: pages beyond what is written are never touched, then given back.
    out_R = np.empty(_numba_clean.PIECES_PER_RUN * len(counts_R) + n_masks, np.uint32)
    out_offsets_N1 = np.zeros(n_masks + 1, np.int64)
    n_runs = _numba_clean.clean(
        sizes_N2,
        counts_R,
        offsets_N1,
        min(min_part_area - 1, MAX_PIXELS),
        min(max_hole_area, MAX_PIXELS),
        most_runs,
        out_R,
        out_offsets_N1,
    )
    return MaskBatch(sizes_N2.copy(), out_R[:n_runs].copy(), out_offsets_N1)


def check_groups(
    sizes_N2: NDArray[np.int32],
    group_offsets_G1: NDArray[np.int64],
    member_M: NDArray[np.int64],
    min_votes_G: NDArray[np.int64],
) -> None:
    """Raise where a group has no member, mixed sizes, or no vote of 1 or more."""
    lengths_G = group_offsets_G1[1:] - group_offsets_G1[:-1]
    if len(min_votes_G) != len(lengths_G) or np.any(min_votes_G < 1):
        raise MaskError("expected one number of votes per group, 1 or more")
    if np.any(lengths_G < 1):
        raise MaskError(f"group {int(np.argmin(lengths_G))}: expected at least one member")
    if len(lengths_G) == 0:
        return
    sizes_M2 = sizes_N2[member_M]
    first_M2 = np.repeat(sizes_M2[group_offsets_G1[:-1]], lengths_G, axis=0)
    if np.any(sizes_M2 != first_M2):
        member = int(np.flatnonzero(np.any(sizes_M2 != first_M2, axis=1))[0])
        group = int(np.searchsorted(group_offsets_G1, member, side="right")) - 1
        raise MaskError(
            f"group {group}: expected members of one size, got {first_M2[member].tolist()} and "
            f"{sizes_M2[member].tolist()} (h, w); group masks of one image only"
        )
