"""Pixels and probabilities as runs: what is set is what other libraries say is set."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import storage
from pipeline.config import ReadConfig
from pipeline.errors import SchemaError
from pipeline.masks.rle import from_counts, to_dense
from pipeline.read.dense_masks import DenseMasks, paste_rois, read_bitmaps
from tests import oracle
from tests.pipeline.read.files import read_whole
from tests.strategies import bitmaps_of, sizes

MAGIC = b"\x89PNG\r\n\x1a\n"


def to_bitmaps(found: DenseMasks) -> list[Any]:
    assert found.faults == {}
    out: list[Any] = []
    for n, size in enumerate(found.size_hw_N2):
        first, last = found.counts.offsets_M1[n : n + 2]
        batch, code_N = from_counts(found.counts.counts[first:last], [0, last - first], size[None])
        assert code_N[0] == 0
        out.append(to_dense(batch)[0])
    return out


def to_png(bitmap: Any, *, depth: int = 8, kind: int = 0, filters: Any = None) -> bytes:
    """Write a PNG without filters, or with `filters[y]` undone by nobody but the reader."""
    height, width = bitmap.shape
    samples = bitmap.astype(np.uint8) * (3 if depth > 1 else 1)
    if depth == 16:
        rows = np.repeat(samples, 2, axis=1)
        rows[:, 1::2] = 0
    elif depth == 8:
        rows = samples
    else:
        bits = np.unpackbits(samples[:, :, None], axis=2)[:, :, 8 - depth :]
        rows = np.packbits(bits.reshape(height, -1), axis=1)
    names = np.zeros((height, 1), np.uint8) if filters is None else filters
    data = np.hstack([names, rows]).tobytes()
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    return (
        MAGIC + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    )


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


BITMAPS = sizes().flatmap(bitmaps_of)


@given(st.lists(BITMAPS, max_size=4), st.sampled_from([1, 2, 4, 8, 16]), st.sampled_from([0, 3]))
@settings(max_examples=60)
def test_bitmaps_come_back(bitmaps: list[Any], depth: int, kind: int) -> None:
    shapes = np.array([bitmap.shape for bitmap in bitmaps], np.int64).reshape(-1, 2)
    packed = [np.packbits(bitmap.ravel()).tobytes() for bitmap in bitmaps]
    pngs = [to_png(bitmap, depth=depth, kind=kind) for bitmap in bitmaps]
    for values, known in ((packed, shapes), (pngs, shapes), (pngs, np.full_like(shapes, -1))):
        found = to_bitmaps(read_bitmaps(values, known))
        assert len(found) == len(bitmaps)
        assert all(np.array_equal(a, b) for a, b in zip(found, bitmaps, strict=True))


@pytest.mark.parametrize("mode", ["1", "L", "P", "I;16"])
@pytest.mark.parametrize("side", [1, 7, 40])
def test_files_of_pillow_are_read(mode: str, side: int) -> None:
    image_module = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(side)
    # Smooth values, for which pillow chooses every filter there is.
    values = (np.add.outer(np.arange(side), np.arange(side + 3)) * 3 % 200).astype(np.uint8)
    values[rng.random(values.shape) < 0.4] = 0
    image = image_module.fromarray(values)
    if mode == "1":
        image = image_module.fromarray(values > 0)
    elif mode == "P":
        image = image.convert("P")
        image.putdata(values.ravel().tolist())
    elif mode == "I;16":
        image = image_module.fromarray(values.astype(np.uint16) * 256)
    stream = io.BytesIO()
    image.save(stream, "PNG")
    [found] = to_bitmaps(read_bitmaps([stream.getvalue()], np.full((1, 2), -1)))
    assert np.array_equal(found, values > 0)


EYE = np.eye(4, dtype=bool)
GOOD = to_png(EYE)


def header(width: int, height: int) -> bytes:
    return MAGIC + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))


BAD_PNGS: list[tuple[str, bytes, str]] = [
    ("only magic", MAGIC, "NO_SEGMENTATION"),
    ("cut header", GOOD[:20], "NO_SEGMENTATION"),
    ("cut pixels", GOOD[:48], "NO_SEGMENTATION"),
    ("no pixels", header(4, 4), "NO_SEGMENTATION"),
    ("colour", to_png(EYE, kind=2), "NO_SEGMENTATION"),
    ("no filter", to_png(EYE, filters=np.full((4, 1), 9, np.uint8)), "NO_SEGMENTATION"),
    ("interlaced", GOOD.replace(b"\x08\0\0\0\0", b"\x08\0\0\0\1", 1), "NO_SEGMENTATION"),
    ("huge", header(2**31 - 1, 2**31 - 1), "IMAGE_TOO_LARGE"),
    ("no side", header(0, 4), "SIZE_INVALID"),
]


@pytest.mark.parametrize(("value", "code"), [pytest.param(*e[1:], id=e[0]) for e in BAD_PNGS])
def test_bad_pngs_are_faults(value: bytes, code: str) -> None:
    found = read_bitmaps([GOOD, value, GOOD], np.full((3, 2), -1))
    assert {row: fault.code for row, fault in found.faults.items()} == {1: code}
    assert np.diff(found.counts.offsets_M1)[1] == 0


@given(st.binary(max_size=60))
def test_any_bytes_end(noise: bytes) -> None:
    for value in (noise, MAGIC + noise, GOOD[:33] + noise, GOOD[:41] + noise):
        read_bitmaps([value], np.array([[4, 4]]))


def test_sizes_that_disagree_are_faults() -> None:
    found = read_bitmaps([GOOD, b"\xff", b"\xff\xff", None, b""], np.array([[4, 5]] + [[4, 4]] * 4))
    codes = [found.faults[row].code if row in found.faults else "" for row in range(5)]
    assert codes == ["SIZE_MISMATCH", "SIZE_MISMATCH", "", "NO_SEGMENTATION", "SIZE_MISMATCH"]
    found = read_bitmaps([b"", b"", b""], np.array([[0, 4], [-1, -1], [2**20, 2**20]]))
    assert [fault.code for fault in found.faults.values()] == [
        "SIZE_INVALID",
        "SIZE_INVALID",
        "IMAGE_TOO_LARGE",
    ]


def paste_by_torch(square: Any, box: Any, height: int, width: int) -> Any:
    """Paste one mask as detectron2 does on a CPU; return its probabilities."""
    torch = pytest.importorskip("torch")
    x0, y0, x1, y1 = torch.tensor(box, dtype=torch.float32)
    first_x = int(torch.clamp(x0.floor() - 1, min=0))
    first_y = int(torch.clamp(y0.floor() - 1, min=0))
    last_x = int(torch.clamp(x1.ceil() + 1, max=width))
    last_y = int(torch.clamp(y1.ceil() + 1, max=height))
    out = np.zeros((height, width), np.float32)
    if last_x <= first_x or last_y <= first_y:
        return out
    y = (torch.arange(first_y, last_y, dtype=torch.float32) + 0.5 - y0) / (y1 - y0) * 2 - 1
    x = (torch.arange(first_x, last_x, dtype=torch.float32) + 0.5 - x0) / (x1 - x0) * 2 - 1
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)[None]
    values = torch.tensor(square)[None, None]
    pasted = torch.nn.functional.grid_sample(values, grid, align_corners=False)
    out[first_y:last_y, first_x:last_x] = pasted[0, 0].numpy()
    return out


COORDINATES = st.floats(-20, 60, width=32)
BOXES = st.tuples(
    COORDINATES, COORDINATES, st.floats(0.5, 60, width=32), st.floats(0.5, 60, width=32)
)


@given(st.sampled_from([28, 5, 1]), BOXES, st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_pasted_masks_are_those_of_torch(side: int, box: Any, seed: int) -> None:
    square = np.random.default_rng(seed).random((side, side)).astype(np.float32)
    x, y, width, height = (np.float32(value) for value in box)
    corners = np.array([[x, y, x + width, y + height]], np.float32)
    found = paste_rois([square], corners, np.array([[40, 50]]))
    [bitmap] = to_bitmaps(found)
    expected = paste_by_torch(square, corners[0], 40, 50)
    # torch may fuse a multiplication and an addition: only the last bit is free.
    is_near = np.abs(expected - 0.5) < 1e-6
    assert np.array_equal(bitmap[~is_near], (expected >= 0.5)[~is_near])


def test_rois_at_fault() -> None:
    square = np.ones((28, 28), np.float32)
    boxes = [[0, 0, 5, 5], [5, 5, 5, 9], [0, 0, np.nan, 5], [0, 0, 1e9, 5], [0, 0, 5, 5]]
    size = np.array([[10, 10]] * 4 + [[0, 10]])
    found = paste_rois([None, square, square, square, square], np.array(boxes, np.float32), size)
    codes = [found.faults[row].code for row in range(5)]
    assert codes == ["NO_SEGMENTATION", "BBOX", "BBOX", "BBOX", "SIZE_INVALID"]


def write(folder: Path, columns: dict[str, Any]) -> storage.InputFile:
    path = folder / "input.parquet"
    pq.write_table(pa.table(columns), path)
    return storage.inspect_file(storage.to_uri(str(path)))


def test_bitmaps_in_parquet(tmp_path: Path) -> None:
    bitmap = np.zeros((6, 7), bool)
    bitmap[1:4, 2:6] = True
    packed = np.packbits(bitmap.ravel()).tobytes()
    columns = {
        "image_id": [1, 2, 3, None],
        "mask": [packed, to_png(bitmap), b"x", packed],
        "height": [6] * 4,
        "width": [7] * 4,
        "model": ["a", "b", "c", "d"],
    }
    whole = read_whole(write(tmp_path, columns))
    assert whole.instances["counts"].to_pylist() == [oracle.encode(bitmap)] * 2
    assert whole.instances["model"].to_pylist() == ["a", "b"]
    assert whole.rejects["code"].to_pylist() == ["SIZE_MISMATCH", "IMAGE_ID"]
    del columns["height"], columns["width"]
    whole = read_whole(write(tmp_path, columns))
    assert whole.instances["source_row"].to_pylist() == [1]


@pytest.mark.parametrize("shape", ["flat", "nested", "fixed"])
def test_rois_in_parquet(tmp_path: Path, shape: str) -> None:
    rng = np.random.default_rng(0)
    squares = rng.random((3, 28, 28)).astype(np.float32)
    boxes = [[2.25, 3.5, 20.0, 15.0], [-5.0, -5.0, 30.0, 30.0], [10.0, 10.0, 8.0, 4.5]]
    flat: Any = [square.ravel().tolist() for square in squares]
    if shape == "nested":
        flat = squares.tolist()
    if shape == "fixed":
        flat = pa.array(flat, pa.list_(pa.float32(), 784))
    columns = {"image_id": [1, 1, 2], "roi_mask": flat, "bbox": boxes} | {
        "height": [24] * 3,
        "width": [32] * 3,
    }
    whole = read_whole(write(tmp_path, columns))
    for n, counts in enumerate(whole.instances["counts"].to_pylist()):
        x, y, w, h = boxes[n]
        expected = paste_by_torch(squares[n], [x, y, x + w, y + h], 24, 32) >= 0.5
        assert counts == oracle.encode(expected)
    assert whole.instances["input_bbox_w"].to_pylist() == [box[2] for box in boxes]


def test_rois_need_boxes_and_numbers(tmp_path: Path) -> None:
    columns: dict[str, Any] = {"image_id": [1], "height": [4], "width": [4]}
    with pytest.raises(SchemaError, match="'bbox'"):
        read_whole(write(tmp_path, columns | {"roi_mask": [[0.5] * 4]}))
    with pytest.raises(SchemaError, match="probabilities"):
        read_whole(write(tmp_path, columns | {"roi_mask": ["x"], "bbox": [[0, 0, 1, 1]]}))
    with pytest.raises(SchemaError, match="PNG bytes or packed bits"):
        read_whole(write(tmp_path, columns | {"mask": ["x"]}))
    values = [[0.5] * 3, [], None, [0.5, None, 0.5, 0.5], [1.0] * 4]
    many = {name: column * 5 for name, column in columns.items()}
    whole = read_whole(write(tmp_path, many | {"roi_mask": values, "bbox": [[0, 0, 4, 4]] * 5}))
    assert whole.rejects["code"].to_pylist() == ["NO_SEGMENTATION"] * 4
    assert whole.instances["source_row"].to_pylist() == [4]
    assert whole.scan.source.drop == ReadConfig().drop
