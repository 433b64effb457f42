"""Fuzzing of everything that parses outside bytes, by seeds.

``TARGETS`` names the parsers. A try takes a random generator and a folder, makes an
input (mostly a valid one with some bytes changed), reads it, and raises if what
comes of it is anything but rows, rejects or an error of ours; where there is a model or a
second way, it compares. A try that does not end ends the process with its stack.

``python -m tests.pipeline.read.fuzz TARGET SECONDS [SEED]`` tries until the time is
over and prints how often; a failure names the seed, which repeats it.
"""

from __future__ import annotations

import faulthandler
import io
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from pipeline.errors import CompactionError
from pipeline.masks.batch import CocoStrings
from pipeline.masks.polygon_fill import fill_polygons
from pipeline.masks.rle import RleCode, canonical_coco, from_counts, inspect_coco, to_coco
from pipeline.read import json_read
from pipeline.read.dense_masks import paste_rois, read_bitmaps
from tests import oracle
from tests.pipeline.read.files import SQUARE, make_rle, make_row, read_whole, write_file
from tests.pipeline.read.same_masks import SHAPES as FORMATS
from tests.pipeline.read.same_masks import make_scene
from tests.pipeline.read.test_dense_masks import to_png

HANG_S = 120
"""Longest try but the first, which may compile; that one has five times as long."""

Rng = np.random.Generator
TOKENS = [b'"', b"\\", b"[", b"]", b"{", b"}", b",", b":", b"null", b"1e999", b"-", b"\0", b"\xff"]
TOKENS += [b'"image_id"', b'"segmentation"', b'"size"', b'"counts"', b"\\u0000", b"0", b"9" * 25]


def mutate(rng: Rng, data: bytes) -> bytes:
    """Return bytes with a few changes: bits, bytes, tokens, cuts, copies, a truncation."""
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 6))):
        at = int(rng.integers(len(out) + 1))
        size = int(rng.integers(1, 9))
        kind = int(rng.integers(7))
        if kind == 0 and at < len(out):
            out[at] ^= 1 << int(rng.integers(8))
        elif kind == 1 and at < len(out):
            out[at] = int(rng.integers(256))
        elif kind == 2:
            out[at:at] = TOKENS[int(rng.integers(len(TOKENS)))]
        elif kind == 3:
            del out[at : at + size]
        elif kind == 4:
            out[at:at] = out[at : at + size]
        elif kind == 5:
            out[at : at + size] = rng.integers(0, 256, size, np.uint8).tobytes()
        elif rng.random() < 0.2:
            del out[at:]
    return bytes(out)


def small_scene() -> list[dict[str, Any]]:
    return make_scene("shapes")[:60:6]


def try_read(folder: Path, data: bytes) -> Any:
    """Return what reading a file comes to: rows and rejects, or the type of an error of ours."""
    try:
        whole = read_whole(write_file(folder, data, "fuzz.input"), unit_bytes=2_000)
    except CompactionError as error:
        return refused(error)
    if not len(whole.instances) and not len(whole.rejects):
        return None
    rejects = whole.rejects.select(["source_row", "code", "field"]).to_pylist()
    return whole.instances.to_pylist(), rejects


def assert_same_both_ways(folder: Path, data: bytes) -> None:
    """Read JSON by compiled code and with an object for each row: the same comes of it."""
    outcomes: list[Any] = []
    before = json_read.COMPILED_BYTES
    for size in (0, 1 << 60):
        json_read.COMPILED_BYTES = size
        try:
            outcomes.append(try_read(folder, data))
        finally:
            json_read.COMPILED_BYTES = before
    assert outcomes[0] == outcomes[1], data


def refused(error: CompactionError) -> str:
    """Return the type of an error that says what was expected, at no great length."""
    assert len(error.message) < 2_000, error.message
    assert "expected" in error.message, error.message
    return type(error).__name__


