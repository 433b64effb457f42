"""Crack code: runs to bytes and back, against the page's reader and a plain writer."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Sequence
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import MaskError
from pipeline.masks import _contour_tables, contour
from pipeline.masks.batch import MaskBatch
from pipeline.masks.contour import CrackCode, decode_crack, encode_crack, inspect_crack
from pipeline.masks.measure import bbox_xywh, boundary_length
from pipeline.masks.rle import from_coco, to_coco
from tests import oracle, strategies
from tests.golden import make_crack

PAGE = make_crack.load_page()
SQUARE = bytes([48] * 3)
Box = Sequence[int]


def values_of(crack: contour.CrackBatch) -> list[bytes]:
    data = crack.bytes_B.tobytes()
    return [data[a:b] for a, b in pairwise(crack.offsets_N1.tolist())]


def arguments(values: Sequence[bytes], boxes: Sequence[Box], sizes: Sequence[Box]) -> Any:
    strings = strategies.strings_of(values)
    boxes_N4 = np.array(boxes, np.int32).reshape(-1, 4)
    return strings.bytes_B, strings.offsets_N1, boxes_N4, np.array(sizes, np.int32).reshape(-1, 2)


def judge(value: bytes, box: Box, size_hw: Box) -> CrackCode:
    return CrackCode(inspect_crack(*arguments([value], [box], [size_hw]))[0])


def assert_round_trip(batch: MaskBatch) -> list[bytes]:
    crack = encode_crack(batch)
    decoded = decode_crack(*crack, bbox_xywh(batch), batch.size_hw_N2)
    assert np.array_equal(decoded.size_hw_N2, batch.size_hw_N2)
    assert np.array_equal(decoded.offsets_N1, batch.offsets_N1)
    assert np.array_equal(decoded.counts_R, batch.counts_R)
    return values_of(crack)


def assert_as_written_plainly(masks: Sequence[strategies.Bitmap]) -> None:
    values = assert_round_trip(strategies.to_batch(masks))
    assert values == [make_crack.encode(mask, PAGE) for mask in masks]


def batch_of(size_hw: Box, runs: Sequence[int]) -> MaskBatch:
    return strategies.batch_of_runs([size_hw], [runs])


@pytest.mark.usefixtures("each_backend")
def test_worked_example():
    # . X X   E E S W S W N N from corner (1, 0): S R R L R R S (R), with the side right
    # . X .   at first S D D A A D S; as phrases SD, D, AAD, S...; the last one is byte 0.
    # . . .
    batch = batch_of((3, 3), [3, 2, 1, 1, 2])
    assert values_of(encode_crack(batch)) == [bytes([61, 46, 62])]
    steps = [(31, 61, "SD"), (29, 46, "D"), (27, 62, "AAD"), (31, 0, "SSSS")]
    assert [PAGE["PHRASES"][context][byte] for context, byte, _ in steps] == [s for *_, s in steps]
    decoded = decode_crack(*arguments([bytes([61, 46, 62])], [(1, 0, 2, 2)], [(3, 3)]))
    assert decoded.counts_R.tolist() == [3, 2, 1, 1, 2]


def test_exactly_one_phrase_of_a_context_fits_what_follows():
    assert _contour_tables.phrases() == PAGE["PHRASES"]
    for listed in PAGE["PHRASES"]:
        assert not listed[0].strip("S")
        assert len(listed) == 127
        assert not any(b.startswith(a) for a, b in pairwise(sorted(listed)))
        # No two fit: so many fit as there are sequences of 16 symbols that begin with one.
        assert sum(3 ** (16 - len(phrase)) for phrase in listed) == 3**16


@pytest.mark.usefixtures("each_backend")
def test_no_masks():
    empty = strategies.batch_of_runs([], [])
    crack = encode_crack(empty)
    assert (crack.bytes_B.dtype, crack.offsets_N1.tolist()) == (np.uint8, [0])
    assert len(decode_crack(*crack, np.zeros((0, 4), np.int32), empty.size_hw_N2).counts_R) == 0
    assert contour.fits_crack(empty).shape == inspect_crack(*arguments([], [], [])).shape == (0,)


def test_golden_files_are_what_the_script_writes():
    for name, text in make_crack.files().items():
        assert (make_crack.FOLDER / name).read_text(encoding="utf-8") == text


@pytest.mark.usefixtures("each_backend")
@pytest.mark.parametrize("entry", json.loads((make_crack.FOLDER / "masks.json").read_text()))
def test_golden_masks(entry: dict[str, Any]):
    value, size = bytes.fromhex(entry["crack"]), entry["size"]
    batch = from_coco(strategies.strings_of([entry["counts"].encode()]), [size])
    assert values_of(encode_crack(batch)) == [value]
    assert bbox_xywh(batch).tolist() == [entry["bbox"]]
    decoded = decode_crack(*arguments([value], [entry["bbox"]], [size]))
    assert strategies.list_strings(to_coco(decoded)) == [entry["counts"].encode()]
    assert PAGE["decode"](value, entry["bbox"], size) == decoded.counts_R.tolist()


@pytest.mark.parametrize("entry", json.loads((make_crack.FOLDER / "faults.json").read_text()))
def test_golden_faults(entry: dict[str, Any]):
    value = bytes.fromhex(entry["crack"])
    assert judge(value, entry["bbox"], entry["size"]).name == entry["code"]
    # The row at fault is named, and rows around it do not change the verdict.
    sound = (SQUARE, (0, 0, 1, 1), (8, 8))
    rows = [sound, sound, (value, entry["bbox"], entry["size"]), sound]
    columns = arguments(*zip(*rows, strict=True))
    assert inspect_crack(*columns).tolist() == [0, 0, CrackCode[entry["code"]], 0]
    with pytest.raises(MaskError, match=rf"row 2: .* got {entry['code']};"):
        decode_crack(*columns)


@pytest.mark.usefixtures("each_backend")
def test_every_small_mask():
    shapes = [(1, 1), (1, 5), (5, 1), (2, 2), (2, 3), (3, 2), (3, 3), (3, 4)]
    for height, width in shapes:
        pixels = np.array(list(product([False, True], repeat=height * width)))
        assert_as_written_plainly(pixels.reshape(-1, height, width))


@pytest.mark.usefixtures("each_backend")
@given(strategies.images(max_images=3))
@settings(max_examples=100)
def test_round_trip(stacks: list[strategies.Bitmap]):
    assert_as_written_plainly(strategies.flat(stacks))


@given(strategies.bitmaps())
@settings(max_examples=60)
def test_the_page_reads_what_is_written(mask: strategies.Bitmap):
    batch = strategies.to_batch([mask])
    [value], [box] = values_of(encode_crack(batch)), bbox_xywh(batch).tolist()
    assert PAGE["decode"](value, box, mask.shape) == batch.counts_R.tolist()


@pytest.mark.usefixtures("each_backend")
@pytest.mark.parametrize("n_rows", [1, 2, 7, 30])
def test_many_runs_in_a_column(n_rows: int):
    rng = np.random.default_rng(n_rows)
    masks = [rng.random((4 * n_rows, n_rows)) < density for density in (0.1, 0.5, 0.9)]
    masks.append(np.indices((4 * n_rows, n_rows)).sum(axis=0) % 2 == 0)
    assert_as_written_plainly(masks)


@pytest.mark.usefixtures("each_backend")
@pytest.mark.parametrize("length", [16, 17, 32, 33, 300])
def test_long_edges(length: int):
    masks = [np.ones((length, 2), bool), np.ones((3, length), bool)]
    notched = np.ones((length, length), bool)
    notched[length // 2 :, length // 3] = False
    notched[: length // 2, -1] = False
    assert_as_written_plainly([*masks, notched])


@pytest.mark.usefixtures("each_backend")
def test_every_mask_of_the_shared_data(shared_data: Path):
    strings: list[bytes] = []
    sizes: list[list[int]] = []
    for name in sorted(path.name for path in shared_data.glob("*results.json")):
        for row in json.loads((shared_data / name).read_text()):
            sizes.append(row["segmentation"]["size"])
            strings.append(oracle.canonical(sizes[-1], row["segmentation"]["counts"].encode()))
    lvis = json.loads((shared_data / "lvis_val_100.json").read_text())
    size_of = {image["id"]: [image["height"], image["width"]] for image in lvis["images"]}
    for row in lvis["annotations"]:
        sizes.append(size_of[row["image_id"]])
        strings.append(oracle.from_polygons(row["segmentation"], *sizes[-1]))
    batch = from_coco(strategies.strings_of(strings), sizes)
    crack = encode_crack(batch)
    decoded = decode_crack(*crack, bbox_xywh(batch), batch.size_hw_N2)
    assert strategies.list_strings(to_coco(decoded)) == strings
    assert len(crack.bytes_B) < 0.3 * sum(map(len, strings))


# Sides beyond 16 bits

GIANTS = {
    "46000 x 46000, full": ((46000, 46000), [0, 46000**2]),
    "46000 x 46000, two pixels": ((46000, 46000), [46000 * 7 + 3, 1, 46000**2 - 46000 * 9, 1]),
    "1 x 2**31-1, far apart": ((1, 2**31 - 1), [5, 2, 2**31 - 10, 2]),
    "2**31-1 x 1, far apart": ((2**31 - 1, 1), [5, 2, 2**31 - 10, 2]),
    "2**31-1 x 1, tall": ((2**31 - 1, 1), [5, 300_000]),
    "100000 x 20000, comb": ((100_000, 20_000), [3, 70_000, 30_007, 69_000, 30_100, 5]),
    "3 x 600000, wide": ((3, 600_000), [4, 1] + [2, 1] * 30_000),
    "3 x 600000, wide and full": ((3, 600_000), [300, 300_000]),
    "70000 x 30, columns": ((70_000, 30), [70_000, 70_000 * 10, 70_000, 70_000 * 7]),
}


@pytest.mark.usefixtures("each_backend")
@pytest.mark.parametrize("name", GIANTS)
def test_giants(name: str):
    (height, width), runs = GIANTS[name]
    left = height * width - sum(runs)
    batch = batch_of((height, width), [*runs, left] if left else runs)
    [value] = assert_round_trip(batch)
    assert len(value) <= boundary_length(batch)[0] + 8


def test_far_parts_as_the_page_reads_them():
    batch = batch_of((1, 2**31 - 1), [5, 2, 2**31 - 10, 2])
    [value], [box] = values_of(encode_crack(batch)), bbox_xywh(batch).tolist()
    assert value[:3] == make_crack.phrases_of("SDDSD", PAGE)
    assert PAGE["decode"](value, box, (1, 2**31 - 1)) == batch.counts_R.tolist()


@pytest.mark.usefixtures("each_backend")
def test_buffers_grow():
    # More runs, bytes and counts than any buffer starts with, with small masks around.
    comb = [0, *[1] * 70_000]
    flat = [1, *[1, 9] * 30_000]
    small = [3, 2, 1, 1, 2]
    sizes = [(3, 3), (2, 35_000), (10, 30_001), (3, 3)]
    runs = [small, comb, [*flat, 300_010 - sum(flat)], small]
    assert_round_trip(strategies.batch_of_runs(sizes, runs))


TOO_LONG = {
    "bar of one row": ((1, 2**31 - 1), [0, 2**31 - 1]),
    "bar of one column": ((2**31 - 1, 1), [7, 2**31 - 8]),
    "two bars": ((2**30 - 1, 2), [1, 2**30 - 3, 2, 2**30 - 3, 1]),
    "many columns": ((2, 2**30 - 1), [0, *[1] * 4, 2**31 - 2 - 4]),
}


@pytest.mark.usefixtures("each_backend")
@pytest.mark.parametrize("name", TOO_LONG)
def test_boundaries_beyond_the_limit(name: str):
    size_hw, runs = TOO_LONG[name]
    batch = strategies.batch_of_runs([(3, 3), size_hw], [[3, 2, 1, 1, 2], runs])
    fits = boundary_length(batch) <= contour.MAX_STEPS
    assert contour.fits_crack(batch).tolist() == fits.tolist()
    if fits[1]:
        assert_round_trip(batch)
        return
    tracemalloc.start()
    with pytest.raises(MaskError, match="row 1: expected a boundary of at most"):
        encode_crack(batch)
    assert tracemalloc.get_traced_memory()[1] < 100e6
    tracemalloc.stop()


@pytest.mark.usefixtures("each_backend")
@pytest.mark.parametrize("runs", [[], [8], [10], [3, 2, 1, 1, 1], [2, 0, 7], [3, 1, 0, 1, 4]])
def test_runs_that_are_not_canonical(runs: list[int]):
    with pytest.raises(MaskError, match="row 1: expected canonical runs"):
        encode_crack(strategies.batch_of_runs([(3, 3), (3, 3)], [[9], runs]))


def test_arrays_that_break_the_contract():
    good = arguments([SQUARE], [(0, 0, 1, 1)], [(8, 8)])
    assert inspect_crack(*good).tolist() == [0]
    for place, bad in [(1, [0, 4]), (1, [1, 3]), (2, np.zeros((1, 3), np.int32)), (3, [[0, 8]])]:
        changed = [*good[:place], np.array(bad), *good[place + 1 :]]
        with pytest.raises(MaskError):
            inspect_crack(*changed)


@pytest.mark.usefixtures("each_backend")
def test_arguments_are_not_changed():
    batch = batch_of((3, 3), [3, 2, 1, 1, 2])
    before = [array.copy() for array in batch]
    crack = encode_crack(batch)
    bytes_B = crack.bytes_B.copy()
    decode_crack(*crack, bbox_xywh(batch), batch.size_hw_N2)
    assert all(np.array_equal(a, b) for a, b in zip(before, batch, strict=True))
    assert np.array_equal(bytes_B, crack.bytes_B)


# Bytes that nobody wrote


def assert_judged_rightly(value: bytes, box: Box, size_hw: tuple[int, int]) -> CrackCode:
    """Accept exactly what the plain writer makes of what the page's reader reads."""
    code = judge(value, box, size_hw)
    try:
        counts = PAGE["decode"](value, box, size_hw)
        mask = oracle.decode(size_hw, oracle.to_string(counts))
        expected = make_crack.encode(mask, PAGE) == value and make_crack.bbox_of(mask) == [*box]
    except (ValueError, IndexError):
        expected = False
    assert (code == CrackCode.OK) == expected, (value.hex(), box, size_hw, code)
    if expected:
        decoded = decode_crack(*arguments([value], [box], [size_hw]))
        assert decoded.counts_R.tolist() == counts
    return code


