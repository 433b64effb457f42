"""A small file is read whole, once, however often it is looked at."""

from __future__ import annotations

import builtins
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.planning import measure, write_files
from pipeline import read, storage, tasks
from pipeline.config import ReadConfig
from pipeline.errors import InputError
from pipeline.held import held_bytes, holding
from pipeline.read import FileScan
from tests.pipeline.read.files import SQUARE, make_row, write_file

N = 20


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each file of the test's folder was opened."""
    counts: Counter[str] = Counter()
    real = builtins.open

    def count(file: Any, *arguments: Any, **options: Any) -> Any:
        if str(file).startswith(str(tmp_path)):
            counts[str(file)] += 1
        return real(file, *arguments, **options)

    monkeypatch.setattr(builtins, "open", count)
    return counts


def test_its_bytes_are_held_within_the_block_only(tmp_path: Path) -> None:
    file = write_file(tmp_path, b"0123456789")
    with holding(file.uri, file.file_bytes, storage.read_bytes):
        (tmp_path / "input.json").unlink()
        assert storage.read_bytes(file.uri, 2, 4) == b"23"
        assert storage.open_input(file.uri).read() == b"0123456789"
        with holding(file.uri, file.file_bytes, storage.read_bytes):
            pass
        assert held_bytes(file.uri) is not None
    assert held_bytes(file.uri) is None
    with pytest.raises(InputError, match="no such file"):
        storage.read_bytes(file.uri)


@pytest.mark.parametrize("file_bytes", [0, (1 << 20) + 1])
def test_a_large_file_and_one_of_unknown_size_are_not(tmp_path: Path, file_bytes: int) -> None:
    file = write_file(tmp_path, b"[]")
    with holding(file.uri, file_bytes, storage.read_bytes):
        assert held_bytes(file.uri) is None


def write_inputs(folder: Path) -> None:
    columns = {"image_id": [1, 2], "counts": [SQUARE] * 2, "height": [4] * 2, "width": [5] * 2}
    for n in range(N):
        write_file(folder, [make_row(image_id=n)], f"{n}.json")
        pq.write_table(pa.table(columns), folder / f"{n}.parquet")


def test_a_local_file_is_opened_once_to_hash_once_to_look_once_to_read(
    tmp_path: Path, opened: Counter[str]
) -> None:
    write_inputs(tmp_path)
    opened.clear()
    inventory = storage.list_inputs([str(tmp_path)])
    scans = tasks.scan_all(inventory, ReadConfig(), 1 << 20)
    assert set(opened.values()) == {2}
    assert len(opened) == 2 * N
    for scan in scans:
        assert isinstance(scan, FileScan)
        read.read(scan.slices[0], scan.source, ReadConfig(), "int")
    assert set(opened.values()) == {3}


def test_a_file_of_a_store_is_asked_for_once(
    s3_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import s3fs

    write_inputs(tmp_path)
    for path in tmp_path.iterdir():
        storage.write_bytes(storage.join(s3_uri, path.name), path.read_bytes())
    inventory = storage.list_inputs([s3_uri])
    calls: Counter[str] = Counter()
    real = s3fs.S3FileSystem._call_s3

    async def count(self: Any, method: str, *arguments: Any, **options: Any) -> Any:
        calls[method] += 1
        return await real(self, method, *arguments, **options)

    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", count)
    scans = tasks.scan_all(inventory, ReadConfig(), 1 << 20)
    assert all(isinstance(scan, FileScan) for scan in scans)
    assert calls == {"get_object": 2 * N}


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_work_for_fifty_thousand_files_is_bounded(tmp_path: Path, opened: Counter[str]) -> None:
    n_files = 50_000
    folder_uri = storage.to_uri(str(tmp_path / "in"))
    (tmp_path / "in").mkdir()
    write_files(folder_uri, n_files)
    opened.clear()
    _, sentence = measure(folder_uri)
    # One more: the file that is looked at first, so that what is compiled is not measured.
    assert sum(opened.values()) == 2 * n_files + 1
    assert "50,000 files" in sentence
    assert "600,000 rows; 25 units, 100 tasks would look at them; plan 4" in sentence
