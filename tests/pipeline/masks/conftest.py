"""Kernels of all backends behind the names that tests of the compiled ones use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import devices, grouping, stand_in


@pytest.fixture(scope="module", params=devices.BACKENDS)
def each_backend(request: pytest.FixtureRequest) -> str:
    """Ask for a test to be run once with each backend: "compiled", or torch on a device."""
    return request.param


@pytest.fixture(autouse=True)
def stand_in_device(request: pytest.FixtureRequest) -> Iterator[stand_in.StandIn | None]:
    """Let there be a CUDA device where a test is to run on the stand-in."""
    if request.node.get_closest_marker("stand_in") is None:
        yield None
        return
    with stand_in.in_place() as device:
        yield device


@pytest.fixture(autouse=True)
def kernels_of_the_backend(
    request: pytest.FixtureRequest, stand_in_device: stand_in.StandIn | None
) -> Iterator[None]:
    """Put a backend's kernels in place for one test, the compiled ones where it asks for none."""
    with pytest.MonkeyPatch.context() as patch:
        if "each_backend" in request.fixturenames:
            backend = request.getfixturevalue("each_backend")
            if backend != "compiled":
                for module in (request.module, grouping):
                    devices.put_in_place(patch, module, backend.split()[-1])
        yield
