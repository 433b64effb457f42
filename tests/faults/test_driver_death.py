"""F6, F7, F12: the driver dies at each of its file-system operations in turn.

Dying after an operation is dying before the next one, so each run is ended before every
operation, and amid every write. All of them are in the long suite, in parts; `make test`
ends the run at every seventeenth.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults import small, survival
from tests.faults.operations import Dead, Death, handled

PARTS = 8
SLICE = 17


def deaths(undisturbed: small.Undisturbed, output: Path, is_second: bool) -> list[Death]:
    """Return every way in which the run can end, from one that goes through."""
    survival.prepare(undisturbed, output, is_second)
    whole = Death()
    with handled(whole):
        small.run(small.configure(undisturbed.inputs, output))
    assert {"write", "rename", "commit" if is_second else "create"} <= {o.verb for o in whole.seen}
    before = [Death(number) for number in range(len(whole.seen))]
    amid = [Death(n, is_amid=True) for n, one in enumerate(whole.seen) if one.do_half]
    return [*before, *amid]


def survive(undisturbed: small.Undisturbed, output: Path, is_second: bool, death: Death) -> None:
    """End a run, look at what is there, run again, and compare."""
    survival.prepare(undisturbed, output, is_second)
    with handled(death), pytest.raises(Dead):
        small.run(small.configure(undisturbed.inputs, output))
    survival.check(undisturbed, output, is_second)


def survive_all(undisturbed: small.Undisturbed, output: Path, is_second: bool, part: slice) -> None:
    for death in deaths(undisturbed, output, is_second)[part]:
        try:
            survive(undisturbed, output, is_second, death)
        except BaseException as error:
            last = death.seen[-1] if death.seen else None
            where = last and f"{last.verb} {last.path}"
            error.add_note(f"ended at operation {death.number} ({where}), amid: {death.is_amid}")
            raise


@pytest.mark.parametrize("is_second", [False, True], ids=["first", "second"])
def test_the_driver_dies_at_some_operations(
    undisturbed: small.Undisturbed, tmp_path: Path, is_second: bool
) -> None:
    survive_all(undisturbed, tmp_path / "out", is_second, slice(5, None, SLICE))


@pytest.mark.long
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("is_second", [False, True], ids=["first", "second"])
def test_the_driver_dies_at_every_operation(
    undisturbed: small.Undisturbed, tmp_path: Path, is_second: bool, part: int
) -> None:
    survive_all(undisturbed, tmp_path / "out", is_second, slice(part, None, PARTS))
