"""The whole job against the slow model of tests/model.py, on real and made-up inputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline import flow, publish, report
from pipeline.config import CompactConfig, DedupConfig, FilterConfig, ReadConfig, RunConfig
from pipeline.errors import GateError, InputError
from tests import model, oracle

pytestmark = pytest.mark.usefixtures("ray_local")

RESULTS = "detectron2_mask_rcnn_coco_instances_results.json"
FAKE = "instances_val2014_fakesegm100_results.json"
LVIS = "lvis_val_100.json"


def run(inputs: list[Path], output: Path, **steps: Any) -> flow.Outcome:
    return flow.run(
        CompactConfig(inputs=tuple(str(path) for path in inputs), output=str(output), **steps)
    )


def tables(output: Path) -> dict[str, pa.Table]:
    opened = publish.open_tables(f"file://{output}")
    return {
        name: table.to_pyarrow_dataset().to_table().combine_chunks()
        for name, table in opened.items()
    }


def content(output: Path, *ignored: str) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of all tables, sorted, without the columns that may differ."""
    found: dict[str, list[dict[str, Any]]] = {}
    for name, table in tables(output).items():
        rows = [
            {key: value for key, value in row.items() if key not in ignored}
            for row in table.to_pylist()
        ]
        found[name] = rows if name == "compacted" else sorted(rows, key=repr)
    return found


def assert_equals_model(output: Path, expected: model.Outcome) -> None:
    found = tables(output)
    kept = found["compacted"].to_pylist()
    assert [kept_facts(row) for row in kept] == [model_facts(row) for row in expected.kept]
    source_of = {row["instance_id"]: (row["source"], row["source_row"]) for row in kept}
    assert len(source_of) == len(kept), "instance_id is not unique"
    lineage = {(row["source"], row["source_row"]): row for row in found["lineage"].to_pylist()}
    assert len(lineage) == len(found["lineage"])
    assert set(lineage) == {(row["source"], row["source_row"]) for row in expected.lineage}
    for row in expected.lineage:
        ours = lineage[row["source"], row["source_row"]]
        assert ours["reason"] == row["reason"]
        assert source_of.get(ours["kept_instance_id"]) == row["leader"]
        assert (ours["iou"], ours["ios"]) == (row["iou"], row["ios"])
        linked = (ours["linked_source"], ours["linked_source_row"])
        assert linked == (row["linked"] or (None, None))
    rejected = {(r["source"], r["source_row"]): r["code"] for r in found["rejects"].to_pylist()}
    assert rejected == {(r["source"], r["source_row"]): r["code"] for r in expected.rejects}


def kept_facts(row: dict[str, Any]) -> dict[str, Any]:
    bbox = tuple(row[f"bbox_{name}"] for name in "xywh")
    input_bbox = tuple(row[f"input_bbox_{name}"] for name in "xywh")
    copied = ("image_id", "input_id", "category_id", "score", "iscrowd", "height", "width")
    assert row["encoding"] == "rle"
    assert row["fidelity"] == 1.0
    return {
        **{name: row[name] for name in (*copied, "area", "n_merged", "input_area")},
        "mask": row["counts"],
        "bbox": bbox,
        "input_bbox": None if None in input_bbox else input_bbox,
        "source": row["source"],
        "source_row": row["source_row"],
    }


def model_facts(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "bbox": tuple(row["bbox"])}


def load(path: Path) -> list[model.Row]:
    uri = f"file://{path}"
    if "lvis" in path.name:
        return model.load_annotations(path, uri)
    return model.load_results(path, uri)


@pytest.mark.parametrize("name", [RESULTS, FAKE, LVIS])
def test_real_file_equals_model(shared_data: Path, tmp_path: Path, name: str) -> None:
    path = shared_data / name
    outcome = run([path], tmp_path / "out")
    assert_equals_model(tmp_path / "out", model.run(load(path), model.Policy()))
    rows = outcome.report["rows"]
    assert rows["read"] == rows["kept"] + rows["merged"] + rows["filtered"] + rows["rejected"]


