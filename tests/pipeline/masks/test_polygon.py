"""Exact polygons and encoded ones against pycocotools, by hand, and against damaged bytes."""

from __future__ import annotations

import io
import json
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.errors import MaskError
from pipeline.masks import rle
from pipeline.masks.batch import CocoStrings, MaskBatch
from pipeline.masks.polygon import (
    PolygonBatch,
    PolygonRings,
    decode_polygon,
    encode_polygon,
    exact_polygon,
    polygon_rings,
)
from pipeline.masks.polygon_fill import fill_polygons
from tests import oracle, strategies

DOCS = Path(__file__).parents[3] / "docs" / "format-polygon.md"
NO_VALUES = (np.empty(0, np.uint8), np.zeros(1, np.int64))


def grid(*rows: str) -> NDArray[np.bool_]:
    return np.array([[pixel == "X" for pixel in row] for row in rows])


BLOCK_WITH_HOLE = grid(
    "........", "..XXXXX.", "..XXXXX.", "..XX.XX.", "..XXXXX.", "..XXXXX.", "........"
)
SHAPES = [
    BLOCK_WITH_HOLE,
    grid("X"),
    grid("XXXX"),
    grid("X", "X", "X"),
    grid("X.X.X", ".X.X.", "X.X.X", ".X.X."),
    grid("XX..", "XX..", "..XX", "..XX"),
    grid("..XX", "..XX", "XX..", "XX.."),
    grid("XXXXXXX", "X.X.X.X", "XXXXXXX", "X..X..X", "X.X.X.X", "XXXXXXX"),
    grid("XXXXXXX", "X.....X", "X.XXX.X", "X.X.X.X", "X.XXX.X", "X.....X", "XXXXXXX"),
    grid("XXXX.", "X..X.", "X.X.X", "XXXX."),
    grid("X...X", ".....", "..X..", ".....", "X...X"),
    np.ones((6, 5), bool),
]


def rings_of(rings: PolygonRings, n: int) -> list[list[float]]:
    first, last = rings.mask_ring_offsets_N1[n : n + 2]
    cuts = rings.ring_offsets_K1[first : last + 1].tolist()
    return [rings.xy_V[a:b].tolist() for a, b in pairwise(cuts)]


def assert_exact(batch: MaskBatch) -> None:
    rings = exact_polygon(batch)
    for n, runs in enumerate(strategies.list_runs(batch)):
        size = batch.size_hw_N2[n].tolist()
        if len(runs) == 1:
            assert rings_of(rings, n) == []
        else:
            assert oracle.from_polygons(rings_of(rings, n), *size) == oracle.to_string(runs)


def shared_batches(folder: Path) -> dict[str, MaskBatch]:
    """Every real mask, by file."""
    batches: dict[str, MaskBatch] = {}
    lvis = json.loads((folder / "lvis_val_100.json").read_text())
    size_of = {image["id"]: (image["height"], image["width"]) for image in lvis["images"]}
    polygons = [annotation["segmentation"] for annotation in lvis["annotations"]]
    rings = [ring for polygon in polygons for ring in polygon]
    batches["lvis"] = fill_polygons(
        np.concatenate([np.array(ring, np.float64) for ring in rings]),
        np.cumsum([0, *map(len, rings)]),
        np.cumsum([0, *map(len, polygons)]),
        np.array([size_of[annotation["image_id"]] for annotation in lvis["annotations"]]),
    ).batch
    for path in sorted(folder.glob("*_results.json")):
        masks = [row["segmentation"] for row in json.loads(path.read_text())]
        strings = strategies.strings_of([mask["counts"].encode() for mask in masks])
        batches[path.stem] = rle.from_coco(strings, np.array([mask["size"] for mask in masks]))
    return batches


