"""The search for rows at which a step dies, against steps that die by a rule."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.child import Died
from pipeline.errors import CompactionError
from pipeline.isolation import (
    MAX_PER_IMAGE,
    find_culprits,
    order_for_search,
    read_slice,
    reject_culprits,
    try_whole,
)
from pipeline.read import ReadResult, Slice
from schemas.rejects import rejects_schema

Rule = Callable[[list[int]], str]


def table(image_ids: list[int]) -> pa.Table:
    n = len(image_ids)
    return pa.table(
        {"image_id": image_ids, "source": ["file:///a.json"] * n, "source_row": list(range(n))}
    )


def search(image_ids: list[int], rule: Rule) -> tuple[dict[int, str], int]:
    """Return code by source_row, and how often the step died."""
    deaths = 0

    def attempt(rows: pa.Table, share: float) -> None:
        nonlocal deaths
        assert 0 < share <= 1
        code = rule(rows["source_row"].to_pylist())
        if code:
            deaths += 1
            raise Died(code, "it was ended")

    rows = order_for_search(table(image_ids))
    found = find_culprits(rows, attempt)
    source_rows = rows["source_row"].to_pylist()
    return {source_rows[culprit.place]: culprit.code for culprit in found}, deaths


@given(st.lists(st.integers(0, 9), min_size=1, max_size=60), st.data())
def test_exactly_the_rows_at_fault_are_found(image_ids: list[int], data: st.DataObject) -> None:
    rows = st.integers(0, len(image_ids) - 1)
    bad = data.draw(st.sets(rows, max_size=5))
    per_image = Counter(image_ids[row] for row in bad)
    found, deaths = search(image_ids, lambda own: "CRASH" if bad & set(own) else "")
    whole = {image for image, count in per_image.items() if count > MAX_PER_IMAGE}
    expected = bad | {row for row, image in enumerate(image_ids) if image in whole}
    assert set(found) == expected
    assert set(found.values()) <= {"CRASH"}
    assert deaths <= len(bad) * (3 + len(image_ids).bit_length())


def test_of_two_rows_that_die_only_together_the_later_is_at_fault() -> None:
    image_ids = [5] * 10 + [6] * 10
    found, _ = search(image_ids, lambda own: "TIMEOUT" if {2, 7} <= set(own) else "")
    assert found == {7: "TIMEOUT"}


def test_memory_condemns_the_image() -> None:
    image_ids = [1, 2, 2, 2, 2, 3]
    found, _ = search(image_ids, lambda own: "MEMORY" if len({1, 2, 3, 4} & set(own)) > 2 else "")
    assert found == dict.fromkeys([1, 2, 3, 4], "TOO_MANY_MASKS")


def test_a_step_that_dies_at_every_row_ends_the_run() -> None:
    with pytest.raises(CompactionError, match="expected few rows that end the process"):
        search(list(range(200)), lambda own: "CRASH")


def test_nothing_is_blamed_for_a_death_that_does_not_come_again() -> None:
    deaths = iter(["CRASH"])
    assert search([1] * 8, lambda own: next(deaths, ""))[0] == {}


def test_a_crash_is_tried_again_and_an_endless_step_is_not() -> None:
    codes = iter(["CRASH", ""])
    tries: list[str] = []

    def attempt() -> None:
        tries.append(next(codes))
        if tries[-1]:
            raise Died(tries[-1], "it was ended")

    assert try_whole(attempt) is None
    assert tries == ["CRASH", ""]
    codes, tries = iter(["TIMEOUT"]), []
    died = try_whole(attempt)
    assert died is not None
    assert died.code == "TIMEOUT"
    assert tries == ["TIMEOUT"]


def test_rejects_carry_the_bytes_of_their_rows() -> None:
    rows = order_for_search(table([1, 1, 2]))
    found, _ = search([1, 1, 2], lambda own: "CRASH" if 1 in own else "")
    assert found == {1: "CRASH"}

    def attempt(part: pa.Table, share: float) -> None:
        if 1 in part["source_row"].to_pylist():
            raise Died("CRASH", "it was ended by SIGSEGV")

    culprits = find_culprits(rows, attempt)
    (reject,) = reject_culprits(
        rows, culprits, lambda uri, own: [(7 * row, f"{uri}#{row}".encode()) for row in own]
    ).to_pylist()
    assert (reject["source"], reject["source_row"]) == ("file:///a.json", 1)
    assert (reject["byte_offset"], reject["payload"]) == (7, b"file:///a.json#1")
    assert "it was ended by SIGSEGV" in reject["message"]


def slice_of(n_rows: int, kind: str) -> Slice:
    return Slice("file:///a.json", kind, 100, n_rows, 0, 10 * n_rows, 10 * n_rows, 1, 9)


def read_with(part: Slice, bad: set[int]) -> ReadResult:
    """Read rows that are ten bytes each; a row is its number."""
    nothing = rejects_schema().empty_table()

    def read(own: Slice, share: float) -> ReadResult:
        rows = list(range(own.first_row, own.first_row + own.n_rows))
        assert own.start == 10 * (own.first_row - 100)
        assert own.stop - own.start == 10 * own.n_rows
        if bad & set(rows):
            raise Died("CRASH", "it was ended")
        return ReadResult(pa.table({"source_row": rows}), nothing, {"seen": len(rows)}, nothing)

    return read_slice(
        part,
        read,
        lambda own: [(10 * n, b"0123456789") for n in range(own.n_rows)],
        lambda: pa.table({"source_row": pa.array([], pa.int64())}),
    )


@given(st.integers(1, 40), st.data())
def test_a_slice_is_read_but_for_the_rows_at_fault(n_rows: int, data: st.DataObject) -> None:
    bad = data.draw(st.sets(st.integers(100, 99 + n_rows), max_size=4))
    result = read_with(slice_of(n_rows, "coco_results"), bad)
    good = [row for row in range(100, 100 + n_rows) if row not in bad]
    assert result.instances["source_row"].to_pylist() == good
    assert result.rejects["source_row"].to_pylist() == sorted(bad)
    assert result.counters.get("seen", 0) == len(good)
    if n_rows > 1:
        assert result.rejects["byte_offset"].to_pylist() == [
            10 * (row - 100) for row in sorted(bad)
        ]


def test_a_slice_that_cannot_be_cut_is_rejected_whole() -> None:
    result = read_with(slice_of(3, "parquet"), {101})
    assert result.rejects["source_row"].to_pylist() == [100, 101, 102]
    assert result.rejects["payload"].to_pylist() == [None] * 3
    assert len(result.instances) == 0
