"""A sound output passes in every encoding; every deliberate damage is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import sink, storage
from pipeline.config import (
    CleanConfig,
    CompactConfig,
    DedupConfig,
    EncodeConfig,
    FilterConfig,
    RunConfig,
    WriteConfig,
)
from pipeline.errors import ConfigError, StorageError
from pipeline.verify import Findings, accounts, links, sources, verify
from tests import oracle
from tests.outputs import Tables, run_inline

Change = Callable[[dict[str, Any]], dict[str, Any]]

RESULTS = "detectron2_mask_rcnn_coco_instances_results.json"
FAKE = "instances_val2014_fakesegm100_results.json"
LVIS = "lvis_val_100.json"


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


@pytest.fixture(scope="module")
def predictions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("inputs") / "predictions.json"
    path.write_text(json.dumps(rows_of_four_images()))
    return path


def make_config(source: Path, output: Path | str, **steps: Any) -> CompactConfig:
    given: dict[str, Any] = {
        "filter": FilterConfig(min_score=0.1),
        "run": RunConfig(backend="numba", unit_bytes=1200),
        "write": WriteConfig(row_group_rows=1),
    }
    return CompactConfig(inputs=(str(source),), output=str(output), **(given | steps))


@pytest.fixture(scope="module")
def sound(predictions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("sound") / "out"
    run_inline(make_config(predictions, output))
    return output


@pytest.fixture
def out(sound: Path, tmp_path: Path) -> Path:
    """Return a copy of a sound output, to be damaged."""
    return Path(shutil.copytree(sound, tmp_path / "out"))


def lines(findings: Findings) -> str:
    return "\n".join(map(str, findings.problems))


def first_file(out: Path, table: str) -> Path:
    return min((out / table).glob("*.parquet"))


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


def test_sound_output_passes(sound: Path) -> None:
    findings = verify(str(sound), is_all=True)
    assert (findings.problems, findings.notes) == ([], [])
    counts = findings.counts
    # Per image two rows are kept, two merged and one filtered; one of the merged is a reject.
    assert counts["rows compacted"] == 8
    assert counts["rows lineage"] == 11
    assert counts["rows rejects"] == 1
    assert counts["masks"] == counts["masks compared with their source"] == 8
    assert counts["sources"] == 1
    assert len(list((sound / "compacted").glob("*.parquet"))) > 1


def test_sample_is_deterministic_and_never_empty(sound: Path) -> None:
    first, second = verify(str(sound)), verify(str(sound))
    assert first.problems == []
    assert 0 < first.counts["masks"] < 8
    assert first.counts == second.counts


@pytest.mark.parametrize(
    ("encoding", "name"),
    [("rle", FAKE), ("crack", RESULTS), ("crack", LVIS), ("polygon", RESULTS), ("polygon", FAKE)],
)
def test_real_files_pass_in_every_encoding(
    encoding: Any, name: str, shared_data: Path, tmp_path: Path
) -> None:
    encode = EncodeConfig(encoding=encoding)
    config = make_config(
        shared_data / name, tmp_path / "out", encode=encode, run=RunConfig(backend="numba")
    )
    run_inline(config)
    findings = verify(config.output, is_all=True)
    assert (findings.problems, findings.notes) == ([], [])
    assert findings.counts["masks compared with their source"] > 100


@pytest.mark.parametrize(
    "steps",
    [
        {"dedup": DedupConfig(group="component", merge="union")},
        {"dedup": DedupConfig(overlap="ios", merge="vote")},
        {"dedup": DedupConfig(group="none")},
        {"clean": CleanConfig(max_hole_area=4)},
    ],
)
def test_other_settings_pass(steps: dict[str, Any], predictions: Path, tmp_path: Path) -> None:
    run_inline(make_config(predictions, tmp_path / "out", **steps))
    findings = verify(str(tmp_path / "out"), is_all=True)
    assert (findings.problems, findings.notes) == ([], [])


def test_shuffled_files_with_text_ids_pass(tmp_path: Path) -> None:
    rows = [row | {"image_id": f"é{row['image_id']}"} for row in rows_of_four_images()]
    (tmp_path / "in").mkdir()
    for number in range(3):
        (tmp_path / "in" / f"{number}.json").write_text(json.dumps(rows[number::3]))
    config = make_config(
        tmp_path / "in", tmp_path / "out", run=RunConfig(backend="numba", unit_bytes=200)
    )
    run_id = run_inline(config)
    assert b'"bounds":[' in (tmp_path / "out" / "runs" / run_id / "plan.json").read_bytes()
    findings = verify(config.output, is_all=True)
    assert (findings.problems, findings.notes) == ([], [])
    assert findings.counts["sources"] == 3
    assert findings.counts["masks compared with their source"] == 8


def test_output_of_any_store_passes(output_uri: str, predictions: Path) -> None:
    run_inline(make_config(predictions, output_uri))
    findings = verify(output_uri, is_all=True)
    assert (findings.problems, findings.notes) == ([], [])
    assert findings.counts["masks compared with their source"] == 8


def test_failing_store_is_no_damage(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = first_file(out, "compacted")
    read_bytes = storage.read_bytes

    def fail(uri: str, *span: int) -> bytes:
        if uri.endswith(path.name):
            raise StorageError(f"{uri}: could not read it: no route to host")
        return read_bytes(uri, *span)

    monkeypatch.setattr(storage, "read_bytes", fail)
    with pytest.raises(StorageError, match="no route to host"):
        verify(str(out))


def test_small_batches_find_the_same(
    sound: Path, predictions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drop(columns: dict[str, Any]) -> dict[str, Any]:
        return {name: values[1:] for name, values in columns.items()}

    whole = verify(str(sound), is_all=True).counts
    damaged = altered(predictions, tmp_path / "out", "lineage", drop)
    monkeypatch.setattr(links, "_PASS_ROWS", 4)
    monkeypatch.setattr(accounts, "_WINDOW", 3)
    monkeypatch.setattr(sources, "_BATCH_BYTES", 1)
    assert verify(str(sound), is_all=True).counts == whole
    assert verify(str(tmp_path / "out"), is_all=True).problems == damaged.problems


@pytest.mark.parametrize("table", ["compacted", "lineage", "rejects"])
@pytest.mark.parametrize("damage", ["flipped", "truncated", "removed"])
def test_damaged_files_are_named(table: str, damage: str, out: Path) -> None:
    path = first_file(out, table)
    data = bytearray(path.read_bytes())
    path.unlink()
    if damage == "flipped":
        data[60] ^= 4
        path.write_bytes(data)
    elif damage == "truncated":
        path.write_bytes(data[:-5])
    (problem,) = verify(str(out), is_all=True).problems
    assert problem.where == f"{table}/{path.name}"
    expected = {"flipped": "checksum", "truncated": "bytes, the store has", "removed": "is missing"}
    assert expected[damage] in problem.found
    assert "nothing was published" not in str(problem)
    assert "jobs/restore.py" in problem.advice


def test_one_bad_file_does_not_hide_another(out: Path) -> None:
    paths = [first_file(out, table) for table in ("compacted", "lineage")]
    for path in paths:
        path.write_bytes(b"no Parquet")
    where = {problem.where for problem in verify(str(out)).problems}
    assert where == {f"{path.parent.name}/{path.name}" for path in paths}


def rewrite(out: Path, table: str, change: Callable[[pa.Table], pa.Table]) -> Path:
    """Write a table's first file anew, and its log entry with it; its record stays."""
    path = first_file(out, table)
    rows = pq.read_table(path)
    changed = change(rows)
    old_bytes = path.stat().st_size
    pq.write_table(changed, path, write_statistics=["image_id", "category_id", "score"])
    for log in (out / table / "_delta_log").glob("*.json"):
        text = log.read_text()
        text = text.replace(f'"size":{old_bytes}', f'"size":{path.stat().st_size}')
        old, new = (f'\\"numRecords\\":{len(both)}' for both in (rows, changed))
        log.write_text(text.replace(old, new) if path.name in text else text)
    return path