def column_bytes(strings: CocoStrings) -> int:
    """Bytes of a binary column in Parquet, as they are written."""
    values = pa.array(strategies.list_strings(strings), pa.binary())
    sink = io.BytesIO()
    pq.write_table(
        pa.table({"value": values}),
        sink,
        compression="zstd",
        compression_level=3,
        use_dictionary=False,
        write_statistics=False,
        column_encoding={"value": "DELTA_LENGTH_BYTE_ARRAY"},
    )
    return pq.ParquetFile(sink).metadata.row_group(0).column(0).total_compressed_size


def assert_faithful(batch: MaskBatch, coded: PolygonBatch, floor: float, every: int = 1) -> None:
    """Re-rasterise with pycocotools, and compare with all that the encoder says."""
    rows = np.flatnonzero(coded.is_encoded_N)
    strings = rle.to_coco(batch)
    originals = strategies.list_strings(strings)
    values = (coded.bytes_B, coded.offsets_N1)
    assert (np.diff(coded.offsets_N1) > 0).tolist() == coded.is_encoded_N.tolist()
    facts = rle.inspect_coco(strings, batch.size_hw_N2)
    lost = ~coded.is_encoded_N
    assert (coded.fidelity_N[lost] == 1.0).all()
    assert coded.area_N[lost].tolist() == facts.area_N[lost].tolist()
    assert coded.bbox_xywh_N4[lost].tolist() == facts.bbox_xywh_N4[lost].tolist()
    cuts = np.concatenate([[0], coded.offsets_N1[1:][rows]])
    boxes, sizes = coded.bbox_xywh_N4[rows], batch.size_hw_N2[rows]
    rings = polygon_rings(values[0], cuts, boxes, sizes)
    drawn = strategies.list_strings(rle.to_coco(decode_polygon(values[0], cuts, boxes, sizes)))
    for i in range(0, len(rows), every):
        size = sizes[i].tolist()
        filled = oracle.from_polygons(rings_of(rings, i), *size)
        assert filled == drawn[i]
        iou = oracle.iou(size, [filled], [originals[rows[i]]])[0, 0]
        assert iou == coded.fidelity_N[rows[i]]
        assert iou >= floor
        assert oracle.area(size, filled) == coded.area_N[rows[i]]
        assert list(oracle.to_bbox(size, filled)) == boxes[i].tolist()


def one_value(
    mask: NDArray[np.bool_], floor: float = 0.98
) -> tuple[PolygonBatch, NDArray[np.int32]]:
    batch = strategies.to_batch([mask])
    coded = encode_polygon(batch, floor)
    assert coded.is_encoded_N.all()
    return coded, batch.size_hw_N2


def test_exact_polygon_of_the_worked_example():
    rings = exact_polygon(strategies.to_batch([BLOCK_WITH_HOLE[1:6, 2:7]]))
    ring = [2, 0, 2, 3, 3, 3, 3, 2, 2, 2, 2, 0, 5, 0, 5, 5, 0, 5, 0, 0]
    assert rings.xy_V.tolist() == ring
    assert rings.ring_offsets_K1.tolist() == [0, 20]
    assert rings.mask_ring_offsets_N1.tolist() == [0, 1]


def test_exact_polygons_of_shapes():
    assert_exact(strategies.to_batch([*SHAPES, *(np.pad(shape, 1) for shape in SHAPES)]))


def test_parts_are_rings_and_holes_are_not():
    rings = exact_polygon(strategies.to_batch([SHAPES[5], SHAPES[8], SHAPES[10]]))
    assert np.diff(rings.mask_ring_offsets_N1).tolist() == [1, 2, 5]


@settings(max_examples=80)
@given(st.lists(strategies.bitmaps(), max_size=6))
def test_exact_polygons_of_any_mask(masks: list[NDArray[np.bool_]]):
    assert_exact(strategies.to_batch(masks))


