"""Running a published run again: what is live must be there, whole, or be made so, or be named."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import flow, sink, storage
from pipeline.config import CompactConfig
from pipeline.errors import StorageError
from pipeline.publish import damaged_files, inspect_target
from pipeline.records import TABLES
from tests.faults import small
from tests.pipeline.conftest import output_uri, s3_server, s3_uri
from tests.published import publish_run

__all__ = ["output_uri", "s3_server", "s3_uri"]

Damage = Callable[[Path], object]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[CompactConfig, Path]:
    folder = tmp_path_factory.mktemp("rebuild")
    config = small.configure(small.write_inputs(folder / "in"), folder / "out")
    small.run(config)
    return config, folder / "out"


@pytest.fixture
def config(sound: tuple[CompactConfig, Path], tmp_path: Path) -> CompactConfig:
    """Return the settings of a run that has landed, in a copy of its output."""
    shutil.copytree(sound[1], tmp_path / "out")
    return small.configure([Path(text) for text in sound[0].inputs], tmp_path / "out")


def live(config: CompactConfig) -> dict[str, bytes]:
    out = Path(config.output)
    return {name: (out / name).read_bytes() for name in sorted(small.live_files(out))}


def test_damaged_files_are_found_by_one_listing(output_uri: str) -> None:
    assert damaged_files(inspect_target(output_uri, [])) == {}
    publish_run(output_uri, 1)
    target = inspect_target(output_uri, [])
    assert damaged_files(target) == {}
    names = storage.list_names(storage.join(output_uri, "compacted"))
    first, second = [name for name in names if name.endswith(".parquet")]
    storage.remove(storage.join(output_uri, "compacted", first))
    storage.write_bytes(storage.join(output_uri, "compacted", second), b"cut")
    found = damaged_files(target)
    assert found[f"compacted/{first}"] == "is missing"
    assert found[f"compacted/{second}"].startswith("has 3 bytes instead of ")
    assert len(found) == 2


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("damage", [Path.unlink, cut], ids=["missing", "cut"])
def test_damaged_files_are_written_anew_with_the_same_bytes(
    config: CompactConfig, table: str, damage: Damage
) -> None:
    whole = live(config)
    damaged = next(name for name in whole if name.startswith(f"{table}/"))
    damage(Path(config.output) / damaged)
    with small.counted_units() as written:
        outcome = small.run(config)
    assert (outcome.state, list(outcome.damaged)) == ("rebuilt", [damaged])
    assert len(written) == 1
    assert live(config) == whole
    assert small.run(config).state == "already"
    assert small.verify(config.output, is_all=True).problems == []


def test_a_whole_table_can_be_gone(config: CompactConfig) -> None:
    whole = live(config)
    for name in whole:
        (Path(config.output) / name).unlink()
    assert small.run(config).state == "rebuilt"
    assert live(config) == whole


def test_live_files_are_never_written_with_other_bytes(
    config: CompactConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = live(config)
    first = next(iter(whole))
    cut(Path(config.output) / first)
    before = live(config)
    monkeypatch.setattr(sink, "PAGE_BYTES", 64)
    monkeypatch.setattr(sink, "STATISTICS", ())
    with pytest.raises(StorageError, match=r"is live, and would be written anew with other bytes"):
        small.run(config)
    assert live(config) == before


@pytest.mark.parametrize("gone", ["plan.json", "units"])
def test_without_plan_or_records_the_damage_is_named(config: CompactConfig, gone: str) -> None:
    first = next(iter(live(config)))
    (Path(config.output) / first).unlink()
    (path,) = Path(config.output).glob(f"runs/*/{gone}")
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    before = live_or_gone(config)
    with pytest.raises(StorageError, match=rf"1 of its live files.*{first} is missing.*restore"):
        small.run(config)
    assert live_or_gone(config) == before


def live_or_gone(config: CompactConfig) -> set[str]:
    out = Path(config.output)
    return {str(path.relative_to(out)) for path in out.glob("*/*.parquet")}


def test_a_dry_run_writes_nothing_anew(config: CompactConfig) -> None:
    first = next(iter(live(config)))
    (Path(config.output) / first).unlink()
    dry = flow.CompactConfig(**{**vars(config), "dry_run": True})
    assert small.run(dry).state == "planned"
    assert not (Path(config.output) / first).exists()