@given(
    st.lists(st.one_of(st.integers(40, 70), st.integers(0, 255)), max_size=12).map(bytes),
    st.tuples(*[st.integers(-1, 9)] * 4),
)
@settings(max_examples=200)
def test_fuzz_random_bytes(value: bytes, box: Box):
    assert_judged_rightly(value, box, (9, 9))


@given(strategies.bitmaps(max_side=8), st.data())
@settings(max_examples=150)
def test_fuzz_changed_values(mask: strategies.Bitmap, data: st.DataObject):
    value, box = make_crack.encode(mask, PAGE), make_crack.bbox_of(mask)
    changed = bytearray(value)
    for _ in range(data.draw(st.integers(1, 2))):
        place = data.draw(st.integers(0, len(changed)))
        new = data.draw(st.integers(0, 255))
        kind = data.draw(st.sampled_from(["set", "insert", "delete", "cut", "box"]))
        if kind == "set":
            changed[place : place + 1] = [new]
        elif kind == "insert":
            changed[place:place] = [new]
        elif kind == "delete":
            changed[place : place + 1] = []
        elif kind == "cut":
            changed[place:] = []
        else:
            box[data.draw(st.integers(0, 3))] += data.draw(st.sampled_from([-1, 1]))
    assert_judged_rightly(bytes(changed), box, mask.shape)


