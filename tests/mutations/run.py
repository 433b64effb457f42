"""Runs tests against broken variants: python -m tests.mutations.run [--only] [VARIANT...].

This process imports all, touches no store (Delta's client does not survive a fork), and forks:
once to see that the tests pass as things are (not with --only, where the suite itself runs
them), then once for each variant. What a child prints is kept in a file and shown where it did
not end as it should.
"""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.faults import killing, small
from tests.mutations.variant import Variant
from tests.mutations.variants import VARIANTS

PASSED, FAILED = 0, 1

_OPTIONS = (
    *("-q", "-x", "-p", "no:cacheprovider", "-k", "not s3"),
    *("--timeout=120", "--hypothesis-profile=first"),
)


def main(names: Sequence[str]) -> int:
    """Return 0 if the tests pass without a variant and fail with each."""
    warm_up()
    is_only = "--only" in names
    names = [name for name in names if name != "--only"]
    chosen = {name: VARIANTS[name] for name in names or VARIANTS}
    tests = sorted({test for variant in chosen.values() for test in variant.caught_by})
    code, text = (PASSED, "") if is_only else _in_child(lambda: None, tests)
    if code != PASSED:
        sys.stdout.write(f"the tests do not pass without any variant ({code}):\n{text}\n")
        return 1
    survivors = [name for name, variant in chosen.items() if not _is_caught(name, variant)]
    sys.stdout.write(f"{len(chosen) - len(survivors)} of {len(chosen)} caught\n")
    return 1 if survivors else 0


def warm_up() -> None:
    """Load what whole runs need, without Delta's client, so that no child has to."""
    with tempfile.TemporaryDirectory() as folder:
        killing.warm_up_with(small.write_inputs(Path(folder) / "in"))


def _is_caught(name: str, variant: Variant) -> bool:
    code, text = _in_child(lambda: variant.apply(pytest.MonkeyPatch()), variant.caught_by)
    if code != FAILED:
        say = "no test fails" if code == PASSED else f"pytest ended with {code}"
        sys.stdout.write(f"{variant.promise}, {name}: {say}\n{text}\n")
    return code == FAILED


def _in_child(prepare: Callable[[], None], tests: Sequence[str]) -> tuple[int, str]:
    """Return pytest's exit code and what it said, from a forked child; -1: it did not get there."""
    with tempfile.TemporaryFile() as log:
        child = os.fork()
        if child == 0:
            code = 255
            try:
                os.dup2(log.fileno(), 1)
                os.dup2(log.fileno(), 2)
                folder = tempfile.mkdtemp(prefix="mutation-")
                prepare()
                code = int(pytest.main([*_OPTIONS, f"--basetemp={folder}", *tests]))
            except BaseException:
                os.write(2, traceback.format_exc().encode())
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        log.seek(0)
        text = log.read().decode(errors="replace")
    code = os.waitstatus_to_exitcode(status)
    return (-1 if code == 255 else code), text[-3000:]


if __name__ == "__main__":
    assert Path("tests/mutations").is_dir(), "run it from the repository's root"
    sys.exit(main(sys.argv[1:]))
