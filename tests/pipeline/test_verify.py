"""A sound output passes in every encoding; files that are damaged, and what is gone, are named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import storage
from pipeline.config import (
    CleanConfig,
    DedupConfig,
    EncodeConfig,
    RunConfig,
)
from pipeline.errors import ConfigError, StorageError
from pipeline.verify import accounts, links, sources, verify
from tests.altered import altered, lines, make_config, rows_of_four_images
from tests.outputs import run_inline

RESULTS = "detectron2_mask_rcnn_coco_instances_results.json"
FAKE = "instances_val2014_fakesegm100_results.json"
LVIS = "lvis_val_100.json"


@pytest.fixture(scope="module")
def sound(predictions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("sound") / "out"
    run_inline(make_config(predictions, output))
    return output


@pytest.fixture
def out(sound: Path, tmp_path: Path) -> Path:
    """Return a copy of a sound output, to be damaged."""
    return Path(shutil.copytree(sound, tmp_path / "out"))


def first_file(out: Path, table: str) -> Path:
    return min((out / table).glob("*.parquet"))


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
