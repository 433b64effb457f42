"""What a run leaves behind for its successor, and what a successor may trust."""

from __future__ import annotations

from pathlib import Path

from pipeline import runs
from pipeline.plan import Plan
from pipeline.records import DataFile, UnitRecord


def plan(run_id: str = "ab") -> Plan:
    return Plan(
        run_id=run_id,
        inventory=[],
        formats={},
        contexts={},
        id_type="int",
        extras=b"",
        read_units=[],
        bounds=["a", "é"],
        n_rows=0,
        sample_fraction=0.02,
    )


def record(unit: int, output: Path, data: bytes | None) -> UnitRecord:
    file = DataFile("compacted", f"part-{unit}.parquet", 1, 4, "digest")
    if data is not None:
        (output / "compacted").mkdir(exist_ok=True)
        (output / "compacted" / file.name).write_bytes(data)
    return UnitRecord(unit, "ab", files=[file])


def test_plan_is_read_back(tmp_path: Path) -> None:
    uri = f"file://{tmp_path}"
    assert runs.read_plan(uri, "ab") is None
    runs.begin(plan(), uri)
    assert runs.read_plan(uri, "ab") == plan()
    assert runs.read_plan(uri, "cd") is None


def test_only_records_whose_files_are_whole_count(tmp_path: Path) -> None:
    uri = f"file://{tmp_path}"
    whole = record(0, tmp_path, b"1234")
    for entry in (whole, record(1, tmp_path, None), record(2, tmp_path, b"123")):
        runs.write_record(uri, entry)
    assert runs.read_records(uri, "ab") == [whole]


def test_beginning_again_forgets_the_records(tmp_path: Path) -> None:
    uri = f"file://{tmp_path}"
    runs.write_record(uri, record(0, tmp_path, b"1234"))
    runs.begin(plan(), uri)
    assert runs.read_records(uri, "ab") == []
