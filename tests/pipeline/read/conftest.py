"""What tests of readers share."""

from __future__ import annotations

import pytest


@pytest.fixture(params=["compiled", "decoded"])
def both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read every file of JSON both ways: by compiled code, and with an object for each row."""
    size = 0 if request.param == "compiled" else 1 << 60
    monkeypatch.setattr("pipeline.read.json_read.COMPILED_BYTES", size)
