"""Which rows are kept, decided from pairs whose overlap is known: many settings, one comparison.

Gives the leaders that `pipeline.masks.group.group_masks` finds. That one is faster for a
single setting, since it compares only what it must; here every pair that some setting
may match has been compared before.

Worked example, the rows of `pipeline.masks.group` without their duplicate: the pairs
(0, 1), (0, 2), (1, 2) have the IoU 3/5, 2/6, 3/5. From 0.5 on (0, 1) and (1, 2) match::

    leader      [0, 0, 2]    row 1 is taken, so it takes in nothing
    component   [0, 0, 0]
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError, MaskError
from pipeline.masks import _numba_decide
from pipeline.masks._checks import frozen, frozen_index


def leaders_of_pairs(
    n_rows: int,
    i_P: NDArray[np.int64],
    j_P: NDArray[np.int64],
    is_match_P: NDArray[np.bool_],
    group: Literal["leader", "component"] = "leader",
) -> NDArray[np.int64]:
    """Find the leader of every row.

    Parameters
    ----------
    n_rows : int
        N rows, in the total order within each image.
    i_P, j_P : int64 (P,)
        Pairs of rows, i < j, sorted by i.
    is_match_P : bool (P,)
        Which of them reach the threshold and may be compared.
    group : {"leader", "component"}
        As in `pipeline.masks.group`.

    Returns
    -------
    int64 (N,)
        Row that took row n in; n itself where it leads. Cost: linear in pairs and rows.

    Raises
    ------
    MaskError
        Where the pairs break their contract.
    ConfigError
        For another group.
    """
    if group not in ("leader", "component"):
        raise ConfigError(f"unknown group {group!r}")
    i_P, j_P = frozen_index(i_P, n_rows, "pairs"), frozen_index(j_P, n_rows, "pairs")
    is_match_P = frozen(is_match_P, np.bool_)
    if not len(i_P) == len(j_P) == len(is_match_P):
        raise MaskError(f"expected pairs, got {len(i_P)}, {len(j_P)} and {len(is_match_P)} values")
    if np.any(i_P >= j_P) or np.any(i_P[1:] < i_P[:-1]):
        raise MaskError("expected pairs with i < j, sorted by i")
    leader_N = np.arange(n_rows, dtype=np.int64)
    decide = _numba_decide.take_in_pairs if group == "leader" else _numba_decide.join_pairs
    decide(i_P, j_P, is_match_P, leader_N)
    return leader_N
