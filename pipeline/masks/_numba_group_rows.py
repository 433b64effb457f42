"""What the grouping kernels know of the rows of the image they work on, and where.

Of most masks a *profile* is kept: for each column of the mask's box the first
run of that column, as (-top, bottom) in two int16, so that the overlap of two
columns is min(-top) + min(bottom) where that is positive. An empty column is any
pair whose sum is not positive. Columns with more than one run have the others in
*layers*: layer 1 holds the second runs, and so on.

All profiles of an image lie in one arena of int32, one after the other::

    layer 0: a word for each column of the box, then PAD words that stay empty
    layer 1: first column, end column, a word for each of them, PAD empty words
    ...

Masks that do not fit this form (higher than 32,767 px; columns far outnumber the
characters of the string; more than 64 runs in a column) are *sparse*: they have
no profile, and are walked run by run where they are compared.

Worked example: a 3x3 mask ``X X . / . X . / X . .`` has the profile
``(0, 1), (0, 2)`` and one layer of one column, 0: ``(-2, 3)``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

PAD = 8
"""Empty words behind each layer: vectors of 8 columns may read that far."""

MAX_LAYERS = 64
MAX_HEIGHT = 32767

SPARSE = -1
"""In place of a profile's position, for a mask that has none."""


ROW = 16
ROW_64 = 8
"""What lies between one row's field and the next one's: a record fills a cache line."""


class Rows(NamedTuple):
    """What is known of each row of an image, by its place in the image.

    All are pointers into one array of records: int32 fields are indexed by
    ROW * place, int64 fields by ROW_64 * place.

    Attributes
    ----------
    x0, x1, y0, y1 : int32
        Tight box, x1 and y1 exclusive; zeros for a mask without pixels.
    area : int32
        Foreground pixels.
    rest : int32
        Foreground pixels that are not in layer 0.
    n_layers : int32
        Layers beside layer 0.
    least : int32
        Pixels that another mask must share at least, if the area of this one is
        what is divided by; set for rows that compare.
    at : int64
        Where in the arena the profile starts, or SPARSE.
    digest : int64
        Hash of the string.
    """

    x0: Any
    x1: Any
    y0: Any
    y1: Any
    area: Any
    rest: Any
    n_layers: Any
    least: Any
    at: Any
    digest: Any