def test_row_dropped_with_its_log_entry_is_named(out: Path) -> None:
    n_rows = pq.read_metadata(first_file(out, "lineage")).num_rows
    path = rewrite(out, "lineage", lambda rows: rows.slice(1))
    found = lines(verify(str(out)))
    assert f"lineage/{path.name}: expected {n_rows} rows and" in found
    assert f"found {n_rows - 1} rows and" in found


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


@pytest.mark.parametrize("is_gone", [True, False])
def test_changed_sources_are_said_and_no_failure(
    is_gone: bool, predictions: Path, tmp_path: Path
) -> None:
    source = Path(shutil.copy(predictions, tmp_path / "own.json"))
    run_inline(make_config(source, tmp_path / "out"))
    source.unlink()
    if not is_gone:
        source.write_text("[]")
    findings = verify(str(tmp_path / "out"), is_all=True)
    assert findings.problems == []
    (note,) = findings.notes
    assert "own.json was " + ("removed" if is_gone else "changed") in note
    assert "masks compared with their source" not in findings.counts


def test_without_plan_and_records_says_what_was_not_checked(out: Path) -> None:
    shutil.rmtree(out / "runs")
    findings = verify(str(out), is_all=True)
    assert findings.problems == []
    assert len(findings.notes) == 2
    assert "no checksum" in findings.notes[0]
    assert "the plan of the run is gone" in findings.notes[1]


def test_damaged_plan_is_named(out: Path) -> None:
    (plan,) = out.glob("runs/*/plan.json")
    plan.write_bytes(plan.read_bytes()[:-9])
    (problem,) = verify(str(out)).problems
    assert problem.where.endswith("/plan.json")


def test_older_version_is_checked_with_its_own_run(
    sound: Path, out: Path, predictions: Path
) -> None:
    config = make_config(predictions, out, dedup=DedupConfig(threshold=0.99))
    run_inline(config)
    assert verify(str(out), version=0).problems == []
    newest = verify(str(out))
    assert newest.problems == []
    assert newest.counts["rows compacted"] > 8


def test_output_without_rows_is_well(tmp_path: Path) -> None:
    source = tmp_path / "none.json"
    source.write_text("[]")
    run_inline(make_config(source, tmp_path / "out"))
    findings = verify(str(tmp_path / "out"), is_all=True)
    assert (findings.problems, findings.notes) == ([], [])


def test_bad_questions_are_errors(sound: Path, out: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing is published"):
        verify(str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match="version from 0 to 0, got 4"):
        verify(str(sound), version=4)
    with pytest.raises(ConfigError, match="--sample_fraction"):
        verify(str(sound), sample_fraction=0)
    next((out / "lineage" / "_delta_log").glob("*.json")).write_text("{")
    with pytest.raises(StorageError):
        verify(str(out))
