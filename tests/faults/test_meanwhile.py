"""F13, F15, F18: something else happens to inputs or output, at each operation of a run in turn.

What happens between two operations of the run happens wholly: another run, a vacuum, a change of
an input. So every moment at which the run could notice is there once.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline import flow, publish, storage
from pipeline.errors import ConflictError, InputError
from tests.faults import small, survival
from tests.faults.operations import Meanwhile, handled

PARTS = 4


def moments(undisturbed: small.Undisturbed, output: Path) -> list[int]:
    """Return the numbers of a run's operations."""
    survival.prepare(undisturbed, output, is_second=True)
    whole = Meanwhile()
    with handled(whole):
        small.run(small.configure(undisturbed.inputs, output))
    return list(range(len(whole.seen)))


Case = Callable[[small.Undisturbed, Path, int], None]


def twin(undisturbed: small.Undisturbed, output: Path, moment: int) -> None:
    """The same run a second time: both end well, and there is one version more."""
    config = small.configure(undisturbed.inputs, output)
    other = Meanwhile(moment, lambda: small.run(config))
    with handled(other):
        mine = small.run(config)
    assert {mine.state, other.result.state} <= {"published", "already"}
    versions = flow.publish.inspect_target(storage.to_uri(str(output)), []).versions
    assert versions == dict.fromkeys(versions, 1)
    survival.check(undisturbed, output, is_second=True)


def rival(undisturbed: small.Undisturbed, output: Path, moment: int) -> None:
    """A run with other settings: one wins whole; who lost says who won, and can run again."""
    shutil.rmtree(output)
    shutil.copytree(undisturbed.first.with_name("second"), output)
    config = small.configure(undisturbed.inputs, output, small.THIRD)
    winner = small.configure(undisturbed.inputs, output, small.OLD)
    other = Meanwhile(moment, lambda: small.run(winner))
    with handled(other):
        mine, error = small.attempt(config)
    if error is not None:
        assert isinstance(error, ConflictError)
        assert other.result.run_id in error.message
    found = small.published(output)
    assert found is not None
    (live,) = set(found["compacted"]["run_id"].to_pylist())
    assert live in (mine and mine.run_id, other.result.run_id)
    if mine is None:
        assert found == undisturbed.old
        assert small.run(config).state == "published"
    assert small.verify(str(output), is_all=True).problems == []


def vacuum(undisturbed: small.Undisturbed, output: Path, moment: int) -> None:
    """A vacuum that keeps nothing old: the run's files stay, and so does what is live."""

    def clean() -> Any:
        before = small.published(output)
        publish.vacuum(storage.to_uri(str(output)), retention_hours=0, dry_run=False)
        assert small.published(output) == before

    with handled(Meanwhile(moment, clean)):
        small.run(small.configure(undisturbed.inputs, output))
    small.assert_whole(output, undisturbed.new)
    assert small.live_files(output) == undisturbed.live


def changed(undisturbed: small.Undisturbed, output: Path, moment: int) -> None:
    """An input has other bytes of the same number."""
    change_input(undisturbed, output, moment, lambda path: swap(path, b"0.9", b"0.7"))


def cut(undisturbed: small.Undisturbed, output: Path, moment: int) -> None:
    """An input lost its last row."""

    def drop_last(path: Path) -> None:
        path.write_bytes(path.read_bytes().rpartition(b", {")[0] + b"]")

    change_input(undisturbed, output, moment, drop_last)


def removed(undisturbed: small.Undisturbed, output: Path, moment: int) -> None:
    """An input is not there any more."""
    change_input(undisturbed, output, moment, Path.unlink)


def change_input(
    undisturbed: small.Undisturbed, output: Path, moment: int, change: Callable[[Path], None]
) -> None:
    """Either the run fails by the file's name, or what it read is what it had listed."""
    folder = output.with_name("in")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(output)
    inputs = small.write_inputs(folder)
    small.run(small.configure(inputs, output, small.OLD))
    before = small.content(output)
    config = small.configure(inputs, output)
    listed: list[Any] = []
    real = storage.list_inputs

    def remember(given: Any) -> Any:
        listed.extend(real(given))
        return list(listed)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage, "list_inputs", remember)
        with handled(Meanwhile(moment, lambda: change(inputs[1]))):
            _, error = small.attempt(config)
    if error is not None:
        assert isinstance(error, InputError), error
        assert inputs[1].name in error.message
        assert small.published(output) == before
        return
    found = small.content(output)
    # The bytes that were listed are those that the tables were made of.
    small.write_inputs(folder)
    if storage.inspect_file(listed[1].uri).tag != listed[1].tag:
        change(inputs[1])
    assert storage.inspect_file(listed[1].uri).tag == listed[1].tag
    again = output.with_name("again")
    shutil.rmtree(again, ignore_errors=True)
    small.run(small.configure(inputs, again))
    assert small.content(again) == found


def swap(path: Path, old: bytes, new: bytes) -> None:
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))


def added(undisturbed: small.Undisturbed, output: Path, moment: int) -> None:
    """A file comes into a folder of inputs: it is in the run from the start, or not at all."""
    folder = output.with_name("in")
    shutil.rmtree(folder, ignore_errors=True)
    small.write_inputs(folder)
    new = folder / "third.json"
    config = small.configure([folder], output)
    with handled(Meanwhile(moment, lambda: shutil.copy(folder / "first.json", new))):
        small.run(config)
    sources = set(small.content(output)["lineage"]["source"].to_pylist())
    assert len(sources) in (2, 3)
    if len(sources) == 2:
        assert small.run(config).state == "published"
        assert len(set(small.content(output)["lineage"]["source"].to_pylist())) == 3


CASES: dict[str, Case] = {
    case.__name__: case for case in (twin, rival, vacuum, changed, cut, removed, added)
}


def try_all(name: str, undisturbed: small.Undisturbed, output: Path, part: slice) -> None:
    for moment in moments(undisturbed, output)[part]:
        survival.prepare(undisturbed, output, is_second=True)
        try:
            CASES[name](undisturbed, output, moment)
        except BaseException as error:
            error.add_note(f"at operation {moment}")
            raise


@pytest.mark.parametrize("name", CASES)
def test_at_some_moments(undisturbed: small.Undisturbed, tmp_path: Path, name: str) -> None:
    try_all(name, undisturbed, tmp_path / "out", slice(7, None, 40))


@pytest.mark.long
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("name", CASES)
def test_at_every_moment(
    undisturbed: small.Undisturbed, tmp_path: Path, name: str, part: int
) -> None:
    try_all(name, undisturbed, tmp_path / "out", slice(part, None, PARTS))