def coco_strings(rng: Rng, folder: Path) -> None:
    """Compare the string parser with the plain model of the tests."""
    height, width = (int(side) for side in rng.integers(1, 30 if rng.random() < 0.7 else 120, 2))
    mask = rng.random((height, width)) < rng.random()
    if rng.random() < 0.6:
        # Few runs a column, so that many numbers are read at once.
        shape = np.hypot(*(np.indices(mask.shape).T / mask.shape - rng.random(2)).T) < rng.random()
        mask = shape & (rng.random(mask.shape) < rng.choice([1.0, 0.99, 0.9]))
    valid = oracle.encode(mask)
    texts = [mutate(rng, valid) if rng.random() < 0.8 else valid for _ in range(20)]
    texts += [rng.integers(40, 120, int(rng.integers(12)), np.uint8).tobytes() for _ in range(10)]
    ends = np.cumsum([0] + [len(text) for text in texts])
    strings = CocoStrings(np.frombuffer(b"".join(texts), np.uint8), ends.astype(np.int64))
    size_N2 = np.tile(np.array([[height, width]], np.int64), (len(texts), 1))
    facts = inspect_coco(strings, size_N2)
    for n, text in enumerate(texts):
        runs, code = parsed((height, width), text)
        found = RleCode(facts.code_N[n]).name if facts.code_N[n] else ""
        assert found == code, (text, height, width)
        if not code:
            assert facts.area_N[n] == sum(runs[1::2])
            assert facts.bbox_xywh_N4[n].tolist() == list(oracle.to_bbox((height, width), text))
            runs = oracle.canonical_runs(runs)
            assert facts.n_runs_N[n] == len(runs)
            assert facts.is_canonical_N[n] == (oracle.to_string(runs) == text)
    good = [text for n, text in enumerate(texts) if facts.code_N[n] == 0]
    if good:
        ends = np.cumsum([0] + [len(text) for text in good])
        strings = CocoStrings(np.frombuffer(b"".join(good), np.uint8), ends.astype(np.int64))
        found = canonical_coco(strings, size_N2[: len(good)])
        for n, text in enumerate(good):
            first, last = found.offsets_N1[n : n + 2]
            expected = oracle.canonical((height, width), text)
            assert found.bytes_B[first:last].tobytes() == expected


def parsed(size_hw: tuple[int, int], text: bytes) -> tuple[list[int], str]:
    """Return runs and no code, or no runs and the code of the fault, by the plain model."""
    try:
        return oracle.parse(size_hw, text), ""
    except oracle.Refused as error:
        return [], error.code


def run_lengths(rng: Rng, folder: Path) -> None:
    """Any run lengths are refused, or come back from the strings that are made of them."""
    n = int(rng.integers(1, 20))
    lengths = rng.integers(0, 12, n)
    values = rng.integers(-2, 40, int(lengths.sum()))
    huge = rng.random(len(values)) < 0.02
    values[huge] = rng.choice([2**31, 2**32, 2**62, -(2**63)], int(huge.sum()))
    size_N2 = rng.integers(1, 12, (n, 2))
    batch, code_N = from_counts(values, np.concatenate([[0], np.cumsum(lengths)]), size_N2)
    facts = inspect_coco(to_coco(batch), batch.size_hw_N2.astype(np.int64))
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    for k in range(n):
        own = values[offsets[k] : offsets[k + 1]].tolist()
        is_good = min(own, default=-1) >= 0 and sum(own) == size_N2[k].prod()
        assert (code_N[k] == 0) == is_good, own
        assert not is_good or facts.area_N[k] == sum(own[1::2])


def json_files(rng: Rng, folder: Path) -> None:
    """Read changed JSON by compiled code and with an object for each row: the same comes of it."""
    names = ("results", "lines", "annotations", "lvis", "uncompressed", "dicts")
    scene = small_scene()
    data = FORMATS[names[int(rng.integers(len(names)))]](scene)
    assert isinstance(data, bytes)
    if rng.random() < 0.3:
        data = data.replace(b'"score"', b'"bbox_mode"' if rng.random() < 0.5 else b'"note"')
    data = mutate(rng, data)
    assert_same_both_ways(folder, data)


def compressed(rng: Rng, folder: Path) -> None:
    """Read changed gzip and zstd."""
    data = FORMATS[("results.gz", "results.zst")[int(rng.integers(2))]](small_scene())
    assert isinstance(data, bytes)
    try_read(folder, mutate(rng, data))


