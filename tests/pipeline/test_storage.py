from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError, NoCredentialsError
from fsspec.implementations.local import LocalFileSystem

from pipeline import storage
from pipeline.errors import ConfigError, InputError, StorageError
from pipeline.storage import InputFile


@pytest.fixture
def folder_uri(output_uri: str) -> str:
    """URI of a folder that does not exist yet, on a local disk and on S3."""
    return output_uri


def write(folder_uri: str, *names: str, data: bytes = b"{}") -> list[str]:
    uris = [storage.join(folder_uri, name) for name in names]
    for uri in uris:
        storage.write_bytes(uri, data)
    return uris


# Names of places


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("/data/a.json", "file:///data/a.json"),
        ("/data//b/../a.json/", "file:///data/a.json"),
        ("file:///data/a.json", "file:///data/a.json"),
        ("local://data/a.json", "file:///data/a.json"),
        (" /data/a.json ", "file:///data/a.json"),
        ("s3://bucket/a/b/", "s3://bucket/a/b"),
        ("s3://bucket", "s3://bucket"),
        ("memory://a", "memory://a"),
        ("s3://bucket/a@b", "s3://bucket/a@b"),
    ],
)
def test_to_uri(given: str, expected: str) -> None:
    assert storage.to_uri(given) == expected


