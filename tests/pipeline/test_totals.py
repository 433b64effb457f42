"""What the driver holds of all units: the same sums in any order, and no more for more units."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import msgspec
import numpy as np
import pytest

from pipeline import measures, samples
from pipeline.records import CategoryCounts, UnitRecord
from pipeline.totals import Totals
from tests.scene import compact, rectangles


def unit_records(n_units: int) -> list[UnitRecord]:
    rows = rectangles(n_units)
    found = [compact([row for row in rows if row.image_id == n]).record for n in range(n_units)]
    return [msgspec.structs.replace(one, unit=n, stage_s={}) for n, one in enumerate(found)]


def test_first_record_holds_the_sums_of_all() -> None:
    records = unit_records(13)
    expected: dict[str, CategoryCounts] = {}
    for record in records:
        for name, counts in record.categories.items():
            expected.setdefault(name, CategoryCounts()).add(counts)
    groups = samples.first_samples(one for record in records for one in record.samples)
    totals = Totals()
    for record in records:
        totals.add(record)
    totals.end()
    assert records[0].samples == groups
    assert set(records[0].categories) == set(expected)
    for name, counts in records[0].categories.items():
        for field in CategoryCounts.__struct_fields__:
            assert getattr(counts, field) == pytest.approx(getattr(expected[name], field))
    assert not any(r.samples or r.masks or r.categories for r in records[1:])


def test_order_of_the_units_changes_no_bit() -> None:
    found: list[bytes] = []
    for seed in range(4):
        records = unit_records(13)
        totals = Totals()
        for n in np.random.default_rng(seed).permutation(13):
            totals.add(records[n])
        totals.end()
        found.append(msgspec.json.encode(records[0], order="sorted"))
    assert len(set(found)) == 1


def test_limit_of_categories_holds_for_all_units_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.totals.CATEGORIES", 3)
    records = [
        UnitRecord(n, "run", categories={str(n): CategoryCounts(masks={"rle": n + 1})})
        for n in range(9)
    ]
    totals = Totals()
    for record in records:
        totals.add(record)
    totals.end()
    assert list(records[0].categories)[-1] == measures.OTHER
    assert len(records[0].categories) == 4
    kept = {name: sum(one.masks.values()) for name, one in records[0].categories.items()}
    assert sum(kept.values()) == 45


def full_records(n_units: int) -> Iterator[UnitRecord]:
    for unit in range(n_units):
        categories = {
            str(n): CategoryCounts(masks={"rle": unit + n, "crack": n}, iou_sum=0.1 * n)
            for n in range(500)
        }
        yield UnitRecord(unit, "run", categories=categories)


def test_memory_does_not_grow_with_the_number_of_units() -> None:
    peaks: list[int] = []
    for n_units in (8, 64):
        tracemalloc.start()
        totals, records = Totals(), []
        for record in full_records(n_units):
            totals.add(record)
            records.append(record)
        totals.end()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # A hundred bytes or so of every record stay; its 500 categories take 300,000.
    assert peaks[1] < 2.5 * peaks[0]
