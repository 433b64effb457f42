"""Lossless is lossless: the same COCO string comes back through written Parquet files."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pipeline
from pipeline.config import CompactConfig, DedupConfig, EncodeConfig
from tests import model, oracle
from tests.outputs import run_inline
from tests.strategies import Bitmap, bitmaps

EVERY_ROW = DedupConfig(group="none")
LOSSLESS = [
    EncodeConfig(encoding="rle"),
    EncodeConfig(encoding="crack"),
    EncodeConfig(encoding="polygon", fidelity=1.0),
]
LOADERS = {
    "lvis_val_100.json": model.load_annotations,
    "instances_val2014_fakesegm100_results.json": model.load_results,
    "detectron2_mask_rcnn_coco_instances_results.json": model.load_results,
}


def strings_after(path: Path, encode: EncodeConfig, output: Path) -> dict[int, bytes]:
    """Compact a file without dedup; return the stored masks by source_row."""
    run_inline(
        CompactConfig(inputs=(str(path),), output=str(output), dedup=EVERY_ROW, encode=encode)
    )
    found: dict[int, bytes] = {}
    for image in pipeline.load(str(output)):
        for row in image.rows.to_pylist():
            assert row["fidelity"] == 1.0
            found[row["source_row"]] = row["counts"]
    return found


@pytest.mark.parametrize("encode", LOSSLESS, ids=lambda encode: encode.encoding)
@pytest.mark.parametrize("name", LOADERS)
def test_every_real_mask_comes_back(
    name: str, encode: EncodeConfig, shared_data: Path, tmp_path: Path
) -> None:
    found = strings_after(shared_data / name, encode, tmp_path / "out")
    given_rows = LOADERS[name](shared_data / name)
    assert found == {
        row.source_row: row.mask
        for row in given_rows
        if oracle.area((row.height, row.width), row.mask)
    }
    assert len(found) > 190


@settings(max_examples=25, deadline=None)
@given(masks=st.lists(bitmaps(), min_size=1, max_size=6), encode=st.sampled_from(LOSSLESS))
def test_any_mask_comes_back(masks: list[Bitmap], encode: EncodeConfig) -> None:
    strings = [oracle.encode(mask) for mask in masks]
    rows: list[dict[str, Any]] = [
        {
            "image_id": n,
            "category_id": 1,
            "score": 0.5,
            "segmentation": {"size": list(mask.shape), "counts": string.decode()},
        }
        for n, (mask, string) in enumerate(zip(masks, strings, strict=True))
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "results.json"
        path.write_text(json.dumps(rows))
        found = strings_after(path, encode, Path(folder) / "out")
    assert found == {n: strings[n] for n, mask in enumerate(masks) if mask.any()}
