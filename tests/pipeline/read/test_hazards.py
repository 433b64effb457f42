"""Every bad input of the list of hazards that JSON can hold, by its number: what becomes of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import ReadConfig
from pipeline.errors import CompactionError, InputError, SchemaError
from tests import oracle
from tests.pipeline.read.files import (
    SQUARE,
    make_annotation,
    make_annotations,
    make_rle,
    make_row,
    read_whole,
    write_file,
)

RING = [1, 1, 4, 1, 4, 4, 1, 4]


pytestmark = pytest.mark.usefixtures("both_ways")

BAD_RLE: list[tuple[str, Any, str]] = [
    ("1 empty string", make_rle("", 64, 64), "RLE_SUM"),
    ("2 short sum", make_rle("5", 64, 64), "RLE_SUM"),
    ("3 long sum", make_rle("88", 2, 2), "RLE_SUM"),
    ("4 negative run", make_rle("O"), "RLE_NEGATIVE"),
    ("5 trailing continuation", make_rle("P"), "RLE_TRUNCATED"),
    ("6 endless number", make_rle("P" * 40 + "0"), "RLE_VARINT"),
    ("7 space", make_rle("0 @"), "RLE_ALPHABET"),
    ("7 NUL", make_rle("0\0@"), "RLE_ALPHABET"),
    ("7 not ASCII", make_rle("0é@"), "RLE_ALPHABET"),
    ("8 Python literal", make_rle(f"b'{SQUARE}'"), "RLE_ALPHABET"),
    ("9 zero runs", make_rle("0" * 200_000, 1, 1), "RLE_TOO_MANY_RUNS"),
    ("12 minus one", make_rle([-1, 21]), "RLE_COUNTS_TYPE"),
    ("12 half", make_rle([0.5, 19.5]), "RLE_COUNTS_TYPE"),
    ("12 two to the 32", make_rle([2**32, 1]), "RLE_COUNTS_TYPE"),
    ("12 two to the 70", make_rle([2**70, 1]), "RLE_COUNTS_TYPE"),
    ("12 string", make_rle(["3", 17]), "RLE_COUNTS_TYPE"),
    ("12 number", make_rle(20), "RLE_COUNTS_TYPE"),
    ("15 zero", make_rle("", 0, 10), "SIZE_INVALID"),
    ("15 negative", make_rle("", -4, 5), "SIZE_INVALID"),
    ("15 float", make_rle(SQUARE, 4.0, 5), "SIZE_INVALID"),
    ("15 string", make_rle(SQUARE, "4", 5), "SIZE_INVALID"),
    ("15 missing", {"counts": SQUARE}, "SIZE_INVALID"),
    ("15 one element", {"size": [4], "counts": SQUARE}, "SIZE_INVALID"),
    ("17 too large", make_rle("0", 70_000, 70_000), "IMAGE_TOO_LARGE"),
    ("18 absurd", make_rle("0", 10**9, 10**9), "SIZE_INVALID"),
    ("18 beyond 32 bits", make_rle("0", 2**32, 2**32), "SIZE_INVALID"),
    ("26 no counts", {"size": [4, 5]}, "NO_SEGMENTATION"),
    ("26 empty list", [], "NO_SEGMENTATION"),
    ("26 empty ring", [[]], "NO_SEGMENTATION"),
    ("26 null", None, "NO_SEGMENTATION"),
    ("26 missing", ..., "NO_SEGMENTATION"),
    ("26 a word", "mask", "NO_SEGMENTATION"),
]

BAD_POLYGONS: list[tuple[str, Any, str]] = [
    ("22 two points", [[1, 1, 4, 4]], "POLY_TOO_SHORT"),
    ("22 one point", [[1, 1]], "POLY_TOO_SHORT"),
    ("23 odd", [[1, 1, 4, 1, 4, 4, 1]], "POLY_ODD"),
    ("25 flat", RING, "POLY_SHAPE"),
    ("25 rings in rings", [[RING]], "POLY_SHAPE"),
    ("25 points", [[[1, 1], [4, 1], [4, 4]]], "POLY_SHAPE"),
    ("26 empty list", [], "NO_SEGMENTATION"),
    ("26 empty ring", [[]], "NO_SEGMENTATION"),
    ("26 null", None, "NO_SEGMENTATION"),
    ("28 far away", [[0, 0, 1e9, 0, 1e9, 1]], "POLY_RANGE"),
    ("30 wholly outside", [[20, 20, 30, 20, 30, 30]], "ZERO_AREA"),
    ("30 collinear", [[1, 1, 4, 4, 8, 8]], "ZERO_AREA"),
    ("32 strings", [["1", "1", "4", "1", "4", "4"]], "POLY_TYPE"),
    ("32 true", [[True, 1, 4, 1, 4, 4]], "POLY_TYPE"),
    ("14 other size", make_rle(SQUARE, 4, 5), "SIZE_MISMATCH"),
    ("13 swapped", make_rle([0, 100], 5, 20), "SIZE_MISMATCH"),
    ("18 absurd beside an image", make_rle("0", 10**9, 10**9), "SIZE_INVALID"),
]

BAD_FIELDS: list[tuple[str, dict[str, Any], str, str]] = [
    ("33 negative width", {"bbox": [1, 1, -2, 2]}, "BBOX", "bbox"),
    ("33 three numbers", {"bbox": [1, 1, 2]}, "BBOX", "bbox"),
    ("33 strings", {"bbox": ["1", "1", "2", "2"]}, "BBOX", "bbox"),
    ("34 string", {"score": "0.9"}, "SCORE", "score"),
    ("34 bool", {"score": True}, "SCORE", "score"),
    ("35 missing in one row", {"category_id": ...}, "CATEGORY", "category_id"),
    ("35 null in one row", {"category_id": None}, "CATEGORY", "category_id"),
    ("35 string", {"category_id": "1"}, "CATEGORY", "category_id"),
    ("35 float", {"category_id": 1.0}, "CATEGORY", "category_id"),
    ("38 null", {"image_id": None}, "IMAGE_ID", "image_id"),
    ("38 missing", {"image_id": ...}, "IMAGE_ID", "image_id"),
    ("38 bool", {"image_id": True}, "IMAGE_ID", "image_id"),
    ("38 two to the 70", {"image_id": 2**70}, "IMAGE_ID", "image_id"),
    ("38 one float", {"image_id": 139.0}, "IMAGE_ID", "image_id"),
    ("iscrowd 2", {"iscrowd": 2}, "CATEGORY", "iscrowd"),
]


def named(table: list[Any]) -> list[Any]:
    return [pytest.param(*entry[1:], id=entry[0]) for entry in table]


@pytest.mark.parametrize(("mask", "code"), named(BAD_RLE))
def test_bad_runs(tmp_path: Path, mask: Any, code: str) -> None:
    bad = make_row(segmentation=mask, bbox=...)
    whole = read_whole(write_file(tmp_path, [make_row(), bad, make_row(score=0.25)]))
    assert whole.instances["score"].to_pylist() == [0.5, 0.25]
    assert whole.fault()[0] == code
    assert json.loads(whole.rejects["payload"][0].as_py()) == bad


@pytest.mark.parametrize(("mask", "code"), named(BAD_POLYGONS))
def test_bad_polygons(tmp_path: Path, mask: Any, code: str) -> None:
    good = make_annotation([RING])
    whole = read_whole(write_file(tmp_path, make_annotations(good, make_annotation(mask), good)))
    assert whole.instances["area"].to_pylist() == [9, 9]
    assert whole.fault()[0] == code


@pytest.mark.parametrize(("fields", "code", "field"), named(BAD_FIELDS))
def test_bad_fields(tmp_path: Path, fields: dict[str, Any], code: str, field: str) -> None:
    rows = [make_row(), make_row(**fields)]
    file = write_file(tmp_path, rows)
    whole = read_whole(file)
    assert len(whole.instances) == 1
    assert whole.fault() == (code, field)
    [reject] = whole.rejects.to_pylist()
    assert reject["source_row"] == 1
    data = Path(file.uri.removeprefix("file://")).read_bytes()
    assert data[reject["byte_offset"] :].startswith(reject["payload"])
    assert json.loads(reject["payload"]) == rows[1]


def test_27_infinite_coordinate(tmp_path: Path) -> None:
    # JSON has no infinity, but a number that is too large for a float reads as one.
    text = json.dumps(make_annotations(make_annotation([[1, 1, 4, 1, 4, 123.5]])))
    whole = read_whole(write_file(tmp_path, text.replace("123.5", "1e999")))
    assert whole.fault() == ("POLY_NONFINITE", "segmentation")


@pytest.mark.parametrize("text", [r"\\u0000", "\udcff"])
def test_7_bytes_that_are_no_text(tmp_path: Path, text: str) -> None:
    data = json.dumps([make_row(), make_row()]).replace(SQUARE, text, 1)
    whole = read_whole(write_file(tmp_path, data.encode("utf-8", "surrogateescape")))
    assert whole.fault()[0] == "RLE_ALPHABET"
    assert len(whole.instances) == 1


def test_10_zero_runs_are_canonicalised(tmp_path: Path) -> None:
    row = make_row(segmentation=make_rle(oracle.to_string([0, 0, 5, 2, 0, 0, 2, 2, 9]).decode()))
    whole = read_whole(write_file(tmp_path, [row]))
    assert whole.instances["counts"][0].as_py() == SQUARE.encode()
    assert [whole.instances[f"bbox_{k}"][0].as_py() for k in "xywh"] == [1, 1, 2, 2]
    assert whole.counters == {"rle_not_canonical": 1}


def test_11_uncompressed_runs_of_a_crowd(tmp_path: Path) -> None:
    crowd = make_annotation(make_rle([0, 100], 10, 10), iscrowd=1)
    whole = read_whole(write_file(tmp_path, make_annotations(crowd)))
    [row] = whole.instances.to_pylist()
    assert row["counts"] == oracle.to_string([0, 100])
    assert (row["iscrowd"], row["area"]) == (True, 100)
    assert whole.counters == {"rle_uncompressed": 1}


def test_13_swapped_size_is_seen_by_the_box(tmp_path: Path) -> None:
    # 3 x 10 pixels, of which the last column is set: box [9, 0, 1, 3]. Stated as 10 x 3, the
    # same runs cover the rows 7 to 9 of the last column.
    swapped = make_row(segmentation=make_rle([27, 3], 10, 3), bbox=[9, 0, 1, 3])
    whole = read_whole(write_file(tmp_path, [swapped]))
    assert whole.fault() == ("SIZE_MISMATCH", "segmentation.size")
    unseen = make_row(segmentation=make_rle([27, 3], 10, 3), bbox=...)
    assert len(read_whole(write_file(tmp_path, [unseen])).instances) == 1


def test_16_large_image_with_few_runs(tmp_path: Path) -> None:
    row = make_row(segmentation=make_rle([0, 46_000 * 46_000], 46_000, 46_000), bbox=...)
    whole = read_whole(write_file(tmp_path, [row]))
    assert whole.instances["area"].to_pylist() == [46_000 * 46_000]


def test_19_other_totals_are_refused_one_by_one(tmp_path: Path) -> None:
    rows = [make_row(segmentation=make_rle(counts)) for counts in ("04", "05")]
    assert read_whole(write_file(tmp_path, rows)).rejects["code"].to_pylist() == ["RLE_SUM"] * 2


@pytest.mark.parametrize(("counts", "area"), [([20], 0), ([0, 20], 20)])
def test_20_and_21_empty_and_full_masks_are_kept(
    tmp_path: Path, counts: list[int], area: int
) -> None:
    row = make_row(segmentation=make_rle(counts))
    assert read_whole(write_file(tmp_path, [row])).instances["area"].to_pylist() == [area]


@pytest.mark.parametrize("rings", [[RING, [1, 1, 2, 2]], [[1, 1, 2, 2], RING]])
def test_24_good_ring_beside_a_bad_one(tmp_path: Path, rings: Any) -> None:
    whole = read_whole(write_file(tmp_path, make_annotations(make_annotation(rings))))
    assert whole.instances["area"].to_pylist() == [9]
    assert whole.counters == {"polygon_bad_rings": 1}


def test_29_partly_outside_is_clipped(tmp_path: Path) -> None:
    ring = [5, 5, 15, 5, 15, 15, 5, 15]
    whole = read_whole(write_file(tmp_path, make_annotations(make_annotation([ring]))))
    assert whole.instances["area"].to_pylist() == [25]
    assert whole.counters == {"polygon_clipped": 1}


def test_31_bow_tie_is_filled_even_odd(tmp_path: Path) -> None:
    ring = [0, 0, 10, 10, 10, 0, 0, 10]
    whole = read_whole(write_file(tmp_path, make_annotations(make_annotation([ring]))))
    [row] = whole.instances.to_pylist()
    assert row["counts"] == oracle.from_polygons([ring], 10, 10)
    assert whole.counters == {"polygon_self_crossing": 1}


def test_33_boxes_far_from_their_masks_are_kept(tmp_path: Path) -> None:
    whole = read_whole(write_file(tmp_path, [make_row(bbox=[4, 3, 1, 1])]))
    [row] = whole.instances.to_pylist()
    assert [row[f"input_bbox_{k}"] for k in "xywh"] == [4, 3, 1, 1]
    assert [row[f"bbox_{k}"] for k in "xywh"] == [1, 1, 2, 2]
    assert whole.counters == {"bbox_apart_from_mask": 1}


def test_33_file_of_corners_is_refused(tmp_path: Path) -> None:
    corners = [make_row(bbox=[2, 2, 5, 4]) for _ in range(3)]
    with pytest.raises(SchemaError, match="bbox mode"):
        read_whole(write_file(tmp_path, [*corners, make_row(), make_row()]))
    assert len(read_whole(write_file(tmp_path, [corners[0], make_row()])).instances) == 2


def test_34_scores_that_are_kept(tmp_path: Path) -> None:
    rows = [make_row(score=score) for score in (None, ..., 1.7, -1, 1, 0)]
    whole = read_whole(write_file(tmp_path, rows))
    assert whole.instances["score"].to_pylist() == [None, None, 1.7, -1, 1, 0]
    assert whole.counters == {"score_out_of_range": 2}


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity"])
def test_34_and_40_literals_that_json_lacks(tmp_path: Path, literal: str) -> None:
    text = json.dumps([make_row(), make_row(score=0.25)]).replace("0.25", literal)
    place = text.index(literal) + literal.startswith("-")
    with pytest.raises(InputError, match=rf"byte {place}: .*NaN or Infinity.*null"):
        read_whole(write_file(tmp_path, text))


def test_35_unknown_category(tmp_path: Path) -> None:
    rows = [make_annotation([RING]), make_annotation([RING], category_id=3)]
    whole = read_whole(write_file(tmp_path, make_annotations(*rows)))
    assert whole.fault() == ("CATEGORY", "category_id")
    whole = read_whole(write_file(tmp_path, make_annotations(*rows, categories=[])))
    assert len(whole.instances) == 2


@pytest.mark.parametrize("value", [..., None])
def test_35_no_category_at_all_is_one_class(tmp_path: Path, value: Any) -> None:
    rows = [make_annotation([RING], category_id=value)] * 2
    whole = read_whole(write_file(tmp_path, make_annotations(*rows)))
    assert whole.instances["category_id"].to_pylist() == [None, None]


def test_37_duplicate_annotation_ids_are_kept(tmp_path: Path) -> None:
    ids = [5, 6, 5, "a", "a", None, ..., 2**70, -5, 5]
    rows = [make_annotation([RING], id=value) for value in ids]
    file = write_file(tmp_path, make_annotations(*rows))
    whole = read_whole(file)
    assert whole.instances["input_id"].to_pylist() == [5, 6, 5, *[None] * 5, -5, 5]
    assert whole.counters == {"repeated_input_id": 2}
    with pytest.raises(InputError, match="each annotation id once, got 2"):
        read_whole(file, ReadConfig(on_invalid="fail"))


@pytest.mark.parametrize("value", ["a5", 5.5, True, None, ...])
def test_37_ids_that_are_no_integers_are_left_out(tmp_path: Path, value: Any) -> None:
    rows = [make_annotation([RING], id=value, area="large"), make_annotation([RING], area=3)]
    whole = read_whole(write_file(tmp_path, make_annotations(*rows)))
    assert whole.instances["input_id"].to_pylist() == [None, 1]
    assert whole.instances["input_area"].to_pylist() == [None, 3]


def test_38_mixed_ids_are_one_error(tmp_path: Path) -> None:
    file = write_file(tmp_path, [make_row(image_id=139), make_row(image_id="000000000139")])
    with pytest.raises(SchemaError, match=r"byte \d+: image_id: .*--read.id_mode"):
        read_whole(file)
    as_int = read_whole(file, ReadConfig(id_mode="int"))
    assert as_int.instances["image_id"].to_pylist() == [139, 139]
    as_string = read_whole(file, ReadConfig(id_mode="string"))
    assert as_string.instances["image_id"].to_pylist() == ["139", "000000000139"]


def test_38_floats_are_one_error(tmp_path: Path) -> None:
    file = write_file(tmp_path, [make_row(image_id=139.0), make_row(image_id=140.5)])
    with pytest.raises(SchemaError, match=r"image_id: .*--read.id_mode int"):
        read_whole(file)
    whole = read_whole(file, ReadConfig(id_mode="int"))
    assert whole.instances["image_id"].to_pylist() == [139]
    assert whole.fault() == ("IMAGE_ID", "image_id")


def test_38_strings(tmp_path: Path) -> None:
    rows = [make_row(image_id=text) for text in ("b", 'a/é\n"', "007")]
    whole = read_whole(write_file(tmp_path, rows))
    assert whole.scan.id_type == "string"
    assert whole.instances["image_id"].to_pylist() == ["b", 'a/é\n"', "007"]
    assert whole.scan.image_id_sample == ["007", 'a/é\n"', "b"]


def test_39_unknown_image(tmp_path: Path) -> None:
    rows = [make_annotation([RING], image_id=8), make_annotation([RING])]
    whole = read_whole(write_file(tmp_path, make_annotations(*rows)))
    assert whole.fault() == ("IMAGE_UNKNOWN", "image_id")
    no_images = make_annotations(*rows)
    del no_images["images"]
    whole = read_whole(write_file(tmp_path, no_images))
    assert whole.rejects["code"].to_pylist() == ["IMAGE_UNKNOWN"] * 2


def test_39_contradictory_images(tmp_path: Path) -> None:
    images = [{"id": 7, "height": 10, "width": width} for width in (10, 10, 11)]
    rows = make_annotations(make_annotation([RING]), images=images)
    with pytest.raises(InputError, match="one size for image 7"):
        read_whole(write_file(tmp_path, rows))


def test_44_names_and_paths_are_only_text(tmp_path: Path) -> None:
    nasty = ["</script><img onerror=alert(1)>", "=cmd()", "\x1b[31m", "\u202e", "x" * 10**6]
    categories = [{"id": n + 1, "name": name} for n, name in enumerate(nasty)]
    paths = ["../../etc/passwd", "s3://key:secret@bucket/x", "zip://a::file://b"]
    images = [{"id": 7 + n, "height": 10, "width": 10, "file_name": p} for n, p in enumerate(paths)]
    rows = [make_annotation([RING], image_id=image["id"]) for image in images]
    whole = read_whole(
        write_file(tmp_path, make_annotations(*rows, images=images, categories=categories))
    )
    assert len(whole.instances) == 3


def test_44_values_in_messages_are_escaped_and_short(tmp_path: Path) -> None:
    rows = [make_row(), make_row(score="\x1b[31m" + "x" * 10_000)]
    whole = read_whole(write_file(tmp_path, rows))
    message = whole.rejects["message"][0].as_py()
    assert message.isascii()
    assert message.isprintable()
    assert len(message) < 300


def test_no_fault_is_an_exception_of_another_kind(tmp_path: Path) -> None:
    # Each value in each place: a row is kept or rejected, and the good row beside it is kept.
    values: list[Any] = [None, True, -1, 0.5, 1e300, 2**70, "", "x", [], [[]], {}, [None], {"a": 1}]
    keys = ["category_id", "segmentation", "score", "bbox", "id", "area", "iscrowd", "x"]
    rows = [make_row(**{key: value}) for key in keys for value in values]
    rows += [make_row(image_id=value) for value in values if not isinstance(value, str)]
    rows += [make_row(segmentation=make_rle(value)) for value in values]
    rows += [make_row(segmentation=make_rle(SQUARE, value)) for value in values]
    rows += [make_row(segmentation=[[value] * 6]) for value in values]
    rows += values
    try:
        whole = read_whole(write_file(tmp_path, [make_row(), *rows]))
    except CompactionError as error:
        pytest.fail(error.message)
    assert whole.instances["source_row"][0].as_py() == 0
    assert len(whole.rejects) > 100
