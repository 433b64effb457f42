"""What REJECTS holds after a run: rows that can be mended and given back, and repairs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import flow, publish
from pipeline.compact_masks import CompactMasks
from pipeline.config import CompactConfig, ReadConfig
from pipeline.explain import explain_row
from pipeline.verify import verify
from tests.pipeline.read.files import (
    SQUARE,
    make_annotation,
    make_annotations,
    make_rle,
    make_row,
)

RING = [1, 1, 4, 1, 4, 4, 1, 4]
REPAIR = ReadConfig(on_invalid="repair", repair=("rle_tail", "poly_wrap"))


def run(output: Path, *inputs: Path, read: ReadConfig | None = None) -> flow.Outcome:
    paths = tuple(str(path) for path in inputs)
    return flow.run(CompactConfig(inputs=paths, output=str(output), read=read or ReadConfig()))


def rows_of(output: Path, name: str) -> list[dict[str, Any]]:
    return publish.open_tables(f"file://{output}")[name].to_pyarrow_table().to_pylist()


def give_back(output: Path, path: Path, **mended: Any) -> Path:
    """Write the rejected rows as JSON Lines, with these fields instead."""
    rows = [json.loads(row["payload"]) | mended for row in rows_of(output, "rejects")]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def to_results(folder: Path, bad: dict[str, Any]) -> Path:
    path = folder / "in.json"
    path.write_text(json.dumps([make_row(image_id=1), make_row(image_id=2) | bad]))
    return path


def to_annotations(folder: Path, bad: dict[str, Any]) -> Path:
    path = folder / "in.json"
    rows = [make_annotation([RING], id=1), make_annotation([RING], id=2) | bad]
    path.write_text(json.dumps(make_annotations(*rows)))
    return path


def to_parquet(folder: Path, bad: dict[str, Any]) -> Path:
    rows = [make_row(image_id=1), make_row(image_id=2) | bad]
    path = folder / "in.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


@pytest.mark.parametrize(
    ("write", "bad", "mended"),
    [
        (to_results, {"segmentation": make_rle("5")}, {"segmentation": make_rle(SQUARE)}),
        # A polygon does not say how large its image is; the file that is given back must.
        (
            to_annotations,
            {"segmentation": RING},
            {"segmentation": [RING], "height": 10, "width": 10},
        ),
        (to_parquet, {"segmentation": make_rle("88")}, {"segmentation": make_rle(SQUARE)}),
    ],
)
def test_rejects_are_mended_and_given_back(
    tmp_path: Path, write: Any, bad: dict[str, Any], mended: dict[str, Any]
) -> None:
    path = write(tmp_path, bad)
    rows = run(tmp_path / "out", path).report["rows"]
    assert (rows["kept"], rows["rejected"]) == (1, 1)
    more = give_back(tmp_path / "out", tmp_path / "mended.jsonl", **mended)
    rows = run(tmp_path / "again", path, more).report["rows"]
    assert (rows["read"], rows["rejected"]) == (3, 1)
    assert rows["kept"] + rows["merged"] == 2
    sources = {
        row["source"]
        for name in ("compacted", "lineage")
        for row in rows_of(tmp_path / "again", name)
    }
    assert sources == {f"file://{path}", f"file://{more}"}


def test_repaired_rows_are_kept_and_noted(tmp_path: Path) -> None:
    bad = {"segmentation": make_rle("52"), "bbox": None}
    path = tmp_path / "in.json"
    path.write_text(
        json.dumps([make_row(image_id=1), make_row(image_id=2) | bad, make_row(score="x")])
    )
    output = tmp_path / "out"
    report = run(output, path, read=REPAIR).report
    assert report["rows"] | {"read": 3, "kept": 2, "rejected": 1} == report["rows"]
    assert report["rejects"] == {"SCORE": 1}
    assert report["counters"]["repaired_rle_tail"] == 1
    rejected, repaired = sorted(
        rows_of(output, "rejects"), key=lambda row: row["code"] == "RLE_SUM"
    )
    assert (rejected["code"], rejected["repaired"]) == ("SCORE", None)
    assert (repaired["code"], repaired["source_row"]) == ("RLE_SUM", 1)
    assert repaired["message"].startswith("repaired by rle_tail: expected ")
    assert json.loads(repaired["payload"]) == make_row(image_id=2) | bad
    assert json.loads(repaired["repaired"]) == {"size": [4, 5], "counts": [5, 2, 13]}
    assert verify(f"file://{output}", is_all=True).problems == []
    assert explain_row(f"file://{output}", str(path), 1).fate == "kept"
    assert explain_row(f"file://{output}", str(path), 2).fate == "rejected"


def test_batches_of_a_detector_note_repairs_too(tmp_path: Path) -> None:
    stage = CompactMasks({"read": {"on_invalid": "repair", "repair": ["rle_tail"]}})
    batch = {"image_id": [7], "masks": [[make_rle("52"), make_rle("O")]]}
    [image] = stage(batch).to_pylist()
    assert (image["n_read"], image["n_kept"], image["n_rejected"]) == (2, 1, 1)
    assert sorted((row["source_row"], row["repaired"] is None) for row in image["rejects"]) == [
        (0, False),
        (1, True),
    ]
