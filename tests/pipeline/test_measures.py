"""Figures of a unit's record against DuckDB over the tables that the unit gave."""

from __future__ import annotations

from collections import Counter
from typing import Any

import duckdb
import msgspec
import numpy as np
import pyarrow as pa
import pytest

from pipeline import estimate, measures
from pipeline.config import CompactConfig, DedupConfig, EncodeConfig, FilterConfig
from pipeline.records import CategoryCounts
from pipeline.unit import UnitResult
from tests import model
from tests.instances import to_instances
from tests.scene import compact, rectangles

SETTINGS: dict[str, dict[str, Any]] = {
    "default": {},
    "union": {"dedup": DedupConfig(threshold=0.6, merge="union", per_category=False)},
    "component": {"dedup": DedupConfig(threshold=0.5, group="component", overlap="ios")},
    "none": {"dedup": DedupConfig(group="none")},
    "crack": {"encode": EncodeConfig(encoding="crack"), "filter": FilterConfig(min_area=12)},
}


@pytest.fixture(scope="module", params=SETTINGS)
def done(request: pytest.FixtureRequest) -> tuple[list[model.Row], UnitResult, CompactConfig]:
    steps = SETTINGS[request.param]
    rows = rectangles()
    return rows, compact(rows, **steps), CompactConfig(inputs=("x",), output="y", **steps)


def query(result: UnitResult, rows: list[model.Row], sql: str) -> list[tuple[Any, ...]]:
    connection = duckdb.connect()
    connection.register("compacted", result.compacted)
    connection.register("lineage", result.lineage)
    connection.register("instances", to_instances(rows))
    return connection.sql(sql).fetchall()


BYTES = "coalesce(octet_length(counts), octet_length(crack), octet_length(polygon))"


def test_bytes_by_fate(done: tuple[list[model.Row], UnitResult, CompactConfig]) -> None:
    rows, result, _ = done
    numbers = result.record.numbers
    fates = dict(
        query(
            result,
            rows,
            """select coalesce(reason in ('merged', 'exact_duplicate'), null) is_merged,
                      sum(octet_length(i.counts))
               from instances i left join lineage l using (source, source_row) group by 1""",
        )
    )
    assert numbers["merged_mask_bytes"] == fates.get(True, 0)
    assert numbers["filtered_mask_bytes"] == fates.get(False, 0)
    assert numbers["input_mask_bytes"] == sum(fates.values())
    (total,) = query(result, rows, f"select sum({BYTES}) from compacted")
    assert numbers["stored_mask_bytes"] == total[0]


def test_categories(done: tuple[list[model.Row], UnitResult, CompactConfig]) -> None:
    rows, result, _ = done
    kept = query(
        result,
        rows,
        f"""select coalesce(category_id::varchar, 'null'), encoding, count(*), sum({BYTES}),
                   sum(fidelity) from compacted group by 1, 2""",
    )
    found = result.record.categories
    assert {(name, encoding): (n, b) for name, encoding, n, b, _ in kept} == {
        (name, encoding): (n, one.stored_bytes[encoding])
        for name, one in found.items()
        for encoding, n in one.masks.items()
    }
    merged = query(
        result,
        rows,
        """select coalesce(category_id::varchar, 'null'), count(*), sum(iou) from lineage
           where kept_instance_id is not null group by 1""",
    )
    assert {name: n for name, n, _ in merged} == {n: c.merged for n, c in found.items() if c.merged}
    for name, _, iou_sum in merged:
        assert found[name].iou_sum == pytest.approx(iou_sum)
    assert sum(c.input_bytes for c in found.values()) == result.record.numbers["input_mask_bytes"]


def test_histograms(done: tuple[list[model.Row], UnitResult, CompactConfig]) -> None:
    rows, result, _ = done
    for name, column, table in (
        ("merged_iou", "iou", "lineage"),
        ("fidelity", "fidelity", "compacted"),
    ):
        counts = [0] * measures.IOU_BINS
        sql = f"""select least(floor({column} * 100), 99)::int, count(*) from {table}
                  where {column} is not null group by 1"""
        for place, n in query(result, rows, sql):
            counts[place] = n
        assert sum(result.record.histograms[name]) == sum(counts)
        assert result.record.histograms[name] == counts
    sizes = query(
        result, rows, "select floor(log2(n_merged + 1))::int, count(*) from compacted group by 1"
    )
    assert dict(sizes) == {
        place: n for place, n in enumerate(result.record.histograms["group_size"]) if n
    }


