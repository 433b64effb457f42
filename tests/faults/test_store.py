"""F10, F11: S3 fails, for a while or for good, or does what it is asked and its reply is lost."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Generator
from pathlib import Path

import pytest

from pipeline.errors import CommitUnknownError, StorageError
from pipeline.records import TABLES
from tests.faults import small
from tests.faults.proxy import Fault, Request, Rule
from tests.faults.store import Store, stored
from tests.seaweed import S3Server

FAULTS: tuple[Fault, ...] = ("error", "unavailable", "slow down", "refuse", "lose", "hang")
PARTS = 4
MOST_TRIES = {"error": 99, "slow down": 99, "refuse": 261}
"""Of one request; a read whose connection ends is tried 250 times by s3fs and below it, and 11
times by Delta's client where both read it: the entries of a log."""
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def store(s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Generator[Store]:
    with stored(s3_server, tmp_path_factory.mktemp("inputs")) as store:
        yield store


def one_in_five(faults: tuple[Fault, ...]) -> Rule:
    """Let a fifth of the requests fail, but never one of them three times in a row."""
    dice, in_a_row = random.Random(7), Counter[Request]()

    def decide(request: Request) -> Fault | None:
        fails = dice.random() < 0.2 and in_a_row[request] < 2
        in_a_row[request] = in_a_row[request] + 1 if fails else 0
        return dice.choice(faults) if fails else None

    return decide


def test_a_fifth_of_all_requests_fails_and_the_run_succeeds(store: Store) -> None:
    output = store.prepare()
    store.proxy.rule = one_in_five(FAULTS[:-1] * 2 + FAULTS)  # each "hang" takes a second
    assert small.run(store.config(output)).state == "published"
    met = Counter(fault for _, fault in store.proxy.seen)
    assert set(met) == {None, *FAULTS}, met
    store.check(output, is_published=True)


@pytest.mark.long
@pytest.mark.parametrize("fault", FAULTS)
def test_the_first_try_of_every_request_fails(store: Store, fault: Fault) -> None:
    output = store.prepare()
    known = set[Request]()

    def first(request: Request) -> Fault | None:
        is_new = request not in known
        known.add(request)
        return fault if is_new else None

    store.proxy.rule = first
    assert small.run(store.config(output)).state == "published"
    store.check(output, is_published=True)


@pytest.mark.parametrize(
    "table", [pytest.param(table, marks=pytest.mark.long) for table in TABLES[:-1]] + [TABLES[-1]]
)
def test_a_commit_that_lands_and_whose_reply_is_lost_is_one_version(
    store: Store, table: str
) -> None:
    output = store.prepare()
    entry = f"PUT OUT/{table}/_delta_log/{1:020d}.json"
    lost = lose_once(store, output, entry)
    assert small.run(store.config(output)).versions == dict.fromkeys(TABLES, 1)
    assert len(lost) > 1, "no client tried again, so no reply was missed"
    store.check(output, is_published=True)


def test_the_command_whose_commit_replies_are_all_lost_exits_0(store: Store) -> None:
    output = store.prepare()
    lost = lose_once(store, output, *(f"PUT OUT/{t}/_delta_log/{1:020d}.json" for t in TABLES))
    command = [sys.executable, "jobs/compact.py", f"{store.uri}/in", "--output", output]
    done = subprocess.run(
        [*command, "--filter.min_area", "2", "--run.backend", "numba"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "is published (compacted version 1)" in done.stdout
    assert len(lost) > len(TABLES)
    store.check(output, is_published=True)


def lose_once(store: Store, output: str, *wanted: str) -> list[str]:
    """Lose the reply of the first try of some requests; return the list of all their tries."""
    tries: list[str] = []

    def decide(request: Request) -> Fault | None:
        own = name(request, output)
        if own not in wanted:
            return None
        tries.append(own)
        return "lose" if tries.count(own) == 1 else None

    store.proxy.rule = decide
    return tries


def requests_of_a_run(store: Store) -> list[str]:
    """Return every request of an undisturbed run, once each, without what is random in it."""
    output = store.prepare()
    small.run(store.config(output))
    return list(dict.fromkeys(name(request, output) for request in store.proxy.requests()))


def name(request: Request, output: str) -> str:
    key = request.key.replace(output.partition("://")[2].partition("/")[2], "OUT")
    return f"{request.verb} {re.sub('probe-[0-9a-f]+', 'probe', key)}"


def fail_for_good(store: Store, wanted: str, fault: Fault) -> None:
    """Let one request fail however often it is tried."""
    output = store.prepare()
    store.proxy.rule = lambda request: fault if name(request, output) == wanted else None
    _, error = small.attempt(store.config(output))
    n_tried = sum(met is not None for _, met in store.proxy.seen)
    assert 0 < n_tried <= MOST_TRIES[fault]
    if error is not None:
        assert isinstance(error, (StorageError, CommitUnknownError)), error
        key = wanted.partition(" ")[2].replace("OUT", output.removeprefix("s3://"))
        assert key.rstrip("/") in error.message
    store.check(output, is_published=None if error else True)


def test_requests_that_fail_for_good_end_the_run(store: Store) -> None:
    for wanted in requests_of_a_run(store)[3::29]:
        fail_for_good(store, wanted, "error")


@pytest.mark.long
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("fault", ["error", "slow down", "refuse"])
def test_any_request_that_fails_for_good_ends_the_run(
    store: Store, fault: Fault, part: int
) -> None:
    for wanted in requests_of_a_run(store)[part::PARTS]:
        fail_for_good(store, wanted, fault)
