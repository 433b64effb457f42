"""Ids that come again are counted as by a set; those that count up are not held."""

from __future__ import annotations

import tracemalloc

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.read.id_statistics import KeyIds

ENDS = (-(2**63), 2**63 - 1)
BATCH = st.one_of(
    st.lists(st.integers(-5, 20) | st.sampled_from(ENDS), max_size=8),
    st.builds(
        lambda start, n: list(range(start, start + n)), st.integers(-5, 20), st.integers(0, 9)
    ),
    st.integers(0, 3).map(lambda n: list(range(2**63 - 1 - n, 2**63))),
)


@given(st.lists(BATCH, max_size=8))
def test_repeated_ids_are_those_that_a_set_has_already(batches: list[list[int]]) -> None:
    seen = KeyIds()
    for batch in batches:
        seen.add(np.array(batch, np.int64))
    ids = [one for batch in batches for one in batch]
    assert seen.n_repeated() == len(ids) - len(set(ids))


def test_rows_numbered_one_after_the_other_take_no_memory() -> None:
    seen = KeyIds()
    tracemalloc.start()
    try:
        for start in range(0, 1_000_000, 1_000):
            seen.add(np.arange(start, start + 1_000))
        assert seen.n_repeated() == 0
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
