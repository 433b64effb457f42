"""Runs whose every figure is asked for again: masks, what was done with them, and the queries."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import estimate, publish, storage
from pipeline.config import (
    DedupConfig,
    EncodeConfig,
    FilterConfig,
    GateConfig,
    ReadConfig,
)
from pipeline.stored import coco_counts
from tests import figures, oracle
from tests.pipeline.masks.test_boundary import slow
from tests.scene import run_here

HW = (60, 80)
FRACTION = 0.5


def masks(seed: int = 5) -> list[dict[str, Any]]:
    """Unions of discs, with a few shifted copies: near ones, exact ones, crowds, an empty one."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: HW[0], : HW[1]]
    rows: list[dict[str, Any]] = []
    for n in range(60):
        shape = np.zeros(HW, bool)
        for _ in range(3):
            cy, cx, r = rng.integers(15, 45), rng.integers(20, 60), rng.integers(4, 13)
            shape |= (y - cy) ** 2 + (x - cx) ** 2 <= r * r
        for copy in range(int(rng.integers(1, 6))):
            moved = np.roll(shape, (int(rng.integers(0, 4)) if copy else 0), axis=1)
            rows.append(
                {
                    "image_id": n // 3,
                    "category_id": int(rng.choice([1, 2, 7], p=[0.5, 0.4, 0.1])),
                    "score": float(rng.random()),
                    "iscrowd": bool(rng.random() < 0.04),
                    "height": HW[0],
                    "width": HW[1],
                    "counts": oracle.encode(moved),
                }
            )
    rows[3]["score"] = 1.5
    rows[7] |= {"counts": oracle.encode(np.zeros(HW, bool)), "score": 0.9}
    rows[9]["counts"] = b"P"  # ends in the middle of a number
    dot = np.zeros(HW, bool)
    dot[2, 2:5] = True
    rows[11]["counts"] = oracle.encode(dot)
    return rows


class Run(NamedTuple):
    """A run with its report, and the figures that queries give."""

    output: str
    document: dict[str, Any]
    expected: dict[figures.Path, Any]
    steps: dict[str, Any]


def write_inputs(folder: Path) -> list[Path]:
    """Write the rows as two Parquet files of whole images."""
    rows = masks()
    folder.mkdir()
    found: list[Path] = []
    for name, own in (
        ("a", [row for row in rows if row["image_id"] < 8]),
        ("b", [row for row in rows if row["image_id"] >= 8]),
    ):
        found.append(folder / f"{name}.parquet")
        pq.write_table(pa.Table.from_pylist(own), found[-1], row_group_size=40)
    return found


def in_sample(image_id: int) -> bool:
    """Splitmix64's finaliser in Python integers, compared with the share of all hashes."""
    value = image_id
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        value = ((value ^ (value >> shift)) * factor) % 2**64
    return value ^ (value >> 31) <= FRACTION * 2**64


def open_tables(output: str) -> dict[str, pa.Table]:
    return {name: t.to_pyarrow_table() for name, t in publish.open_tables(output).items()}


def pixels(tables: dict[str, pa.Table], inputs: pa.Table, merge: str) -> pa.Table:
    """Count on bitmaps what was stored for every kept row, and what it stands for."""
    own = {
        (row["source"], row["source_row"]): oracle.decode(HW, row["counts"])
        for row in inputs.to_pylist()
        if row["counts"] != b"P"
    }
    members: dict[int, list[np.ndarray]] = {}
    for row in tables["lineage"].to_pylist():
        key = (row["source"], row["source_row"])
        members.setdefault(row["kept_instance_id"] or -1, []).append(own[key])
    compacted = tables["compacted"]
    found: list[dict[str, Any]] = []
    for row, text in zip(compacted.to_pylist(), coco_counts(compacted).to_pylist(), strict=True):
        meant = own[row["source"], row["source_row"]]
        if merge == "union":
            meant = np.logical_or.reduce([meant, *members.get(row["instance_id"], [])])
        stored = oracle.decode(HW, text)
        found.append(
            {
                "instance_id": row["instance_id"],
                "mask_area": int(meant.sum()),
                "stored_area": int(stored.sum()),
                "iou": float((meant & stored).sum() / (meant | stored).sum()),
                "boundary": float(slow(meant, stored, 2)),
            }
        )
    return pa.Table.from_pylist(found)


