"""The 44 bad inputs by number, each through every reader that can meet it.

A test's id is the number of the case, what it is, and the format. What a format
cannot hold (a string among the integers of a Parquet column) is not a case of it;
`ELSEWHERE` says where the cases of whole files are.
"""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.config import ReadConfig
from tests import oracle
from tests.pipeline.read import hazards
from tests.pipeline.read.files import SQUARE, make_rle, read_whole
from tests.pipeline.read.hazards import OF_IMAGES, RING, WRITERS, make_rows, write_rows
from tests.pipeline.read.test_hazards import BAD_FIELDS, BAD_POLYGONS, BAD_RLE

NAN, INF = float("nan"), float("inf")
FOLDER = Path(__file__).parent

FLOATS: list[tuple[str, dict[str, Any], str]] = [
    ("27 NaN", {"segmentation": [[1.0, 1.0, 4.0, NAN, 4.0, 4.0]]}, "POLY_NONFINITE"),
    ("27 infinite", {"segmentation": [[1.0, 1.0, 4.0, INF, 4.0, 4.0]]}, "POLY_NONFINITE"),
    ("33 NaN", {"bbox": [1.0, 1.0, NAN, 2.0]}, "BBOX"),
    ("34 NaN", {"score": NAN}, "SCORE"),
    ("34 infinite", {"score": INF}, "SCORE"),
]
"""What JSON cannot say, but a torch file and Parquet can."""

REJECTED: list[tuple[str, dict[str, Any], str]] = [
    *((name, {"segmentation": mask, "bbox": ...}, code) for name, mask, code in BAD_RLE),
    *(
        (name, {"segmentation": mask, "bbox": ...}, code)
        for name, mask, code in BAD_POLYGONS
        if code != "SIZE_MISMATCH"
    ),
    *((name, fields, code) for name, fields, code, _ in BAD_FIELDS),
    *FLOATS,
]

SPARSE = oracle.to_string([0, 0, 5, 2, 0, 0, 2, 2, 9]).decode()
OUTSIDE = [5, 5, 15, 5, 15, 15, 5, 15]
BOW_TIE = [0, 0, 10, 10, 10, 0, 0, 10]
HUGE = make_rle(oracle.to_string([0, 46_000**2]).decode(), 46_000, 46_000)

KEPT: list[tuple[str, dict[str, Any], int, str]] = [
    ("10 zero runs", {"segmentation": make_rle(SPARSE)}, 4, "rle_not_canonical"),
    ("11 uncompressed", {"segmentation": make_rle([0, 20]), "iscrowd": 1}, 20, "rle_uncompressed"),
    ("16 large image", {"segmentation": HUGE}, 46_000**2, ""),
    ("20 empty", {"segmentation": make_rle(oracle.to_string([20]).decode())}, 0, ""),
    ("21 full", {"segmentation": make_rle(oracle.to_string([0, 20]).decode())}, 20, ""),
    ("24 good before bad", {"segmentation": [RING, [1, 1, 2, 2]]}, 9, "polygon_bad_rings"),
    ("24 bad before good", {"segmentation": [[1, 1, 2, 2], RING]}, 9, "polygon_bad_rings"),
    ("29 partly outside", {"segmentation": [OUTSIDE]}, 25, "polygon_clipped"),
    ("31 bow-tie", {"segmentation": [BOW_TIE]}, 50, "polygon_self_crossing"),
    ("33 apart", {"bbox": [4, 3, 1, 1]}, 4, "bbox_apart_from_mask"),
    ("34 above 1", {"score": 1.7}, 4, "score_out_of_range"),
    ("34 below 0", {"score": -1.0}, 4, "score_out_of_range"),
    ("34 null", {"score": None}, 4, ""),
]

ELSEWHERE = {
    13: ["test_hazards.test_bad_polygons", "test_hazards.test_13_swapped_size_is_seen_by_the_box"],
    14: ["test_hazards.test_bad_polygons", "test_hazard_matrix.test_14_other_size_than_the_image"],
    19: ["test_hazards.test_19_other_totals_are_refused_one_by_one"],
    36: ["test_nested.test_36_contiguous_ids_are_mapped"],
    37: ["test_hazards.test_37_duplicate_annotation_ids_are_kept"],
    39: ["test_hazards.test_39_unknown_image", "test_hazards.test_39_contradictory_images"],
    40: ["test_hazard_files.test_damaged_files", "test_bombs.test_bombs_are_refused_in_bounds"],
    41: [
        "test_parquet_damage.test_41_damaged_files",
        "test_parquet_damage.test_41_damaged_pages",
        "test_parquet_damage.test_41_encrypted_by_arrow_itself",
        "test_parquet.test_columns_that_cannot_be_read",
    ],
    42: [
        "test_bombs.test_bombs_are_refused_in_bounds",
        "test_parquet_damage.test_42_dictionary_bomb",
    ],
    43: [
        "test_nested.test_43_pickles_are_not_run",
        "test_parquet_damage.test_43_extension_types_are_not_touched",
    ],
    44: ["test_hazards.test_44_names_and_paths_are_only_text"],
}
"""Case -> tests, for cases of whole files or of more than one row."""


