"""F9: a real file system without room, for the output and for temporary files."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest

from pipeline import storage
from pipeline.errors import StorageError
from tests.faults import small, survival
from tests.faults.volumes import fill_up, mounted

BYTES = 1 << 20


@pytest.fixture
def volume(tmp_path: Path) -> Generator[Path]:
    """A file system of one megabyte."""
    with mounted(tmp_path / "volume", BYTES) as folder:
        yield folder


def runs_on(undisturbed: small.Undisturbed, volume: Path, free_bytes: int) -> bool:
    """Return whether a run succeeds in so much room; check what it leaves where it does not."""
    output = volume / "out"
    survival.prepare(undisturbed, output, is_second=True)
    filler = fill_up(volume, free_bytes)
    config = small.configure(undisturbed.inputs, output)
    unchecked = dataclasses.replace(config.run, check_space=False)
    outcome, error = small.attempt(dataclasses.replace(config, run=unchecked))
    if error is not None:
        assert isinstance(error, StorageError)
        assert error.exit_code == 5
        assert str(output) in error.message
        assert "No space left on device" in error.message
        assert small.published(output) == undisturbed.old
        assert not list(output.rglob(".maskpress-tmp-*"))
    filler.unlink()
    survival.check(undisturbed, output, is_second=True)
    return outcome is not None


def test_an_output_without_room(undisturbed: small.Undisturbed, volume: Path) -> None:
    assert not runs_on(undisturbed, volume, 0)
    assert not runs_on(undisturbed, volume, 24 << 10)
    assert runs_on(undisturbed, volume, 512 << 10)


def test_an_output_without_room_is_refused_at_the_start(
    undisturbed: small.Undisturbed, volume: Path
) -> None:
    output = volume / "out"
    survival.prepare(undisturbed, output, is_second=True)
    before = sorted(output.rglob("*"))
    fill_up(volume, 0)
    _, error = small.attempt(small.configure(undisturbed.inputs, output))
    assert isinstance(error, StorageError)
    assert f"{output}: expected" in error.message
    assert sorted(output.rglob("*")) == before


@pytest.mark.long
def test_an_output_that_lacks_any_number_of_pages(
    undisturbed: small.Undisturbed, volume: Path
) -> None:
    pages = 0
    while not runs_on(undisturbed, volume, 4096 * pages):
        pages += 1
    assert pages > 10


def test_a_temporary_file_without_room_is_named(
    volume: Path, s3_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_up(volume, 8192)
    monkeypatch.setattr(tempfile, "tempdir", str(volume))

    def write() -> None:
        with storage.open_output(f"{s3_uri}/large.json") as stream:
            stream.write(bytes(1 << 16))

    with pytest.raises(StorageError, match=f"No space left on device in {volume}"):
        write()
    assert [path.name for path in volume.iterdir()] == ["filler"]
    assert not storage.exists(f"{s3_uri}/large.json")


def test_an_error_of_the_block_stays_what_it_was(tmp_path: Path) -> None:
    def write() -> None:
        with storage.open_output(storage.to_uri(str(tmp_path / "a.json"))):
            raise PermissionError(13, "not ours")

    with pytest.raises(PermissionError, match="not ours"):
        write()
    assert list(tmp_path.iterdir()) == []
