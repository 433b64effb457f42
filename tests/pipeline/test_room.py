"""What a run needs by its plan, and that it is refused by name where that is not there."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline import room, storage
from pipeline.config import CompactConfig, ReadConfig, RunConfig
from pipeline.errors import StorageError
from pipeline.plan import Plan, make_plan
from pipeline.read.slices import FileScan, Slice
from pipeline.storage import InputFile
from tests.faults import small

MB = 1 << 20


def config(**run: Any) -> CompactConfig:
    return CompactConfig(
        inputs=("x",), output="y", run=RunConfig(unit_bytes=MB, **run), read=ReadConfig()
    )


def plan_of(
    sizes: dict[str, int], file_bytes: int = 3 * MB, format: str = "coco_results", ids: Any = None
) -> Plan:
    """Return the plan of files of which each is one slice that reads so many bytes."""
    files = [InputFile(uri, file_bytes, "t") for uri in sizes]
    scans = []
    for n, (uri, size) in enumerate(sizes.items()):
        low, high, sample = (ids or (lambda n: (n, n, [n])))(n)
        part = Slice(uri, format, 0, 1, 0, size, size, low, high)
        scans.append(FileScan(format, "int", [part], sample, len(sample), b""))
    return make_plan(files, scans, config())


def test_the_largest_unit_is_that_of_its_slices() -> None:
    assert plan_of({"a": MB, "b": 3 * MB, "c": 2 * MB}).largest_unit_bytes == 3 * MB
    assert plan_of({}).largest_unit_bytes == 0


def test_the_largest_partition_is_told_by_the_sample() -> None:
    # Of eight files, all over the ids 1 to 9, three of four rows are of image 5.
    sample = [1, 3, 5, 5, 5, 5, 5, 5]
    plan = plan_of(dict.fromkeys("abcdefgh", MB), ids=lambda n: (1, 9, sample))
    assert plan.bounds is not None
    assert plan.largest_unit_bytes == 6 * MB


def test_a_worker_reserves_for_the_largest_unit_and_no_more_than_an_image_may_have() -> None:
    base = room.worker_bytes(config(), 1)
    assert room.worker_bytes(config(), 10 * MB + 1) == base + 80 * MB
    most = room.worker_bytes(config(), 1 << 40)
    assert most == room.worker_bytes(config(), ReadConfig().max_image_bytes)
    assert most <= room.most_bytes(config())
    assert room.worker_bytes(config()) == room.worker_bytes(config(), 4 * MB)


def test_a_shuffle_moves_all_rows_and_other_runs_some() -> None:
    apart = plan_of(dict.fromkeys("abcdefghijkl", MB))
    assert apart.bounds is None
    assert room.moving_bytes(apart, actors=2) == 6 * MB
    mixed = plan_of(dict.fromkeys("abcdefgh", MB), ids=lambda n: (1, 9, [1, 3, 5, 7]))
    assert mixed.bounds is not None
    assert room.moving_bytes(mixed, actors=2) == 8 * MB + 6 * mixed.largest_unit_bytes


def test_spill_volumes_count_up_to_where_ray_uses_them() -> None:
    volumes = {"/tmp/ray on 10.0.0.1": (40, 100), "/data on 10.0.0.2": (3, 100)}
    room.require_spill(44, 10, volumes)
    message = r"/tmp/ray on 10\.0\.0\.1 has .* free.*/data on 10\.0\.0\.2 has 0\.00 GB"
    with pytest.raises(StorageError, match=message):
        room.require_spill(47, 10, volumes)


def test_what_is_written_is_at_most_what_parquet_has_and_half_of_text() -> None:
    assert room.written_bytes(plan_of({"a": 8 * MB, "b": 2 * MB})) == 5 * MB
    assert room.written_bytes(plan_of({"a": 8 * MB, "b": MB}, format="parquet")) == 6 * MB


def test_a_volume_without_room_is_named_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = small.configure(small.write_inputs(tmp_path / "in"), tmp_path / "far" / "out")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=100))
    with pytest.raises(StorageError, match=r"far/out: expected 0\.00 GB .* volume has 0\.00 GB"):
        small.run(settings)
    assert not (tmp_path / "far").exists()
    forced = CompactConfig(**{**vars(settings), "run": RunConfig(check_space=False)})
    assert small.run(forced).state == "published"


def test_what_an_earlier_attempt_wrote_is_not_needed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = f"file://{tmp_path}"
    plan = plan_of({"a": 4 * MB, "b": 4 * MB, "c": 4 * MB, "d": 4 * MB})
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=2 * MB))
    with pytest.raises(StorageError):
        room.require_output(plan, output, config())
    for unit in range(3):
        storage.write_bytes(f"{output}/runs/{plan.run_id}/units/{unit:05d}.json", b"{}")
    room.require_output(plan, output, config())
    with pytest.raises(StorageError):
        room.require_output(plan, output, config(resume=False))


def test_object_stores_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: pytest.fail("asked"))
    room.require_output(plan_of({"a": 1 << 60}), "s3://bucket/out", config())
