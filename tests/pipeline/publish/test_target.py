from __future__ import annotations

import os
from pathlib import Path

import pytest
from deltalake import DeltaTable, write_deltalake

from pipeline import storage
from pipeline.errors import ConfigError
from pipeline.publish import find_run, inspect_target, log, target
from tests.published import make_rows, publish_run, run_name, schemas, write_run

A, B = run_name(1), run_name(2)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def uri(path: Path) -> str:
    return storage.to_uri(str(path))


def test_nothing_there(output_uri: str) -> None:
    found = inspect_target(output_uri, [])
    assert found.versions == {"lineage": None, "rejects": None, "compacted": None}
    assert found.id_type is None
    assert find_run(found, A).kind == "absent"


def test_an_empty_folder_is_a_place_to_start(out: Path) -> None:
    out.mkdir()
    assert inspect_target(uri(out), []).versions["compacted"] is None


def test_our_tables_are_recognised(output_uri: str) -> None:
    publish_run(output_uri, 1)
    found = inspect_target(output_uri, [])
    assert found.versions == {"lineage": 0, "rejects": 0, "compacted": 0}
    assert found.id_type == "int"


def test_the_type_of_image_id_is_told(out: Path) -> None:
    publish_run(uri(out), 1, tables=schemas("string"))
    assert inspect_target(uri(out), []).id_type == "string"


def test_our_tables_may_have_neighbours(out: Path) -> None:
    publish_run(uri(out), 1)
    (out / "notes.txt").touch()
    assert inspect_target(uri(out), []).versions["compacted"] == 0


def test_leftovers_of_a_first_run_that_died_are_ours(output_uri: str) -> None:
    write_run(output_uri, A)
    storage.write_bytes(storage.join(output_uri, "runs", A, "units", "00000.json"), b"{}")
    storage.write_bytes(storage.join(output_uri, "reports", A, "report.json"), b"{}")
    assert inspect_target(output_uri, []).versions["compacted"] is None


def test_temporary_files_of_a_first_run_that_died_are_ours(out: Path) -> None:
    write_run(uri(out), A)
    (out / "compacted" / f".maskpress-tmp-0a1b2c3d-part-00002-{A}.parquet").touch()
    (out / "compacted" / "_delta_log").mkdir()
    (out / "compacted" / "_delta_log" / "_commit_17.json.tmp").touch()
    assert inspect_target(uri(out), []).versions["compacted"] is None


@pytest.mark.parametrize(
    "name",
    [
        "notes.txt",
        ".DS_Store",
        "data/a.json",
        "runs/detect/weights.pt",  # what other tools call their own folder
        "reports/2026.html",
        "compacted/part-0.parquet",
        "lineage/table.csv",
    ],
)
def test_foreign_content_is_refused_and_named(out: Path, name: str) -> None:
    output_uri = uri(out)
    storage.write_bytes(storage.join(output_uri, name), b"precious")
    shown = "/".join(name.split("/")[:2]) if name.split("/")[0] != "data" else "data"
    with pytest.raises(ConfigError, match=f"empty or absent directory.*found {shown};"):
        inspect_target(output_uri, [])
    assert storage.read_bytes(storage.join(output_uri, name)) == b"precious"


def test_a_file_in_place_of_the_output_is_refused(out: Path) -> None:
    out.write_text("precious")
    with pytest.raises(ConfigError, match="empty or absent directory"):
        inspect_target(uri(out), [])


@pytest.mark.parametrize("table", ["compacted", "lineage"])
def test_a_foreign_delta_table_is_refused(out: Path, table: str) -> None:
    write_deltalake(str(out / table), make_rows(schemas()[table], 2, "foreign"))
    (next((out / table).glob("*.parquet"))).unlink()
    message = "Maskpress did not write" if table == "compacted" else "found lineage/_delta_log"
    with pytest.raises(ConfigError, match=message):
        inspect_target(uri(out), [])


def test_a_newer_format_is_refused(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish_run(uri(out), 1)
    path = out / "compacted" / "_delta_log" / f"{0:020d}.json"
    path.write_text(path.read_text().replace('"maskpress.format":"1"', '"maskpress.format":"7"'))
    with pytest.raises(ConfigError, match="has format 7, this version writes format 1"):
        inspect_target(uri(out), [])
    monkeypatch.setattr(target, "FORMAT_VERSION", "8")
    assert inspect_target(uri(out), []).versions["compacted"] == 0


def test_nested_input_and_output_are_refused(tmp_path: Path) -> None:
    inputs, outside = tmp_path / "in", tmp_path / "in-too"
    inputs.mkdir()
    (tmp_path / "link").symlink_to(inputs)
    for output in (inputs / "out", inputs, tmp_path, tmp_path / "link" / "out"):
        with pytest.raises(ConfigError, match="one lies in the other"):
            inspect_target(uri(output), [uri(inputs)])
    assert inspect_target(uri(outside), [uri(inputs)]).uri == uri(outside)
    with pytest.raises(ConfigError, match="one lies in the other"):
        inspect_target("s3://bucket/a/b", ["s3://bucket/a"])


def test_what_delta_cannot_write_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="memory://"):
        inspect_target("memory://out", [])
    with pytest.raises(ConfigError, match="percent escape"):
        inspect_target(uri(tmp_path / "a%20b"), [])


@pytest.mark.parametrize("name", ["with space", "äöü", "50%", "a#b", "a=b+c"])
def test_unusual_paths_work(tmp_path: Path, name: str) -> None:
    publish_run(uri(tmp_path / name), 1)
    publish_run(uri(tmp_path / name), 2)
    found = inspect_target(uri(tmp_path / name), [])
    assert find_run(found, B).kind == "live"
    assert find_run(found, A).kind == "superseded"
    assert (tmp_path / name / "compacted" / "_delta_log").is_dir()


def test_live_superseded_absent(output_uri: str) -> None:
    publish_run(output_uri, 1)
    assert find_run(inspect_target(output_uri, []), A) == target.RunState("live", 0)
    publish_run(output_uri, 2)
    found = inspect_target(output_uri, [])
    assert find_run(found, B) == target.RunState("live", 1)
    assert find_run(found, A) == target.RunState("superseded", 0)
    assert find_run(found, run_name(3)) == target.RunState("absent")


def test_a_run_whose_files_were_deleted_is_absent(out: Path) -> None:
    output_uri = uri(out)
    files = write_run(output_uri, A)
    publish_run(output_uri, 1)
    publish_run(output_uri, 2)
    storage.remove(storage.join(output_uri, "lineage", files["lineage"][0].name))
    assert find_run(inspect_target(output_uri, []), A).kind == "absent"


def test_a_mark_alone_does_not_make_a_run_live(out: Path) -> None:
    # Another tool rewrote the table since: the newest publication is ours, its files are not live.
    publish_run(uri(out), 1)
    DeltaTable(str(out / "compacted")).delete("image_id = 0")
    assert find_run(inspect_target(uri(out), []), A) == target.RunState("superseded", 0)
    publish_run(uri(out), 1)
    assert find_run(inspect_target(uri(out), []), A) == target.RunState("live", 2)


def test_inspecting_writes_nothing(out: Path) -> None:
    inspect_target(uri(out), [])
    assert not out.exists()
    publish_run(uri(out), 1)
    before = sorted(os.walk(out))
    find_run(inspect_target(uri(out), []), B)
    assert sorted(os.walk(out)) == before
    assert log.head_version(uri(out / "compacted")) == 0