def test_fuzz_whole_columns():
    """Many values at once, any box, any size: every row is judged, none disturbs another."""
    rng = np.random.default_rng(7)
    masks = [rng.random((12, 12)) < rng.random() for _ in range(300)]
    values: list[bytes] = [make_crack.encode(mask, PAGE) for mask in masks]
    boxes = [make_crack.bbox_of(mask) for mask in masks] * 10
    for _ in range(9 * len(masks)):
        value = bytearray(values[-len(masks)])
        for place in rng.integers(0, len(value) + 1, rng.integers(0, 3)):
            value[place : place + 1] = rng.bytes(1)
        values.append(bytes(value))
    sizes = [(12, 12)] * len(values)
    columns = arguments(values, boxes, sizes)
    codes = inspect_crack(*columns)
    assert {CrackCode(code).name for code in np.unique(codes)} > {"OK", "PHRASE", "OPEN"}
    for row in rng.choice(len(values), 200, replace=False):
        assert judge(values[row], boxes[row], sizes[row]) == codes[row]
    sound = np.flatnonzero(codes == 0)
    batch = decode_crack(
        *arguments([values[n] for n in sound], [boxes[n] for n in sound], [sizes[n] for n in sound])
    )
    assert values_of(encode_crack(batch)) == [values[n] for n in sound]


