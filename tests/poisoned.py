"""Processes in which steps of the product die at rows with a mark (see tests/poison)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "poison"


def poison_new_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Poison every Python process that this one starts from now on."""
    monkeypatch.setenv("PYTHONPATH", python_path())


def python_path() -> str:
    """Return a PYTHONPATH that poisons."""
    return os.pathsep.join([str(FOLDER), *filter(None, [os.environ.get("PYTHONPATH")])])
