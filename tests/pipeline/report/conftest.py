"""Runs whose figures several modules compare."""

from __future__ import annotations

import pytest

from tests.figure_runs import SCENES, Run, make_run


@pytest.fixture(scope="session", params=SCENES)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_run(tmp_path_factory.mktemp("figures"), request.param)