def test_exact_polygons_of_real_masks(shared_data: Path):
    for batch in shared_batches(shared_data).values():
        rings = exact_polygon(batch)
        filled = fill_polygons(*rings, batch.size_hw_N2)
        assert filled.batch.counts_R.tolist() == batch.counts_R.tolist()
        assert not filled.is_crossing_N.any()
        some = np.arange(0, len(batch.size_hw_N2), 17)
        assert_exact(rle.take(batch, some))


def test_nothing_to_do():
    empty = strategies.to_batch([])
    assert encode_polygon(empty).offsets_N1.tolist() == [0]
    assert exact_polygon(empty).mask_ring_offsets_N1.tolist() == [0]
    boxes, sizes = np.empty((0, 4), np.int32), np.empty((0, 2), np.int32)
    assert decode_polygon(*NO_VALUES, boxes, sizes).offsets_N1.tolist() == [0]


def test_worked_example_of_the_format():
    text = DOCS.read_text()
    (line,) = re.findall(r"^((?:[0-9a-f]{2} ){8,}[0-9a-f]{2})$", text, re.MULTILINE)
    value = np.frombuffer(bytes.fromhex(line), np.uint8)
    coded, size = one_value(BLOCK_WITH_HOLE)
    assert coded.bytes_B.tolist() == value.tolist()
    assert coded.bbox_xywh_N4.tolist() == [[2, 1, 5, 5]]
    assert coded.fidelity_N.tolist() == [1.0]
    (ring,) = re.findall(r"`\[(\[[0-9, ]+\])\]`", text)
    assert rings_of(polygon_rings(value, [0, len(value)], [[2, 1, 5, 5]], size), 0) == [
        json.loads(ring)
    ]


