"""How every compiled kernel is compiled: one decorator, one set of options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a kernel: cached on disk, without the GIL, C division rules.

    Bounds checks are off unless ``NUMBA_BOUNDSCHECK=1`` is set.
    """
    return numba.njit(cache=True, nogil=True, error_model="numpy")(function)
