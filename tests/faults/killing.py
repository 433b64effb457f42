"""A process that imports once and forks for every run: python -m tests.faults.killing ...

Delta's client does not survive a fork, so this process itself never uses it: whatever does
runs in a child.
"""

from __future__ import annotations

import os
import pickle
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

from pipeline import storage
from pipeline.plan import make_plan
from pipeline.read import scan
from pipeline.report import page
from tests import outputs
from tests.faults import small, survival, tracer


def main(reference: str, kind: str, start: str, step: str) -> int:
    """End a run before every step-th change of a file from `start` on; check each time."""
    undisturbed: small.Undisturbed = pickle.loads(Path(reference).read_bytes())
    is_second = kind == "second"
    output = Path(reference).parent / "out"
    config = small.configure(undisturbed.inputs, output)
    warm_up(undisturbed)
    survival.prepare(undisturbed, output, is_second)
    changes = tracer.run_and_kill(lambda: small.run(config), str(output), None)
    assert any("_delta_log" in change for change in changes), changes
    for number in range(int(start), len(changes), int(step)):
        survival.prepare(undisturbed, output, is_second)
        seen = tracer.run_and_kill(lambda: small.run(config), str(output), number)
        text = in_child(lambda: survival.check(undisturbed, output, is_second))
        if text:
            say = f"killed before change {number} of {len(changes)}, {seen[-1:]}"
            sys.stdout.write(f"{say}\n{text}")
            return 1
    sys.stdout.write(f"{len(range(int(start), len(changes), int(step)))} of {len(changes)}\n")
    return 0


def warm_up(undisturbed: small.Undisturbed) -> None:
    """Load what every run needs, without Delta's client."""
    warm_up_with(undisturbed.inputs)


def warm_up_with(inputs: tuple[Path, Path]) -> None:
    """Do the same with inputs alone."""
    assert page
    with tempfile.TemporaryDirectory() as folder:
        config = small.configure(inputs, Path(folder))
        inventory = storage.list_inputs(config.inputs)
        scans = [scan(file, config.read, config.run.unit_bytes) for file in inventory]
        plan = make_plan(inventory, scans, config)
        outputs.execute(plan, config, storage.to_uri(folder))


def in_child(work: Callable[[], object]) -> str:
    """Run in a forked child; return what went wrong."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            os.write(writer, traceback.format_exc()[-8000:].encode())
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader) as stream:
        text = stream.read()
    _, status = os.waitpid(child, 0)
    return text or (f"the check ended with {status}" if status else "")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
