"""COCO strings: random and damaged ones against the plain parser, and every real mask."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import MaskError
from pipeline.masks import rle
from pipeline.masks.rle import RleCode
from tests import oracle, strategies


def runs_of(counts: bytes, size_hw: tuple[int, int]) -> list[int]:
    batch = rle.from_coco(strategies.strings_of([counts]), np.array([size_hw]))
    return strategies.list_runs(batch)[0]


def fuzz_rows(seed: int, n_rows: int) -> list[tuple[bytes, tuple[int, int]]]:
    """Return random bytes, random characters of the alphabet, and mutated valid strings."""
    rng = np.random.default_rng(seed)
    rows: list[tuple[bytes, tuple[int, int]]] = []
    for n in range(n_rows):
        size_hw = (int(rng.integers(1, 12)), int(rng.integers(1, 12)))
        if n % 4 == 0:
            chars = rng.integers(0, 256, rng.integers(0, 12)).astype(np.uint8)
        elif n % 4 == 1:
            chars = rng.integers(48, 112, rng.integers(0, 12)).astype(np.uint8)
        else:
            mask = rng.random(size_hw) < rng.random()
            chars = np.frombuffer(oracle.encode(mask), np.uint8).copy()
            for _ in range(n % 3):
                at = rng.integers(0, len(chars) + 1)
                kind = rng.integers(0, 3)
                if kind == 0:
                    chars = np.insert(chars, at, np.uint8(rng.integers(46, 114)))
                elif at < len(chars):
                    chars = np.delete(chars, at) if kind == 1 else chars
                    chars[at - 1 : at] ^= np.uint8(1 << rng.integers(0, 6))
        rows.append((chars.tobytes(), size_hw))
    return rows


def judge(counts: bytes, size_hw: tuple[int, int]) -> tuple[str, list[int]]:
    """Code and canonical runs of a string by the oracle's parser."""
    try:
        return "OK", oracle.canonical_runs(oracle.parse(size_hw, counts))
    except oracle.Refused as refused:
        return refused.code, []


def test_fuzzed_bytes_are_judged_as_by_the_plain_parser() -> None:
    rows = fuzz_rows(seed=20240501, n_rows=3000)
    sizes = np.array([size_hw for _, size_hw in rows])
    facts = rle.inspect_coco(strategies.strings_of([counts for counts, _ in rows]), sizes)
    seen: set[str] = set()
    good: list[int] = []
    for n, (counts, size_hw) in enumerate(rows):
        code, runs = judge(counts, size_hw)
        assert RleCode(facts.code_N[n]).name == code, counts
        if code != "OK":
            seen.add(code)
            with pytest.raises(MaskError, match=code):
                runs_of(counts, size_hw)
            continue
        assert facts.is_canonical_N[n] == (oracle.to_string(runs) == counts)
        assert facts.area_N[n] == sum(runs[1::2])
        assert facts.bbox_xywh_N4[n].tolist() == list(oracle.to_bbox(size_hw, counts))
        assert runs_of(counts, size_hw) == runs
        good.append(n)
    assert len(good) > 500
    assert seen >= {"RLE_SUM", "RLE_NEGATIVE", "RLE_TRUNCATED", "RLE_ALPHABET"}


def real_masks(shared_data: Path) -> list[tuple[bytes, tuple[int, int]]]:
    """Return every mask of the shared files, polygons filled by the oracle."""
    rows: list[tuple[bytes, tuple[int, int]]] = []
    for path in sorted(shared_data.glob("*_results.json")):
        for row in json.loads(path.read_text()):
            rle_dict = row["segmentation"]
            rows.append((rle_dict["counts"].encode(), tuple(rle_dict["size"])))
    lvis = json.loads((shared_data / "lvis_val_100.json").read_text())
    size_of = {image["id"]: (image["height"], image["width"]) for image in lvis["images"]}
    for row in lvis["annotations"]:
        size_hw = size_of[row["image_id"]]
        rows.append((oracle.from_polygons(row["segmentation"], *size_hw), size_hw))
    return rows


@pytest.mark.usefixtures("each_backend")
def test_real_masks(shared_data: Path) -> None:
    rows = real_masks(shared_data)
    assert len(rows) > 1000
    strings = strategies.strings_of([counts for counts, _ in rows])
    sizes = np.array([size_hw for _, size_hw in rows])
    facts = rle.inspect_coco(strings, sizes)
    assert not facts.code_N.any()
    assert facts.is_canonical_N.all()
    batch = rle.from_coco(strings, sizes)
    assert rle.to_coco(batch).bytes_B.tobytes() == strings.bytes_B.tobytes()
    assert rle.canonical_coco(strings, sizes) is strings
    assert facts.n_runs_N.tolist() == [b - a for a, b in pairwise(batch.offsets_N1.tolist())]
    for n, (counts, size_hw) in enumerate(rows):
        assert facts.area_N[n] == oracle.area(size_hw, counts)
        assert facts.bbox_xywh_N4[n].tolist() == list(oracle.to_bbox(size_hw, counts))
