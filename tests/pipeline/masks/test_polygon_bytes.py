"""Polygon bytes that others wrote: golden files, and values that nobody would write."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import MaskError
from pipeline.masks.batch import CocoStrings
from pipeline.masks.measure import bbox_xywh
from pipeline.masks.polygon import PolygonRings, decode_polygon, encode_polygon, polygon_rings
from pipeline.masks.rle import to_coco
from tests import oracle, strategies
from tests.golden import make_polygon

READ = make_polygon.load_reader()
SOUND = json.loads((make_polygon.FOLDER / "masks.json").read_text())
FAULTS = json.loads((make_polygon.FOLDER / "faults.json").read_text())


def columns_of(entries: list[dict[str, Any]]) -> Any:
    strings = strategies.strings_of([bytes.fromhex(entry["polygon"]) for entry in entries])
    boxes = np.array([entry["bbox"] for entry in entries], np.int32)
    return (*strings, boxes, np.array([entry["size"] for entry in entries], np.int32))


def rings_of(rings: PolygonRings, n: int) -> list[list[float]]:
    first, last = rings.mask_ring_offsets_N1[n : n + 2]
    cuts = rings.ring_offsets_K1[first : last + 1].tolist()
    return [rings.xy_V[a:b].tolist() for a, b in pairwise(cuts)]


def is_sound(value: bytes, box: list[int], size: tuple[int, int]) -> bool:
    """Judge a value by the page's reader, the page's rules and pycocotools."""
    try:
        parts = READ(value, box[0], box[1])
    except (IndexError, AssertionError):
        return False
    step = 2 ** (value[0] & 3) / 2
    limits = [-(-side // step) * step for side in (size[1], size[0])]
    points = [point for part in parts for point in part]
    if any(not 0 <= v <= limit for p in points for v, limit in zip(p, limits, strict=True)):
        return False
    rings = [[float(v) for point in part for v in point] for part in parts]
    drawn = oracle.from_polygons(rings, *size)
    if oracle.area(size, drawn) == 0 or list(oracle.to_bbox(size, drawn)) != box:
        return False
    # The reader of the page takes numbers that are longer than they need be; no others do.
    return rewritten(value) == value


def rewritten(value: bytes) -> bytes:
    """The same numbers, each in as few bytes as it needs."""
    found, number, shift = b"", 0, 0
    for byte in value:
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            found += make_polygon.integer(number)
            number, shift = 0, 0
    return found


def decoded(value: bytes, box: list[int], size: tuple[int, int]) -> bytes | None:
    """String of the mask, None where the value is refused by its row."""
    columns = columns_of([{"polygon": value.hex(), "bbox": box, "size": size}])
    message = "row 0"
    found = None
    try:
        found = strategies.list_strings(to_coco(decode_polygon(*columns)))[0]
    except MaskError as error:
        message = str(error)
    assert "row 0" in message
    return found


def test_golden_files_are_what_the_script_writes() -> None:
    for name, text in make_polygon.files().items():
        assert (make_polygon.FOLDER / name).read_text(encoding="utf-8") == text


@pytest.mark.parametrize("entry", SOUND, ids=lambda entry: entry["name"])
def test_golden_masks(entry: dict[str, Any]) -> None:
    columns = columns_of([entry])
    assert rings_of(polygon_rings(*columns), 0) == entry["rings"]
    batch = decode_polygon(*columns)
    assert strategies.list_strings(to_coco(batch)) == [entry["counts"].encode()]
    assert bbox_xywh(batch).tolist() == [entry["bbox"]]
    parts = READ(bytes.fromhex(entry["polygon"]), *entry["bbox"][:2])
    assert [[v for point in part for v in point] for part in parts] == entry["rings"]


@pytest.mark.parametrize("entry", FAULTS, ids=lambda entry: entry["name"])
def test_golden_faults(entry: dict[str, Any]) -> None:
    rows = [SOUND[0], SOUND[3], entry, SOUND[1]]
    with pytest.raises(MaskError, match=f"row 2 is damaged: .*{entry['cause']}"):
        decode_polygon(*columns_of(rows))
    assert not is_sound(bytes.fromhex(entry["polygon"]), entry["bbox"], tuple(entry["size"]))


@given(st.sampled_from(SOUND[:9]), st.data())
@settings(max_examples=150)
def test_fuzz_changed_values(entry: dict[str, Any], data: st.DataObject) -> None:
    """Taken is exactly what the page and pycocotools make a mask with that box of."""
    value, box = bytearray.fromhex(entry["polygon"]), list(entry["bbox"])
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(value)))
        new = data.draw(st.one_of(st.integers(0, 24), st.integers(0, 255)))
        kind = data.draw(st.sampled_from(["set", "set", "insert", "delete", "cut", "box"]))
        if kind == "set":
            value[place : place + 1] = [new]
        elif kind == "insert":
            value[place:place] = [new]
        elif kind == "delete":
            value[place : place + 1] = []
        elif kind == "cut":
            value[place:] = []
        else:
            box[data.draw(st.integers(0, 3))] += data.draw(st.sampled_from([-1, 1]))
    size = tuple(entry["size"])
    counts = decoded(bytes(value), box, size)
    assert (counts is not None) == is_sound(bytes(value), box, size), (value.hex(), box)


@given(st.binary(max_size=60), st.tuples(*[st.integers(-(2**31), 2**31 - 1)] * 4))
@settings(max_examples=200)
def test_fuzz_random_bytes_in_any_box(value: bytes, box: tuple[int, ...]) -> None:
    for size in ((7, 8), (46000, 46000), (1, 2**31 - 1), (2**31 - 1, 1)):
        columns = columns_of([{"polygon": value.hex(), "bbox": box, "size": size}])
        message = "row 0"
        try:
            assert len(polygon_rings(*columns).xy_V) <= 8 * len(value)
        except MaskError as error:
            message = str(error)
        assert "row 0" in message


def test_fuzz_whole_columns() -> None:
    """Many values at once: every row is judged as it is alone, and the first at fault is named."""
    rng = np.random.default_rng(11)
    y, x = np.mgrid[:40, :50]
    wide_M, radius_M = rng.uniform(0.5, 1, 30), rng.uniform(4, 18, 30)
    masks = [
        np.hypot(y - 20, (x - 25) * wide) < radius
        for wide, radius in zip(wide_M, radius_M, strict=True)
    ]
    coded = encode_polygon(strategies.to_batch(masks), 0.9)
    values = strategies.list_strings(CocoStrings(coded.bytes_B, coded.offsets_N1))
    entries = []
    for n in rng.integers(0, len(values), 1500):
        value = bytearray(values[n])
        for place in rng.integers(0, len(value), rng.integers(0, 3)):
            value[place] = rng.integers(0, 256) if rng.random() < 0.5 else value[place] ^ 1
        box = coded.bbox_xywh_N4[n].tolist()
        entries.append({"polygon": bytes(value).hex(), "bbox": box, "size": [40, 50]})
    alone = [decoded(bytes.fromhex(e["polygon"]), e["bbox"], (40, 50)) for e in entries]
    is_bad = np.array([counts is None for counts in alone])
    assert 0.2 < is_bad.mean() < 0.8
    sound = [entry for entry, bad in zip(entries, is_bad, strict=True) if not bad]
    batch = decode_polygon(*columns_of(sound))
    assert strategies.list_strings(to_coco(batch)) == [c for c in alone if c is not None]
    for first in np.flatnonzero(is_bad)[:20]:
        rows = [*sound[:3], entries[first], *sound[3:5]]
        with pytest.raises(MaskError, match="row 3 is damaged"):
            decode_polygon(*columns_of(rows))
