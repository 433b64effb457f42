"""Fixtures of the tests that write to a store, and of those of `verify`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline import storage
from tests.altered import rows_of_four_images
from tests.seaweed import s3_server, s3_uri

__all__ = ["output_uri", "s3_server", "s3_uri"]


@pytest.fixture(params=["local", "s3"])
def output_uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URI of an output that does not exist yet, on a local disk and on S3."""
    if request.param == "s3":
        return storage.join(request.getfixturevalue("s3_uri"), "out")
    return storage.to_uri(str(tmp_path / "out"))


@pytest.fixture(scope="module")
def predictions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("inputs") / "predictions.json"
    path.write_text(json.dumps(rows_of_four_images()))
    return path