def parquet_files(rng: Rng, folder: Path) -> None:
    """Read Parquet with changes anywhere, or in the footer alone."""
    names = [name for name in FORMATS if name.startswith(("parquet", "images"))]
    data = FORMATS[names[int(rng.integers(len(names)))]](small_scene())
    assert isinstance(data, bytes)
    if rng.random() < 0.5:
        size = int.from_bytes(data[-8:-4], "little")
        head, footer = data[: -8 - size], mutate(rng, data[-8 - size : -8])
        data = head + footer + len(footer).to_bytes(4, "little") + b"PAR1"
    else:
        data = data[:4] + mutate(rng, data[4:-4]) + data[-4:]
    try_read(folder, data)


def parquet_values(rng: Rng, folder: Path) -> None:
    """Read valid Parquet whose values are odd."""
    n = 12
    floats = np.array([np.nan, np.inf, -np.inf, 0, -1, 1e300, 1e-300, 2**53])
    texts: list[Any] = [SQUARE, "", "P", "0" * 300, "\0", None, "é"]
    masks: dict[str, list[Any]] = {
        "counts": [texts[int(rng.integers(len(texts)))] for _ in range(n)],
        "segmentation": [
            [rng.choice(floats, int(rng.integers(9))).tolist() for _ in range(rng.integers(3))]
            for _ in range(n)
        ],
    }
    name = ("counts", "segmentation")[int(rng.integers(2))]
    columns: dict[str, Any] = {
        "image_id": rng.integers(-(2**63), 2**63 - 1, n),
        "height": rng.choice([4, 0, -1, 2**40], n),
        "width": rng.choice([5, 5, 5, 2**31], n),
        "score": rng.choice(floats, n),
        "bbox": [rng.choice(floats, int(rng.choice([4, 4, 3]))).tolist() for _ in range(n)],
        name: masks[name],
    }
    stream = io.BytesIO()
    pq.write_table(pa.table(columns), stream)
    try_read(folder, stream.getvalue())


def polygons(rng: Rng, folder: Path) -> None:
    """Fill rings of any numbers; compare with COCO's own code where that one is safe."""
    height, width = (int(side) for side in rng.integers(1, 40, 2))
    scale = float(rng.choice([1.0, 30.0, 60.0, 1e4, 1e8, 1e300]))
    rings = [
        ((rng.random(2 * int(rng.integers(1, 9))) - 0.3) * scale).tolist()
        for _ in range(int(rng.integers(1, 4)))
    ]
    if rng.random() < 0.3:
        rings = [[round(value) for value in ring] for ring in rings]
    if rng.random() < 0.2:
        rings[0][0] = float(rng.choice([np.nan, np.inf, -np.inf, 2.0**24, -(2.0**24)]))
    if rng.random() < 0.2:
        rings[0].pop()
    values = np.array([value for ring in rings for value in ring], np.float64)
    ends = np.concatenate([[0], np.cumsum([len(ring) for ring in rings])]).astype(np.int64)
    size_N2 = np.array([[height, width]], np.int64)
    found = fill_polygons(values, ends, np.array([0, len(rings)], np.int64), size_N2)
    is_safe = all(len(ring) % 2 == 0 and len(ring) >= 6 for ring in rings)
    if is_safe and np.isfinite(values).all() and np.abs(values).max() < 500:
        expected = oracle.from_polygons(rings, height, width)
        if found.code_N[0] == 0:
            assert to_coco(found.batch).bytes_B.tobytes() == expected, (rings, height, width)
        else:
            assert oracle.area((height, width), expected) == 0, (rings, height, width)


