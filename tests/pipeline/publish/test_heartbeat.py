from __future__ import annotations

import time
from pathlib import Path

import pytest

from pipeline import storage
from pipeline.errors import StorageError
from pipeline.publish.heartbeat import (
    SILENCE_S,
    SKEW_S,
    Heartbeat,
    beating,
    is_silent,
    read_heartbeat,
    write_heartbeat,
)
from tests.published import run_name

RUN = run_name(1)


def test_what_was_written_is_read(output_uri: str) -> None:
    assert read_heartbeat(output_uri, RUN) is None
    before = time.time()
    write_heartbeat(output_uri, RUN, 30.0)
    beat = read_heartbeat(output_uri, RUN)
    assert beat is not None
    assert before <= beat.time_s <= time.time()
    assert beat.period_s == 30.0
    assert not is_silent(beat, time.time())


def test_other_bytes_are_an_error_and_not_a_dead_run(tmp_path: Path) -> None:
    output_uri = storage.to_uri(str(tmp_path))
    storage.write_bytes(storage.join(output_uri, "runs", RUN, "heartbeat.json"), b'{"time_s": ')
    with pytest.raises(StorageError, match=r"heartbeat\.json: expected a heartbeat"):
        read_heartbeat(output_uri, RUN)


@pytest.mark.parametrize(
    ("age_s", "period_s", "expected"),
    [
        (0, 30, False),
        (-SKEW_S, 30, False),  # its clock is a day ahead of ours
        (SKEW_S + SILENCE_S, 30, False),  # a day behind, and a day of silence
        (SKEW_S + SILENCE_S + 1, 30, True),
        (SKEW_S + SILENCE_S + 1, 36_000, False),  # it beats rarely
    ],
)
def test_a_run_is_dead_only_beyond_doubt(age_s: float, period_s: float, expected: bool) -> None:
    assert is_silent(Heartbeat(1e9, period_s), 1e9 + age_s) is expected


def test_beating_writes_before_and_while_the_block_runs(tmp_path: Path) -> None:
    uri = f"file://{tmp_path}"
    path = tmp_path / "runs" / "ab" / "heartbeat.json"
    with beating(uri, "ab", period_s=0.01):
        first = path.stat().st_ino
        deadline = time.monotonic() + 30
        while path.stat().st_ino == first and time.monotonic() < deadline:
            pass
        assert path.stat().st_ino != first
