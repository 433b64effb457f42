"""Fixtures that every test may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import Phase, settings

settings.register_profile("maskpress", deadline=None, print_blob=True)
settings.register_profile("first", deadline=None, phases=(Phase.explicit, Phase.generate))
"""For tests that are to fail: the first example that does is enough."""
settings.load_profile("maskpress")

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real inputs beside the checkout; skips where it is absent, but never in CI."""
    if not SHARED_DATA.is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"the real inputs are absent in CI: expected the folder {SHARED_DATA}")
        pytest.skip(f"the real inputs are absent: expected the folder {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture(scope="session")
def ray_local() -> Iterator[None]:
    """One local Ray for all tests of this process that need it."""
    import ray

    from pipeline import cluster

    cluster.start_local(num_cpus=2, object_store_memory=256 << 20)
    yield
    ray.shutdown()