def test_reader_of_the_format_agrees():
    (source,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    reader: dict[str, object] = {}
    exec(source, reader)  # the code that the documentation tells readers to copy
    rng = np.random.default_rng(3)
    masks = [np.kron(rng.random((5, 6)) < 0.6, np.ones((7, 5))) > 0 for _ in range(12)]
    batch = strategies.to_batch(masks)
    coded = encode_polygon(batch, 0.9)
    values = strategies.list_strings(CocoStrings(coded.bytes_B, coded.offsets_N1))
    boxes = coded.bbox_xywh_N4
    rings = polygon_rings(coded.bytes_B, coded.offsets_N1, boxes, batch.size_hw_N2)
    for n, value in enumerate(values):
        parts = reader["read_polygon"](value, int(boxes[n, 0]), int(boxes[n, 1]))  # type: ignore[operator]
        flat = [[float(number) for point in part for number in point] for part in parts]
        assert flat == rings_of(rings, n)


def test_real_masks_hold_the_floor_in_few_bytes(shared_data: Path):
    for name, batch in shared_batches(shared_data).items():
        coded = encode_polygon(batch)
        assert coded.is_encoded_N.all()
        assert coded.fidelity_N.min() >= 0.98
        assert_faithful(batch, coded, 0.98, every=7)
        stored = column_bytes(CocoStrings(coded.bytes_B, coded.offsets_N1))
        share = stored / column_bytes(rle.to_coco(batch))
        assert share < {"lvis": 0.26}.get(name, 0.2)


@settings(max_examples=40)
@given(
    st.lists(strategies.bitmaps(), max_size=5),
    st.sampled_from([0.3, 0.8, 0.9, 0.98, 1.0]),
    st.sampled_from([None, None, 0.001, 0.05, 0.5]),
)
@example(SHAPES, 1.0, None)
@example(SHAPES, 0.98, 0.01)
@example([np.pad(np.kron(shape, np.ones((9, 7))) > 0, 3) for shape in SHAPES], 0.95, None)
def test_any_mask_holds_the_floor(
    masks: list[NDArray[np.bool_]], floor: float, epsilon: float | None
):
    batch = strategies.to_batch(masks)
    coded = encode_polygon(batch, floor, epsilon)
    assert coded.is_encoded_N.tolist() == [bool(mask.any()) for mask in masks]
    assert_faithful(batch, coded, floor)


def test_rows_do_not_depend_on_their_batch():
    masks = [np.kron(shape, np.ones((5, 6))) > 0 for shape in SHAPES]
    whole = encode_polygon(strategies.to_batch(masks), 0.95)
    values = strategies.list_strings(CocoStrings(whole.bytes_B, whole.offsets_N1))
    alone = [one_value(mask, 0.95)[0].bytes_B.tobytes() for mask in masks]
    assert values == alone


def test_byte_limits_leave_masks_as_they_are():
    masks = [np.kron(shape, np.ones((5, 6))) > 0 for shape in SHAPES]
    batch = strategies.to_batch(masks)
    free = encode_polygon(batch, 0.95)
    n_bytes_N = np.diff(free.offsets_N1)
    limit_N = n_bytes_N - np.arange(len(masks)) % 2
    held = encode_polygon(batch, 0.95, max_bytes_N=limit_N)
    assert held.is_encoded_N.tolist() == (limit_N == n_bytes_N).tolist()
    assert_faithful(batch, held, 0.95)


def test_epsilon_is_a_tolerance():
    y, x = np.mgrid[:200, :260]
    blob = np.hypot(y - 100, (x - 130) / 1.2) < 70 + 9 * np.sin(np.arctan2(y - 100, x - 130) * 11)
    batch = strategies.to_batch([blob])
    coded = [encode_polygon(batch, 0.5, epsilon) for epsilon in (0.0005, 0.003, 0.01, 0.03)]
    sizes = [len(one.bytes_B) for one in coded]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > 3 * sizes[-1]
    assert coded[0].fidelity_N[0] > 0.99
    assert encode_polygon(batch, 0.97, 0.03).fidelity_N[0] >= 0.97


def test_specks_go_only_within_the_floor():
    y, x = np.mgrid[:90, :120]
    disk = np.hypot(y - 40, x - 50) < 30
    specked = disk.copy()
    specked[80, [3, 60, 100]] = True
    specked[40, 50] = False
    floors = {0.98: 1, 0.9999: 5}
    for floor, n_loops in floors.items():
        coded, _ = one_value(specked, floor)
        assert (coded.bytes_B[0] >> 2) + 1 == n_loops
        assert_faithful(strategies.to_batch([specked]), coded, floor)
    tolerant = encode_polygon(strategies.to_batch([specked]), 0.98, 0.01)
    assert (tolerant.bytes_B[0] >> 2) + 1 == 5


def test_large_images_cost_nothing_by_themselves():
    low = 46000 * 45000 + 30000
    runs = [low, *([500, 45500] * 400)]
    runs[-1] = 46000**2 - sum(runs[:-1])
    batch = strategies.batch_of_runs([(46000, 46000)], [runs])
    coded = encode_polygon(batch)
    assert coded.bbox_xywh_N4.tolist() == [[45000, 30000, 400, 500]]
    assert len(coded.bytes_B) <= 14
    decoded = decode_polygon(coded.bytes_B, coded.offsets_N1, coded.bbox_xywh_N4, batch.size_hw_N2)
    assert decoded.counts_R.tolist() == runs


def test_a_mask_beyond_any_coordinate_is_not_encoded():
    batch = strategies.batch_of_runs([(1, 2**30)], [[2**29, 50, 2**29 - 50]])
    coded = encode_polygon(batch)
    assert not coded.is_encoded_N.any()
    assert coded.bbox_xywh_N4.tolist() == [[2**29, 0, 50, 1]]


def read(value: bytes, box: tuple[int, int, int, int] = (2, 1, 5, 5)) -> PolygonRings:
    """Read a value as row 1, between two good ones."""
    good, size = one_value(np.ones((4, 4), bool))
    good_bytes = good.bytes_B.tobytes()
    values = strategies.strings_of([good_bytes, value, good_bytes])
    boxes = [good.bbox_xywh_N4[0].tolist(), box, good.bbox_xywh_N4[0].tolist()]
    sizes = [size[0].tolist(), (7, 8), size[0].tolist()]
    arrays = np.array(boxes, np.int32), np.array(sizes, np.int32)
    rings = polygon_rings(*values, *arrays)
    decode_polygon(*values, *arrays)
    return rings


EXAMPLE = bytes.fromhex("050200000a00000a09000104030401 0300")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "ends inside"),
        *((EXAMPLE[:n], "ends inside") for n in range(1, len(EXAMPLE))),
        (EXAMPLE + b"\x00", "bytes are left"),
        (bytes([0x85, 0x00]) + EXAMPLE[1:], "longer than it need be"),
        (bytes([0x80] * 4 + [0x80, 0x01]) + EXAMPLE[1:], "longer than it need be"),
        (EXAMPLE[:1] + b"\x03" + EXAMPLE[2:], "begins with a hole"),
        (b"\xfd\xff\xff\xff\x0f" + EXAMPLE[1:], "ends inside"),
        (EXAMPLE[:1] + b"\xfe\xff\xff\xff\x0f" + EXAMPLE[2:], "ends inside"),
        (EXAMPLE[:2] + b"\x0e" + EXAMPLE[3:], "outside the image"),
        (EXAMPLE[:2] + b"\x05" + EXAMPLE[3:], "outside the image"),
        (EXAMPLE[:2] + b"\x02" + EXAMPLE[3:], "expected a mask with the box"),
        (bytes([1, 0, 0, 0, 2, 2, 2, 2]), "expected a mask with the box"),
    ],
)
def test_damaged_values_are_errors_that_name_the_row(value: bytes, reason: str):
    with pytest.raises(MaskError, match=f"row 1 is damaged: .*{reason}"):
        read(value)


