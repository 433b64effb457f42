"""F17: clocks that are a day apart, in Delta's client too, and listings that are behind."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from deltalake import DeltaTable

from pipeline import publish
from pipeline.errors import ConflictError
from tests.faults import processes, small, survival
from tests.faults.operations import Dead, Death, handled
from tests.faults.store import Store, stored
from tests.seaweed import S3Server

DAY_S = 86_400

SHIFT = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static long shift(void) {
    const char *text = getenv("CLOCK_SHIFT_S");
    return text ? atol(text) : 0;
}

int clock_gettime(clockid_t id, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(id, now);
    if (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE) now->tv_sec += shift();
    return result;
}

int gettimeofday(struct timeval *now, void *zone) {
    struct timespec exact;
    int result = clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return result;
}

time_t time(time_t *where) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (where) *where = exact.tv_sec;
    return exact.tv_sec;
}
"""


@pytest.fixture(scope="module")
def shifted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that, loaded first, shifts the clock of a process."""
    folder = tmp_path_factory.mktemp("clock")
    source, library = folder / "shift.c", folder / "shift.so"
    source.write_text(SHIFT)
    try:
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    except FileNotFoundError:
        pytest.skip("no C compiler makes the library that shifts a clock")
    return library


def clock(shifted: Path, days: int) -> dict[str, str]:
    return {"LD_PRELOAD": str(shifted), "CLOCK_SHIFT_S": str(days * DAY_S)}


@pytest.mark.long
def test_runs_whose_clocks_are_days_apart(
    undisturbed: small.Undisturbed, shifted: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    old = ("--dedup.threshold", "0.5")
    assert processes.run(undisturbed.inputs, output, *old, environment=clock(shifted, 1))[0] == 0
    code, said = processes.run(undisturbed.inputs, output, environment=clock(shifted, -1))
    assert code == 0, said
    small.assert_whole(output, undisturbed.new)
    assert small.content(output, 0) == undisturbed.old
    first, second = (one["timestamp"] for one in DeltaTable(str(output / "compacted")).history())
    assert abs(first - second) > 1000 * DAY_S, "Delta's own clock was not shifted"
    before = small.live_files(output)
    vacuum(output, clock(shifted, 1))
    assert small.live_files(output) == before
    assert small.content(output, 0) == undisturbed.old, "within the retention by any of the clocks"


@pytest.mark.long
@pytest.mark.parametrize("days", [-1, 1])
def test_what_a_run_writes_is_kept_by_a_vacuum_with_another_clock(
    undisturbed: small.Undisturbed, shifted: Path, tmp_path: Path, days: int
) -> None:
    output = tmp_path / "out"
    survival.prepare(undisturbed, output, is_second=True)
    config = small.configure(undisturbed.inputs, output)
    whole = Death()
    with handled(whole):
        small.run(config)
    number = max(n for n, one in enumerate(whole.seen) if one.verb == "commit") - 1
    survival.prepare(undisturbed, output, is_second=True)
    with handled(Death(number)), pytest.raises(Dead):
        small.run(config)
    written = {path: path.read_bytes() for path in output.glob("*/part-*")}
    vacuum(output, clock(shifted, days), "--retention_hours", "0")
    assert {path: path.read_bytes() for path in output.glob("*/part-*")} == written
    survival.check(undisturbed, output, is_second=True)


def vacuum(output: Path, environment: dict[str, str], *flags: str) -> None:
    done = subprocess.run(
        [sys.executable, "jobs/vacuum.py", str(output), "--delete", "true", *flags],
        cwd=processes.ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def store(s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Generator[Store]:
    with stored(s3_server, tmp_path_factory.mktemp("inputs")) as store:
        yield store


def test_listings_that_are_behind_lose_no_commit(store: Store) -> None:
    output = store.prepare()
    store.proxy.is_stale = True
    assert small.run(store.config(output)).state == "published"
    store.proxy.is_stale = False
    store.check(output, is_published=True)


def test_a_rival_that_no_listing_shows_still_wins(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = store.prepare()
    real = publish.publish

    def late(*arguments: object) -> object:
        monkeypatch.undo()
        store.proxy.is_stale = False
        won = small.run(store.config(output, small.THIRD))
        store.proxy.is_stale = True
        try:
            return real(*arguments)  # pyright: ignore
        finally:
            store.proxy.is_stale = False
            winners.append(won.run_id)

    winners: list[str] = []
    store.proxy.is_stale = True
    monkeypatch.setattr(publish, "publish", late)
    with pytest.raises(ConflictError) as caught:
        small.run(store.config(output))
    assert winners[0] in caught.value.message
    assert small.run(store.config(output)).versions["compacted"] == 2
    assert small.content(output) == store.new
