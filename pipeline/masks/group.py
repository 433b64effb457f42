"""Which masks of an image show the same object: COCO strings in, leaders out.

Rows of one image come in the total order (score descending, ...). A row that is
not yet taken *leads*: it is kept and takes in every later row whose overlap
with its own input mask reaches the threshold. That is ``group="leader"``. With
``group="component"`` the rows taken in take in others in turn, so that a leader
ends up with its whole connected component.

Worked example: four 1x6 masks of one image, IoU threshold 0.5::

    row 0   X X X X . .   leads
    row 1   . X X X X .   IoU with row 0 is 3/5: taken in by row 0
    row 2   . . X X X X   IoU with row 0 is 2/6, with row 1 3/5
    row 3   X X X X . .   the very runs of row 0: an exact duplicate

    leader      leader_N = [0, 0, 2, 0]   linked_N = [0, 0, 2, 0]
    component   leader_N = [0, 0, 0, 0]   linked_N = [0, 0, 1, 0]
    both        intersection_N of row 1 is 3; of row 2 it is 4 where it leads
                (its own area) and 2 where row 0 does
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError, MaskError
from pipeline.masks import _checks, _numba_group
from pipeline.masks._numba_group import MergeRoom
from pipeline.masks._numba_group_work import Policy
from pipeline.masks.batch import CocoStrings

GRID_FROM = 1024
"""Rows of one category in one image from which on candidates are looked up in a grid."""

MIN_TEXT_BYTES = 1 << 12
"""Room for the strings of merged groups to begin with, beside half of what came in."""


class Grouping(NamedTuple):
    """What became of each of N rows, and how many pairs were looked at.

    Attributes
    ----------
    leader_N : int64 (N,)
        Row that took row n in; n itself where it leads (is kept).
    linked_N : int64 (N,)
        Row through which n was reached: n itself where it leads, else the
        leader, or with ``group="component"`` the parent of n in the
        breadth-first search that starts at the leader and visits rows in order.
    intersection_N : int64 (N,)
        Pixels shared with the leader's input mask; the row's own area where it leads.
    is_exact_duplicate_N : bool (N,)
        Whether a row that was taken in has the very runs of its leader.
    area_N : int64 (N,)
        Foreground pixels of each row.
    n_candidate_pairs : int
        Pairs of comparable rows left after area ratio and box bound.
    n_walked_pairs : int
        Those of them whose runs were compared: exact duplicates are not.
    """

    leader_N: NDArray[np.int64]
    linked_N: NDArray[np.int64]
    intersection_N: NDArray[np.int64]
    is_exact_duplicate_N: NDArray[np.bool_]
    area_N: NDArray[np.int64]
    n_candidate_pairs: int
    n_walked_pairs: int


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
) -> Grouping:
    """Find the leader of every mask, image by image.

    Parameters
    ----------
    strings : CocoStrings
        N canonical COCO strings; images lie one after the other, rows of an
        image in the total order.
    size_hw_N2 : int32 (N, 2)
        Height and width in pixels; the same for all rows of an image.
    image_offsets_G1 : int64 (G + 1,)
        Image g holds rows ``image_offsets_G1[g]`` to ``image_offsets_G1[g + 1]``.
    category_N : int64 (N,)
        Dense codes; only equal ones compare.
    is_crowd_N : bool (N,)
        Rows that compare with nothing and are always kept.
    source_N : int32 (N,) or None
        Where given, only rows of different sources compare.
    threshold : float
        In (0, 1]; reached where ``float64(intersection) / float64(denominator)
        >= threshold``.
    overlap : {"iou", "ios"}
        Denominator: the union, or the smaller area.
    group : {"leader", "component"}
        Who takes whom in, see the module.

    Returns
    -------
    Grouping
        Of N rows; masks without pixels overlap nothing and lead themselves.

    Raises
    ------
    MaskError
        Where an array breaks its contract or a string is not canonical.
    ConfigError
        Where an option is not one of those above.
    """
    checked = check_rows(strings, size_hw_N2, image_offsets_G1)
    policy = make_policy(threshold, overlap, group, has_source=source_N is not None)
    source = np.zeros(1, np.int32) if source_N is None else source_N
    return run_kernel(*checked, category_N, is_crowd_N, source, policy)[0]


def check_rows(
    strings: CocoStrings, size_hw_N2: NDArray[np.int32], image_offsets_G1: NDArray[np.int64]
) -> tuple[CocoStrings, NDArray[np.int32], NDArray[np.int64]]:
    """Prove that strings, sizes and images fit each other; return them read-only."""
    strings = _checks.frozen_strings(strings)
    n_rows = len(strings.offsets_N1) - 1
    sizes_N2 = _checks.frozen_sizes(size_hw_N2, n_rows)
    images_G1 = _checks.frozen_offsets(image_offsets_G1, n_rows, "image offsets")
    if images_G1[-1] != n_rows:
        raise MaskError(f"image offsets end at {images_G1[-1]}, expected {n_rows} rows")
    return strings, sizes_N2, images_G1


def make_policy(threshold: float, overlap: str, group: str, *, has_source: bool) -> Policy:
    """Return the kernel's form of the options; raise ConfigError for what is none."""
    if not 0.0 < threshold <= 1.0:
        raise ConfigError(f"expected a threshold in (0, 1], got {threshold}")
    if overlap not in ("iou", "ios") or group not in ("leader", "component"):
        raise ConfigError(f"unknown overlap {overlap!r} or group {group!r}")
    return Policy(
        float(threshold), overlap == "ios", group == "component", has_source, 0, GRID_FROM
    )


