"""Which settings are tried."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.config import CompactConfig, DedupConfig
from pipeline.errors import ConfigError
from pipeline.tune import SweepConfig, list_settings

BASE = CompactConfig(inputs=("x",), output="y", dedup=DedupConfig(overlap="ios"))


def test_every_combination_once() -> None:
    sweep = SweepConfig(
        thresholds=(0.5, 0.8), groups=("none", "leader"), merges=("best", "vote"), fidelities=(0.9,)
    )
    found = list_settings(BASE, sweep)
    # Without groups nothing but the encoding matters: 3 of them, and 2 x 2 x 2 x 3 others.
    assert len(found) == len(set(found)) == 3 + 24
    assert all(one.dedup.overlap == "ios" for one in found)
    assert found[0].flags == "--dedup.group none --encode.encoding rle"


def test_flags_are_those_of_the_main_job() -> None:
    sweep = SweepConfig(
        thresholds=(0.75,), groups=("leader",), merges=("vote",), per_category=(False,),
        encodings=("polygon",), fidelities=(0.98,),
    )  # fmt: skip
    (found,) = list_settings(BASE, sweep)
    assert found.flags == (
        "--dedup.threshold 0.75 --dedup.group leader --dedup.merge vote "
        "--dedup.per_category false --encode.encoding polygon --encode.fidelity 0.98"
    )


def test_default_is_known() -> None:
    plain = CompactConfig(inputs=("x",), output="y")
    assert sum(one.is_default for one in list_settings(plain, SweepConfig())) == 1


@pytest.mark.parametrize(
    ("values", "flag"),
    [
        ({"thresholds": (0.0,)}, "--sweep.thresholds: expected numbers"),
        ({"thresholds": ()}, "--sweep.thresholds: expected one value"),
        ({"fidelities": (0.9, 0.9)}, "--sweep.fidelities: expected one value or more, each once"),
        ({"images": 0}, "--sweep.images"),
        ({"max_drop": 2.0}, "--sweep.max_drop"),
    ],
)
def test_wrong_value_names_its_flag(values: dict[str, Any], flag: str) -> None:
    with pytest.raises(ConfigError, match=flag):
        SweepConfig(**values)


def test_too_many_are_refused() -> None:
    sweep = SweepConfig(thresholds=tuple(n / 1000 for n in range(1, 900)))
    with pytest.raises(ConfigError, match="at most 2,000 combinations"):
        list_settings(BASE, sweep)
