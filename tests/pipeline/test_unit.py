"""A unit of work against the slow model, for every policy, on masks from Hypothesis."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import CompactConfig, DedupConfig, FilterConfig
from pipeline.records import SourceCounts, UnitRecord
from pipeline.unit import UnitResult, compact_unit
from schemas.rejects import rejects_schema
from tests import model, oracle
from tests.instances import to_instances
from tests.strategies import bitmaps_of

POLICIES = [
    {},
    {"merge": "union"},
    {"merge": "vote"},
    {"merge": "vote", "vote_fraction": 1.0},
    {"overlap": "ios"},
    {"overlap": "ios", "merge": "union", "per_category": False},
    {"group": "component"},
    {"group": "component", "merge": "union", "per_category": False},
    {"group": "component", "merge": "vote", "overlap": "ios"},
    {"group": "none"},
    {"per_category": False},
    {"across": True, "per_category": False},
    {"across": True, "group": "component", "source_priority": ("b", "a")},
]


@st.composite
def model_rows(draw: st.DrawFn) -> list[model.Row]:
    """Rows of one to three images, with many ties, near copies and every kind of null."""
    rows: list[model.Row] = []
    for image_id in draw(st.lists(st.integers(-2, 5), min_size=1, max_size=3, unique=True)):
        height, width = draw(st.integers(1, 9)), draw(st.integers(1, 9))
        masks = draw(st.lists(bitmaps_of((height, width)), min_size=1, max_size=3))
        for _ in range(draw(st.integers(1, 7))):
            mask = masks[draw(st.integers(0, len(masks) - 1))].copy()
            if draw(st.booleans()):
                y, x = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
                mask[y, x] = not mask[y, x]
            rows.append(
                model.Row(
                    image_id=image_id,
                    input_id=draw(st.none() | st.integers(0, 3)),
                    category_id=draw(st.none() | st.integers(1, 2)),
                    score=draw(st.none() | st.sampled_from([0.0, -0.0, 0.5, 0.9])),
                    iscrowd=draw(st.sampled_from([False, False, False, True])),
                    height=height,
                    width=width,
                    mask=oracle.encode(mask),
                    source=draw(st.sampled_from(["a.json", "b.json"])),
                    source_row=len(rows),
                    origin=draw(st.sampled_from(["a", "b", "c"])),
                )
            )
    return rows


def no_payloads(uri: str, rows: Any) -> list[tuple[int | None, bytes]]:
    return [(None, f"{uri}#{row}".encode()) for row in rows]


def compact(rows: list[model.Row], **settings: Any) -> UnitResult:
    across = {"source_column": "origin"} if settings.get("across") else {}
    filters = {name: settings.pop(name) for name in ("min_score", "min_area") if name in settings}
    config = CompactConfig(
        inputs=("x",),
        output="y",
        dedup=DedupConfig(**settings, **across),
        filter=FilterConfig(**filters),
    )
    record = UnitRecord(0, "run")
    for row in rows:
        record.sources.setdefault(row.source, SourceCounts()).read += 1
    empty = rejects_schema().empty_table()
    instances = to_instances(rows, "origin")
    return compact_unit(instances, empty, record, config, 1.0, no_payloads)


def outcome(result: UnitResult) -> tuple[list[Any], list[Any], list[Any]]:
    kept = result.compacted.to_pylist()
    place = {row["instance_id"]: (row["source"], row["source_row"]) for row in kept}
    return (
        [
            (row["source"], row["source_row"], row["counts"], row["n_merged"], row["area"])
            for row in kept
        ],
        sorted(
            (
                row["source"],
                row["source_row"],
                row["reason"],
                place.get(row["kept_instance_id"]),
                row["iou"],
                row["ios"],
                row["linked_source_row"],
            )
            for row in result.lineage.to_pylist()
        ),
        sorted(
            (row["source"], row["source_row"], row["code"]) for row in result.rejects.to_pylist()
        ),
    )


def expected_outcome(rows: list[model.Row], policy: model.Policy) -> tuple[list[Any], ...]:
    expected = model.run(rows, policy)
    return (
        [
            (row["source"], row["source_row"], row["mask"], row["n_merged"], row["area"])
            for row in expected.kept
        ],
        sorted(
            (
                row["source"],
                row["source_row"],
                row["reason"],
                row["leader"],
                row["iou"],
                row["ios"],
                row["linked"] and row["linked"][1],
            )
            for row in expected.lineage
        ),
        sorted((row["source"], row["source_row"], row["code"]) for row in expected.rejects),
    )


@pytest.mark.parametrize("policy", POLICIES, ids=repr)
@settings(max_examples=40)
@given(rows=model_rows(), threshold=st.sampled_from([0.3, 0.5, 0.8, 1.0]))
def test_unit_equals_model(policy: dict[str, Any], rows: list[model.Row], threshold: float) -> None:
    result = compact(rows, threshold=threshold, **policy)
    assert outcome(result) == expected_outcome(rows, model.Policy(threshold=threshold, **policy))
    for counts in result.record.sources.values():
        assert counts.is_conserved()


@settings(max_examples=40)
@given(rows=model_rows(), data=st.data())
def test_row_order_changes_nothing(rows: list[model.Row], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(rows))
    a, b = compact(rows), compact(list(shuffled))
    assert a.compacted.equals(b.compacted)
    assert a.lineage.equals(b.lineage)


@settings(max_examples=40)
@given(rows=model_rows(), min_score=st.none() | st.just(0.5), min_area=st.integers(0, 4))
def test_filters_equal_model(rows: list[model.Row], min_score: float | None, min_area: int) -> None:
    result = compact(rows, min_score=min_score, min_area=min_area)
    policy = model.Policy(min_score=min_score, min_area=min_area)
    assert outcome(result) == expected_outcome(rows, policy)


def row(image_id: int | str, mask: bytes, n: int, size: tuple[int, int] = (2, 2)) -> model.Row:
    return model.Row(image_id, None, 1, 0.5, False, *size, mask, source_row=n)


def test_images_with_two_sizes_are_rejected_whole() -> None:
    full, wide = oracle.encode(model_mask(2, 2)), oracle.encode(model_mask(2, 3))
    rows = [row(1, full, 0), row(1, wide, 1, (2, 3)), row(2, full, 2)]
    result = compact(rows)
    rejects = result.rejects.to_pylist()
    assert [(r["source_row"], r["code"], r["payload"]) for r in rejects] == [
        (0, "SIZE_MISMATCH", b"a.json#0"),
        (1, "SIZE_MISMATCH", b"a.json#1"),
    ]
    assert result.compacted["image_id"].to_pylist() == [2]
    assert result.record.rejects == {"SIZE_MISMATCH": 2}


def test_instance_id_is_a_function_of_image_and_place() -> None:
    full = oracle.encode(model_mask(2, 2))
    ids = [
        compact([row(image_id, full, 0)]).compacted["instance_id"][0].as_py()
        for image_id in (3, (1 << 38) - 1, 1 << 38, -1, "3")
    ]
    assert ids[0] == 3 << 24
    assert ids[1] == ((1 << 38) - 1) << 24
    assert all(value >= 1 << 62 for value in ids[2:])
    assert len(set(ids)) == len(ids)


def test_a_mask_keeps_its_id_when_the_threshold_changes() -> None:
    full = model_mask(2, 2)
    half = full.copy()
    half[:, 1] = False
    rows = [row(1, oracle.encode(full), 0), row(1, oracle.encode(half), 1)]
    low, high = compact(rows, threshold=0.5), compact(rows, threshold=0.8)
    assert low.compacted["instance_id"].to_pylist() == [1 << 24]
    assert high.compacted["instance_id"].to_pylist() == [1 << 24, (1 << 24) + 1]


def test_no_rows_give_empty_tables() -> None:
    result = compact([])
    assert [len(table) for table in result[:3]] == [0, 0, 0]
    assert isinstance(result.compacted, pa.Table)


def model_mask(height: int, width: int) -> np.ndarray:
    return np.ones((height, width), bool)