@pytest.mark.parametrize("value", [bytes(10), bytes([48] * 10), bytes([255] * 10), bytes([1] * 10)])
@pytest.mark.parametrize(
    ("size_hw", "box"),
    [
        ((46000, 46000), (0, 0, 46000, 46000)),
        ((1, 2**31 - 1), (0, 0, 2**31 - 1, 1)),
        ((2**31 - 1, 1), (0, 0, 1, 2**31 - 1)),
        ((46000, 46000), (2**31 - 1, 2**31 - 1, 2**31 - 1, 2**31 - 1)),
        ((46000, 46000), (-(2**31), -(2**31), -(2**31), -(2**31))),
    ],
)
def test_ten_bytes_take_no_memory(value: bytes, size_hw: Box, box: Box):
    judge(value, box, size_hw)
    tracemalloc.start()
    assert judge(value, box, size_hw) != CrackCode.OK
    assert tracemalloc.get_traced_memory()[1] < 4e6
    tracemalloc.stop()


def test_work_follows_the_boundary_not_the_area():
    """Eight times the side is eight times the bytes and the memory; the area is 64 times."""
    work: list[tuple[int, int]] = []
    for side in (500, 4000):
        batch = batch_of((side, side), [0, 2 * side, *[side - 7, 7] * (side - 4), 2 * side])
        values_of(encode_crack(batch))
        tracemalloc.start()
        [value] = assert_round_trip(batch)
        work.append((len(value), tracemalloc.get_traced_memory()[1]))
        tracemalloc.stop()
    (n_bytes, peak), (n_more, higher_peak) = work
    assert n_more <= 8.1 * n_bytes
    assert higher_peak <= 8.1 * peak


def test_long_values_that_never_close():
    east, spiral = bytes([1]) + bytes(10**6), bytes([48, 54] * 10**5)
    for value in (east, spiral, bytes([0, 48] * 10**6)):
        assert judge(value + b"\1", (0, 0, 2**31 - 1, 1), (1, 2**31 - 1)) != CrackCode.OK
    tall = bytes(11 * 10**5) + b"\1"
    assert judge(tall, (0, 0, 2**31 - 1, 1), (1, 2**31 - 1)) == CrackCode.TOO_LONG