def test_an_example_that_is_whole():
    assert len(read(EXAMPLE).xy_V) == 18 + 16


@settings(max_examples=300)
@given(
    st.one_of(
        st.binary(max_size=40),
        st.tuples(st.integers(0, len(EXAMPLE) - 1), st.integers(0, 255)).map(
            lambda change: EXAMPLE[: change[0]] + bytes([change[1]]) + EXAMPLE[change[0] + 1 :]
        ),
    )
)
def test_any_bytes_are_read_or_refused(value: bytes):
    sizes = np.array([[7, 8]], np.int32)
    boxes = np.array([[2, 1, 5, 5]], np.int32)
    values = strategies.strings_of([value])
    try:
        rings = polygon_rings(*values, boxes, sizes)
    except MaskError as error:
        message = str(error)
    else:
        message = "row 0"
        assert len(rings.xy_V) <= 8 * len(value)
        assert rings.xy_V.min() >= 0
        assert rings.xy_V.max() <= 12
        assert all(len(ring) >= 6 for ring in rings_of(rings, 0))
        assert fill_polygons(*rings, sizes).batch.counts_R.sum() == 56
    assert "row 0" in message


def test_arguments_that_break_the_contract():
    batch = strategies.to_batch([SHAPES[0]])
    for floor in (0.0, -1.0, 1.1, float("nan")):
        with pytest.raises(MaskError, match="fidelity"):
            encode_polygon(batch, floor)
    for epsilon in (0.0, 1.0, float("nan")):
        with pytest.raises(MaskError, match="epsilon"):
            encode_polygon(batch, 0.9, epsilon)
    with pytest.raises(MaskError, match="byte limits"):
        encode_polygon(batch, max_bytes_N=[1, 2])
    for runs in ([56, 1], [10, 40], [10, 0, 46], []):
        with pytest.raises(MaskError, match="row 0"):
            exact_polygon(strategies.batch_of_runs([(7, 8)], [runs]))
    with pytest.raises(MaskError, match="boxes"):
        polygon_rings(*NO_VALUES, np.empty((1, 4), np.int32), np.empty((0, 2), np.int32))
