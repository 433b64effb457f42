"""Runs that write a table wrong on purpose, and what `verify` says of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.config import CompactConfig, FilterConfig, RunConfig, WriteConfig
from pipeline.verify import Findings, verify
from tests import oracle
from tests.outputs import Tables, run_inline

Change = Callable[[dict[str, Any]], dict[str, Any]]
"""Of the columns of a table, those that are other."""


def rows_of_four_images() -> list[dict[str, Any]]:
    """Return rows of which, per image, one is merged, one identical, one filtered, two kept."""
    rows: list[dict[str, Any]] = []
    for image_id in (3, 5, 8, 9):
        boxes = [(4, 4, 20, 20), (4, 5, 20, 20), (4, 4, 20, 20), (30, 30, 9, 9), (1, 40, 12, 5)]
        for place, (x, y, w, h) in enumerate(boxes):
            bitmap = np.zeros((48, 64), bool)
            bitmap[y : y + h, x : x + w] = True
            bitmap[y + 2, x + 1 : x + 3] = False
            bitmap[y : y + 2, x : x + 2] = image_id % 2 > 0
            segmentation = {"size": [48, 64], "counts": oracle.encode(bitmap).decode()}
            rows.append(
                {
                    "image_id": image_id,
                    "category_id": 1,
                    "bbox": [x, y, w, h],
                    "score": 0.01 if place == 4 else 0.9 - 0.125 * place,
                    "segmentation": segmentation,
                }
            )
    rows[7]["segmentation"]["counts"] = "~~~"
    return rows


def make_config(source: Path, output: Path | str, **steps: Any) -> CompactConfig:
    given: dict[str, Any] = {
        "filter": FilterConfig(min_score=0.1),
        "run": RunConfig(backend="numba", unit_bytes=1200),
        "write": WriteConfig(row_group_rows=1),
    }
    return CompactConfig(inputs=(str(source),), output=str(output), **(given | steps))


def lines(findings: Findings) -> str:
    return "\n".join(map(str, findings.problems))


def altered(predictions: Path, output: Path, table: str, change: Change, **steps: Any) -> Findings:
    """Verify a run that wrote one table wrong: what `change` makes of its columns, in unit 0."""
    is_first = iter([True])

    def alter(tables: Tables) -> Tables:
        rows = tables[table]
        if next(is_first, False):
            columns = rows.to_pydict()
            columns |= change(columns)
            rows = pa.table(columns, schema=rows.schema)
        return tables | {table: rows}

    run_inline(make_config(predictions, output, **steps), alter)
    return verify(str(output), is_all=True)


def put(name: str, value: Any, row: int = 0) -> Change:
    """Return a change of one cell; a function is called with what was there."""

    def change(columns: dict[str, Any]) -> dict[str, Any]:
        values = list(columns[name])
        values[row] = value(values[row]) if callable(value) else value
        return {name: values}

    return change
