"""Kernels of all backends behind the names that tests of the compiled ones use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import devices, grouping


@pytest.fixture(scope="module", params=devices.BACKENDS)
def each_backend(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run a test once with each backend: "compiled", or torch on a device."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param != "compiled":
            for module in (request.module, grouping):
                devices.put_in_place(patch, module, request.param.split()[-1])
        yield
