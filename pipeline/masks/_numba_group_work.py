"""What the grouping kernels share while they work on the rows of one category of an image.

*Members* are those rows, in order, without crowds, masks without pixels and
*twins* (rows with the very string of an earlier member). A member is *open*
until it leads or is taken in; then it is *closed*: no list holds it any more.
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


class Image(NamedTuple):
    """One image; arrays are pointers.

    Attributes
    ----------
    strings : Strings
    first, n_rows : int64
        Its first row in the call, and how many it has.
    h, w : int64
    category_N : int64, is_crowd_N : uint8, source_N : int32
        By row of the call.
    rows : Rows
        By place in the image.
    arena : int32
        Their profiles.
    """

    strings: Any
    first: int
    n_rows: int
    h: int
    w: int
    category_N: Any
    is_crowd_N: Any
    source_N: Any
    rows: Any
    arena: Any


class Scan(NamedTuple):
    """Members side by side, for tests of eight at once; pointers to int32.

    Attributes
    ----------
    x0, x1, y0, y1, area, least
        As in `Rows`, by member; the area of a closed one is 0.
    member_of
        Member that a row of the image is.
    """

    x0: Any
    x1: Any
    y0: Any
    y1: Any
    area: Any
    least: Any
    member_of: Any


class Grid(NamedTuple):
    """Members by place, for `pipeline.masks._numba_group_grid`; pointers.

    Attributes
    ----------
    keys : int64
        Level, column and top edge of each entry; rising.
    entries : int32 (ENTRY * number of members)
        Open members, and some that were closed since: x0, x1, y0, y1, area or 0
        if closed, least, row, and the lower bits of where the profile is.
    entry_of : int32
        Place of a row's entry.
    cells : int32 (2 * number of members)
        First entry of each cell of some levels, column by column.
    level_start, level_cells, level_side : int32 (N_LEVELS + 1)
        First entry of each level; where its cells are in ``cells``, or -1; how
        many a column of them has.
    spare_keys, starts : int64 (number of members, 257), spare : int32
        Room for sorting.
    """

    keys: Any
    entries: Any
    entry_of: Any
    cells: Any
    level_start: Any
    level_cells: Any
    level_side: Any
    spare_keys: Any
    starts: Any
    spare: Any


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
    members : rows of the category at work
    scan : Scan
    grid : Grid
    head : first row of each category; -1 outside of an image
    following : rows of a category, chained
    twin : the earlier row with the same string, else -1
    first_taken : for a leader, the first row that it took in, else -1
    queue, found : rows
    slots : pointer to int64 (slot_mask + 1)
        Hash table: serial number times 2**32, plus row; only entries of the
        current serial number count.
    """

    members: Any
    scan: Any
    grid: Any
    head: Any
    following: Any
    twin: Any
    first_taken: Any
    queue: Any
    found: Any
    slots: Any
    slot_mask: int