def test_near_misses(done: tuple[list[model.Row], UnitResult, CompactConfig]) -> None:
    rows, result, config = done
    by_place = {(row.source, row.source_row): row.dense() for row in rows}
    kept = [row for row in result.compacted.to_pylist() if not row["iscrowd"]]
    found: list[float] = []
    for n, a in enumerate(kept):
        for b in kept[n + 1 :]:
            same = not config.dedup.per_category or a["category_id"] == b["category_id"]
            if a["image_id"] != b["image_id"] or not same or config.dedup.group == "none":
                continue
            one, two = (by_place[row["source"], row["source_row"]] for row in (a, b))
            area = int((one | two).sum())
            if config.dedup.overlap == "ios":
                area = min(int(one.sum()), int(two.sum()))
            found.append(int((one & two).sum()) / area)
    low, high = estimate.near_range(config.dedup.threshold)
    expected = np.histogram([v for v in found if low <= v < high], 10, (low, high))[0]
    assert result.record.histograms["near_miss"] == expected.tolist()
    near = [sample for sample in result.record.samples if sample.kind == "near_miss"]
    top = sorted((v for v in found if low <= v < high), reverse=True)
    assert (near[0].overlap if near else None) == (top[0] if top else None)


def test_neighbouring_choices_merge_as_they_say(
    done: tuple[list[model.Row], UnitResult, CompactConfig],
) -> None:
    rows, result, config = done
    numbers = result.record.numbers
    assert (
        numbers["sample_merged"]
        == query(result, rows, "select count(*) from lineage where kept_instance_id is not null")[
            0
        ][0]
    )
    for name, (_, dedup) in estimate.choices(config.dedup).items():
        other = compact(rows, dedup=dedup, filter=config.filter)
        assert numbers[f"sample_merged.{name}"] == other.record.numbers["sample_merged"]
    tried = estimate.try_encodings(result.record.masks, config.encode).sizes
    assert list(tried) == ["crack", "polygon", "rle"]
    for encoding, size in tried.items():
        other = compact(
            rows, dedup=config.dedup, filter=config.filter, encode=EncodeConfig(encoding=encoding)
        )
        assert size == other.record.numbers["stored_mask_bytes"]


def test_samples_are_the_first_of_the_tables(
    done: tuple[list[model.Row], UnitResult, CompactConfig],
) -> None:
    rows, result, config = done
    largest = [sample for sample in result.record.samples if sample.kind == "largest"]
    sql = """select instance_id, n_merged from compacted where n_merged > 0
             order by n_merged desc, instance_id limit 3"""
    assert [(one.instance_id, one.n_members) for one in largest] == query(result, rows, sql)
    certain = [sample for sample in result.record.samples if sample.kind == "least_certain"]
    sql = f"""select kept_instance_id, min({config.dedup.overlap}) from lineage
              where kept_instance_id is not null group by 1 order by 2, 1 limit 3"""
    assert [(one.instance_id, one.overlap) for one in certain] == query(result, rows, sql)
    kept = {row["instance_id"]: row for row in result.compacted.to_pylist()}
    for sample in result.record.samples:
        assert sample.source_row == kept[sample.instance_id]["source_row"]
        if config.encode.encoding == "rle":
            assert sample.stored_counts.encode() == kept[sample.instance_id]["counts"]


def test_limit_of_categories_keeps_the_sum() -> None:
    found = {str(n): CategoryCounts(masks={"rle": n + 1}, input_bytes=n) for n in range(5)}
    kept = measures.bounded(found, 2)
    assert list(kept) == ["4", "3", "other"]
    assert kept["other"].masks == {"rle": 6}
    assert sum(one.input_bytes for one in kept.values()) == 10


def test_no_rows() -> None:
    result = compact([])
    assert result.record.samples == []
    assert result.record.categories == {}
    assert isinstance(result.compacted, pa.Table)


def test_masks_tried_in_other_encodings_are_few_and_do_not_depend_on_the_units() -> None:
    rows = rectangles(40)
    whole = compact(rows, mask_fraction=0.3).record
    parts = [
        compact([r for r in rows if r.image_id % 2 == n], mask_fraction=0.3).record for n in (0, 1)
    ]
    assert Counter(map(msgspec.structs.astuple, whole.masks)) == Counter(
        map(msgspec.structs.astuple, parts[0].masks + parts[1].masks)
    )
    assert 0.15 < len(whole.masks) / whole.numbers["sample_kept"] < 0.45
    assert estimate.mask_fraction(1_000_000, 0.02) == pytest.approx(128 / 20_000)
    assert estimate.mask_fraction(0, 0.02) == 1.0


def test_masks_with_the_longest_strings_are_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rectangles(10)
    found = compact(rows).record.masks
    longest = max(len(mask.counts) for mask in found)
    monkeypatch.setattr(estimate, "STRING_BYTES", longest - 1)
    kept = compact(rows).record.masks
    assert kept == [mask for mask in found if len(mask.counts) < longest]
    assert 0 < len(kept) < len(found)


def test_no_masks_are_tried_without_loading_what_tries_them() -> None:
    found = estimate.try_encodings([], EncodeConfig())
    assert found[:2] == (0, {"crack": 0, "polygon": 0, "rle": 0})