def dense(rng: Rng, folder: Path) -> None:
    """Read changed PNG and packed bits, and paste ROI masks into any box."""
    height, width = (int(side) for side in rng.integers(1, 40, 2))
    bitmap = rng.random((height, width)) < 0.5
    png = to_png(bitmap, depth=int(rng.choice([1, 2, 4, 8, 16])))
    values = [mutate(rng, png) for _ in range(5)]
    values += [mutate(rng, np.packbits(bitmap.ravel()).tobytes()) for _ in range(5)]
    size = rng.choice([height, width, -1, 0, 2**40], (10, 2))
    found = read_bitmaps(values, np.where(rng.random((10, 1)) < 0.7, [[height, width]], size))
    batch, code_N = from_counts(*found.counts, np.maximum(found.size_hw_N2, 1))
    for row in range(10):
        assert row in found.faults or code_N[row] == 0
    assert len(batch.size_hw_N2) == 10
    scale = rng.choice([1.0, 50.0, 1e5, 1e9, np.inf, np.nan], (5, 4))
    boxes = ((rng.random((5, 4)) - 0.3) * scale).astype(np.float32)
    with np.errstate(invalid="ignore"):
        boxes[:, 2:] += np.where(rng.random((5, 1)) < 0.7, np.abs(boxes[:, :2]), 0)
    side = int(rng.choice([1, 2, 28]))
    squares: Any = [rng.random((side, side)).astype(np.float32) for _ in range(5)]
    squares[0][0, 0] = rng.choice([np.nan, np.inf, 0.5])
    pasted = paste_rois(squares, boxes, np.tile([[height, width]], (5, 1)))
    _, code_N = from_counts(*pasted.counts, np.maximum(pasted.size_hw_N2, 1))
    assert all(row in pasted.faults or code_N[row] == 0 for row in range(5))


def torch_files(rng: Rng, folder: Path) -> None:
    """Read changed torch files, of the zip form and of the older one."""
    rows = [make_row(image_id=n, segmentation=make_rle(SQUARE)) for n in range(4)]
    rows[1]["score"] = torch.tensor(0.5)
    rows[2]["score"] = float(rng.choice([0.5, np.nan, np.inf]))
    stream = io.BytesIO()
    value = [{"image_id": row["image_id"], "instances": [row]} for row in rows]
    is_zip = rng.random() < 0.5
    torch.save(value, stream, _use_new_zipfile_serialization=is_zip)
    try_read(folder, mutate(rng, stream.getvalue()))


def rows_of_any_values(rng: Rng, folder: Path) -> None:
    """Read rows whose fields are of any JSON type, by both ways."""
    pool: list[Any] = [None, True, 0, -1, 0.5, 1e300, 2**63, 2**70, "", "x", SQUARE, [], [[]], {}]
    pool += [[1, 2], [[1, 1, 4, 1, 4, 4]], make_rle(SQUARE), make_rle([20]), {"size": [4, 5]}]
    keys = ("image_id", "category_id", "segmentation", "score", "bbox", "id", "area", "iscrowd")
    keys += ("height", "width", "bbox_mode", "note")
    rows: list[Any] = [make_row()]
    for _ in range(8):
        row = make_row()
        for _ in range(int(rng.integers(1, 4))):
            value = pool[int(rng.integers(len(pool)))]
            row[keys[int(rng.integers(len(keys)))]] = value
        rows.append(row)
    data = json.dumps(rows).encode()
    assert_same_both_ways(folder, data)


TARGETS: dict[str, Callable[[Rng, Path], None]] = {
    "coco_strings": coco_strings,
    "run_lengths": run_lengths,
    "json_files": json_files,
    "rows_of_any_values": rows_of_any_values,
    "compressed": compressed,
    "parquet_files": parquet_files,
    "parquet_values": parquet_values,
    "polygons": polygons,
    "dense": dense,
    "torch_files": torch_files,
}


def run(name: str, seeds: Callable[[int], bool], first: int = 0) -> int:
    """Try seeds one after another while `seeds` says so; return how many were tried."""
    n = 0
    with tempfile.TemporaryDirectory() as folder:
        while seeds(n):
            faulthandler.dump_traceback_later(HANG_S if n else 5 * HANG_S, exit=True)
            try:
                TARGETS[name](np.random.default_rng([first + n, len(name)]), Path(folder))
            except Exception as error:
                raise AssertionError(f"{name}: seed {first + n}: {error!r}"[:4_000]) from error
            finally:
                faulthandler.cancel_dump_traceback_later()
            n += 1
    return n


if __name__ == "__main__":
    target, seconds, start = sys.argv[1], float(sys.argv[2]), int(([*sys.argv, "0"])[3])
    end = time.monotonic() + seconds
    sys.stdout.write(f"{target}: {run(target, lambda n: time.monotonic() < end, start)} tries\n")
