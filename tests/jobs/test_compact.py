"""The command line of the main job: its frozen surface, and what a person sees go wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

SURFACE = """
--config --device --dry_run --output
--clean.max_hole_area --clean.min_part_area
--dedup.across --dedup.group --dedup.merge --dedup.overlap --dedup.per_category
--dedup.source_column --dedup.source_priority --dedup.threshold --dedup.vote_fraction
--encode.encoding --encode.epsilon --encode.fidelity
--filter.min_area --filter.min_score
--gate.max_ap_drop --gate.max_merged_fraction --gate.min_mean_iou
--read.category_space --read.columns --read.drop --read.extras --read.format --read.id_mode
--read.max_image_bytes --read.max_reject_fraction
--read.on_invalid --read.repair --read.skip_bad_files
--report.ground_truth --report.image_names --report.images
--run.backend --run.check_space --run.deadline --run.no_progress --run.resume --run.shared_path
--run.unit_bytes --run.unit_timeout --run.workers
--write.compression_level --write.row_group_rows
"""
"""All flags; a new flag extends this list, none may go."""


def compact(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "jobs" / "compact.py"), *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=240,
        check=False,
    )


def flags() -> set[str]:
    sys.path.insert(0, str(ROOT / "jobs"))
    try:
        import compact as job
    finally:
        sys.path.pop(0)
    actions = job.build_parser()._actions
    found = {name for action in actions for name in action.option_strings}
    groups = {
        "--read",
        "--clean",
        "--filter",
        "--dedup",
        "--encode",
        "--gate",
        "--report",
        "--write",
        "--run",
    }
    return found - groups - {"-h", "--help", "--print_config", "--dedup.source_priority+"}


def test_surface_is_frozen() -> None:
    assert flags() == set(SURFACE.split())


WRONG = [
    (["--dedup.treshold", "0.5"], "unrecognized arguments"),
    (["--dedup.threshold", "high"], "dedup.threshold"),
    (["--dedup.threshold", "1.5"], "--dedup.threshold: expected a number in (0, 1], got 1.5"),
    (["--dedup.group", "cluster"], "dedup.group"),
    (["--encode.encoding", "png"], "encode.encoding"),
]


@pytest.mark.parametrize(("extra", "message"), WRONG, ids=lambda value: str(value))
def test_wrong_flag_exits_2_and_says_which(tmp_path: Path, extra: list[str], message: str) -> None:
    done = compact("in.json", "--output", str(tmp_path / "out"), *extra)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def results(**changes: object) -> list[dict[str, object]]:
    row = {
        "image_id": 1,
        "category_id": 1,
        "score": 0.9,
        "bbox": [1, 1, 2, 2],
        "segmentation": {"size": [3, 3], "counts": "321O1"},
    }
    return [row | changes]


def boxes_only() -> list[dict[str, object]]:
    (row,) = results()
    del row["segmentation"]
    return [row]


BAD_INPUTS = {
    "not_json.json": ("this is no JSON", "not_json.json"),
    "boxes.json": (json.dumps(boxes_only()), "boxes.json"),
    "nan.json": (json.dumps(results(score=float("nan"))), "NaN"),
    "empty_file.json": ("", "empty_file.json"),
}


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_unusable_file_exits_2_and_names_it(tmp_path: Path, name: str) -> None:
    text, message = BAD_INPUTS[name]
    (tmp_path / name).write_text(text)
    done = compact(str(tmp_path / name), "--output", str(tmp_path / "out"))
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out" / "compacted").exists()


def test_missing_input_exits_2(tmp_path: Path) -> None:
    done = compact(str(tmp_path / "absent.json"), "--output", str(tmp_path / "out"))
    assert done.returncode == 2
    assert "absent.json: no such file or directory" in done.stderr


def test_directory_without_readable_files_exits_2(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("hello")
    done = compact(str(tmp_path / "in"), "--output", str(tmp_path / "out"))
    assert done.returncode == 2
    assert "expected files ending in" in done.stderr


def test_foreign_output_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in.json").write_text(json.dumps(results()))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("precious")
    done = compact(str(tmp_path / "in.json"), "--output", str(tmp_path / "out"))
    assert done.returncode == 2
    assert str(tmp_path / "out") in done.stderr
    assert (tmp_path / "out" / "thesis.tex").read_text() == "precious"


def test_job_runs_from_anywhere_and_prints_what_it_did(tmp_path: Path) -> None:
    rows = [
        *results(),
        *results(score=0.8),
        *results(image_id=2, segmentation={"size": [3, 3], "counts": "5"}),
    ]
    (tmp_path / "in.json").write_text(json.dumps(rows))
    done = compact("in.json", "--output", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for text in ("is published", "exact_duplicate", "RLE_SUM", "masks/s", "DeltaTable"):
        assert text in done.stdout
    assert "--dedup.per_category false 0 more" in done.stdout
    assert "compacting: 1 of 1 units, 3 masks" in done.stderr
    again = compact("in.json", "--output", "out", cwd=tmp_path)
    assert again.returncode == 0
    assert "has already landed" in again.stdout
