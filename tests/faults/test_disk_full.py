"""F9: the disk of the output is full, from any operation on, for a moment or for good."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import StorageError
from tests.faults import small, survival
from tests.faults.operations import STORES, Full, Meanwhile, handled

PARTS = 4


def fill(undisturbed: small.Undisturbed, output: Path, part: slice) -> int:
    config = small.configure(undisturbed.inputs, output)
    survival.prepare(undisturbed, output, is_second=True)
    whole = Meanwhile()
    with handled(whole):
        small.run(config)
    numbers = [n for n, operation in enumerate(whole.seen) if operation.verb in STORES][part]
    for number, is_lasting in [(n, last) for n in numbers for last in (False, True)]:
        survival.prepare(undisturbed, output, is_second=True)
        full = Full(number, is_lasting)
        with handled(full):
            _, error = small.attempt(config)
        assert full.refused
        if error is not None:
            assert isinstance(error, StorageError)
            assert str(output) in error.message
            assert "No space left on device" in error.message
        assert small.content(output) == (undisturbed.old if error else undisturbed.new)
        assert not list(output.rglob(".maskpress-tmp-*"))
        survival.check(undisturbed, output, is_second=True)
    return len(numbers)


def test_a_full_disk_is_named_and_nothing_is_published(
    undisturbed: small.Undisturbed, tmp_path: Path
) -> None:
    assert fill(undisturbed, tmp_path / "out", slice(2, None, 15)) > 1


@pytest.mark.long
@pytest.mark.parametrize("part", range(PARTS))
def test_a_disk_full_at_any_operation(
    undisturbed: small.Undisturbed, tmp_path: Path, part: int
) -> None:
    assert fill(undisturbed, tmp_path / "out", slice(part, None, PARTS)) > 3
