"""Limits on the figures of a report."""

from __future__ import annotations

import pytest

from pipeline import report
from pipeline.config import GateConfig
from pipeline.errors import ConfigError, GateError
from tests.scene import make_report, rectangles


def test_gate_that_holds_is_silent() -> None:
    document, _ = make_report(rectangles(), gate=GateConfig(max_merged_fraction=1, min_mean_iou=0))
    assert [gate["holds"] for gate in document["gates"]] == [True, True]
    report.require_gates(document)


def test_broken_gate_names_its_row() -> None:
    gate = GateConfig(max_merged_fraction=0.001, min_mean_iou=0.999)
    document, _ = make_report(rectangles(), gate=gate)
    with pytest.raises(GateError) as caught:
        report.require_gates(document)
    for text in ("--gate.max_merged_fraction", "merged_fraction of at most 0.001", "mean_iou"):
        assert text in caught.value.message


def test_no_merged_row_breaks_nothing() -> None:
    document, _ = make_report([], gate=GateConfig(min_mean_iou=0.9, max_merged_fraction=0))
    assert document["mean_iou"] is None
    report.require_gates(document)


def test_gate_is_a_fraction() -> None:
    with pytest.raises(ConfigError, match=r"--gate\.min_mean_iou: expected a fraction"):
        GateConfig(min_mean_iou=80)
