"""File names of images: where they come from, and which of them are opened."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline import read, report, storage
from pipeline.config import CompactConfig, ReportConfig
from pipeline.errors import ConfigError
from pipeline.evaluate import Truth
from pipeline.plan import make_plan
from pipeline.records import GroupSample
from pipeline.report import names
from tests.scene import make_report, one_unit_plan, rectangles


def group(**facts: Any) -> GroupSample:
    plain: dict[str, Any] = {
        "kind": "largest",
        "rank": 0.0,
        "image_id": 7,
        "instance_id": 0,
        "category_id": None,
        "score": None,
        "height": 4,
        "width": 6,
        "source": "file:///a.json",
        "source_row": 0,
        "n_members": 0,
        "overlap": None,
        "fidelity": 1.0,
        "counts": "",
        "stored_counts": "",
    }
    return GroupSample(**plain | facts)


def test_a_name_that_is_known_is_the_only_one() -> None:
    assert names.candidates(group(file_name="val/x.jpg"), None) == ["val/x.jpg"]
    assert names.candidates(group(file_name="x.jpg"), "{image_id:04d}.png") == ["0007.png"]


def test_usual_names() -> None:
    found = names.candidates(group(), None)
    assert found[0] == "7.jpg"
    assert "000000000007.jpg" in found
    assert names.candidates(group(image_id="a b"), None) == ["a b.jpg", "a b.png", "a b.jpeg"]
    assert names.candidates(group(image_id=-7), "{image_id:04d}.png") == []


def test_a_pattern_reaches_nothing_else() -> None:
    assert names.fill("{image_id.__class__}{image_id}{x}", 7) == "{image_id.__class__}7{x}"


@pytest.mark.parametrize(
    "name",
    [
        "../x.jpg",
        "a/../../x.jpg",
        "/etc/passwd",
        "a//x.jpg",
        "./x.jpg",
        "http://example.org/x.jpg",
        "simplecache::x.jpg",
        "C:/x.jpg",
        "..\\x.jpg",
        "x\0.jpg",
        "x" * 2000,
        "",
    ],
)
def test_names_that_may_lead_elsewhere(name: str) -> None:
    assert names.why_unsafe(name)


def test_plain_names_are_safe() -> None:
    for name in ("x.jpg", "val 2017/000 1.jpg", "ümläut.png", "a..b.jpg", "...jpg"):
        assert names.why_unsafe(name) == ""


def test_names_come_from_the_tables_that_were_given(tmp_path: Path) -> None:
    (row,) = rectangles(1)[:1]
    document = {
        "images": [{"id": 0, "height": 30, "width": 32, "file_name": "own.jpg"}, {"id": 1}],
        "annotations": [
            {
                "id": 1,
                "image_id": 0,
                "category_id": 1,
                "segmentation": {"size": [30, 32], "counts": row.mask.decode()},
            }
        ],
        "categories": [{"id": 1}],
    }
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(document))
    config = CompactConfig(inputs=(str(path),), output="y")
    inventory = storage.list_inputs(config.inputs)
    plan = make_plan(inventory, [read.scan(inventory[0], config.read, 1 << 20)], config)
    asked = [group(image_id=n, source=inventory[0].uri) for n in (0, 1, 2)]
    found = names.add_file_names(asked, plan, None)
    assert [one.file_name for one in found] == ["own.jpg", None, None]
    images = [{"id": 2, "file_name": "truth.jpg"}, {"id": 1, "file_name": 5}]
    truth = Truth("t", {"images": images}, frozenset({1, 2}))
    named = [replace_name(one, "kept.jpg") if one.image_id == 0 else one for one in asked]
    found = names.add_file_names(named, plan, truth)
    assert [one.file_name for one in found] == ["kept.jpg", None, "truth.jpg"]
    path.unlink()
    assert names.add_file_names(asked, plan, None)[0].file_name is None


def test_a_credential_in_a_table_s_name_goes_no_further() -> None:
    image = {"id": 7, "file_name": "s3://AKIAKEY:topsecret@bucket/x.jpg"}
    truth = Truth("", {"images": [image], "categories": []}, frozenset([7]))
    plan = one_unit_plan([])
    (found,) = names.add_file_names([group()], plan, truth)
    assert found.file_name is not None
    assert found.file_name.endswith("bucket/x.jpg")
    assert "topsecret" not in found.file_name


def test_categories_are_named_by_what_was_given(tmp_path: Path) -> None:
    (row,) = rectangles(1)[:1]
    mask = {"size": [30, 32], "counts": row.mask.decode()}
    document = {
        "images": [{"id": 0, "height": 30, "width": 32}],
        "annotations": [{"id": 1, "image_id": 0, "category_id": 1, "segmentation": mask}],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "x" * 500}, {"id": 4}],
    }
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(document))
    config = CompactConfig(inputs=(str(path),), output="y")
    inventory = storage.list_inputs(config.inputs)
    plan = make_plan(inventory, [read.scan(inventory[0], config.read, 1 << 20)], config)
    found = names.category_names(plan, None, ["1", "2", "4", "null"])
    assert found == {"1": "cat", "2": "x" * 80 + "\N{HORIZONTAL ELLIPSIS}"}
    given = [{"id": 1, "name": "Katze"}, {"id": 3, "name": "not asked for"}, "no object"]
    truth = Truth("t", {"categories": given}, frozenset())
    assert names.category_names(plan, truth, ["1", "2"])["1"] == "Katze"
    path.unlink()
    assert names.category_names(plan, truth, ["1", "2"]) == {"1": "Katze"}


def replace_name(one: GroupSample, name: str) -> GroupSample:
    return GroupSample(**{f: getattr(one, f) for f in one.__struct_fields__} | {"file_name": name})


def test_a_column_of_the_rows_names_files() -> None:
    rows = [replace(row, origin=f"{row.image_id}.png") for row in rectangles(2)]
    _, result = make_report(rows, origin="file_name")
    assert {s.file_name for s in result.record.samples} <= {"0.png", "1.png"}
    assert result.record.samples


def test_absent_folder_is_an_error_before_anything_is_done(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--report\.images: .*no such folder"):
        report.find_folder(ReportConfig(images=str(tmp_path / "absent")))
    with pytest.raises(ConfigError, match=r"--report\.image_names: expected --report\.images"):
        ReportConfig(image_names="{image_id}.jpg")
    with pytest.raises(ConfigError, match=r"expected a name with \{image_id\}"):
        ReportConfig(images="x", image_names="fixed.jpg")
