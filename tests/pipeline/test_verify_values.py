"""Tables that a faulty program would write: every wrong row, value and place is named."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline import sink, storage
from pipeline.config import EncodeConfig, RunConfig, WriteConfig
from pipeline.verify import verify
from tests import oracle
from tests.altered import Change, altered, lines, make_config, put
from tests.outputs import Tables, run_inline

RESULTS = "detectron2_mask_rcnn_coco_instances_results.json"


def test_dropped_lineage_row_breaks_the_accounts(predictions: Path, tmp_path: Path) -> None:
    def drop(columns: dict[str, Any]) -> dict[str, Any]:
        return {name: values[1:] for name, values in columns.items()}

    found = altered(predictions, tmp_path / "out", "lineage", drop)
    text = lines(found)
    assert f"source {storage.to_uri(str(predictions))}" in text
    assert "each of its 20 rows once" in text
    assert "found 19 rows; missing: rows 1" in text or "missing: rows 2" in text
    assert "n_merged 1, as often as lineage names it, found 2" in text
    assert "as many rows of lineage by its counts as in its files" in text
    assert "row 1 of" not in text
    assert len(found.problems) == 3


def test_rows_swapped_for_others_are_seen_by_their_hash(predictions: Path, tmp_path: Path) -> None:
    # Count and sum stay: 0 + 3 = 1 + 2, as the rows 1 and 2 are in lineage already.
    def swap(columns: dict[str, Any]) -> dict[str, Any]:
        assert sorted(columns["source_row"])[:2] == [0, 3]
        return {"source_row": [{0: 1, 3: 2}.get(row, row) for row in columns["source_row"]]}

    text = lines(altered(predictions, tmp_path / "out", "compacted", swap))
    assert "found 20 rows, some of them twice and others missing" in text
    assert "missing: rows 0, 3; more than once: rows 1, 2" in text


@pytest.mark.parametrize(
    ("table", "change", "expected"),
    [
        ("compacted", put("n_merged", 7), "n_merged 2, as often as lineage names it, found 7"),
        ("compacted", put("area", lambda area: area + 1), "the box and area of the stored mask"),
        ("compacted", put("bbox_x", lambda x: x + 1), "the box and area of the stored mask"),
        ("compacted", put("fidelity", 0.99), "fidelity 1.0 of a lossless encoding, found 0.99"),
        ("compacted", put("counts", b"PP1"), "a valid mask, found RLE_SUM"),
        ("compacted", put("counts", None), "column set that its encoding names"),
        ("compacted", put("crack", b"x"), "encoding 'rle' and counts and crack set"),
        ("compacted", put("encoding", "png"), "encoding 'png' and counts set"),
        ("compacted", put("score", 0.5), "score of its source row"),
        ("compacted", put("category_id", None), "category_id of its source row"),
        ("compacted", put("input_bbox_w", 99.0), "input_bbox_w of its source row"),
        ("compacted", put("source_row", 99), "a row that file:"),
        ("compacted", put("run_id", "0" * 16), "expected run_id"),
        ("lineage", put("reason", "lost"), "a reason of merged, exact_duplicate"),
        ("lineage", put("kept_instance_id", 1), "every kept_instance_id to be in compacted"),
        ("lineage", put("kept_instance_id", None), "kept_instance_id, iou and ios of a merged row"),
        ("lineage", put("iou", 0.0), "overlaps with 0 < iou <= ios <= 1"),
        ("lineage", put("ios", 1.5), "overlaps with 0 < iou <= ios <= 1"),
        ("lineage", put("iou", 0.5), "iou of at least the threshold 0.8"),
        ("lineage", put("linked_source_row", 1), "linked_source of rows merged with"),
    ],
)
def test_wrong_values_are_named(
    table: str, change: Change, expected: str, predictions: Path, tmp_path: Path
) -> None:
    findings = altered(predictions, tmp_path / "out", table, change)
    assert expected in lines(findings)
    assert all("fault of the program" in problem.advice for problem in findings.problems)


def test_another_mask_of_the_same_box_and_area_is_named(predictions: Path, tmp_path: Path) -> None:
    bitmap = np.zeros((48, 64), bool)
    bitmap[30:39, 30:39] = True
    bitmap[35, 35:37] = False
    bitmap[30:32, 30:32] = True
    change = put("counts", oracle.encode(bitmap), row=1)
    findings = altered(predictions, tmp_path / "out", "compacted", change)
    (problem,) = findings.problems
    assert problem.where.endswith(" row 1")
    assert problem.expected.startswith("the mask of its source row, row 3 of file:")


def test_duplicate_instance_id_is_named(predictions: Path, tmp_path: Path) -> None:
    def double(columns: dict[str, Any]) -> dict[str, Any]:
        return {"instance_id": [columns["instance_id"][0], *columns["instance_id"][:-1]]}

    found = lines(altered(predictions, tmp_path / "out", "compacted", double))
    assert "instance_id to be unique, found 1 that are not: 50331648" in found


def test_unsorted_rows_are_named(predictions: Path, tmp_path: Path) -> None:
    def turn(columns: dict[str, Any]) -> dict[str, Any]:
        return {name: values[::-1] for name, values in columns.items()}

    steps = {"run": RunConfig(backend="numba")}
    rows = WriteConfig(row_group_rows=100)
    findings = altered(predictions, tmp_path / "out", "compacted", turn, write=rows, **steps)
    (problem,) = findings.problems
    assert problem.expected == "rows sorted by image_id"
    assert problem.found == "image_id 8 after 9 (and 2 more such rows)"


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ([3, 3, 9, 9], "image ids beyond those of compacted/part-00000-"),
        ([3, 5, 5, 3], "row groups of whole images, in order, found that it starts with"),
    ],
)
def test_divided_image_is_named(
    ids: list[int], expected: str, predictions: Path, tmp_path: Path
) -> None:
    def divide(tables: Tables) -> Tables:
        rows = tables["compacted"]
        if rows["image_id"].to_pylist() != [3, 3, 5, 5]:
            return tables
        return tables | {"compacted": rows.set_column(0, rows.schema.field(0), pa.array(ids))}

    config = make_config(predictions, tmp_path / "out")
    run_inline(config, divide)
    assert expected in lines(verify(config.output, is_all=True))


def test_row_group_that_cuts_an_image_is_named(
    predictions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(table: pa.Table, rows: int) -> list[tuple[int, int]]:
        ends = [0, 1, len(table)] if len(table) > 1 else [0, 1]
        return list(pairwise(ends))

    monkeypatch.setattr(sink, "row_groups", cut)
    config = make_config(predictions, tmp_path / "out")
    run_inline(config)
    problems = verify(config.output, is_all=True).problems
    assert [problem.where.rpartition(" ")[0][-9:] for problem in problems] == ["row group"] * 2
    assert problems[0].found == "that it starts with image_id 3"


def test_changed_fidelity_of_a_polygon_is_named(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / RESULTS
    steps = {"encode": EncodeConfig(encoding="polygon"), "run": RunConfig(backend="numba")}

    def change(columns: dict[str, Any]) -> dict[str, Any]:
        rows = [row for row, name in enumerate(columns["encoding"]) if name == "polygon"]
        columns |= put("fidelity", lambda value: float(np.nextafter(value, 0)), rows[0])(columns)
        return put("fidelity", 0.5, rows[1])(columns)

    low, *others = altered(source, tmp_path / "out", "compacted", change, **steps).problems
    assert (low.expected[:18], low.found) == ("fidelity from 0.98", "0.5")
    (other,) = others
    assert "fidelity to be the IoU of the stored mask" in other.expected
    assert other.found.endswith("(and 1 more such rows)")


@pytest.mark.parametrize("encoding", ["crack", "polygon"])
def test_undecodable_mask_is_named_by_its_row(
    encoding: Any, shared_data: Path, tmp_path: Path
) -> None:
    def change(columns: dict[str, Any]) -> dict[str, Any]:
        rows = [row for row, name in enumerate(columns["encoding"]) if name == encoding]
        places.append(rows[5])
        return put(encoding, lambda value: value[:-1] + b"\xff\xff", rows[5])(columns)

    places: list[int] = []
    steps = {"encode": EncodeConfig(encoding=encoding), "run": RunConfig(backend="numba")}
    found = altered(shared_data / RESULTS, tmp_path / "out", "compacted", change, **steps)
    (problem,) = found.problems
    assert problem.where.endswith(f" row {places[0]}")
    assert problem.expected == "a mask that decodes"
