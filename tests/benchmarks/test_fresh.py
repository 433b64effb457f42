"""A call in a new process: its memory beside its input, a crowd in one image and many images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import fresh, workload
from benchmarks.workload import Workload, cached, huge_image, make_workload


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: huge_image(6_000, 4_900), id="one image"),
        pytest.param(lambda: make_workload(n_images=20, masks_per_image=60), id="many images"),
    ],
)
def test_a_call_takes_at_most_four_times_its_input(
    make: Callable[[], Workload], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached("made", make, tmp_path)
    monkeypatch.setenv(workload.CACHE_VARIABLE, str(tmp_path))
    facts = fresh.in_fresh_process("made")
    assert facts["input_bytes"] > 100_000
    assert facts["peak_bytes"] <= 4 * facts["input_bytes"]
