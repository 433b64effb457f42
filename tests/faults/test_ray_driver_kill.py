"""F6, F7: the driver of a run on Ray is killed at moments that are known by what it has written."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from tests.faults import processes, small
from tests.faults.test_signals import kill_all, processes_with, wait_until

pytestmark = pytest.mark.long

N_IMAGES = 6

MOMENTS = {
    "the plan is there": ("runs/*/plan.json", 1),
    "a unit is done": ("runs/*/units/[0-9]*.json", 1),
    "half of the units are done": ("runs/*/units/[0-9]*.json", N_IMAGES // 2),
    "all units are done": ("runs/*/units/[0-9]*.json", N_IMAGES),
    "a table has committed": ("lineage/_delta_log/*0.json", 1),
    "all tables have committed": ("compacted/_delta_log/*0.json", 1),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_driver_that_is_killed_is_continued(tmp_path: Path, moment: str) -> None:
    inputs = small.write_many(tmp_path / "in", N_IMAGES, is_scattered=False)
    output, token = tmp_path / "out", secrets.token_hex(8)
    small.run(small.configure(inputs, tmp_path / "whole"))
    wanted = small.content(tmp_path / "whole")
    pattern, count = MOMENTS[moment]
    flags = ("--run.workers", "1", "--run.unit_bytes", str(small.UNIT_BYTES))
    process = processes.start(inputs, output, *flags, environment={"TOKEN": token})
    try:
        wait_until(
            lambda: len(list(output.glob(pattern))) >= count or process.poll() is not None, moment
        )
        process.kill()
        process.communicate()
        found = small.published(output)
        assert found in (None, wanted)
        (done,) = small.finished_units(output).values()
        with small.counted_units() as written:
            again = small.run(small.configure(inputs, output))
        assert again.state == ("published" if found is None else "already")
        assert done.isdisjoint(written), "work that had a record was done again"
        small.assert_whole(output, wanted)
        assert list(output.glob("reports/*/report.html"))
        wait_until(lambda: not processes_with(token), "Ray to end after its driver")
    finally:
        kill_all(token)
