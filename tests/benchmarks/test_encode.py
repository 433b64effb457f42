"""The parts of the encoding benchmark that must be right: what it reads, what it counts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.encode import Masks, column_bytes, compare_bytes, from_file, has_polygons
from benchmarks.files import to_binary
from pipeline.masks import rle
from tests import oracle, strategies


def test_polygons_and_both_forms_of_rle_are_read(tmp_path: Path) -> None:
    dense = np.zeros((6, 7), bool)
    dense[1:4, 2:6] = True
    string = oracle.encode(dense).decode()
    polygon = [[2, 1, 6, 1, 6, 4, 2, 4]]
    plain = {"size": [6, 7], "counts": oracle.parse((6, 7), string.encode())}
    segmentations = [polygon, plain, {"size": [6, 7], "counts": string}]
    document = {
        "images": [{"id": 5, "height": 6, "width": 7}],
        "annotations": [{"image_id": 5, "segmentation": value} for value in segmentations],
    }
    path = tmp_path / "some.json"
    path.write_text(json.dumps(document))
    masks = from_file(path)
    assert (masks.name, masks.size_hw_N2.tolist()) == ("some", [[6, 7]] * 3)
    assert strategies.list_strings(masks.strings) == [string.encode()] * 3
    assert has_polygons(path)
    enlarged = from_file(path, 14)
    square = np.zeros((12, 14), bool)
    square[2:8, 4:12] = True
    assert enlarged.size_hw_N2.tolist() == [[12, 14]]
    assert strategies.list_strings(enlarged.strings) == [oracle.encode(square)]
    path.write_text(json.dumps(document["annotations"][1:]))
    assert not has_polygons(path)
    assert strategies.list_strings(from_file(path).strings) == [string.encode()] * 2


def test_bytes_of_a_column_are_those_of_its_pages() -> None:
    noise = np.random.default_rng(0).integers(0, 256, 50_000, np.uint8)
    offsets = np.arange(0, 50_001, 50)
    assert 50_000 <= column_bytes(to_binary(noise, offsets)) < 51_000
    assert column_bytes(pa.array([], pa.large_binary())) == 0


def test_every_encoding_is_counted() -> None:
    y, x = np.mgrid[:60, :60]
    discs = np.stack([(x - 30) ** 2 + (y - 30) ** 2 < r * r for r in range(8, 28)])
    strings = strategies.to_strings(discs)
    sizes_N2 = strategies.sizes_of(discs)
    cost = compare_bytes(Masks("discs", strings, sizes_N2), rle.from_coco(strings, sizes_N2))
    assert 0 < cost["crack"] < cost["rle"]
    assert 0 <= cost["polygon_share"] <= 1
    assert cost["polygon_min_fidelity"] >= 0.98
