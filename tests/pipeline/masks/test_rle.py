"""COCO strings, counts and pixels to runs and back: by hand, against the oracle, against fuzz."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import MaskError
from pipeline.masks import dense, rle
from pipeline.masks.batch import CocoStrings, MaskBatch
from pipeline.masks.rle import RleCode
from tests import oracle, strategies

BIG = 46340  # 46340**2 < 2**31 < 46341**2


def inspect_one(counts: bytes, size_hw: tuple[int, int]) -> rle.CocoFacts:
    return rle.inspect_coco(strategies.strings_of([counts]), np.array([size_hw]))


def code_of(counts: bytes, size_hw: tuple[int, int]) -> str:
    return RleCode(inspect_one(counts, size_hw).code_N[0]).name


def runs_of(counts: bytes, size_hw: tuple[int, int]) -> list[int]:
    batch = rle.from_coco(strategies.strings_of([counts]), np.array([size_hw]))
    return strategies.list_runs(batch)[0]


def code_of_counts(counts: list[int], size_hw: tuple[int, int]) -> str:
    _, code_N = rle.from_counts(
        np.array(counts, np.int64), np.array([0, len(counts)]), np.array([size_hw])
    )
    return RleCode(code_N[0]).name


def assert_same(got: MaskBatch, expected: MaskBatch) -> None:
    for ours, theirs in zip(got, expected, strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


# --- By hand -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("each_backend")
def test_worked_example() -> None:
    bitmap = np.array([[0, 1, 1], [0, 1, 0], [0, 0, 0]], bool)
    batch = dense.from_bitmaps(bitmap[None])
    assert batch.counts_R.tolist() == [3, 2, 1, 1, 2]
    strings = rle.to_coco(batch)
    assert strings.bytes_B.tobytes() == b"321O1"
    assert_same(rle.from_coco(strings, batch.size_hw_N2), batch)
    np.testing.assert_array_equal(rle.to_dense(batch)[0], bitmap)
    facts = rle.inspect_coco(strings, batch.size_hw_N2)
    assert facts.code_N.tolist() == [RleCode.OK]
    assert facts.is_canonical_N.tolist() == [True]
    assert facts.area_N.tolist() == [3]
    assert facts.bbox_xywh_N4.tolist() == [[1, 0, 2, 2]]
    assert facts.n_runs_N.tolist() == [5]
    assert [column.dtype for column in facts] == [np.uint8, bool, np.int64, np.int32, np.int64]


@pytest.mark.usefixtures("each_backend")
@pytest.mark.parametrize(
    ("counts", "size_hw", "runs", "area", "bbox"),
    [
        (b"1", (1, 1), [1], 0, [0, 0, 0, 0]),
        (b"01", (1, 1), [0, 1], 1, [0, 0, 1, 1]),
        (b"7", (1, 7), [7], 0, [0, 0, 0, 0]),
        (b"07", (7, 1), [0, 7], 7, [0, 0, 1, 7]),
        (b"223", (1, 7), [2, 2, 3], 2, [2, 0, 2, 1]),
        (b"223", (7, 1), [2, 2, 3], 2, [0, 2, 1, 2]),
        (b"0<", (3, 4), [0, 12], 12, [0, 0, 4, 3]),
        (b"X1", (8, 5), [40], 0, [0, 0, 0, 0]),
    ],
)
def test_small_masks(
    counts: bytes, size_hw: tuple[int, int], runs: list[int], area: int, bbox: list[int]
) -> None:
    facts = inspect_one(counts, size_hw)
    assert facts.code_N[0] == RleCode.OK
    assert facts.is_canonical_N[0]
    assert facts.area_N[0] == area
    assert facts.bbox_xywh_N4[0].tolist() == bbox
    assert facts.n_runs_N[0] == len(runs)
    assert runs_of(counts, size_hw) == runs
    assert oracle.decode(size_hw, counts).sum() == area


@pytest.mark.usefixtures("each_backend")
def test_no_masks() -> None:
    strings, sizes = strategies.strings_of([]), np.zeros((0, 2), np.int32)
    assert all(len(column) == 0 for column in rle.inspect_coco(strings, sizes))
    assert_same(rle.from_coco(strings, sizes), rle.empty_batch())
    assert len(rle.to_coco(rle.empty_batch()).bytes_B) == 0
    assert rle.canonical_coco(strings, sizes) is strings
    batch, code_N = rle.from_counts(np.zeros(0, np.int64), np.zeros(1, np.int64), sizes)
    assert_same(batch, rle.empty_batch())
    assert len(code_N) == 0
    assert_same(dense.from_bitmaps(np.zeros((0, 4, 5), bool)), rle.empty_batch())
    assert rle.to_dense(rle.empty_batch()).shape == (0, 0, 0)
    assert rle.size_code(np.zeros((0, 2), np.int64)).shape == (0,)


@pytest.mark.usefixtures("each_backend")
@pytest.mark.parametrize("size_hw", [(BIG, BIG), (1, 2**31 - 1), (2**31 - 1, 1), (46000, 46000)])
def test_near_two_to_the_31(size_hw: tuple[int, int]) -> None:
    n_pixels = size_hw[0] * size_hw[1]
    masks = [[n_pixels], [0, n_pixels], [n_pixels - 1, 1], [0, 1, n_pixels - 1]]
    batch = strategies.batch_of_runs([size_hw] * 4, masks)
    strings = rle.to_coco(batch)
    assert strategies.list_strings(strings) == [oracle.to_string(runs) for runs in masks]
    assert_same(rle.from_coco(strings, batch.size_hw_N2), batch)
    facts = rle.inspect_coco(strings, batch.size_hw_N2)
    assert facts.area_N.tolist() == [0, n_pixels, 1, 1]
    height, width = size_hw
    assert facts.bbox_xywh_N4.tolist() == [
        [0, 0, 0, 0],
        [0, 0, width, height],
        [width - 1, height - 1, 1, 1],
        [0, 0, 1, 1],
    ]
    assert facts.is_canonical_N.all()


# --- Bad input, by its row in the table of bad inputs --------------------------------------------


@pytest.mark.parametrize(
    ("counts", "size_hw", "code"),
    [
        (b"", (64, 64), "RLE_SUM"),
        (b"5", (64, 64), "RLE_SUM"),
        (b"88", (2, 2), "RLE_SUM"),
        (b"O", (4, 4), "RLE_NEGATIVE"),
        (b"P", (4, 4), "RLE_TRUNCATED"),
        (b"0P", (4, 4), "RLE_TRUNCATED"),
        (b"P" * 40 + b"0", (4, 4), "RLE_VARINT"),
        (b"P" * 7, (4, 4), "RLE_VARINT"),
        (b"0 @", (4, 4), "RLE_ALPHABET"),
        (b"0\x00@", (4, 4), "RLE_ALPHABET"),
        ("0é@".encode(), (4, 4), "RLE_ALPHABET"),
        (b"0p", (4, 4), "RLE_ALPHABET"),
        (b"0/", (4, 4), "RLE_ALPHABET"),
        (b"\xff", (4, 4), "RLE_ALPHABET"),
        (b"b'0@'", (4, 4), "RLE_ALPHABET"),
        (b"0" * 200_000, (1, 1), "RLE_TOO_MANY_RUNS"),
        (b"0@", (0, 10), "SIZE_INVALID"),
        (b"0@", (4, -4), "SIZE_INVALID"),
        (b"0@", (10**9, 10**9), "SIZE_INVALID"),
        (b"0@", (2**32, 2**32), "SIZE_INVALID"),
        (b"0@", (-(2**63), 2**63 - 1), "SIZE_INVALID"),
        (b"0@", (2**31, 1), "SIZE_INVALID"),
        (b"0@", (2**20, 2**20), "SIZE_INVALID"),
        (b"\xff", (70_000, 70_000), "IMAGE_TOO_LARGE"),
        (b"0@", (BIG + 1, BIG + 1), "IMAGE_TOO_LARGE"),
        (b"0@", (2, 2**30), "IMAGE_TOO_LARGE"),
    ],
)
def test_fault_codes(counts: bytes, size_hw: tuple[int, int], code: str) -> None:
    facts = inspect_one(counts, size_hw)
    assert RleCode(facts.code_N[0]).name == code
    assert not facts.is_canonical_N[0]
    assert [facts.area_N[0], *facts.bbox_xywh_N4[0], facts.n_runs_N[0]] == [0] * 6
    with pytest.raises(oracle.Refused) as refused:
        oracle.parse(size_hw, counts)
    assert refused.value.code == code
    for read in (rle.from_coco, rle.canonical_coco):
        with pytest.raises(MaskError, match=rf"row 1: .*{code}"):
            read(strategies.strings_of([b"01", counts]), np.array([(1, 1), size_hw]))


@pytest.mark.usefixtures("each_backend")
@pytest.mark.parametrize(
    ("raw", "size_hw", "runs", "bbox"),
    [
        ([0, 0, 0, 764, 836], (40, 40), [0, 764, 836], [0, 0, 20, 40]),
        ([4, 0, 4], (2, 4), [8], [0, 0, 0, 0]),
        ([4, 1, 0, 1, 2], (2, 4), [4, 2, 2], [2, 0, 1, 2]),
        ([1, 1, 0, 1, 5], (2, 4), [1, 2, 5], [0, 0, 2, 2]),
        ([0, 0, 1], (1, 1), [1], [0, 0, 0, 0]),
        ([0, 0, 0, 1], (1, 1), [0, 1], [0, 0, 1, 1]),
        ([0, 1, 0, 0, 0], (1, 1), [0, 1], [0, 0, 1, 1]),
        ([8, 0], (2, 4), [8], [0, 0, 0, 0]),
        ([6, 0, 0, 2], (2, 4), [6, 2], [3, 0, 1, 2]),
        ([0] * 64 + [1], (1, 1), [1], [0, 0, 0, 0]),
    ],
)
def test_zero_runs_are_merged(
    raw: list[int], size_hw: tuple[int, int], runs: list[int], bbox: list[int]
) -> None:
    counts = oracle.to_string(raw)
    facts = inspect_one(counts, size_hw)
    assert facts.code_N[0] == RleCode.OK
    assert not facts.is_canonical_N[0]
    assert facts.n_runs_N[0] == len(runs)
    assert facts.area_N[0] == sum(runs[1::2])
    assert facts.bbox_xywh_N4[0].tolist() == bbox
    assert runs_of(counts, size_hw) == runs
    assert code_of_counts(raw, size_hw) == "OK"
    assert oracle.canonical_runs(oracle.parse(size_hw, counts)) == runs


@pytest.mark.usefixtures("each_backend")
@pytest.mark.parametrize("counts", [b"P01", b"PPPPPP01", b"0Q0", b"PP0Q0"])
def test_padded_numbers_mean_what_they_say(counts: bytes) -> None:
    facts = inspect_one(counts, (1, 1))
    assert facts.code_N[0] == RleCode.OK
    assert not facts.is_canonical_N[0]
    assert facts.bbox_xywh_N4[0].tolist() == [0, 0, 1, 1]
    assert runs_of(counts, (1, 1)) == [0, 1]


def test_most_runs_that_are_accepted() -> None:
    for n_zeros, code in [(64, "OK"), (65, "RLE_TOO_MANY_RUNS")]:
        raw = [0] * n_zeros + [1]
        assert code_of(oracle.to_string(raw), (1, 1)) == code
        assert code_of_counts(raw, (1, 1)) == code


@pytest.mark.parametrize(
    ("counts", "size_hw", "code"),
    [
        ([0, 16], (4, 4), "OK"),
        ([], (4, 4), "RLE_SUM"),
        ([15], (4, 4), "RLE_SUM"),
        ([16, 1], (4, 4), "RLE_SUM"),
        ([-1, 17], (4, 4), "RLE_COUNTS_TYPE"),
        ([2**32], (4, 4), "RLE_COUNTS_TYPE"),
        ([2**63 - 1, 2**63 - 1], (4, 4), "RLE_COUNTS_TYPE"),
        ([2**32 - 1], (4, 4), "RLE_SUM"),
        ([0] * 200_000, (1, 1), "RLE_TOO_MANY_RUNS"),
        ([16], (4, 0), "SIZE_INVALID"),
        ([16], (2**32, 2**32), "SIZE_INVALID"),
        ([16], (70_000, 70_000), "IMAGE_TOO_LARGE"),
    ],
)
def test_plain_counts(counts: list[int], size_hw: tuple[int, int], code: str) -> None:
    values = [0, 1, *counts, 1]
    offsets_N1 = np.array([0, 2, 2 + len(counts), len(values)])
    batch, code_N = rle.from_counts(
        np.array(values, np.int64), offsets_N1, np.array([(1, 1), size_hw, (1, 1)])
    )
    assert [RleCode(one).name for one in code_N] == ["OK", code, "OK"]
    if code == "OK":
        kept, runs = size_hw, counts
    else:
        kept = (1, 1) if code in ("SIZE_INVALID", "IMAGE_TOO_LARGE") else size_hw
        runs = [kept[0] * kept[1]]
    assert_same(batch, strategies.batch_of_runs([(1, 1), kept, (1, 1)], [[0, 1], runs, [1]]))


def test_size_code() -> None:
    sizes = [(1, 1), (BIG, BIG), (BIG + 1, BIG + 1), (0, 5), (5, 0), (-3, 2), (2**31, 1)]
    assert [RleCode(code).name for code in rle.size_code(np.array(sizes))] == [
        *["OK"] * 2,
        "IMAGE_TOO_LARGE",
        *["SIZE_INVALID"] * 4,
    ]


@pytest.mark.parametrize(
    ("strings", "size_hw_N2"),
    [
        (CocoStrings(np.zeros(2, np.uint8), np.array([0, 3])), np.ones((1, 2), np.int32)),
        (CocoStrings(np.zeros(2, np.uint8), np.array([0, 2, 1])), np.ones((2, 2), np.int32)),
        (CocoStrings(np.zeros(2, np.uint8), np.array([1, 2])), np.ones((1, 2), np.int32)),
        (CocoStrings(np.zeros(2, np.uint8), np.array([], np.int64)), np.ones((0, 2), np.int32)),
        (CocoStrings(np.zeros(2, np.uint8), np.array([0.0, 2.0])), np.ones((1, 2), np.int32)),
        (CocoStrings(np.zeros(2, np.int64), np.array([0, 2])), np.ones((1, 2), np.int32)),
        (CocoStrings(np.zeros(2, np.uint8), np.array([0, 2])), np.ones((2, 2), np.int32)),
        (CocoStrings(np.zeros(2, np.uint8), np.array([0, 2])), np.ones((1, 3), np.int32)),
        (CocoStrings(np.zeros(2, np.uint8), np.array([0, 2])), np.ones((1, 2))),
    ],
)
def test_broken_arrays_are_refused(strings: CocoStrings, size_hw_N2: Any) -> None:
    with pytest.raises(MaskError):
        rle.inspect_coco(strings, size_hw_N2)
    with pytest.raises(MaskError):
        rle.from_coco(strings, size_hw_N2)


def test_broken_batches_are_refused() -> None:
    short = strategies.batch_of_runs([(2, 2)], [[3]])
    long = strategies.batch_of_runs([(2, 2)], [[0, 2**32 - 1]])
    mixed = strategies.batch_of_runs([(2, 2), (1, 4)], [[4], [4]])
    for batch in (short, long, mixed):
        with pytest.raises(MaskError):
            rle.to_dense(batch)
    with pytest.raises(MaskError, match="height"):
        rle.to_coco(strategies.batch_of_runs([(BIG + 1, BIG + 1)], [[4]]))


@pytest.mark.usefixtures("each_backend")
def test_any_counts_encode_without_harm() -> None:
    counts = [0, 2**32 - 1, 0, 2**31, 2**32 - 1, 0]
    strings = rle.to_coco(strategies.batch_of_runs([(2, 2)], [counts]))
    assert strings.bytes_B.tobytes() == oracle.to_string(counts)


# --- Against the oracle --------------------------------------------------------------------------


@pytest.mark.usefixtures("each_backend")
@given(strategies.images())
@settings(max_examples=100)
def test_parity_with_the_oracle(stacks: list[Any]) -> None:
    masks = strategies.flat(stacks)
    strings, sizes = strategies.to_strings(masks), strategies.sizes_of(masks)
    facts = rle.inspect_coco(strings, sizes)
    batch = rle.from_coco(strings, sizes)
    assert_same(batch, strategies.to_batch(masks))
    assert strategies.list_strings(rle.to_coco(batch)) == strategies.list_strings(strings)
    assert rle.canonical_coco(strings, sizes) is strings
    assert not facts.code_N.any()
    assert facts.is_canonical_N.all()
    counts = strategies.list_strings(strings)
    pairs = [(mask.shape, one) for mask, one in zip(masks, counts, strict=True)]
    assert facts.area_N.tolist() == [oracle.area(*pair) for pair in pairs]
    assert facts.bbox_xywh_N4.tolist() == [list(oracle.to_bbox(*pair)) for pair in pairs]
    assert facts.n_runs_N.tolist() == np.diff(batch.offsets_N1).tolist()


@pytest.mark.usefixtures("each_backend")
@given(strategies.bitmap_stacks(), st.booleans())
@settings(max_examples=100)
def test_pixels_and_back(stack: Any, as_uint8: bool) -> None:
    batch = dense.from_bitmaps((stack * np.uint8(255)) if as_uint8 else stack)
    assert_same(batch, strategies.to_batch(stack))
    drawn = rle.to_dense(batch)
    np.testing.assert_array_equal(drawn, stack if len(stack) else np.zeros((0, 0, 0), bool))
    assert drawn.dtype == bool


@st.composite
def careless_strings(draw: st.DrawFn) -> tuple[bytes, tuple[int, int], list[int]]:
    """Draw a valid string with zero runs and padded numbers, its size, its canonical runs."""
    mask = draw(strategies.bitmaps(max_side=9))
    runs = oracle.parse(mask.shape, oracle.encode(mask))
    raw = list(runs)
    for place in draw(st.lists(st.integers(0, len(runs)), max_size=4)):
        # Split a run in two around a run of nothing, or put two of nothing in front.
        run = raw[place] if place < len(raw) else 0
        cut = draw(st.integers(0, run))
        raw[place : place + 1] = [cut, 0, run - cut]
    counts = oracle.to_string(raw)
    padded = bytearray()
    for char in counts:
        ends = char < 48 + 32
        if ends and draw(st.integers(0, 9)) == 0:
            padded += bytes([char + 32, 48 + (31 if (char - 48) & 16 else 0)])
        else:
            padded.append(char)
    return bytes(padded), mask.shape, runs


@pytest.mark.usefixtures("each_backend")
@given(st.lists(careless_strings(), max_size=5))
@settings(max_examples=100)
def test_careless_writers_are_understood(rows: list[tuple[bytes, tuple[int, int], list[int]]]):
    strings = strategies.strings_of([counts for counts, _, _ in rows])
    sizes = np.array([size_hw for _, size_hw, _ in rows]).reshape(-1, 2)
    expected = strategies.batch_of_runs(sizes.tolist(), [runs for _, _, runs in rows])
    assert_same(rle.from_coco(strings, sizes), expected)
    clean = [oracle.to_string(runs) for _, _, runs in rows]
    assert strategies.list_strings(rle.canonical_coco(strings, sizes)) == clean
    facts = rle.inspect_coco(strings, sizes)
    assert facts.is_canonical_N.tolist() == [
        counts == one for (counts, _, _), one in zip(rows, clean, strict=True)
    ]
    again = rle.inspect_coco(strategies.strings_of(clean), sizes)
    for column in ("code_N", "area_N", "bbox_xywh_N4", "n_runs_N"):
        np.testing.assert_array_equal(getattr(facts, column), getattr(again, column))
