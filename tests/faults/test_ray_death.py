"""F1, F2: a worker of Ray is killed amid a file, and an actor amid a batch."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline import flow, runs, storage
from tests.faults import mortal, small

pytestmark = pytest.mark.usefixtures("ray_local")


def facts(output: Path) -> dict[str, Any]:
    """Return what two runs have in common: rows, files byte for byte, and all counters."""
    (run_id,) = storage.list_names(storage.to_uri(str(output / "runs")))
    records = runs.read_records(storage.to_uri(str(output)), run_id)
    for record in records:
        record.stage_s = {}
    files = {name: (output / name).read_bytes() for name in sorted(small.live_files(output))}
    return {
        "content": small.content(output),
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
        "records": [msgspec.to_builtins(record) for record in records],
    }


def assert_survived(
    folder: Path, steps: tuple[str, ...], calls: tuple[str, ...], n_images: int, shuffled: bool
) -> int:
    """Let workers die in a run through Ray; return how often, when nothing tells it apart."""
    inputs = small.write_many(folder / "in", n_images, shuffled)
    small.run(small.configure(inputs, folder / "whole"))
    output = folder / "out"
    with mortal.dying(str(output), *steps, calls=calls) as count:
        outcome = flow.run(small.configure(inputs, output))
    assert outcome.state == "published"
    assert outcome.plan is not None
    assert (outcome.plan.bounds is not None) == shuffled
    assert facts(output) == facts(folder / "whole")
    rows = outcome.report["rows"]
    assert rows["read"] == 6 * n_images
    assert rows["read"] == rows["kept"] + rows["merged"] + rows["filtered"] + rows["rejected"]
    small.assert_whole(output, small.content(folder / "whole"))
    return count()


def test_a_worker_and_an_actor_are_killed(tmp_path: Path) -> None:
    assert assert_survived(tmp_path, ("compact", "write"), mortal.ONCE, 4, shuffled=False) == 2


@pytest.mark.long
@pytest.mark.parametrize("step", ["read", "compact", "write"])
def test_a_fifth_of_the_calls_of_a_step_kills(tmp_path: Path, step: str) -> None:
    n_deaths = assert_survived(tmp_path, (step,), mortal.EVERY_FIFTH, 12, shuffled=False)
    assert n_deaths >= 1


@pytest.mark.long
def test_every_step_of_a_shuffle_kills(tmp_path: Path) -> None:
    steps = ("read", "compact", "write")
    assert assert_survived(tmp_path, steps, mortal.EVERY_FIFTH, 8, shuffled=True) >= 1
