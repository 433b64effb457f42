"""Masks as columns and back: lossless forms give the identical string, polygons keep the floor."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.columns import from_strings, to_strings
from pipeline.config import EncodeConfig
from pipeline.errors import MaskError
from pipeline.masks import contour, rle
from pipeline.masks.batch import MaskBatch
from pipeline.stored import StoredMasks, coco_counts, store_masks
from tests import oracle
from tests.strategies import bitmaps, list_strings
from tests.strategies import to_strings as strings_of_masks

ENCODINGS = ("rle", "crack", "polygon")


def rows_of(masks: list[Any]) -> pa.Table:
    heights, widths = [m.shape[0] for m in masks], [m.shape[1] for m in masks]
    return pa.table(
        {"height": pa.array(heights, pa.int32()), "width": pa.array(widths, pa.int32())}
    )


def as_table(stored: StoredMasks, rows: pa.Table) -> pa.Table:
    boxes = {f"bbox_{name}": stored.bbox_xywh_M4[:, n] for n, name in enumerate("xywh")}
    return pa.table({**stored.columns, **boxes, "height": rows["height"], "width": rows["width"]})


@pytest.mark.parametrize("encoding", ENCODINGS)
@settings(max_examples=60)
@given(masks=st.lists(bitmaps(), max_size=5), fidelity=st.sampled_from([0.8, 0.98, 1.0]))
def test_every_encoding_reads_back(encoding: Any, masks: list[Any], fidelity: float) -> None:
    rows, counts = rows_of(masks), from_strings(strings_of_masks(masks))
    config = EncodeConfig(encoding=encoding, fidelity=fidelity)
    stored = store_masks(counts, rows, config)
    table = as_table(stored, rows)
    one_each = [
        sum(row[name] is not None for name in ("counts", "crack", "polygon"))
        for row in table.to_pylist()
    ]
    assert one_each == [1] * len(masks)
    back = list_strings(to_strings(coco_counts(table)))
    for n, (mask, value) in enumerate(zip(masks, back, strict=True)):
        size = mask.shape
        drawn = oracle.decode(size, value).astype(bool)
        union = int((drawn | mask).sum())
        iou = int((drawn & mask).sum()) / union if union else 1.0
        assert stored.fidelity_M[n] == iou
        assert iou >= fidelity
        assert stored.area_M[n] == drawn.sum()
        if table["encoding"][n].as_py() != "polygon":
            assert value == oracle.encode(mask)


def test_a_giant_without_crack_code_stays_a_string() -> None:
    size_hw = np.array([[1, 2**30]], np.int32)
    giant = MaskBatch(size_hw, np.array([0, 2**30], np.uint32), np.array([0, 2]))
    assert not contour.fits_crack(giant).all()
    counts = from_strings(rle.to_coco(giant))
    rows = pa.table({"height": pa.array(size_hw[:, 0]), "width": pa.array(size_hw[:, 1])})
    for encoding in ("crack", "polygon"):
        stored = store_masks(counts, rows, EncodeConfig(encoding=encoding))
        assert stored.columns["encoding"].to_pylist() == ["rle"]
        assert stored.columns["counts"].to_pylist() == counts.to_pylist()


def test_unknown_encoding_is_named() -> None:
    mask = np.ones((2, 2), bool)
    rows = rows_of([mask, mask])
    stored = store_masks(from_strings(strings_of_masks([mask, mask])), rows, EncodeConfig())
    table = as_table(stored, rows)
    bad = table.set_column(0, "encoding", pa.array(["rle", "jpeg"]))
    with pytest.raises(MaskError, match=r"row 1: .*'jpeg'"):
        coco_counts(bad)
