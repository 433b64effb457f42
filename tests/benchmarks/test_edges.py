"""The odd inputs are what their names say, and sound."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import edges
from tests import oracle

SURVIVORS = {"all but one pixel": 1, "all identical": 1}


@pytest.mark.parametrize("name", edges.CASES)
def test_cases_are_sound(name: str) -> None:
    make, _ = edges.CASES[name]
    size_hw, runs = make(1_000 if name == "as many runs as pixels" else 9)
    assert {sum(one) for one in runs} == {size_hw[0] * size_hw[1]}
    case = edges.prepare(size_hw, runs)
    leader_N = case.call().leader_N
    assert case.n_masks == len(runs) == len(leader_N)
    assert len(np.unique(leader_N)) == SURVIVORS.get(name, len(runs))
    for one in runs:
        assert oracle.canonical(size_hw, oracle.to_string(one)) == oracle.to_string(one)
