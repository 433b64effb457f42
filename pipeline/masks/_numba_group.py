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

import numpy as np
from numba import int64
from numpy.typing import NDArray

from pipeline.masks._jit import inlined, kernel
from pipeline.masks._numba_group_grid import LEVELS
from pipeline.masks._numba_group_image import ARENA_FULL, DONE, REFUSED_ROW, clear, parse_image
from pipeline.masks._numba_group_parse import MAX_EXTRAS, Scratch, number_table
from pipeline.masks._numba_group_policy import group_image
from pipeline.masks._numba_group_rows import MAX_LAYERS, Rows
from pipeline.masks._numba_group_strings import Strings
from pipeline.masks._numba_group_vector import pointer_to
from pipeline.masks._numba_group_work import NO_VECTORS, Grid, Members, Outcome, Work

__all__ = ["ARENA_FULL", "DONE", "REFUSED_ROW", "Room", "State", "group_images", "make_room"]

_N_INT32 = 23
_N_INT64 = 5


class Room(NamedTuple):
    """What the kernel works in; contents are undefined unless something is said.

    Attributes
    ----------
    int32_KM : int32 (23, M), int64_KM : int64 (5, M)
        For the rows of the largest image, and 8 more.
    head : int32 (number of categories)
        All -1.
    slots : int32, slot_serials : int64 (power of two)
        Hash table; serials are 0.
    level_start : int32, starts : int64
        For the grid.
    extras : int32, pending : int16, spans : int64, table : uint8, steps : int64
        For the parse, see `pipeline.masks._numba_group_parse.Scratch`.
    """

    int32_KM: NDArray[np.int32]
    int64_KM: NDArray[np.int64]
    head: NDArray[np.int32]
    slots: NDArray[np.int32]
    slot_serials: NDArray[np.int64]
    level_start: NDArray[np.int32]
    starts: NDArray[np.int64]
    extras: NDArray[np.int32]
    pending: NDArray[np.int16]
    spans: NDArray[np.int64]
    table: NDArray[np.uint8]
    steps: NDArray[np.int64]


class State(NamedTuple):
    """Where the kernel stopped: places in an int64 array.

    `image` is the next image, `done` its rows that are parsed, `at` how many
    words of the arena they take, `need` how many it must have to go on, `serial`
    the next number for the hash table.
    """

    image: int = 0
    done: int = 1
    at: int = 2
    need: int = 3
    serial: int = 4


_AT = State()


def make_room(n_rows_of_largest: int, n_categories: int) -> Room:
    """Allocate what the kernel works in."""
    n_slots = 1 << max(4, (2 * n_rows_of_largest - 1).bit_length())
    return Room(
        np.empty((_N_INT32, n_rows_of_largest + 8), np.int32),
        np.empty((_N_INT64, n_rows_of_largest + 8), np.int64),
        np.full(n_categories, -1, np.int32),
        np.empty(n_slots, np.int32),
        np.zeros(n_slots, np.int64),
        np.empty(LEVELS + 1, np.int32),
        np.empty(257, np.int64),
        np.empty(2 * MAX_EXTRAS, np.int32),
        np.empty(8, np.int16),
        np.empty(3 * (MAX_LAYERS + 1), np.int64),
        *number_table(),
    )


@inlined
def rows_in(room):
    """Give the rows of an image their room."""
    a = room.int32_KM
    b = room.int64_KM
    return Rows(
        pointer_to(a[0]), pointer_to(a[1]), pointer_to(a[2]), pointer_to(a[3]), pointer_to(a[4]),
        pointer_to(a[5]), pointer_to(b[0]), pointer_to(a[6]), pointer_to(b[1]),
    )  # fmt: skip


@inlined
def work_in(room):
    """Give the grouping of an image its room."""
    a = room.int32_KM
    b = room.int64_KM
    members = Members(
        pointer_to(a[7]), pointer_to(a[8]), pointer_to(a[9]), pointer_to(a[10]),
        pointer_to(a[11]), pointer_to(a[12]), pointer_to(a[13]),
    )  # fmt: skip
    grid = Grid(
        pointer_to(b[2]), pointer_to(b[3]), pointer_to(room.starts), pointer_to(a[14]),
        pointer_to(a[15]), pointer_to(b[4]), pointer_to(a[16]), pointer_to(a[17]),
        pointer_to(room.level_start),
    )  # fmt: skip
    return Work(
        members, grid, pointer_to(room.head), pointer_to(a[18]), pointer_to(a[19]),
        pointer_to(a[20]), pointer_to(a[21]), pointer_to(a[22]), pointer_to(room.slots),
        pointer_to(room.slot_serials), len(room.slots) - 1,
    )  # fmt: skip


@kernel
def group_images(
    bytes_B, offsets_N1, size_hw_N2, image_offsets_G1, category_N, is_crowd_N, source_N,
    policy, leader_N, linked_N, intersection_N, area_N, is_exact_duplicate_N, counters,
    room, arena, state,
):  # fmt: skip
    """Group all images from where ``state`` says; DONE, REFUSED_ROW or ARENA_FULL.

    After REFUSED_ROW ``state`` says which; after ARENA_FULL what of the arena was
    in use must be there again.
    """
    strings = Strings(pointer_to(bytes_B), len(bytes_B), pointer_to(offsets_N1))
    sizes = pointer_to(size_hw_N2)
    rows = rows_in(room)
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
        state[_AT.serial] = group_image(
            strings, first, n_rows, int64(size_hw_N2[first, 0]), int64(size_hw_N2[first, 1]),
            rows, words, categories, crowds, sources, policy, work, state[_AT.serial], outcome,
        )  # fmt: skip
        clear(words, 0, at)
        state[_AT.done] = 0
        state[_AT.at] = 0
    return DONE
