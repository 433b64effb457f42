"""Every promise has variants that break it, and each of them is caught by tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutations.variants import VARIANTS

ROOT = Path(__file__).resolve().parents[2]
PARTS = 4

QUICK = [name for name, variant in VARIANTS.items() if variant.is_quick]
REST = [name for name in VARIANTS if name not in QUICK]


def run(names: list[str], *flags: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.mutations.run", *flags, *names],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=290,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-2000:]}"
    assert f"{len(names)} of {len(names)} caught" in done.stdout


def test_every_promise_has_a_variant_in_both_suites() -> None:
    assert {VARIANTS[name].promise for name in QUICK} == {f"P{n}" for n in range(1, 9)}


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
def test_a_variant_of_each_promise_is_caught() -> None:
    run(QUICK, "--only")


@pytest.mark.long
@pytest.mark.parametrize("part", range(PARTS))
def test_every_other_variant_is_caught(part: int) -> None:
    run(REST[part::PARTS])
