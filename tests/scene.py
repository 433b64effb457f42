"""Rows with copies of known number, and the report of a unit made of them, without Ray."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline import checks, estimate, publish, read, report, runs, storage, tasks
from pipeline.config import CompactConfig
from pipeline.plan import Plan, ReadUnit, make_plan
from pipeline.read.slices import SourceContext
from pipeline.records import SourceCounts, UnitRecord
from pipeline.storage import InputFile
from pipeline.unit import UnitResult, compact_unit
from schemas.rejects import rejects_schema
from tests import model, oracle
from tests.instances import to_instances


def rectangles(n_images: int = 12, seed: int = 0) -> list[model.Row]:
    """Rectangles, each with a few shifted copies, in two categories and none."""
    rng = np.random.default_rng(seed)
    rows: list[model.Row] = []
    for image_id in range(n_images):
        for _ in range(5):
            y, x = rng.integers(0, 16, 2)
            h, w = rng.integers(2, 14, 2)
            for _ in range(int(rng.integers(1, 5))):
                mask = np.zeros((30, 32), bool)
                dy, dx = rng.integers(0, 3, 2)
                mask[y + dy : y + dy + h, x + dx : x + dx + w] = True
                rows.append(
                    model.Row(
                        image_id=image_id,
                        input_id=None,
                        category_id=[1, 2, None][int(rng.integers(0, 3))],
                        score=float(rng.random()),
                        iscrowd=bool(rng.random() < 0.05),
                        height=30,
                        width=32,
                        mask=oracle.encode(mask),
                        source_row=len(rows),
                    )
                )
    return rows


def with_copies(rows: Sequence[model.Row], n_copies: int, shift: int = 1) -> list[model.Row]:
    """Return the rows, each with copies of a lower score moved to the right by so many pixels.

    A copy is a row of its own category, so that it can meet nothing but its original.
    """
    found: list[model.Row] = []
    for place, row in enumerate(rows):
        dense = row.dense()
        for n in range(n_copies + 1):
            moved = np.zeros_like(dense)
            moved[:, n * shift :] = dense[:, : dense.shape[1] - n * shift]
            found.append(
                replace(
                    row,
                    mask=oracle.encode(moved),
                    score=1.0 - 0.1 * n,
                    category_id=place,
                    input_id=None,
                    source_row=len(found),
                )
            )
    return found


def compact(
    rows: Sequence[model.Row],
    fraction: float = 1.0,
    origin: str | None = None,
    mask_fraction: float = 1.0,
    **steps: Any,
) -> UnitResult:
    """Return what one unit of these rows gives."""
    config = CompactConfig(inputs=("x",), output="y", **steps)
    record = UnitRecord(0, "run")
    for row in rows:
        record.sources.setdefault(row.source, SourceCounts()).read += 1
    empty = rejects_schema().empty_table()
    return compact_unit(
        to_instances(rows, origin),
        empty,
        record,
        config,
        fraction,
        lambda uri, rows: [],
        mask_fraction=mask_fraction,
    )


def make_report(
    rows: Sequence[model.Row], origin: str | None = None, **steps: Any
) -> tuple[dict[str, Any], UnitResult]:
    """Return the report of a run of one unit."""
    result = compact(rows, origin=origin, **steps)
    config = CompactConfig(inputs=("x",), output="y", **steps)
    timer = report.Timer()
    timer.done("execute")
    document = report.build(one_unit_plan(rows), [result.record], config, timer)
    masks = result.record.masks
    report.add_encodings(document, estimate.try_encodings(masks, config.encode))
    return document, result


def one_unit_plan(rows: Sequence[model.Row]) -> Plan:
    """Return the plan of a run of one unit."""
    sources = sorted({row.source for row in rows})
    return Plan(
        run_id="0123456789abcdef",
        inventory=[InputFile(uri, 1000, "tag", "") for uri in sources],
        formats=dict.fromkeys(sources, "coco_results"),
        contexts={uri: SourceContext() for uri in sources},
        id_type="int",
        extras=pa.schema([]).serialize().to_pybytes(),
        read_units=[ReadUnit(0, [])],
        bounds=None,
        n_rows=len(rows),
        sample_fraction=1.0,
    )


def write_results(path: Path, rows: Sequence[model.Row]) -> Path:
    """Write rows as a file of COCO results."""
    found = [
        {
            "image_id": row.image_id,
            "category_id": 0 if row.category_id is None else row.category_id,
            "score": row.score,
            "segmentation": {"size": [row.height, row.width], "counts": row.mask.decode()},
        }
        for row in rows
    ]
    path.write_text(json.dumps(found))
    return path


def run_here(path: Path, output: str, **steps: Any) -> dict[str, Any]:
    """Do a run of one file in this process, without Ray; return its report."""
    config = CompactConfig(inputs=(str(path),), output=output, **steps)
    inventory = storage.list_inputs(config.inputs)
    target = publish.inspect_target(output, [])
    scans = [read.scan(file, config.read, config.run.unit_bytes) for file in inventory]
    plan = make_plan(inventory, scans, config)
    runs.begin(plan, output)
    context = tasks.UnitContext.of(plan, config, output, frozenset())
    compact_units = tasks.CompactUnits(context)
    for task in tasks.read_tasks(plan, frozenset()):
        for rows in tasks.read_units(pa.table({"task": [task]}), context):
            for done in compact_units(rows):
                list(tasks.write_units(done, context))
    records = runs.read_records(output, plan.run_id)
    document = report.build(plan, records, config, report.Timer())
    masks = [mask for record in records for mask in record.masks]
    report.add_encodings(document, estimate.try_encodings(masks, config.encode))
    report.write(output, document, records)
    schemas = tasks.schemas(plan)
    files = checks.before_commit(plan, records, output, schemas)
    publish.publish(target, plan.run_id, "token", files, schemas, {})
    return document