def test_to_uri_of_relative_and_home_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert storage.to_uri("in/a.json") == f"file://{tmp_path}/in/a.json"
    assert storage.to_uri("~/a.json") == f"file://{tmp_path}/a.json"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("zip://a.json::s3://key:secret@bucket/b.zip", "chained URL"),
        ("s3://key:secret@bucket/a", "without credentials"),
        ("nosuch://a", "expected a scheme of fsspec, got 'nosuch'"),
    ],
)
def test_to_uri_refuses(given: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        storage.to_uri(given)
    assert "secret" not in str(caught.value)


def test_redact() -> None:
    assert storage.redact("s3://key:secret@bucket/a") == "s3://***@bucket/a"
    assert storage.redact("mail a@b, s3://bucket/a@b") == "mail a@b, s3://bucket/a@b"


def test_join_and_local_path() -> None:
    assert storage.join("s3://bucket/a/", "b", "c") == "s3://bucket/a/b/c"
    assert storage.join("file:///a") == "file:///a"
    assert storage.local_path("file:///a b/c") == Path("/a b/c")
    assert storage.is_local("file:///a")
    assert not storage.is_local("s3://a")


@pytest.mark.parametrize(
    ("inner", "outer", "expected"),
    [
        ("file:///a/b", "file:///a", True),
        ("file:///a", "file:///a", True),
        ("file:///a", "file:///a/b", False),
        ("file:///ab", "file:///a", False),
        ("s3://a/b", "file:///a", False),
    ],
)
def test_is_inside(inner: str, outer: str, expected: bool) -> None:
    assert storage.is_inside(inner, outer) is expected


def test_a_scheme_without_its_package_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def absent(*args: Any, **options: Any) -> None:
        raise ImportError("Install gcsfs")

    monkeypatch.setattr(storage.fsspec, "filesystem", absent)
    with pytest.raises(ConfigError, match=r"pip install 'maskpress\[gcs\]'"):
        storage.file_system("gs://bucket/a")
    with pytest.raises(ConfigError, match="Install gcsfs"):
        storage.file_system("other://bucket/a")


# Bytes


class Failing:
    """A file system of which every read fails."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def cat_file(self, *args: Any, **options: Any) -> bytes:
        raise self.error


def test_what_is_written_is_read(folder_uri: str) -> None:
    (uri,) = write(folder_uri, "a/b.bin", data=b"0123456789")
    assert storage.exists(uri)
    assert storage.file_bytes(uri) == 10
    assert storage.read_bytes(uri) == b"0123456789"
    assert storage.read_bytes(uri, 2, 5) == b"234"
    with storage.open_input(uri) as stream:
        stream.seek(8)
        assert stream.read() == b"89"
    storage.write_bytes(uri, memoryview(b"new"))
    assert storage.read_bytes(uri) == b"new"
    assert storage.list_names(storage.join(folder_uri, "a")) == ["b.bin"]
    storage.remove(uri)
    assert not storage.exists(uri)


def test_what_is_not_there(folder_uri: str) -> None:
    uri = storage.join(folder_uri, "absent")
    assert not storage.exists(uri)
    assert storage.list_names(uri) == []
    for call in (storage.file_bytes, storage.read_bytes):
        with pytest.raises(InputError, match=r"absent: could not \w+ it: no such file"):
            call(uri)


def test_names_are_sorted_and_only_of_one_level(folder_uri: str) -> None:
    write(folder_uri, "b.json", "a.json", "c/d.json", ".hidden")
    assert storage.list_names(folder_uri) == [".hidden", "a.json", "b.json", "c"]
    storage.remove(storage.join(folder_uri, "c", "d.json"))
    assert storage.list_names(storage.join(folder_uri, "c")) == []


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (uri,) = write(storage.to_uri(str(tmp_path)), "a.bin", data=b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"a\.bin: could not write it: .*No space left"):
        storage.write_bytes(uri, b"new")
    assert storage.read_bytes(uri) == b"old"
    assert storage.list_names(storage.to_uri(str(tmp_path))) == ["a.bin"]


def test_a_write_is_not_visible_under_its_name_before_it_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = storage.to_uri(str(tmp_path))
    real, seen = os.fsync, list[list[str]]()

    def look(descriptor: int) -> None:
        seen.append(storage.list_names(folder))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", look)
    write(folder, "part-00000.parquet")
    ((name,),) = seen
    assert name.startswith(".maskpress-tmp-")
    assert name.endswith("-part-00000.parquet")


def test_errors_of_the_store_carry_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = storage.to_uri(str(tmp_path / "a"))

    error = OSError("403 of s3://key:secret@bucket/a")
    monkeypatch.setattr(storage, "file_system", lambda uri: (Failing(error), "a"))
    with pytest.raises(StorageError, match=r"could not read it: 403 of s3://\*\*\*@bucket/a"):
        storage.read_bytes(uri)


@pytest.mark.parametrize("error", [EndpointConnectionError(endpoint_url="x"), NoCredentialsError()])
def test_errors_of_the_client_are_errors_of_the_store(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "file_system", lambda uri: (Failing(error), "a"))
    with pytest.raises(StorageError, match="s3://b/a: could not read it"):
        storage.read_bytes("s3://b/a")


def test_errors_of_our_own_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "file_system", lambda uri: (Failing(TypeError("ours")), "a"))
    with pytest.raises(TypeError, match="ours"):
        storage.read_bytes("s3://b/a")


def test_a_store_with_exclusive_create_passes(folder_uri: str) -> None:
    storage.require_exclusive_create(storage.join(folder_uri, "probe"))
    assert storage.list_names(folder_uri) == []


def test_a_store_without_exclusive_create_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    class Careless:
        def pipe_file(self, path: str, data: bytes, mode: str) -> None:
            calls.append(mode)
            self.data = data

        def cat_file(self, path: str, **options: Any) -> bytes:
            return self.data

        def rm_file(self, path: str) -> None:
            calls.append("remove")

    careless = Careless()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(storage, "file_system", lambda uri: (careless, "b/probe"))
    with pytest.raises(StorageError, match="ignores conditional writes"):
        storage.require_exclusive_create("s3://b/probe")
    assert calls == ["create", "create", "remove"]


class Lossy:
    """A store whose first reply is lost: its client tries again, and is told that it is late."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def pipe_file(self, path: str, data: bytes, mode: str) -> None:
        self.objects.setdefault(path, data)
        raise OSError(22, "At least one of the pre-conditions you specified did not hold")

    def cat_file(self, path: str, **options: Any) -> bytes:
        if path not in self.objects:
            raise FileNotFoundError(path)
        return self.objects[path]

    def rm_file(self, path: str) -> None:
        del self.objects[path]


def test_a_probe_whose_reply_was_lost_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    lossy = Lossy()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(storage, "file_system", lambda uri: (lossy, "b/probe"))
    storage.require_exclusive_create("s3://b/probe")
    assert lossy.objects == {}


def test_a_probe_that_is_refused_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing(Lossy):
        def pipe_file(self, path: str, data: bytes, mode: str) -> None:
            raise OSError(5, "SlowDown")

    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(storage, "file_system", lambda uri: (Refusing(), "b/probe"))
    with pytest.raises(StorageError, match=r"could not create it: .*SlowDown"):
        storage.require_exclusive_create("s3://b/probe")


# Inventory


def test_a_place_that_cannot_be_looked_at_is_not_taken_for_absent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Closed(LocalFileSystem):
        def info(self, path: Any, **options: Any) -> Any:
            raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(storage, "file_system", lambda uri: (Closed(), "/data/a.json"))
    monkeypatch.setattr("os.path.isfile", lambda path: False)
    with pytest.raises(StorageError, match=r"could not look for it: .*Permission denied"):
        storage.exists("file:///data/a.json")
    with pytest.raises(StorageError, match=r"could not look for it: .*Permission denied"):
        storage.list_inputs(["/data/a.json"])


def test_a_directory_is_all_readable_files_below_it(folder_uri: str) -> None:
    names = ("b.json", "a.json", "deep/er/c.parquet", "d.json.gz")
    write(folder_uri, *names)
    write(folder_uri, "notes.txt", ".hidden.json", "_tmp/e.json", "deep/.x/f.json")
    found = storage.list_inputs([folder_uri])
    assert [file.uri for file in found] == sorted(storage.join(folder_uri, n) for n in names)


def test_files_globs_and_directories_count_once(folder_uri: str) -> None:
    uris = write(folder_uri, "a.json", "b.json", "c.odd")
    found = storage.list_inputs([folder_uri, uris[0], storage.join(folder_uri, "[ab].json")])
    assert [file.uri for file in found] == uris[:2]
    assert [file.uri for file in storage.list_inputs([uris[2]])] == [uris[2]]


def test_inputs_that_are_missing(folder_uri: str) -> None:
    write(folder_uri, "notes.txt")
    with pytest.raises(InputError, match=r"expected files ending in .*, found 1 other"):
        storage.list_inputs([folder_uri])
    with pytest.raises(InputError, match="no file matches"):
        storage.list_inputs([storage.join(folder_uri, "*.json")])
    with pytest.raises(InputError, match="no such file or directory"):
        storage.list_inputs([storage.join(folder_uri, "absent.json")])


def test_tag_and_size_are_of_the_content(folder_uri: str) -> None:
    uris = write(folder_uri, "a.json", "b.json", data=b"same")
    write(folder_uri, "c.json", data=b"diff")
    a, b, c = storage.list_inputs([folder_uri])
    assert [a.uri, b.uri] == uris
    assert a.tag == b.tag != c.tag
    assert a.file_bytes == 4
    assert storage.inspect_file(uris[0]) == a


def test_changed_and_removed_files_are_named(folder_uri: str) -> None:
    uris = write(folder_uri, "a.json", "b.json", "c.json", data=b"1234")
    inventory = storage.list_inputs([folder_uri])
    assert storage.changed_files(inventory) == []
    storage.write_bytes(uris[1], b"12345")
    storage.remove(uris[2])
    assert storage.changed_files(inventory) == [
        f"{uris[1]} was changed (4 bytes before, 5 now)",
        f"{uris[2]} was removed",
    ]


def test_a_local_file_that_was_only_touched_is_unchanged(tmp_path: Path) -> None:
    write(storage.to_uri(str(tmp_path)), "a.json", "b.json")
    inventory = storage.list_inputs([str(tmp_path)])
    os.utime(tmp_path / "a.json", ns=(1, 1))
    assert storage.changed_files(inventory) == []
    # Other bytes of the same length, and the same modification time: as cp -p and rsync -t do.
    before = (tmp_path / "b.json").stat()
    (tmp_path / "b.json").write_bytes(b"[]")
    os.utime(tmp_path / "b.json", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert storage.changed_files(inventory) == [
        f"{inventory[1].uri} was changed (2 bytes before, 2 now)"
    ]


def test_an_input_file_is_plain_data() -> None:
    assert InputFile("file:///a", 1, "t") == InputFile("file:///a", 1, "t", 0)
