"""Settings are checked when they are made, and say which flag is wrong."""

from __future__ import annotations

import dataclasses
import pickle
from typing import Any

import pytest

from pipeline import config, errors
from pipeline.config import CompactConfig

WRONG: list[tuple[type, dict[str, Any], str]] = [
    (config.DedupConfig, {"threshold": 0.0}, "--dedup.threshold"),
    (config.DedupConfig, {"threshold": 1.1}, "--dedup.threshold"),
    (config.DedupConfig, {"threshold": float("nan")}, "--dedup.threshold"),
    (config.DedupConfig, {"vote_fraction": 0.0}, "--dedup.vote_fraction"),
    (config.DedupConfig, {"source_column": "model"}, "--dedup.across true"),
    (config.FilterConfig, {"min_area": -1}, "--filter.min_area"),
    (config.FilterConfig, {"min_score": float("nan")}, "--filter.min_score"),
    (config.CleanConfig, {"min_part_area": -1}, "--clean.min_part_area"),
    (config.EncodeConfig, {"fidelity": 0.0}, "--encode.fidelity"),
    (config.EncodeConfig, {"epsilon": 1.0}, "--encode.epsilon"),
    (config.WriteConfig, {"compression_level": 23}, "--write.compression_level"),
    (config.RunConfig, {"workers": 0}, "--run.workers"),
    (config.RunConfig, {"deadline": "soon"}, "--run.deadline"),
    (config.RunConfig, {"deadline": "0s"}, "--run.deadline"),
    (config.RunConfig, {"no_progress": "10"}, "--run.no_progress"),
    (config.RunConfig, {"unit_timeout": "1m 30s"}, "--run.unit_timeout"),
    (config.ReadConfig, {"max_image_bytes": 0}, "--read.max_image_bytes"),
    (config.ReadConfig, {"max_reject_fraction": 2.0}, "--read.max_reject_fraction"),
]


@pytest.mark.parametrize(("step", "values", "flag"), WRONG, ids=lambda value: str(value))
def test_wrong_value_names_its_flag(step: type, values: dict[str, Any], flag: str) -> None:
    with pytest.raises(errors.ConfigError, match=flag) as caught:
        step(**values)
    assert repr(next(iter(values.values()))) in str(caught.value) or "false" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("0.5s", 0.5), ("45m", 2700), ("1h30m", 5400), ("2d", 172800), ("", None)],
)
def test_durations(text: str, seconds: float | None) -> None:
    assert config.parse_duration(text) == seconds


def test_inputs_and_output_are_required() -> None:
    with pytest.raises(errors.ConfigError, match="at least one INPUT"):
        CompactConfig(inputs=(), output="x")
    with pytest.raises(errors.ConfigError, match="directory or URI"):
        CompactConfig(inputs=("x",), output=" ")


def test_decisive_leaves_out_what_changes_no_row() -> None:
    base = CompactConfig(inputs=("x",), output="y")
    other = dataclasses.replace(
        base, inputs=("z",), output="w", device="cpu", run=config.RunConfig(workers=3)
    )
    assert base.decisive() == other.decisive()
    changed = dataclasses.replace(base, dedup=config.DedupConfig(merge="union"))
    assert base.decisive() != changed.decisive()


def test_every_error_survives_pickling() -> None:
    for name in dir(errors):
        error = getattr(errors, name)
        if isinstance(error, type) and issubclass(error, errors.CompactionError):
            again = pickle.loads(pickle.dumps(error("what, where, what to do")))
            assert type(again) is error
            assert again.message == str(again) == "what, where, what to do"
