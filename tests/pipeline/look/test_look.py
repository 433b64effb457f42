"""What a look tells, against rows of known number and the main job's own result."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from deltalake import DeltaTable

from pipeline.config import CompactConfig, DedupConfig, FilterConfig, ReadConfig, RunConfig
from pipeline.errors import ConfigError, InputError
from pipeline.look import Look, look
from tests.outputs import run_inline
from tests.scene import rectangles, write_results

PART = {"part_bytes": 1 << 26, "part_rows": 20_000}


def look_at(*inputs: Path, **settings: object) -> Look:
    config = CompactConfig(inputs=tuple(map(str, inputs)), output="unused", **settings)  # pyright: ignore
    return look(config, **PART)


def test_tells_what_a_run_then_does(tmp_path: Path) -> None:
    rows = rectangles(12)
    write_results(tmp_path / "in.json", rows)
    settings = {"dedup": DedupConfig(threshold=0.6), "filter": FilterConfig(min_area=9)}
    found = look_at(tmp_path / "in.json", **settings)
    run_inline(
        CompactConfig(inputs=(str(tmp_path / "in.json"),), output=str(tmp_path / "out"), **settings)
    )
    names = ("compacted", "lineage")
    tables = {name: DeltaTable(tmp_path / "out" / name).to_pyarrow_table() for name in names}
    assert (found.rows, found.images, found.formats) == (len(rows), 12, {"coco_results": 1})
    assert found.forecast is not None
    assert found.masks is not None
    assert found.part.is_all
    assert found.forecast.kept_rows == len(tables["compacted"])
    reasons = tables["lineage"]["reason"].to_pylist()
    assert found.forecast.filtered_fraction == reasons.count("min_area") / len(rows)
    n_merged = reasons.count("merged") + reasons.count("exact_duplicate")
    assert found.forecast.merged_fraction == n_merged / len(rows)
    assert found.forecast.rejected_fraction == 0
    (path,) = (tmp_path / "out" / "compacted").glob("*.parquet")
    assert abs(found.forecast.compacted_bytes - path.stat().st_size) < 2000
    assert found.masks.top_sizes == [(30, 32, len(rows))]
    ids = [row.category_id or 0 for row in rows]
    assert dict(found.masks.top_categories) == {one: ids.count(one) for one in set(ids)}
    areas = sorted(int(row.dense().sum()) for row in rows)
    assert (found.masks.area[0], found.masks.area[-1]) == (areas[0], areas[-1])
    assert found.masks.area[3] == areas[(len(areas) - 1) // 2]
    assert (found.masks.crowds, found.masks.empty, found.masks.without_score) == (0, 0, 0)
    assert found.problems == []


def test_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    write_results(tmp_path / "in.json", rectangles(2))
    look_at(tmp_path / "in.json")
    assert list((tmp_path / "here").iterdir()) == []
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["in.json"]


def test_problems_name_file_and_row(tmp_path: Path) -> None:
    write_results(tmp_path / "good.json", rectangles(2))
    text = json.loads((tmp_path / "good.json").read_text())
    text[3]["segmentation"]["counts"] = "P"
    text[5]["score"] = 1.5
    (tmp_path / "some.json").write_text(json.dumps(text))
    (tmp_path / "torn.json").write_text(json.dumps(text)[:-40])
    found = look_at(tmp_path)
    assert [(one.kind, one.what.rsplit("/")[-1], one.count) for one in found.problems] == [
        ("file", "torn.json", 1),
        ("reject", "RLE_TRUNCATED", 1),
        ("counted", "score_out_of_range", 1),
    ]
    assert "byte" in found.problems[0].message
    assert "some.json: row 3: " in found.problems[1].message
    assert found.n_files == 2
    assert found.images == 2


def test_inputs_that_do_not_go_together(tmp_path: Path) -> None:
    write_results(tmp_path / "a.json", rectangles(2))
    rows = json.loads((tmp_path / "a.json").read_text())
    text = json.dumps([row | {"image_id": f"no {row['image_id']}"} for row in rows])
    (tmp_path / "b.json").write_text(text)
    found = look_at(tmp_path)
    (problem,) = found.problems
    assert (problem.kind, problem.count) == ("inputs", 2)
    assert "--read.id_mode" in problem.message
    assert (found.n_files, found.id_type) == (1, "int")
    both = look_at(tmp_path, read=ReadConfig(id_mode="string"))
    assert (both.n_files, both.id_type, both.problems) == (2, "string", [])


def test_a_part_is_the_same_whatever_the_order_and_scales_up(tmp_path: Path) -> None:
    rows = rectangles(40)
    for first in range(0, 40, 4):
        own = [row for row in rows if first <= int(row.image_id) < first + 4]
        write_results(tmp_path / f"{first:02}.json", own)
    config = CompactConfig(inputs=(str(tmp_path),), output="x", run=RunConfig(unit_bytes=4000))
    found = look(config, 20_000, 100)
    assert not found.part.is_all
    assert found.part.read_rows < len(rows)
    assert 100 <= found.part.rows < 100 + 20
    assert found.part.has_whole_images
    assert found.rows == len(rows)
    again = look(config, 20_000, 100)
    assert (again.part, again.masks) == (found.part, found.masks)
    whole = look(config, 1 << 26, 20_000)
    assert found.forecast is not None
    assert whole.forecast is not None
    assert whole.images == 40
    assert found.forecast.kept_rows == pytest.approx(whole.forecast.kept_rows, rel=0.3)


def test_rows_that_lie_apart_are_said_to(tmp_path: Path) -> None:
    rows = sorted(rectangles(40), key=lambda row: row.source_row % 7)
    write_results(tmp_path / "in.json", rows)
    config = CompactConfig(
        inputs=(str(tmp_path / "in.json"),), output="unused", run=RunConfig(unit_bytes=4000)
    )
    found = look(config, 10_000, 20_000)
    assert found.forecast is not None
    assert found.forecast.is_shuffled
    assert not found.part.has_whole_images


def test_no_usable_row(tmp_path: Path) -> None:
    (tmp_path / "in.json").write_text("[]")
    found = look_at(tmp_path / "in.json")
    assert (found.rows, found.masks, found.forecast, found.problems) == (0, None, None, [])
    rows = [{"image_id": 1, "category_id": 1, "segmentation": {"size": [2, 2], "counts": "P"}}]
    (tmp_path / "in.json").write_text(json.dumps(rows))
    found = look_at(tmp_path / "in.json")
    assert (found.rows, found.masks, found.forecast) == (1, None, None)
    assert [(one.what, one.count) for one in found.problems] == [("RLE_TRUNCATED", 1)]


def test_settings_that_would_stop_a_run_do_not_stop_a_look(tmp_path: Path) -> None:
    rows = [{"image_id": 1, "category_id": 1, "segmentation": {"size": [2, 2], "counts": "P"}}]
    (tmp_path / "in.json").write_text(json.dumps(rows))
    found = look_at(tmp_path / "in.json", read=ReadConfig(on_invalid="fail"))
    assert [one.kind for one in found.problems] == ["reject"]


def test_nothing_to_look_at(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        look_at(tmp_path / "absent.json")
    (tmp_path / "empty.json").write_bytes(b"")
    with pytest.raises(InputError, match="empty"):
        look_at(tmp_path / "empty.json")
    write_results(tmp_path / "in.json", rectangles(1))
    with pytest.raises(ConfigError, match="--part_bytes"):
        look(CompactConfig(inputs=(str(tmp_path / "in.json"),), output="x"), 0, 1)