def is_held(format: str, rows: list[dict[str, Any]]) -> bool:
    """Return whether a format can hold these rows as they are."""
    is_other_id = rows[1].get("image_id") != 2
    if format in OF_IMAGES and is_other_id:
        return False
    try:
        data = WRITERS[format](rows)
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        return False
    if format.startswith("parquet"):
        return held_by_parquet(rows[1])
    return format == "pth" or not (b"NaN" in data or b"Infinity" in data)


def held_by_parquet(row: dict[str, Any]) -> bool:
    """Return whether the row's values have the types that its columns would have anyway."""
    mask = row.get("segmentation")
    size = mask.get("size", [1]) if isinstance(mask, dict) else [1]
    counts = mask.get("counts") if isinstance(mask, dict) else None
    numbers = [*size, *(counts if isinstance(counts, list) else [])]
    rings = mask if isinstance(mask, list) else []
    is_mask = mask is None or isinstance(counts, str | list) or isinstance(mask, list)
    is_rings = all(isinstance(ring, list) for ring in rings) and all(
        type(value) in (int, float) for ring in rings for value in ring
    )
    is_int = all(type(number) is int for number in numbers)
    plain = [row.get(name) for name in ("category_id", "image_id")]
    is_plain = all(value is None or type(value) is int for value in plain)
    is_plain &= type(row.get("score")) in (float, type(None))
    box = row.get("bbox") or []
    return is_mask and is_rings and is_int and is_plain and all(type(x) is not str for x in box)


def cases(table: list[Any]) -> list[Any]:
    return [
        pytest.param(format, *entry[1:], id=f"{entry[0]}-{format}")
        for entry in table
        for format in WRITERS
        if is_held(format, make_rows(**entry[1]))
    ]


@pytest.mark.parametrize(("format", "fields", "code"), cases(REJECTED))
def test_rejected(tmp_path: Path, format: str, fields: dict[str, Any], code: str) -> None:
    rows = make_rows(**fields)
    whole = read_whole(write_rows(tmp_path, format, rows))
    assert whole.instances["image_id"].to_pylist() == [1, 3]
    [reject] = whole.rejects.to_pylist()
    # Beside a table of images an id that cannot be one is not in it.
    assert reject["code"] == code
    assert reject["source_row"] == 1
    assert reject["message"].startswith("expected ")
    assert ", got " in reject["message"]
    assert json.loads(reject["payload"]).get("image_id") == rows[1].get("image_id")


@pytest.mark.parametrize(("format", "fields", "area", "counter"), cases(KEPT))
def test_kept(tmp_path: Path, format: str, fields: dict[str, Any], area: int, counter: str) -> None:
    bbox = {"bbox": None} if isinstance(fields.get("segmentation"), list) else {}
    whole = read_whole(write_rows(tmp_path, format, make_rows(**fields, **bbox)))
    assert whole.instances["image_id"].to_pylist() == [1, 2, 3]
    assert whole.instances["area"][1].as_py() == area
    counters = {name for name in whole.counters if name != "rle_uncompressed"}
    assert counter == "rle_uncompressed" or counters == ({counter} if counter else set())
    assert not counter or counter in whole.counters


@pytest.mark.parametrize("format", ["results", "annotations", "dicts", "parquet", "parquet_images"])
def test_14_other_size_than_the_image(
    tmp_path: Path, format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hazards, "image_size", lambda row: [4, 5 + (row["image_id"] == 2)])
    monkeypatch.setattr(hazards, "with_size", lambda row: row | hazards.named_size(row))
    whole = read_whole(write_rows(tmp_path, format, make_rows()))
    assert whole.fault() == ("SIZE_MISMATCH", "segmentation.size")
    assert whole.rejects["message"][0].as_py().endswith("[4, 6], got [4, 5]")


@pytest.mark.parametrize("format", ["results", "lines", "parquet", "pth", "parquet_images"])
def test_8_escaped_strings_are_repaired_on_request(tmp_path: Path, format: str) -> None:
    rows = make_rows(segmentation=make_rle(f"b'{SQUARE}'"))
    file = write_rows(tmp_path, format, rows)
    config = ReadConfig(on_invalid="repair", repair=("rle_escape",))
    whole = read_whole(file, config)
    assert whole.instances["counts"].to_pylist() == [SQUARE.encode()] * 3
    assert whole.counters == {"repaired_rle_escape": 1}


def test_every_case_has_a_test() -> None:
    numbers = {int(entry[0].split()[0]) for entry in (*REJECTED, *KEPT) if entry[0][0].isdigit()}
    assert numbers | set(ELSEWHERE) == set(range(1, 45))
    for name in {name for names in ELSEWHERE.values() for name in names}:
        module, function = name.split(".")
        tree = ast.parse((FOLDER / f"{module}.py").read_text())
        assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
