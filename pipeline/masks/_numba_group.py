"""Compiled grouping of masks, image by image (public name: `pipeline.masks.group`).

Each image is parsed into an arena of profiles, its rows are grouped, and the
arena is cleared for the next one; nothing as long as the runs of all images is
ever made. If the arena is too small the kernel says so and is called again with
a larger one, from where it stopped.
"""

# Numba infers the types of parameters from the call, and intrinsics take one less than written.
# pyright: reportMissingParameterType=false, reportCallIssue=false

from __future__ import annotations

from typing import NamedTuple

from numba import int64

from pipeline.masks._jit import kernel
from pipeline.masks._numba_group_image import ARENA_FULL, DONE, REFUSED_ROW, clear, parse_image
from pipeline.masks._numba_group_merge import merge_image
from pipeline.masks._numba_group_parse import Scratch
from pipeline.masks._numba_group_policy import group_image
from pipeline.masks._numba_group_room import (
    MergeRoom,
    make_merge_room,
    make_room,
    merge_in,
    rows_in,
    work_in,
)
from pipeline.masks._numba_group_strings import Strings
from pipeline.masks._numba_group_vector import pointer_to
from pipeline.masks._numba_group_work import NO_VECTORS, Image, Outcome

__all__ = [
    "ARENA_FULL",
    "DONE",
    "REFUSED_ROW",
    "TEXT_FULL",
    "MergeRoom",
    "State",
    "group_images",
    "make_merge_room",
    "make_room",
]

TEXT_FULL = 3
"""Beside what parsing an image ends with: merging needs more room for strings."""


class State(NamedTuple):
    """Where the kernel stopped: places in an int64 array.

    `image` is the next image, `done` its rows that are parsed, `at` how many
    words of the arena they take, `need` how many it must have to go on, `serial`
    the next number for the hash table; `merged` the leader to go on merging with,
    plus 1, or 0 where the image is not grouped yet; `groups` those that are merged.
    """

    image: int = 0
    done: int = 1
    at: int = 2
    need: int = 3
    serial: int = 4
    merged: int = 5
    groups: int = 6


_AT = State()


@kernel
def group_images(
    bytes_B, offsets_N1, size_hw_N2, image_offsets_G1, category_N, is_crowd_N, source_N,
    policy, leader_N, linked_N, intersection_N, area_N, is_exact_duplicate_N, counters,
    room, arena, state, vote_fraction, merge_room,
):  # fmt: skip
    """Group all images from where ``state`` says; DONE, REFUSED_ROW, ARENA_FULL or TEXT_FULL.

    After REFUSED_ROW ``state`` says which; after ARENA_FULL what of the arena was
    in use must be there again, after TEXT_FULL also what there is of the strings.
    """
    strings = Strings(pointer_to(bytes_B), len(bytes_B), pointer_to(offsets_N1))
    sizes = pointer_to(size_hw_N2)
    rows = rows_in(room.records_32, room.records_64)
    work = work_in(room)
    may_vector = policy.flags & NO_VECTORS == 0
    scratch = Scratch(
        pointer_to(room.extras), pointer_to(room.pending), pointer_to(room.spans),
        pointer_to(room.table), pointer_to(room.steps), may_vector,
    )  # fmt: skip
    outcome = Outcome(
        pointer_to(leader_N), pointer_to(linked_N), pointer_to(intersection_N),
        pointer_to(area_N), pointer_to(is_exact_duplicate_N), pointer_to(counters),
    )  # fmt: skip
    merge = merge_in(vote_fraction, merge_room)
    categories = pointer_to(category_N)
    crowds = pointer_to(is_crowd_N)
    sources = pointer_to(source_N)
    words = pointer_to(arena)
    n_words = int64(len(arena))
    for g in range(state[_AT.image], len(image_offsets_G1) - 1):
        first = image_offsets_G1[g]
        n_rows = image_offsets_G1[g + 1] - first
        if n_rows == 0:
            continue
        code, done, at, need = parse_image(
            strings, sizes, first, n_rows, state[_AT.done], state[_AT.at], rows, words, n_words,
            scratch,
        )  # fmt: skip
        if code != DONE:
            state[_AT.image] = g
            state[_AT.done] = done
            state[_AT.at] = at
            state[_AT.need] = need
            return code
        image = Image(
            strings, first, n_rows, int64(size_hw_N2[first, 0]), int64(size_hw_N2[first, 1]),
            categories, crowds, sources, rows, words,
        )  # fmt: skip
        if state[_AT.merged] == 0:
            state[_AT.serial] = group_image(image, policy, work, outcome, state[_AT.serial])
        if vote_fraction >= 0.0:
            start = max(int64(0), state[_AT.merged] - 1)
            start, n_groups, need = merge_image(
                image, outcome.leader_N, merge, start, state[_AT.groups]
            )
            state[_AT.groups] = n_groups
            if start < n_rows:
                state[_AT.image] = g
                state[_AT.done] = n_rows
                state[_AT.at] = at
                state[_AT.need] = need
                state[_AT.merged] = start + 1
                return TEXT_FULL
        if g + 2 < len(image_offsets_G1):
            clear(words, 0, at)
        state[_AT.done] = 0
        state[_AT.at] = 0
        state[_AT.merged] = 0
    return DONE
