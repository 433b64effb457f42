"""Fixtures of the fault tests."""

from __future__ import annotations

import pytest

from tests.faults import small
from tests.seaweed import s3_server, s3_uri

__all__ = ["s3_server", "s3_uri", "undisturbed"]


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> small.Undisturbed:
    """Two runs that nothing disturbed, to compare with."""
    return small.run_undisturbed(tmp_path_factory.mktemp("undisturbed"))
