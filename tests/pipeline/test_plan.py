"""Units and partitions: no image in two of them, whatever the files look like."""

from __future__ import annotations

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import CompactConfig, DedupConfig, ReadConfig, RunConfig
from pipeline.errors import SchemaError
from pipeline.plan import UNIT_SLICES, make_plan, name_run, partition_rows, quantile_bounds
from pipeline.read.slices import FileScan, Slice, SourceContext
from pipeline.storage import InputFile


def config(unit_bytes: int = 100, **steps: object) -> CompactConfig:
    return CompactConfig(
        inputs=("x",),
        output="y",
        run=RunConfig(unit_bytes=unit_bytes),
        **steps,  # pyright: ignore
    )


def part(uri: str, first_row: int, low: int | str | None, high: int | str | None) -> Slice:
    return Slice(uri, "f", first_row, 1, 0, 10, 60, low, high)


def scanned(slices: list[Slice], sample: list[int], extras: bytes = b"") -> FileScan:
    return FileScan("f", "int", slices, sample, len(sample), b"", source=SourceContext(extras))


def file(uri: str, tag: str = "t") -> InputFile:
    return InputFile(uri, 10, tag)


def test_disjoint_files_are_not_shuffled_and_lie_in_order_of_image() -> None:
    scans = [scanned([part("a", 0, 50, 90)], [50, 90]), scanned([part("b", 0, 1, 49)], [1, 49])]
    plan = make_plan([file("a"), file("b")], scans, config())
    assert plan.bounds is None
    assert [[p.uri for p in unit.slices] for unit in plan.read_units] == [["b"], ["a"]]


def test_small_disjoint_files_share_a_unit() -> None:
    scans = [scanned([part(u, 0, n, n)], [n]) for n, u in enumerate("abc")]
    plan = make_plan([file(u) for u in "abc"], scans, config(unit_bytes=120))
    assert [len(unit.slices) for unit in plan.read_units] == [2, 1]


def test_a_unit_has_so_many_small_files_at_most() -> None:
    names = [f"{n:05d}" for n in range(2 * UNIT_SLICES + 5)]
    scans = [scanned([part(name, 0, n, n)], [n]) for n, name in enumerate(names)]
    plan = make_plan([file(name) for name in names], scans, config(unit_bytes=1 << 30))
    assert [len(unit.slices) for unit in plan.read_units] == [UNIT_SLICES, UNIT_SLICES, 5]


def test_overlapping_files_that_are_small_meet_in_one_unit() -> None:
    scans = [scanned([part(u, 0, 1, 9)], [1, 9]) for u in "abc"]
    plan = make_plan([file(u) for u in "abc"], scans, config())
    assert plan.bounds is None
    assert plan.n_units == 1


def test_overlapping_files_that_are_large_are_shuffled() -> None:
    scans = [scanned([part(u, 0, 1, 9)], list(range(1, 10))) for u in "abcdefgh"]
    plan = make_plan([file(u) for u in "abcdefgh"], scans, config())
    assert plan.bounds is not None
    assert plan.n_units == len(plan.bounds) + 1
    assert sum(len(unit.slices) for unit in plan.read_units) == 8


def test_slice_without_usable_rows_is_read_too() -> None:
    scans = [scanned([part("a", 0, None, None)], []), scanned([part("b", 0, 1, 2)], [1])]
    plan = make_plan([file("a"), file("b")], scans, config())
    assert sum(len(unit.slices) for unit in plan.read_units) == 2


@given(
    ids=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=60),
    n_partitions=st.integers(1, 9),
)
def test_partitions_are_ranges_of_image_id(ids: list[int], n_partitions: int) -> None:
    scans = [scanned([part("a", 0, min(ids), max(ids))], sorted(ids))]
    bounds = quantile_bounds(scans, n_partitions)
    assert len(bounds) < n_partitions
    found = partition_rows(pa.chunked_array([pa.array(ids, pa.int64())]), bounds)
    order = np.argsort(ids, kind="stable")
    assert (np.diff(found[order]) >= 0).all()
    assert set(found.tolist()) == set(range(len(bounds) + 1))


@given(ids=st.lists(st.text(max_size=3), min_size=1, max_size=30), n=st.integers(1, 5))
def test_partitions_of_strings_follow_their_bytes(ids: list[str], n: int) -> None:
    ordered = sorted(ids, key=str.encode)
    scans = [FileScan("f", "string", [part("a", 0, ordered[0], ordered[-1])], ordered, None, b"")]
    bounds = quantile_bounds(scans, n)
    found = partition_rows(pa.chunked_array([pa.array(ids, pa.large_string())]), bounds)
    by_bytes = sorted(range(len(ids)), key=lambda k: ids[k].encode())
    assert (np.diff(found[by_bytes]) >= 0).all()


def test_mixed_id_types_are_refused_by_name() -> None:
    text = FileScan("f", "string", [part("b", 0, "1", "2")], ["1"], 1, b"")
    scans = [scanned([part("a", 0, 1, 2)], [1]), text]
    with pytest.raises(SchemaError, match=r"integers in a and strings in b.*--read\.id_mode"):
        make_plan([file("a"), file("b")], scans, config())
    chosen = config(read=ReadConfig(id_mode="int"))
    assert make_plan([file("a")], scans[:1], chosen).id_type == "int"


def test_extra_columns_unite_and_contradictions_are_refused() -> None:
    def extras(dtype: pa.DataType) -> bytes:
        return pa.schema([("depth", dtype)]).serialize().to_pybytes()

    slices = [[part("a", 0, 1, 1)], [part("b", 0, 2, 2)]]
    same = [scanned(s, [1], extras(pa.float64())) for s in slices]
    plan = make_plan([file("a"), file("b")], same, config())
    assert pa.ipc.read_schema(pa.py_buffer(plan.extras)).field("depth").type == pa.float64()
    other = [same[0], scanned(slices[1], [2], extras(pa.int64()))]
    with pytest.raises(SchemaError, match=r"'depth'.*double in a and int64 in b"):
        make_plan([file("a"), file("b")], other, config())


def test_two_kinds_of_category_ids_are_refused_by_name() -> None:
    own = scanned([part("a", 0, 1, 1)], [1])
    other = msgspec.structs.replace(scanned([part("b", 0, 2, 2)], [2]), category_space="contiguous")
    with pytest.raises(SchemaError, match=r"ids in b and dataset ids in a.*category_space"):
        make_plan([file("a"), file("b")], [own, other], config())


def test_run_id_names_content_and_settings_only() -> None:
    inventory = [InputFile("a", 10, "t", ctime_ns=1)]
    name = name_run(inventory, config())
    assert len(name) == 16
    assert name == name_run([InputFile("a", 10, "t", ctime_ns=2)], config(unit_bytes=7))
    assert name != name_run([InputFile("a", 10, "u", ctime_ns=1)], config())
    assert name != name_run(inventory, config(dedup=DedupConfig(threshold=0.7)))


def test_sample_holds_two_hundred_images_where_there_are_so_many() -> None:
    def fraction(n_images: int) -> float:
        scan = FileScan("f", "int", [part("a", 0, 1, 2)], [1], n_images, b"")
        return make_plan([file("a")], [scan], config()).sample_fraction

    assert fraction(100) == 1.0
    assert fraction(1_000) == 0.2
    assert fraction(1_000_000) == 0.02
