"""F13: two runs at once, as processes that nobody steers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline import publish, storage
from tests.faults import processes, small

OTHER = ("--dedup.threshold", "0.9")


def run_both(inputs: tuple[Path, Path], output: Path, *flags: str) -> list[tuple[int, str]]:
    """Do the small job twice at once, the second time with flags; return how they ended."""
    both = [processes.start(inputs, output), processes.start(inputs, output, *flags)]
    return [processes.finish(process) for process in both]


def versions(output: Path) -> set[int | None]:
    return set(publish.inspect_target(storage.to_uri(str(output)), []).versions.values())


def test_two_equal_runs_at_once_are_one(undisturbed: small.Undisturbed, tmp_path: Path) -> None:
    ended = run_both(undisturbed.inputs, tmp_path / "out")
    assert [code for code, _ in ended] == [0, 0], ended
    assert versions(tmp_path / "out") == {0}
    small.assert_whole(tmp_path / "out", undisturbed.new)


@pytest.mark.long
@pytest.mark.parametrize("round_number", range(6))
def test_of_two_runs_at_once_one_wins_whole(
    undisturbed: small.Undisturbed, tmp_path: Path, round_number: int
) -> None:
    output = tmp_path / "out"
    ended = run_both(undisturbed.inputs, output, *OTHER)
    codes = [code for code, _ in ended]
    assert sorted(codes) in ([0, 0], [0, 4]), ended
    (live,) = set(small.content(output)["compacted"]["run_id"].to_pylist())
    if 4 in codes:
        assert versions(output) == {0}
        loser = codes.index(4)
        named = re.findall("run ([0-9a-f]{16})", ended[loser][1])
        assert live in named
        again = processes.run(undisturbed.inputs, output, *(OTHER if loser else ()))
        assert again[0] == 0, again
    assert versions(output) == {1}
    assert small.verify(str(output), is_all=True).problems == []
    assert undisturbed.new in (small.content(output, 0), small.content(output, 1))


@pytest.mark.long
def test_runs_of_different_inputs_at_once(undisturbed: small.Undisturbed, tmp_path: Path) -> None:
    output = tmp_path / "out"
    first, second = undisturbed.inputs
    both = [processes.start([path], output) for path in (first, second)]
    codes = [processes.finish(process)[0] for process in both]
    assert sorted(codes) in ([0, 0], [0, 4])
    sources = set(small.content(output)["compacted"]["source"].to_pylist())
    assert sources in ({first.as_uri()}, {second.as_uri()})
    assert small.verify(str(output), is_all=True).problems == []
