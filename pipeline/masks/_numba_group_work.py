"""What the grouping kernels share while they work on the rows of one category of an image.

Members are those rows, in order, without crowds, masks without pixels and
*twins* (rows with the very string of an earlier member). A member is *open*
until it leads or is taken in; then its area here is set to 0, which no test
lets pass.
"""

from __future__ import annotations

from typing import Any, NamedTuple

NO_AREA_BOUND = 1
NO_BOX_BOUND = 2
NO_EARLY_STOP = 4
NO_DIGESTS = 8
NO_CLOSING = 16
NO_VECTORS = 32
"""Flags that switch off one pruning each; results must not change (for tests)."""


class Members(NamedTuple):
    """Rows of one category, in order; all fields point to int32.

    Attributes
    ----------
    x0, x1, y0, y1
        Tight boxes.
    area
        Foreground pixels; 0 where the member is closed.
    least
        Pixels that another mask must share at least, if the area of this one is
        what is divided by.
    row
        Places of the members in the image.
    """

    x0: Any
    x1: Any
    y0: Any
    y1: Any
    area: Any
    least: Any
    row: Any


class Policy(NamedTuple):
    """What decides: see `pipeline.masks.group`, and the flags above.

    Attributes
    ----------
    threshold : float64
    is_ios, is_component, has_source : bool
    flags : int64
    grid_from : int64
        Number of members from which on they are looked up in a grid.
    """

    threshold: float
    is_ios: bool
    is_component: bool
    has_source: bool
    flags: int
    grid_from: int


class Grid(NamedTuple):
    """Members by cell, for `pipeline.masks._numba_group_grid`.

    Attributes
    ----------
    keys, spare_keys, starts : pointers to int64
        Room for sorting: by member, by member, and 257.
    entries, spare : pointers to int32
        Open members (and some that were closed since), cell by cell; room.
    cell_key : pointer to int64
        Keys of the cells that are not empty, rising.
    cell_start, cell_size : pointers to int32
        Where the entries of a cell are.
    level_start : pointer to int32 (LEVELS + 1)
        First cell of each level.
    """

    keys: Any
    spare_keys: Any
    starts: Any
    entries: Any
    spare: Any
    cell_key: Any
    cell_start: Any
    cell_size: Any
    level_start: Any


class Outcome(NamedTuple):
    """Where the results go, by row of the whole call; pointers.

    Attributes
    ----------
    leader_N, linked_N, intersection_N, area_N : int64
    is_exact_duplicate_N : uint8
    counters : int64 (2)
        Candidate pairs, pairs whose runs were compared.
    """

    leader_N: Any
    linked_N: Any
    intersection_N: Any
    area_N: Any
    is_exact_duplicate_N: Any
    counters: Any


class Work(NamedTuple):
    """Room for the rows of one image; pointers to int32 if nothing else is said.

    Attributes
    ----------
    members : Members
    grid : Grid
    head : pointer to int32 (number of categories)
        First row of each category; -1 outside of an image.
    following : rows of a category, chained
    twin : the earlier row with the same string, else -1
    first_taken : for a leader, the first row that it took in, else -1
    queue, found : members
    slots : pointer to int32, slot_serials : pointer to int64 (slot_mask + 1)
        Hash table of rows; an entry counts if its serial is the current one.
    """

    members: Any
    grid: Any
    head: Any
    following: Any
    twin: Any
    first_taken: Any
    queue: Any
    found: Any
    slots: Any
    slot_serials: Any
    slot_mask: int