def pairs(tables: dict[str, pa.Table], inputs: pa.Table) -> pa.Table:
    """Count the IoU of kept rows of an image and a category, crowds apart, on their own masks."""
    own = {(row["source"], row["source_row"]): row["counts"] for row in inputs.to_pylist()}
    rows = [
        r for r in tables["compacted"].to_pylist() if not r["iscrowd"] and in_sample(r["image_id"])
    ]
    found = [0.0]
    for n, a in enumerate(rows):
        for b in rows[n + 1 :]:
            if (a["image_id"], a["category_id"]) == (b["image_id"], b["category_id"]):
                one, two = (oracle.decode(HW, own[r["source"], r["source_row"]]) for r in (a, b))
                found.append(float((one & two).sum() / (one | two).sum()))
    return pa.table({"iou": found})


def connect(run: Any, inputs: list[Path], steps: dict[str, Any], others: dict[str, Any]) -> Any:
    connection = duckdb.connect()
    names = [str(path) for path in inputs]
    rows = connection.sql(
        f"""select 'file://' || filename as source, file_row_number as source_row, * from
            read_parquet({names}, filename = true, file_row_number = true)"""
    ).to_arrow_table()
    tables = open_tables(run)
    images = {row["image_id"] for row in rows.to_pylist()}
    sample = pa.table({"image_id": [one for one in images if in_sample(one)]})
    low, high = steps["dedup"].threshold - estimate.STEP, steps["dedup"].threshold
    relations = {
        **tables,
        "input": rows,
        "sample": sample,
        "pixels": pixels(tables, rows, steps["dedup"].merge),
        "pairs": pairs(tables, rows),
        "range_of": pa.table({"low": [round(low, 10)], "high": [high]}),
        **others,
    }
    for name, table in relations.items():
        connection.register(name, table)
    folder = storage.local_path(run)
    kinds = " union all ".join(
        f"select '{kind}' kind, * from {{0}}({where})"
        for kind, where in (
            ("input", names),
            *((name, f"'{folder}/{name}/*.parquet'") for name in tables if len(tables[name])),
        )
    )
    connection.sql(f"create view files as {kinds.format('read_blob')}")
    connection.sql(
        "create view groups as select distinct kind, file_name, row_group_id from "
        f"({kinds.format('parquet_metadata')})"
    )
    return connection


SCENES: dict[str, dict[str, Any]] = {
    "polygons of unions": {
        "dedup": DedupConfig(threshold=0.7, merge="union"),
        "encode": EncodeConfig(encoding="polygon", fidelity=0.9),
        "filter": FilterConfig(min_score=0.05, min_area=4),
    },
    "strings of the best": {
        "dedup": DedupConfig(threshold=0.85),
        "encode": EncodeConfig(),
        "filter": FilterConfig(min_score=0.05),
    },
}
MORE_STEPS: dict[str, Any] = {
    "read": ReadConfig(),
    "gate": GateConfig(max_merged_fraction=0.9, min_mean_iou=0.6),
}


def make_run(folder: Path, scene: str) -> Run:
    """Do a run, its neighbours and its other encodings, and ask for every figure of it."""
    inputs = write_inputs(folder / "in")
    steps = SCENES[scene] | MORE_STEPS

    def do(name: str, **changed: Any) -> tuple[str, dict[str, Any]]:
        output = f"file://{folder / name}"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("pipeline.plan._sample_fraction", lambda scans: FRACTION)
            return output, run_here(folder / "in", output, **steps | changed)

    output, document = do("out")
    lineages = [
        table.append_column("choice", pa.array([name] * len(table), pa.string()))
        for name, (_, dedup) in estimate.choices(steps["dedup"]).items()
        for table in [open_tables(do(name, dedup=dedup)[0])["lineage"]]
    ]
    compacted = [
        table.append_column("tried", pa.array([name] * len(table), pa.string()))
        for name in ("rle", "crack", "polygon")
        for encode in [dataclasses.replace(steps["encode"], encoding=name)]
        for table in [open_tables(do(f"as {name}", encode=encode)[0])["compacted"]]
    ]
    others = {
        "neighbour": pa.concat_tables(lineages),
        "other_encoding": pa.concat_tables(compacted),
    }
    connection = connect(output, inputs, steps, others)
    return Run(output, document, figures.ask_all(connection), steps)
