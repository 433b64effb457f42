"""Parquet with a row per instance: the same rows in every layout, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline import read
from pipeline.config import ReadConfig
from pipeline.errors import ConfigError, SchemaError
from schemas.instances import FIXED_COLUMNS
from tests import oracle
from tests.pipeline.read.files import SQUARE, read_whole
from tests.pipeline.read.parquet_files import RING, N, base, read_columns, write


def rles(counts: Any, size: Any = (4, 5)) -> list[dict[str, Any]]:
    return [{"size": size, "counts": counts}] * N


FLAT = {"counts": ..., "height": ..., "width": ...}
LAYOUTS: dict[str, dict[str, Any]] = {
    "string": {},
    "binary": {"counts": [SQUARE.encode()] * N},
    "large_string": {"counts": pa.array([SQUARE] * N, pa.large_string())},
    "large_binary": {"counts": pa.array([SQUARE.encode()] * N, pa.large_binary())},
    "dictionary": {"counts": pa.array([SQUARE] * N).dictionary_encode()},
    "lists of counts": {"counts": [[5, 2, 2, 2, 9]] * N},
    "large lists": {"counts": pa.array([[5, 2, 2, 2, 9]] * N, pa.large_list(pa.uint32()))},
    "size": {"height": ..., "width": ..., "size": [[4, 5]] * N},
    "fixed size": {
        "height": ...,
        "width": ...,
        "size": pa.array([[4, 5]] * N, pa.list_(pa.int16(), 2)),
    },
    "struct": {**FLAT, "segmentation": rles(SQUARE)},
    "struct of bytes": {**FLAT, "segmentation": rles(SQUARE.encode())},
    "struct of lists": {**FLAT, "segmentation": rles([5, 2, 2, 2, 9])},
    "struct without size": {"counts": ..., "segmentation": [{"counts": SQUARE}] * N},
    "string in segmentation": {"counts": ..., "segmentation": [SQUARE] * N},
    "polygons": {"counts": ..., "segmentation": [[[1.0, 1, 3, 1, 3, 3, 1, 3]]] * N},
    "polygons of integers": {"counts": ..., "segmentation": [[[1, 1, 3, 1, 3, 3, 1, 3]]] * N},
}


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("rows_per_group", [1, 4, 100])
def test_every_layout_gives_the_same_rows(tmp_path: Path, name: str, rows_per_group: int) -> None:
    file = write(tmp_path, base(**LAYOUTS[name]), row_group_size=rows_per_group)
    whole = read_whole(file, unit_bytes=1)
    assert len(whole.scan.slices) == -(-N // rows_per_group)
    assert whole.instances["image_id"].to_pylist() == list(range(N))
    assert whole.instances["counts"].to_pylist() == [SQUARE.encode()] * N
    assert whole.instances["area"].to_pylist() == [4] * N
    assert whole.instances["source_row"].to_pylist() == list(range(N))
    assert whole.scan.image_id_sample == list(range(N))
    assert whole.scan.n_images == N
    assert len(whole.rejects) == 0


BOXES: dict[str, dict[str, Any]] = {
    "list": {"bbox": [[1.0, 2.0, 3.0, 4.0]] * N},
    "integers": {"bbox": [[1, 2, 3, 4]] * N},
    "fixed": {"bbox": pa.array([[1, 2, 3, 4]] * N, pa.list_(pa.float32(), 4))},
    "struct": {"bbox": [{"x": 1, "y": 2, "w": 3, "h": 4}] * N},
    "words": {"bbox": [{"x": 1, "y": 2, "width": 3, "height": 4}] * N},
    "flat": {f"bbox_{k}": [v] * N for k, v in zip("xywh", (1, 2, 3, 4), strict=True)},
}


@pytest.mark.parametrize("name", BOXES)
def test_boxes(tmp_path: Path, name: str) -> None:
    size = {"height": [40] * N, "width": [50] * N, "counts": [[0, 2000]] * N}
    whole = read_columns(tmp_path, **BOXES[name], **size)
    for k, value in zip("xywh", (1, 2, 3, 4), strict=True):
        assert whole.instances[f"input_bbox_{k}"].to_pylist() == [value] * N


def test_other_columns_are_carried_through(tmp_path: Path) -> None:
    extras = {
        "model": pa.array(["a", None, "b", "", "é", "x"]),
        "small": pa.array(range(N), pa.uint32()),
        "half": pa.array(np.arange(N, dtype=np.float16)),
        "kind": pa.array(["p", "q"] * 3).dictionary_encode(),
        "tags": pa.array([["t"], [], None, ["u", "v"], [None], []]),
        "where": pa.array(
            [{"lat": 1.5, "n": 1}] * N, pa.struct([("lat", pa.float32()), ("n", pa.uint8())])
        ),
        "when": pa.array([1] * N, pa.timestamp("ms", "UTC")),
        "nothing": pa.nulls(N),
        "points": pa.array([[1.0, 2.0]] * N, pa.list_(pa.float32(), 2)),
    }
    whole = read_columns(tmp_path, **extras, counts=[SQUARE, "", SQUARE, None, SQUARE, SQUARE])
    schema = pa.ipc.read_schema(pa.py_buffer(whole.scan.source.extras))
    assert schema.names == list(extras)
    assert schema.field("small").type == pa.int64()
    assert schema.field("half").type == pa.float32()
    assert schema.field("model").type == pa.large_string()
    assert whole.instances.schema.names == [*FIXED_COLUMNS, *extras]
    rows = [0, 2, 4, 5]
    assert whole.instances["source_row"].to_pylist() == rows
    for name, column in extras.items():
        assert whole.instances[name].to_pylist() == [column.to_pylist()[row] for row in rows]


@pytest.mark.parametrize("column", [
    pa.array([1] * N, pa.uint64()),
    pa.array([1] * N, pa.timestamp("ns")),
    pa.array([1] * N, pa.time64("ns")),
    pa.array([1] * N, pa.duration("s")),
    pa.array([[("k", 1)]] * N, pa.map_(pa.string(), pa.int64())),
    pa.array([{"a": 1, "A": 2}] * N),
    pa.array([[{"x": 1}]] * N, pa.list_(pa.struct([("x", pa.uint64())]))),
], ids=lambda column: str(column.type))  # fmt: skip
def test_columns_that_delta_cannot_hold_are_refused(tmp_path: Path, column: pa.Array) -> None:
    with pytest.raises(SchemaError, match=r"'extra.*(cast|rename|drop)"):
        read_columns(tmp_path, extra=column)


@pytest.mark.parametrize("names", [["Extra", "extra"], ["Score"], ["source"], ["Run_ID"]])
def test_names_that_clash_are_refused(tmp_path: Path, names: list[str]) -> None:
    with pytest.raises(SchemaError, match=r"rename .*--read.drop"):
        read_columns(tmp_path, **{name: [1] * N for name in names})


def test_names_are_mapped(tmp_path: Path) -> None:
    names = {"image_id": "img", "counts": "rle", "score": "conf", "id": "score"}
    config = ReadConfig(columns=names)
    columns = {"img": ["a"] * N, "rle": [SQUARE] * N, "conf": [0.25] * N, "score": list(range(N))}
    whole = read_columns(tmp_path, config, image_id=..., counts=..., **columns)
    assert whole.instances["score"].to_pylist() == [0.25] * N
    assert whole.instances["input_id"].to_pylist() == list(range(N))
    assert whole.scan.id_type == "string"
    with pytest.raises(ConfigError, match="expected one of image_id"):
        read_columns(tmp_path, ReadConfig(columns={"img": "image_id"}))
    with pytest.raises(SchemaError, match="expected a column 'img', got 'image_id'"):
        read_columns(tmp_path, ReadConfig(columns={"image_id": "img"}))


BAD_COLUMNS: list[tuple[str, dict[str, Any], str]] = [
    ("38 floats", {"image_id": [1.0] * N}, r"image_id.*double.*--read.id_mode int"),
    ("38 bool", {"image_id": [True] * N}, "image_id.*bool"),
    ("no image_id", {"image_id": ...}, "'image_id'.*--read.columns"),
    ("no mask", {"counts": ...}, "masks.*boxes only.*--read.columns"),
    ("two masks", {"segmentation": rles(SQUARE)}, "one column"),
    ("no size", {"height": ...}, "'height' and 'width'"),
    ("34 score", {"score": ["0.9"] * N}, "'score': expected numbers, got string"),
    ("34 bool", {"score": [True] * N}, "'score': expected numbers, got bool"),
    ("35 names", {"category_id": ["cat"] * N}, "'category_id': expected integers"),
    ("12 halves", {"counts": [[0.5]] * N}, "'counts': expected COCO strings"),
    ("15 floats", {"height": [4.0] * N}, "'height': expected integers"),
    ("32 strings", {"counts": ..., "segmentation": [[["1"]]] * N}, "'segmentation'.*numbers"),
    ("33 corners", {"bbox": [[2, 2, 5, 4]] * N}, "bbox mode"),
    ("33 words", {"bbox": [{"left": 1}] * N}, "'bbox'.*"),
]


@pytest.mark.parametrize(
    ("columns", "message"), [pytest.param(*e[1:], id=e[0]) for e in BAD_COLUMNS]
)
def test_columns_that_cannot_be_read(tmp_path: Path, columns: Any, message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        read_columns(tmp_path, **columns)


NAN = float("nan")


def second(good: Any, bad: Any) -> list[Any]:
    """Return a column of N values of which only the second is bad."""
    return [good, bad, *[good] * (N - 2)]


def masks(bad: Any) -> dict[str, Any]:
    return {"counts": ..., "segmentation": second([RING], bad)}


def sized(bad: Any) -> dict[str, Any]:
    return {"width": pa.array(second(5, bad), pa.uint64())}


HUGE_IDS = pa.array(range(2**63 - 1, 2**63 + N - 1), pa.uint64()).take([0, 1, 0, 0, 0, 0])
SIZES = {"height": ..., "width": ..., "size": second([4, 5], [4, 5, 1])}
OTHER = {"counts": ..., "width": second(5, 6), "segmentation": rles(SQUARE)}

BAD_ROWS: list[tuple[str, dict[str, Any], str, str]] = [
    ("38 null", {"image_id": second(0, None)}, "IMAGE_ID", "image_id"),
    ("38 2**63", {"image_id": HUGE_IDS}, "IMAGE_ID", "image_id"),
    ("34 NaN", {"score": second(0.5, NAN)}, "SCORE", "score"),
    ("35 null", {"category_id": second(1, None)}, "CATEGORY", "category_id"),
    ("35 iscrowd", {"iscrowd": [0, 2, 1, None, 0, 0]}, "CATEGORY", "iscrowd"),
    ("33 negative", {"bbox": second(None, [1, 1, -2, 2])}, "BBOX", "bbox"),
    ("33 NaN", {"bbox": second([1, 1, 2, 2], [1, 1, NAN, 2])}, "BBOX", "bbox"),
    ("33 three", {"bbox": second([1, 1, 2, 2], [1, 1, 2])}, "BBOX", "bbox"),
    ("33 null inside", {"bbox": second(None, [1, 1, 2, None])}, "BBOX", "bbox"),
    ("26 null", {"counts": second(SQUARE, None)}, "NO_SEGMENTATION", "segmentation"),
    ("2 short", {"counts": second(SQUARE, "5")}, "RLE_SUM", "segmentation.counts"),
    (
        "7 bytes",
        {"counts": second(SQUARE.encode(), b"\xff\0")},
        "RLE_ALPHABET",
        "segmentation.counts",
    ),
    ("12 null", {"counts": second([20], [1, None])}, "RLE_COUNTS_TYPE", "segmentation.counts"),
    ("12 minus", {"counts": second([20], [-1, 21])}, "RLE_COUNTS_TYPE", "segmentation.counts"),
    ("15 null", sized(None), "SIZE_INVALID", "segmentation.size"),
    ("15 zero", sized(0), "SIZE_INVALID", "segmentation.size"),
    ("17 large", sized(2**30), "IMAGE_TOO_LARGE", "segmentation.size"),
    ("18 absurd", sized(2**64 - 1), "SIZE_INVALID", "segmentation.size"),
    ("15 three", SIZES, "SIZE_INVALID", "segmentation.size"),
    ("14 other", OTHER, "SIZE_MISMATCH", "segmentation.size"),
    ("26 no ring", masks([]), "NO_SEGMENTATION", "segmentation"),
    ("27 NaN", masks([[NAN] * 6]), "POLY_NONFINITE", "segmentation"),
    ("23 odd", masks([RING[:7]]), "POLY_ODD", "segmentation"),
    ("32 null", masks([[None, *RING]]), "POLY_TYPE", "segmentation"),
    ("25 null", masks([None, RING]), "POLY_SHAPE", "segmentation"),
]


@pytest.mark.parametrize(
    ("columns", "code", "field"), [pytest.param(*e[1:], id=e[0]) for e in BAD_ROWS]
)
def test_bad_rows(tmp_path: Path, columns: dict[str, Any], code: str, field: str) -> None:
    whole = read_columns(tmp_path, **columns)
    assert whole.fault() == (code, field)
    assert whole.instances["source_row"].to_pylist() == [0, 2, 3, 4, 5]
    [reject] = whole.rejects.to_pylist()
    assert (reject["source_row"], reject["byte_offset"]) == (1, None)
    assert set(json.loads(reject["payload"])) == set(base(**columns))


def test_38_ids_are_converted_on_request(tmp_path: Path) -> None:
    columns = {"image_id": [1.0, 2.0, None, 2.5, NAN, 3.0]}
    whole = read_columns(tmp_path, ReadConfig(id_mode="int"), **columns)
    assert whole.instances["image_id"].to_pylist() == [1, 2, 3]
    assert whole.rejects["code"].to_pylist() == ["IMAGE_ID"] * 3
    texts = ["000000000139", "139", "x", "", "-1", None]
    whole = read_columns(tmp_path, ReadConfig(id_mode="int"), image_id=texts)
    assert whole.instances["image_id"].to_pylist() == [139, 139, -1]
    whole = read_columns(tmp_path, ReadConfig(id_mode="string"))
    assert whole.instances["image_id"].to_pylist() == list("012345")


def test_no_category_at_all_is_one_class(tmp_path: Path) -> None:
    for column in (..., [None] * N, pa.nulls(N, pa.int32())):
        whole = read_columns(tmp_path, category_id=column)
        assert whole.instances["category_id"].to_pylist() == [None] * N


def test_no_rows_is_valid(tmp_path: Path) -> None:
    table = pa.table(base()).slice(0, 0)
    whole = read_whole(write(tmp_path, table))
    assert whole.scan.slices == []
    assert whole.scan.id_type is None


def test_large_files_are_cut_by_their_footer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.read.parquet_file.MAX_ID_ROWS", 0)
    for ids in ([9, 3, 3, 4, 70, 5], list("bacdfe")):
        file = write(tmp_path, base(image_id=ids), row_group_size=2)
        scan = read_whole(file, unit_bytes=1).scan
        assert [(p.min_image_id, p.max_image_id) for p in scan.slices] == [
            (min(ids[n : n + 2]), max(ids[n : n + 2])) for n in (0, 2, 4)
        ]
        assert scan.n_images is None
        assert min(scan.image_id_sample) >= min(ids)
        assert max(scan.image_id_sample) <= max(ids)
    plain = write(tmp_path, base(), row_group_size=2, write_statistics=False)
    scan = read_whole(plain, unit_bytes=1).scan
    assert [(p.min_image_id, p.max_image_id) for p in scan.slices] == [(0, 1), (2, 3), (4, 5)]


def test_payloads_are_rows_as_json(tmp_path: Path) -> None:
    file = write(tmp_path, base(score=[NAN] * N, note=[b"\xff"] * N), row_group_size=2)
    scan = read.scan(file, ReadConfig(), 1)
    [(offset, payload)] = read.payloads(scan.slices[1], scan.source, [3])
    assert offset is None
    expected = {"image_id": 3, "category_id": 1, "score": "nan", "counts": SQUARE}
    assert json.loads(payload) == expected | {"height": 4, "width": 5, "note": "\\xff"}


def test_polygons_are_those_of_pycocotools(tmp_path: Path, shared_data: Path) -> None:
    content = json.loads((shared_data / "lvis_val_100.json").read_bytes())
    sizes = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
    rows = content["annotations"][:200]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    columns["height"], columns["width"] = zip(*[sizes[i] for i in columns["image_id"]], strict=True)
    whole = read_whole(write(tmp_path, columns, row_group_size=90))
    for got, row in zip(whole.instances.to_pylist(), rows, strict=True):
        size = (got["height"], got["width"])
        assert got["counts"] == oracle.from_polygons(row["segmentation"], *size)
        assert got["input_area"] == row["area"]
        assert got["input_id"] == row["id"]
