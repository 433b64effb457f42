"""Which rows are still good, and why each other one is not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pipeline.read.raw_rows import Fault


class Verdicts:
    """N rows, each good or with one fault: the first that was found.

    Attributes
    ----------
    is_good_N : bool (N,)
        Rows without a fault so far.
    faults : dict of int to Fault
        By row.
    """

    def __init__(self, n_rows: int) -> None:
        self.is_good_N = np.ones(n_rows, np.bool_)
        self.faults: dict[int, Fault] = {}

    def refuse(
        self, is_bad_N: NDArray[np.bool_], code: str, field: str, message: Callable[[int], str]
    ) -> None:
        """Give these rows a fault unless they have one; only for them a message is made."""
        if not is_bad_N.any():
            return
        for row in np.flatnonzero(is_bad_N & self.is_good_N).tolist():
            self.faults[row] = Fault(code, field, message(row))
        self.is_good_N &= ~is_bad_N

    def refuse_each(self, faults: dict[int, Fault]) -> None:
        """Give rows the faults they have been found to have, unless they have one."""
        for row, fault in faults.items():
            self.faults.setdefault(row, fault)
            self.is_good_N[row] = False
