"""What a variant is: a way to break one promise, and the tests that must fail with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

Patch = pytest.MonkeyPatch

PROMISES = "tests/test_promises.py"
PUBLISH = "tests/pipeline/publish"


class Variant(NamedTuple):
    """One way to break a promise.

    Attributes
    ----------
    promise : str
        P1 to P8, as in the README.
    apply : callable
        Patches the product.
    caught_by : tuple of str
        Tests, as pytest names them, of which at least one must fail with it.
    is_quick : bool
        Also part of ``make test``.
    """

    promise: str
    apply: Callable[[Patch], None]
    caught_by: tuple[str, ...]
    is_quick: bool = False
