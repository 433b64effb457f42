"""What is asked of Ray's workers beside units of work, and what is made of their failures."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import ray.exceptions

from pipeline import estimate, execution, report
from pipeline.config import EncodeConfig
from pipeline.estimate import EncodingTrial
from pipeline.report.page import make_page
from tests.scene import compact, make_report, one_unit_plan, rectangles


def answer(value: Any) -> Any:
    if isinstance(value, Exception):
        raise value
    return value


def pretend(monkeypatch: pytest.MonkeyPatch, outcome: Any) -> None:
    """Let Ray be there, and let its workers give this."""
    monkeypatch.setattr(execution.ray, "is_initialized", lambda: True)
    asked = SimpleNamespace(remote=lambda *values: outcome)
    monkeypatch.setattr(execution.ray, "remote", lambda **options: lambda function: asked)
    monkeypatch.setattr(execution.ray, "get", lambda found, timeout: answer(found))


def test_a_worker_that_dies_of_other_encodings_does_not_end_a_published_run(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    masks = compact(rectangles(3)).record.masks
    for error in (
        ray.exceptions.WorkerCrashedError(),
        ray.exceptions.GetTimeoutError("too long"),
    ):
        pretend(monkeypatch, error)
        wait = execution.try_encodings(masks, EncodeConfig())
        assert not caplog.text  # nothing is waited for, and nothing known, before the result is
        assert wait() == EncodingTrial(0, {})
        assert "other encodings were not tried" in caplog.text
        caplog.clear()


def test_a_worker_is_asked_where_ray_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    masks = compact(rectangles(3)).record.masks
    given = EncodingTrial(1, {"rle": 7}, 0.25)
    pretend(monkeypatch, given)
    assert execution.try_encodings(masks, EncodeConfig())() == given
    monkeypatch.setattr(execution.ray, "is_initialized", lambda: False)
    here = execution.try_encodings(masks, EncodeConfig())()
    assert here[:2] == estimate.try_encodings(masks, EncodeConfig())[:2]
    assert here.n_masks == len(masks) > 0 < here.seconds


def test_a_worker_s_seconds_count_as_measuring() -> None:
    timer = report.Timer()
    timer.worked("measure", 0.25)
    timer.worked("measure", 0.5)
    times = report.times(one_unit_plan(rectangles(3)), [], timer, 1)
    assert times["worker_stage_s"] == {"measure": 0.75}


def test_a_page_without_other_encodings_does_not_speak_of_them() -> None:
    document, result = make_report(rectangles(3))
    title = "What each encoding gives"
    assert title in make_page(document, result.record.samples, None)
    report.add_encodings(document, EncodingTrial(0, {}))
    assert title not in make_page(document, result.record.samples, None)