def run_kernel(
    strings: CocoStrings,
    sizes_N2: NDArray[np.int32],
    images_G1: NDArray[np.int64],
    category_N: NDArray[np.int64],
    is_crowd_N: NDArray[np.bool_],
    source_N: NDArray[np.int32],
    policy: Policy,
    vote_fraction: float = -1.0,
) -> tuple[Grouping, MergeRoom, int]:
    """Do as `group_masks` with checked strings, sizes and images, by any policy.

    Where ``vote_fraction`` is not negative the groups are merged too: the room
    that they were merged in and their number come with the grouping. Tests call
    it to switch prunings off.
    """
    n_rows = len(strings.offsets_N1) - 1
    category_N = _dense(_checks.frozen(category_N, np.int64))
    is_crowd_N = _checks.frozen(is_crowd_N, np.bool_)
    source_N = _checks.frozen(source_N, np.int32)
    n_sources = n_rows if policy.has_source else len(source_N)
    if (len(category_N), len(is_crowd_N), len(source_N)) != (n_rows, n_rows, n_sources):
        raise MaskError(f"expected category, is_crowd and source of {n_rows} rows each")
    leader_N, linked_N, intersection_N, area_N = (np.empty(n_rows, np.int64) for _ in range(4))
    is_exact_duplicate_N = np.empty(n_rows, np.uint8)
    counters = np.zeros(2, np.int64)
    n_rows_of_largest = int(np.diff(images_G1).max(initial=0))
    room = _numba_group.make_room(n_rows_of_largest, int(category_N.max(initial=-1)) + 1)
    n_groups = n_rows // 2 if vote_fraction >= 0 else 0
    n_text = len(strings.bytes_B) // 2 + MIN_TEXT_BYTES if n_groups else 0
    merge_room = _numba_group.make_merge_room(n_rows_of_largest, n_groups, n_text)
    arena = np.zeros(_arena_words(strings.offsets_N1, images_G1), np.int32)
    state = np.array([0, 0, 0, 0, 1, 0, 0])
    at = _numba_group.State()
    while True:
        code = _numba_group.group_images(
            *strings,
            sizes_N2,
            images_G1,
            category_N,
            is_crowd_N.view(np.uint8),
            source_N,
            policy,
            leader_N,
            linked_N,
            intersection_N,
            area_N,
            is_exact_duplicate_N,
            counters,
            room,
            arena,
            state,
            float(vote_fraction) if n_groups else -1.0,
            merge_room,
        )
        n_wanted = int(state[at.need]) * 3 // 2
        if code == _numba_group.ARENA_FULL:
            arena = _grow(arena, n_wanted, int(state[at.at]))
        elif code == _numba_group.TEXT_FULL:
            n_used = int(merge_room.offsets_K1[state[at.groups]])
            merge_room = merge_room._replace(text=_grow(merge_room.text, n_wanted, n_used))
        else:
            break
    if code == _numba_group.REFUSED_ROW:
        raise _refusal(int(images_G1[state[at.image]] + state[at.done]), sizes_N2)
    found = Grouping(
        leader_N,
        linked_N,
        intersection_N,
        is_exact_duplicate_N.view(np.bool_),
        area_N,
        int(counters[0]),
        int(counters[1]),
    )
    return found, merge_room, int(state[at.groups])


def _grow(array: NDArray[Any], n_wanted: int, n_used: int) -> NDArray[Any]:
    """Return a larger array with the same beginning, zeros after it."""
    grown = np.zeros(n_wanted, array.dtype)
    grown[:n_used] = array[:n_used]
    return grown


def _dense(category_N: NDArray[np.int64]) -> NDArray[np.int64]:
    """Codes from 0 to fewer than a million, or than there are rows."""
    n_most = max(1 << 20, len(category_N))
    if len(category_N) and (category_N.min() < 0 or category_N.max() >= n_most):
        category_N = np.unique(category_N, return_inverse=True)[1]
        category_N.flags.writeable = False
    return category_N


def _arena_words(offsets_N1: NDArray[np.int64], images_G1: NDArray[np.int64]) -> int:
    """Guess how many words the largest image takes; the arena grows where it takes more.

    A run has about one character and a column two runs or more. Not much more than
    that: where pages are large, what is asked for is taken.
    """
    chars_G = np.diff(offsets_N1[images_G1])
    longest = int(np.diff(offsets_N1).max(initial=0))
    words_G = chars_G * 5 // 8 + np.diff(images_G1) * 16
    return int(words_G.max(initial=0)) + longest + 2048


def _refusal(row: int, sizes_N2: NDArray[np.int32]) -> MaskError:
    """Say what is wrong with a row."""
    height, width = sizes_N2[row]
    return MaskError(
        f"row {row}: expected a canonical COCO string of {height} x {width} px and one size for "
        "all rows of an image, got another; read rows through `pipeline.masks.rle` first"
    )
