"""What is asked of Ray's workers beside units of work, and what is made of their failures."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import ray.exceptions

from pipeline import estimate, execution, report
from pipeline.config import EncodeConfig
from pipeline.report.page import make_page
from tests.scene import compact, make_report, rectangles


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
    pretend(monkeypatch, ray.exceptions.WorkerCrashedError())
    assert execution.encoded_bytes(masks, EncodeConfig()) == {}
    assert "other encodings were not tried" in caplog.text
    pretend(monkeypatch, ray.exceptions.GetTimeoutError("too long"))
    assert execution.encoded_bytes(masks, EncodeConfig()) == {}


def test_a_worker_is_asked_where_ray_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    masks = compact(rectangles(3)).record.masks
    pretend(monkeypatch, {"rle": 7})
    assert execution.encoded_bytes(masks, EncodeConfig()) == {"rle": 7}
    monkeypatch.setattr(execution.ray, "is_initialized", lambda: False)
    here = execution.encoded_bytes(masks, EncodeConfig())
    assert here == estimate.encoded_bytes(masks, EncodeConfig())


def test_a_page_without_other_encodings_does_not_speak_of_them() -> None:
    document, result = make_report(rectangles(3))
    title = "What each encoding gives"
    assert title in make_page(document, result.record.samples, None)
    report.add_encodings(document, 0, {})
    assert title not in make_page(document, result.record.samples, None)
