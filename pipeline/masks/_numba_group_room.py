"""What the grouping kernel works in: allocated outside, pointed at inside."""

# Numba infers the types of parameters from the call, and intrinsics take one less than written.
# pyright: reportMissingParameterType=false, reportCallIssue=false

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.masks._jit import inlined
from pipeline.masks._numba_group_grid import ENTRY, N_LEVELS
from pipeline.masks._numba_group_merge import MAX_RUNS, MAX_VOTES, ROOM, Merge
from pipeline.masks._numba_group_numbers import number_table
from pipeline.masks._numba_group_parse import MAX_EXTRAS
from pipeline.masks._numba_group_rows import MAX_LAYERS, ROW_64, Rows
from pipeline.masks._numba_group_vector import pointer_to
from pipeline.masks._numba_group_work import Grid, Scan, Work

_N_INT32 = 15
_N_INT64 = 2


class Room(NamedTuple):
    """What the kernel works in; contents are undefined unless something is said.

    Attributes
    ----------
    records_32 : int32 (16 * M,), records_64 : int64 (8 * M,)
        One array seen in two ways: a record for each row of the largest image.
    int32_KM : int32 (15, M), int64_KM : int64 (2, M), entries : int32 (8 * M,),
    cells : int32 (2 * M,)
        For its rows, the first two with room for 8 more.
    head : int32 (number of categories)
        All -1.
    slots : int64 (power of two)
        Hash table; all 0.
    levels : int32, starts : int64
        For the grid.
    extras : int32, pending : int16, spans : int64, table : uint8, steps : int64
        For the parse, see `pipeline.masks._numba_group_parse.Scratch`.
    """

    records_32: NDArray[np.int32]
    records_64: NDArray[np.int64]
    int32_KM: NDArray[np.int32]
    int64_KM: NDArray[np.int64]
    entries: NDArray[np.int32]
    cells: NDArray[np.int32]
    head: NDArray[np.int32]
    slots: NDArray[np.int64]
    levels: NDArray[np.int32]
    starts: NDArray[np.int64]
    extras: NDArray[np.int32]
    pending: NDArray[np.int16]
    spans: NDArray[np.int64]
    table: NDArray[np.uint8]
    steps: NDArray[np.int64]


def make_room(n_rows_of_largest: int, n_categories: int) -> Room:
    """Allocate what the kernel works in."""
    records = np.empty((n_rows_of_largest + 1) * ROW_64, np.int64)
    records = records[-(records.ctypes.data // 8) % ROW_64 :][: n_rows_of_largest * ROW_64]
    n_slots = 1 << max(4, (2 * n_rows_of_largest - 1).bit_length())
    return Room(
        records.view(np.int32),
        records,
        np.empty((_N_INT32, n_rows_of_largest + 8), np.int32),
        np.empty((_N_INT64, n_rows_of_largest + 8), np.int64),
        np.empty(ENTRY * n_rows_of_largest, np.int32),
        np.empty(2 * n_rows_of_largest, np.int32),
        np.full(n_categories, -1, np.int32),
        np.zeros(n_slots, np.int64),
        np.empty((3, N_LEVELS + 1), np.int32),
        np.empty(257, np.int64),
        np.empty(2 * MAX_EXTRAS, np.int32),
        np.empty(8, np.int16),
        np.empty(3 * (MAX_LAYERS + 1), np.int64),
        *number_table(),
    )


class MergeRoom(NamedTuple):
    """What groups are merged in, as `pipeline.masks._numba_group_merge.Merge` says.

    Attributes
    ----------
    lists_3M : int32 (3, M)
        For the rows of the largest image.
    high : int32 (votes * columns), low, more : int32 (columns),
    runs_2R : int32 (2, runs)
        For one group.
    text : uint8
        Strings of the groups; replaced by a larger array where it is full.
    leader_K, offsets_K1, area_K : int64, is_left_K : uint8
        For each group.
    """

    lists_3M: NDArray[np.int32]
    high: NDArray[np.int32]
    low: NDArray[np.int32]
    more: NDArray[np.int32]
    runs_2R: NDArray[np.int32]
    text: NDArray[np.uint8]
    leader_K: NDArray[np.int64]
    offsets_K1: NDArray[np.int64]
    area_K: NDArray[np.int64]
    is_left_K: NDArray[np.uint8]


def make_merge_room(n_rows_of_largest: int, n_groups: int, n_text: int) -> MergeRoom:
    """Allocate what groups are merged in; all sizes may be 0 where nothing is merged."""
    n_columns = ROOM if n_groups else 0
    return MergeRoom(
        np.empty((3, n_rows_of_largest), np.int32),
        np.empty(MAX_VOTES * n_columns, np.int32),
        np.empty(n_columns, np.int32),
        np.empty(n_columns, np.int32),
        np.empty((2, MAX_RUNS if n_groups else 0), np.int32),
        np.empty(n_text, np.uint8),
        np.empty(n_groups, np.int64),
        np.zeros(n_groups + 1, np.int64),
        np.empty(n_groups, np.int64),
        np.empty(n_groups, np.uint8),
    )


@inlined
def merge_in(vote_fraction, room):
    """Give the merging of groups its room."""
    return Merge(
        vote_fraction, pointer_to(room.lists_3M[0]), pointer_to(room.lists_3M[1]),
        pointer_to(room.lists_3M[2]), pointer_to(room.high), pointer_to(room.low),
        pointer_to(room.more), pointer_to(room.runs_2R[0]), pointer_to(room.runs_2R[1]),
        pointer_to(room.text), len(room.text), pointer_to(room.leader_K),
        pointer_to(room.offsets_K1), pointer_to(room.area_K), pointer_to(room.is_left_K),
    )  # fmt: skip


@inlined
def rows_in(records_32, records_64):
    """Point at the fields of the rows' records."""
    a = records_32
    b = records_64
    return Rows(
        pointer_to(a), pointer_to(a[1:]), pointer_to(a[2:]), pointer_to(a[3:]),
        pointer_to(a[4:]), pointer_to(a[5:]), pointer_to(a[6:]), pointer_to(a[7:]),
        pointer_to(b[4:]), pointer_to(b[5:]),
    )  # fmt: skip


@inlined
def lists_in(a, b, entries, cells, levels, starts):
    """Give the lists of open members their room."""
    scan = Scan(
        pointer_to(a[0]), pointer_to(a[1]), pointer_to(a[2]), pointer_to(a[3]),
        pointer_to(a[4]), pointer_to(a[5]), pointer_to(a[6]),
    )  # fmt: skip
    grid = Grid(
        pointer_to(b[0]), pointer_to(entries), pointer_to(a[7]), pointer_to(cells),
        pointer_to(levels[0]), pointer_to(levels[1]), pointer_to(levels[2]), pointer_to(b[1]),
        pointer_to(starts), pointer_to(a[8]),
    )  # fmt: skip
    return scan, grid, pointer_to(a[9]), pointer_to(a[10]), pointer_to(a[11])


@inlined
def work_in(room):
    """Give the grouping of an image its room."""
    a = room.int32_KM
    scan, grid, members, following, found = lists_in(
        a, room.int64_KM, room.entries, room.cells, room.levels, room.starts
    )
    return Work(
        members, scan, grid, pointer_to(room.head), following, pointer_to(a[12]),
        pointer_to(a[13]), pointer_to(a[14]), found, pointer_to(room.slots), len(room.slots) - 1,
    )  # fmt: skip
