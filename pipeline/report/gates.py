"""Limits that a run must keep before it may publish."""

from __future__ import annotations

from typing import Any

from pipeline.config import GateConfig
from pipeline.errors import GateError


def gate_rows(document: dict[str, Any], config: GateConfig) -> list[dict[str, Any]]:
    """Return a row for every limit that is set: its flag, the report's row, and whether it holds.

    A row of the report that is null (nothing was merged, so there is no mean IoU) holds.
    """
    limits = (
        ("max_merged_fraction", config.max_merged_fraction, "merged_fraction", "at most"),
        ("min_mean_iou", config.min_mean_iou, "mean_iou", "at least"),
        ("max_ap_drop", config.max_ap_drop, "ap_drop", "at most"),
    )
    found: list[dict[str, Any]] = []
    for name, limit, row, bound in limits:
        if limit is None:
            continue
        value = document[row]
        holds = value is None or (value <= limit if bound == "at most" else value >= limit)
        found.append(
            {
                "flag": f"--gate.{name}",
                "row": row,
                "bound": bound,
                "limit": limit,
                "value": value,
                "holds": holds,
            }
        )
    return found


def failed_gates(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the gates of a report that do not hold."""
    return [gate for gate in document["gates"] if not gate["holds"]]


def require_gates(document: dict[str, Any]) -> None:
    """Check every limit that is set.

    Raises
    ------
    GateError
        If one does not hold; names the row of the report.
    """
    failed = failed_gates(document)
    if not failed:
        return
    parts = [
        f"{gate['flag']}: expected {gate['row']} of {gate['bound']} {gate['limit']:g}, "
        f"got {gate['value']:.6g}"
        for gate in failed
    ]
    raise GateError(
        "; ".join(parts)
        + f". Nothing was published; see reports/{document['run_id']}/report.json, then change "
        "the settings of the run or the gate"
    )
