"""What is done after a run has died: look, run again, compare with undisturbed runs."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.faults import small


def prepare(undisturbed: small.Undisturbed, output: Path, is_second: bool) -> None:
    """Make the output what the run finds: nothing, or an older publication."""
    shutil.rmtree(output, ignore_errors=True)
    if is_second:
        shutil.copytree(undisturbed.first, output)


def check(undisturbed: small.Undisturbed, output: Path, is_second: bool) -> None:
    """Check what a reader sees, run again, and check that nothing tells the two runs apart."""
    old = undisturbed.old if is_second else None
    assert small.published(output) in (old, undisturbed.new)
    done = small.finished_units(output)
    with small.counted_units() as written:
        small.run(small.configure(undisturbed.inputs, output))
    small.assert_whole(output, undisturbed.new)
    assert small.live_files(output) == undisturbed.live
    (run_id,) = set(undisturbed.new["compacted"]["run_id"].to_pylist())
    finished = done.get(run_id, set())
    assert finished.isdisjoint(written), "work that had a record was done again"
    assert small.finished_units(output)[run_id] == finished | set(written)
    assert (output / "reports" / run_id / "report.html").exists()
    if is_second:
        assert small.content(output, 0) == undisturbed.old