def test_union_across_categories_equals_model(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / RESULTS
    dedup = DedupConfig(threshold=0.3, merge="union", per_category=False)
    outcome = run([path], tmp_path / "out", dedup=dedup, filter=FilterConfig(min_area=400))
    policy = model.Policy(threshold=0.3, merge="union", per_category=False, min_area=400)
    expected = model.run(load(path), policy)
    assert any(row["n_merged"] for row in expected.kept)
    assert_equals_model(tmp_path / "out", expected)
    assert outcome.report["reasons"].get("min_area")


def scatter(path: Path, folder: Path, n_files: int) -> list[Path]:
    """Deal the rows of a results file over files, so that every image lies in several."""
    rows = json.loads(path.read_text())
    folder.mkdir()
    files = [folder / f"part{n}.json" for n in range(n_files)]
    for n, file in enumerate(files):
        file.write_text(json.dumps(rows[n::n_files]))
    return files


def test_scattered_rows_meet_through_the_shuffle(shared_data: Path, tmp_path: Path) -> None:
    files = scatter(shared_data / FAKE, tmp_path / "in", 3)
    small = RunConfig(unit_bytes=20_000)
    outcome = run(files, tmp_path / "out", run=small)
    assert outcome.report["plan"]["is_shuffled"]
    assert outcome.report["plan"]["units"] > 3
    rows = [row for file in files for row in load(file)]
    assert_equals_model(tmp_path / "out", model.run(rows, model.Policy()))


def test_units_and_workers_change_nothing(shared_data: Path, tmp_path: Path) -> None:
    files = scatter(shared_data / FAKE, tmp_path / "in", 3)
    run(files, tmp_path / "a", run=RunConfig(unit_bytes=20_000, workers=2))
    run(files[::-1], tmp_path / "b")
    assert content(tmp_path / "a") == content(tmp_path / "b")


def test_row_order_changes_only_source_row(shared_data: Path, tmp_path: Path) -> None:
    rows = json.loads((shared_data / FAKE).read_text())
    folder = tmp_path / "in"
    folder.mkdir()
    path = folder / "rows.json"
    path.write_text(json.dumps(rows))
    run([path], tmp_path / "a")
    path.write_text(json.dumps(rows[::-1]))
    run([path], tmp_path / "b")
    ignored = ("source_row", "run_id", "linked_source_row")
    assert content(tmp_path / "a", *ignored) == content(tmp_path / "b", *ignored)


def test_second_run_says_already_and_changes_nothing(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / RESULTS
    first = run([path], tmp_path / "out")
    before = sorted(p.name for p in (tmp_path / "out").rglob("*"))
    second = run([path], tmp_path / "out")
    assert (first.state, second.state) == ("published", "already")
    assert sorted(p.name for p in (tmp_path / "out").rglob("*")) == before


def test_other_settings_replace_in_one_version(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / RESULTS
    first = run([path], tmp_path / "out")
    second = run([path], tmp_path / "out", dedup=DedupConfig(threshold=0.5))
    assert first.versions == dict.fromkeys(first.versions, 0)
    assert second.versions == dict.fromkeys(first.versions, 1)
    assert set(tables(tmp_path / "out")["compacted"]["run_id"].to_pylist()) == {second.run_id}


def test_dry_run_writes_nothing(shared_data: Path, tmp_path: Path) -> None:
    outcome = run([shared_data / RESULTS], tmp_path / "out", dry_run=True)
    assert outcome.state == "planned"
    assert outcome.plan is not None
    assert outcome.plan.n_rows == 198
    assert not (tmp_path / "out").exists()


def test_every_kept_mask_decodes_in_pycocotools(shared_data: Path, tmp_path: Path) -> None:
    run([shared_data / LVIS], tmp_path / "out")
    for row in tables(tmp_path / "out")["compacted"].to_pylist():
        dense = oracle.decode((row["height"], row["width"]), row["counts"])
        assert int(dense.sum()) == row["area"]


def test_empty_input_gives_empty_tables(tmp_path: Path) -> None:
    path = tmp_path / "empty.json"
    path.write_text("[]")
    outcome = run([path], tmp_path / "out")
    assert outcome.report["rows"]["read"] == 0
    assert all(len(table) == 0 for table in tables(tmp_path / "out").values())


def test_sizes_that_differ_in_an_image_are_rejected_with_their_bytes(
    shared_data: Path, tmp_path: Path
) -> None:
    rows = json.loads((shared_data / RESULTS).read_text())[:4]
    other = {**rows[0], "segmentation": {"size": [2, 2], "counts": "04"}}
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([*rows, other]))
    outcome = run([path], tmp_path / "out")
    rejects = tables(tmp_path / "out")["rejects"].to_pylist()
    assert {row["code"] for row in rejects} == {"SIZE_MISMATCH"}
    assert outcome.report["rows"]["rejected"] == len(rejects)
    (last,) = [row for row in rejects if row["source_row"] == 4]
    assert json.loads(last["payload"]) == other
    assert path.read_bytes()[last["byte_offset"] :].startswith(last["payload"])


def test_a_run_that_died_goes_on_with_the_missing_units(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = scatter(shared_data / FAKE, tmp_path / "in", 3)
    small = RunConfig(unit_bytes=60_000)
    whole = run(files, tmp_path / "whole", run=small)
    monkeypatch.setattr(publish, "publish", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(files, tmp_path / "out", run=small)
    monkeypatch.undo()
    folder = tmp_path / "out" / "runs" / whole.run_id / "units"
    (lost, *kept) = sorted(folder.iterdir())
    before = {path: path.stat().st_mtime_ns for path in kept}
    lost.unlink()
    outcome = run(files, tmp_path / "out", run=small)
    assert outcome.state == "published"
    assert {path: path.stat().st_mtime_ns for path in kept} == before
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_a_run_that_died_before_the_commit_only_commits(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish, "publish", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run([shared_data / RESULTS], tmp_path / "out")
    monkeypatch.undo()
    monkeypatch.setattr(flow.tasks, "read_units", interrupt)
    assert run([shared_data / RESULTS], tmp_path / "out").state == "published"


def test_too_many_rejects_publish_nothing(tmp_path: Path) -> None:
    row = {"image_id": 1, "category_id": 1, "score": 0.5}
    bad = {**row, "segmentation": {"size": [4, 4], "counts": "5"}}
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([bad] * 101))
    with pytest.raises(GateError, match=r"got 101 so far \(RLE_SUM 101\)"):
        run([path], tmp_path / "out")
    assert not (tmp_path / "out" / "compacted").exists()
    allowed = run([path], tmp_path / "out", read=ReadConfig(max_reject_fraction=1.0))
    assert allowed.report["rejects"] == {"RLE_SUM": 101}


def test_an_input_that_changes_during_the_run_stops_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows.json"
    path.write_text("[]")
    begin = flow.runs.begin

    def change(plan: Any, output: str) -> None:
        begin(plan, output)
        path.write_text("[ ]")

    monkeypatch.setattr(flow.runs, "begin", change)
    with pytest.raises(InputError, match=r"rows\.json was changed"):
        run([path], tmp_path / "out")
    assert not (tmp_path / "out" / "compacted").exists()


def test_a_small_run_without_ray_gives_the_same_tables(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run([shared_data / RESULTS], tmp_path / "ray")
    monkeypatch.setattr(flow.ray, "is_initialized", lambda: False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(flow.cluster, "start", interrupt)
    outcome = run([shared_data / RESULTS], tmp_path / "here")
    assert "ray_start" not in outcome.report["time"]["driver_stage_s"]
    stored, _ = report.read(f"file://{tmp_path}/here", outcome.run_id)
    assert stored["time"]["driver_stage_s"]["page"] > 0
    assert stored["time"] == outcome.report["time"]
    assert content(tmp_path / "here") == content(tmp_path / "ray")
    with pytest.raises(KeyboardInterrupt):
        run([shared_data / RESULTS], tmp_path / "more", run=RunConfig(workers=1))


def test_bad_files_are_left_out_on_request(shared_data: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text("[{")
    inputs = [bad, shared_data / RESULTS]
    with pytest.raises(InputError, match=r"bad\.json"):
        run(inputs, tmp_path / "out")
    outcome = run(inputs, tmp_path / "out", read=ReadConfig(skip_bad_files=True))
    assert outcome.report["rows"]["read"] == 198
    assert list(outcome.report["plan"]["skipped_files"]) == [f"file://{bad}"]
    again = run(inputs, tmp_path / "out", read=ReadConfig(skip_bad_files=True))
    assert again.state == "already"
    with pytest.raises(InputError, match=r"bad\.json"):
        run([bad], tmp_path / "none", read=ReadConfig(skip_bad_files=True))


def interrupt(*arguments: Any) -> None:
    raise KeyboardInterrupt
