"""Adds up what the driver holds of all units, so that it does not grow with their number.

Units end in any order, and sums of floats depend on theirs. So records are added
up in pairs of neighbours, pairs of pairs and so on: what is added to what is
decided by the units' numbers alone, and as few records are full as the order in
which they end allows.
"""

from __future__ import annotations

from pipeline.measures import CATEGORIES, bounded
from pipeline.records import CategoryCounts, UnitRecord
from pipeline.samples import first_samples


class Totals:
    """The records of a run's units, of which a few hold what was in all: see `add`.

    What is summed here are the categories, the sampled groups and masks, the large parts
    of a record. The files of the records keep theirs.
    """

    def __init__(self) -> None:
        self._found: dict[tuple[int, int], UnitRecord] = {}

    def add(self, record: UnitRecord) -> None:
        """Take up the record of a unit that is done; each unit once."""
        level, place = 0, record.unit
        while (other := self._found.pop((level, place ^ 1), None)) is not None:
            record = _absorb(other, record) if place % 2 else _absorb(record, other)
            level, place = level + 1, place // 2
        self._found[level, place] = record

    def end(self) -> None:
        """Add up the rest; the first record holds all then."""
        nodes = sorted(self._found, key=lambda node: node[1] << node[0])
        records = [self._found.pop(node) for node in nodes]
        for record in records[1:]:
            _absorb(records[0], record)


def _absorb(first: UnitRecord, second: UnitRecord) -> UnitRecord:
    """Move categories and groups of the second record into the first; return that."""
    for name, counts in second.categories.items():
        first.categories.setdefault(name, CategoryCounts()).add(counts)
    if len(first.categories) > CATEGORIES:
        first.categories = bounded(first.categories, CATEGORIES)
    first.samples = first_samples([*first.samples, *second.samples])
    first.masks += second.masks
    second.categories, second.samples, second.masks = {}, [], []
    return first
