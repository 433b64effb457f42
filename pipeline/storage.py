"""Files and object stores: the only module that knows fsspec.

A file is named by a URI (``file:///…``, ``s3://…``) everywhere above this
module; a plain path is made a URI where it enters. Reads are whole files or
byte ranges. A write is atomic: a reader sees all of the bytes or none.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import secrets
import shutil
import tempfile
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import fsspec
import msgspec
from fsspec.implementations.local import LocalFileSystem

from pipeline.errors import ConfigError, InputError, StorageError
from pipeline.held import held_bytes
from pipeline.uris import is_inside as is_inside
from pipeline.uris import is_local as is_local
from pipeline.uris import join as join
from pipeline.uris import local_path as local_path
from pipeline.uris import redact as redact

READABLE_SUFFIXES = (".json", ".jsonl", ".ndjson", ".parquet", ".pq", ".pth", ".gz", ".zst")
"""Endings by which the files of a directory count as input; a file named outright needs none."""

_TEMP_PREFIX = ".maskpress-tmp-"
_LOCAL = LocalFileSystem()
_CLIENTS = ("botocore", "aiobotocore", "aiohttp", "gcsfs", "google", "adlfs", "azure")


class InputFile(msgspec.Struct, frozen=True, omit_defaults=True):
    """One file of the inventory: what it is called and which bytes it holds.

    Attributes
    ----------
    uri : str
        Where it is.
    file_bytes : int
        Its size.
    tag : str
        Names its content: a hash of local bytes, or the store's ETag.
    ctime_ns : int
        Local files: when it last changed, contents or name, to see cheaply that it did not;
        else 0. A copy can set the modification time, not this one.
    """

    uri: str
    file_bytes: int
    tag: str
    ctime_ns: int = 0


def to_uri(path_or_uri: str) -> str:
    """Return the URI of a path or URI, absolute and without a trailing slash.

    Raises
    ------
    ConfigError
        For chained URLs (``::``), credentials in the URI, and unknown schemes.
    """
    text = path_or_uri.strip()
    if "::" in text:
        raise ConfigError(f"expected a plain path or URI, got the chained URL {redact(text)!r}")
    scheme, separator, rest = text.partition("://")
    if not separator:
        return "file://" + os.path.abspath(os.path.expanduser(text))
    if "@" in rest.partition("/")[0]:
        raise ConfigError(
            f"expected a URI without credentials, got {redact(text)!r}; set them in the "
            "environment instead (for S3: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)"
        )
    if scheme in ("file", "local"):
        return "file://" + os.path.abspath("/" + rest.lstrip("/"))
    if scheme not in fsspec.available_protocols():
        raise ConfigError(f"expected a scheme of fsspec, got {scheme!r} in {redact(text)!r}")
    return f"{scheme}://{rest.rstrip('/')}"


def file_system(uri: str) -> tuple[Any, str]:
    """Return the fsspec file system of a URI, and the path in it.

    Raises
    ------
    ConfigError
        If the package that serves the scheme is not installed.
    """
    if is_local(uri):
        return _LOCAL, uri.removeprefix("file://")
    scheme = uri.partition("://")[0]
    options: dict[str, Any] = {"use_listings_cache": False} if scheme in ("s3", "s3a") else {}
    try:
        fs = fsspec.filesystem(scheme, **options)
    except ImportError as error:
        extra = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs", "abfs": "azure", "az": "azure"}
        hint = f"pip install 'maskpress[{extra[scheme]}]'" if scheme in extra else str(error)
        raise ConfigError(f"{uri}: no package for {scheme}:// is installed; {hint}") from error
    return fs, fs._strip_protocol(uri)


def exists(uri: str) -> bool:
    """Return whether a file or directory is there."""
    return _kind(uri) is not None


def file_bytes(uri: str) -> int:
    """Return a file's size as the store reports it."""
    fs, path = file_system(uri)
    return _guard(uri, "stat", lambda: int(fs.info(path)["size"]))


def read_bytes(uri: str, start: int | None = None, stop: int | None = None) -> bytes:
    """Return a file's bytes, or those of a range."""
    if (held := held_bytes(uri)) is not None:
        return held[start:stop]
    fs, path = file_system(uri)
    return _guard(uri, "read", lambda: fs.cat_file(path, start=start, end=stop))


def open_input(uri: str) -> Any:
    """Open a file for reading at random, as Parquet needs it; the caller closes it."""
    if (held := held_bytes(uri)) is not None:
        return io.BytesIO(held)
    fs, path = file_system(uri)
    return _guard(uri, "open", lambda: fs.open(path, "rb"))


def write_bytes(uri: str, data: bytes | memoryview) -> None:
    """Write a file so that a reader sees all of it or nothing, replacing what is there.

    Local files go to a temporary name in the same directory, to the disk, and
    then to their own name; object stores make an object visible when it is whole.
    """
    fs, path = file_system(uri)
    if not isinstance(fs, LocalFileSystem):
        _guard(uri, "write", lambda: fs.pipe_file(path, bytes(data)))
        return
    target = Path(path)
    temp = target.with_name(f"{_TEMP_PREFIX}{secrets.token_hex(4)}-{target.name}")

    def write() -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temp, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temp, target)
        except BaseException:
            temp.unlink(missing_ok=True)
            raise

    _guard(uri, "write", write)


@contextmanager
def open_output(uri: str) -> Generator[BinaryIO]:
    """Open a file for writing that appears only when the block ends well.

    For what is too large for `write_bytes`: it is written to a temporary file,
    beside a local target, on this machine's disk for a remote one.

    Raises
    ------
    StorageError
        If there is no room for the temporary file, naming its folder.
    """
    fs, path = file_system(uri)
    is_local_file = isinstance(fs, LocalFileSystem)
    folder = Path(path).parent if is_local_file else Path(tempfile.gettempdir())
    temp = folder / f"{_TEMP_PREFIX}{secrets.token_hex(4)}-{Path(path).name}"
    try:
        _guard(uri, "write", lambda: folder.mkdir(parents=True, exist_ok=True))
        with open(temp, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        if is_local_file:
            _guard(uri, "write", lambda: os.replace(temp, path))
        else:
            _guard(uri, "write", lambda: fs.put_file(str(temp), path))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        hint = "" if is_local_file else "; TMPDIR names another folder"
        raise StorageError(
            f"{uri}: could not write it: {error} in {folder}, where it is put together{hint}"
        ) from error
    finally:
        temp.unlink(missing_ok=True)


def list_names(uri: str) -> list[str]:
    """Return the names directly below a directory, sorted; none where it is absent."""
    fs, path = file_system(uri)
    if not exists(uri):
        return []
    found = _guard(uri, "list", lambda: fs.ls(path, detail=False))
    below = [name for name in found if name != path + "/"]  # a store's marker of a folder
    return sorted(name.rstrip("/").rsplit("/", 1)[-1] for name in below)


def free_bytes(path: Path) -> tuple[int, int]:
    """Return the free and all bytes of the volume that a local path is on, or will be."""
    while not path.exists():
        path = path.parent
    usage = shutil.disk_usage(path)
    return usage.free, usage.total


def list_sizes(uri: str) -> dict[str, int]:
    """Return the bytes of the files directly below a directory, by name; none where it is absent.

    One listing, however many files there are.
    """
    fs, path = file_system(uri)
    if not exists(uri):
        return {}
    found: list[dict[str, Any]] = _guard(uri, "list", lambda: fs.ls(path, detail=True))
    files = [info for info in found if info["type"] == "file"]
    return {info["name"].rsplit("/", 1)[-1]: int(info["size"]) for info in files}


def remove(uri: str) -> None:
    """Delete one file; an object store does not say when there was none."""
    fs, path = file_system(uri)
    _guard(uri, "delete", lambda: fs.rm_file(path))


def s3_endpoint() -> str | None:
    """Return the endpoint of an S3 store other than AWS, from the usual variables; else None."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")


def require_exclusive_create(uri: str) -> None:
    """Make sure that an S3 store other than AWS lets only one of two writers create an object.

    A Delta commit is exclusive only there. Creates an object of this name twice and deletes it.

    Raises
    ------
    StorageError
        If the second create replaces the first.
    """
    is_s3 = uri.startswith(("s3://", "s3a://"))
    if not is_s3 or not s3_endpoint():
        return
    fs, path = file_system(uri)
    # How a refusal is reported differs, and a first reply that was lost looks like one; what is
    # there afterwards is what counts.
    refusals: list[StorageError] = []
    for data in (b"first", b"second"):
        try:
            _guard(uri, "create", partial(fs.pipe_file, path, data, mode="create"))
        except StorageError as error:
            refusals.append(error)
    try:
        found = read_bytes(uri)
    except InputError as error:
        raise (refusals[0] if refusals else error) from None
    remove(uri)
    if found == b"first":
        return
    if refusals:
        raise refusals[0]
    raise StorageError(
        f"{uri}: the store ignores conditional writes (If-None-Match), so that of two runs that "
        "publish at once one could destroy the other's commit; use a store that honours them"
    )


def list_inputs(
    inputs: Iterable[str], suffixes: tuple[str, ...] = READABLE_SUFFIXES
) -> list[InputFile]:
    """Return the inventory: every input file once, sorted by URI.

    Parameters
    ----------
    inputs : iterable of str
        Files, directories (all readable files below, hidden ones left out), globs.
    suffixes : tuple of str
        Endings by which the files of a directory are readable.

    Raises
    ------
    InputError
        If an input is missing, a glob matches nothing, a directory holds no
        readable file, or a file is empty.
    """
    uris = sorted({uri for text in inputs for uri in _expand(text, suffixes)})
    with ThreadPoolExecutor(max_workers=16) as pool:
        return list(pool.map(inspect_file, uris))


def inspect_file(uri: str) -> InputFile:
    """Return a file's size and content tag; local bytes are hashed once."""
    fs, path = file_system(uri)
    if isinstance(fs, LocalFileSystem):
        # Looked at before it is hashed: a change in between shows in the end.
        stat = _guard(uri, "stat", lambda: os.stat(path))
        tag = _guard(uri, "read", lambda: _hash(path))
        return InputFile(uri, stat.st_size, tag, stat.st_ctime_ns)
    info: dict[str, Any] = _guard(uri, "stat", lambda: fs.info(path))
    tag = info.get("ETag") or info.get("etag") or info.get("md5Hash") or fs.ukey(path)
    return InputFile(uri, int(info["size"]), str(tag).strip('"'))


def changed_files(inventory: Sequence[InputFile]) -> list[str]:
    """Return a sentence for every file that no longer holds its inventoried bytes."""
    with ThreadPoolExecutor(max_workers=16) as pool:
        return [text for text in pool.map(_describe_change, inventory) if text]


def _describe_change(file: InputFile) -> str:
    try:
        fs, path = file_system(file.uri)
        if isinstance(fs, LocalFileSystem):
            stat = os.stat(path)
            if (stat.st_size, stat.st_ctime_ns) == (file.file_bytes, file.ctime_ns):
                return ""
        now = inspect_file(file.uri)
    except (StorageError, InputError, OSError):
        return f"{file.uri} was removed"
    if (now.file_bytes, now.tag) == (file.file_bytes, file.tag):
        return ""
    return f"{file.uri} was changed ({file.file_bytes} bytes before, {now.file_bytes} now)"


def _expand(text: str, suffixes: tuple[str, ...]) -> list[str]:
    uri = to_uri(text)
    fs, path = file_system(uri)
    prefix = uri.partition("://")[0] + "://"
    kind = _kind(uri)
    if kind == "file":
        return [uri]
    if kind == "directory":
        found = _guard(uri, "list", lambda: fs.find(path))
        readable = [name for name in found if _is_readable(name, path, suffixes)]
        if not readable:
            raise InputError(
                f"{uri}: expected files ending in {', '.join(suffixes)}, "
                f"found {len(found)} other files; name a file outright to read it whatever its name"
            )
        return [prefix + name for name in readable]
    if any(char in path for char in "*?["):
        found = [prefix + name for name in _guard(uri, "list", lambda: fs.glob(path))]
        matched = [found_uri for found_uri in found if _kind(found_uri) == "file"]
        if matched:
            return matched
        raise InputError(f"{uri}: no file matches; quote the pattern and check the path")
    raise InputError(f"{uri}: no such file or directory; check the path (it was given as {text!r})")


def _kind(uri: str) -> str | None:
    """Return ``file``, ``directory`` or ``other``; None only where the store says: not there."""
    fs, path = file_system(uri)

    def look() -> str | None:
        try:
            return str(fs.info(path)["type"])
        except (FileNotFoundError, NotADirectoryError):
            return None

    return _guard(uri, "look for", look)


def _is_readable(name: str, root: str, suffixes: tuple[str, ...]) -> bool:
    parts = name[len(root) :].strip("/").split("/")
    return name.endswith(suffixes) and not any(part[:1] in "._" for part in parts)


def _hash(path: str) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _guard(uri: str, verb: str, call: Any) -> Any:
    try:
        return call()
    except FileNotFoundError as error:
        raise InputError(f"{uri}: could not {verb} it: no such file") from error
    except Exception as error:
        # The clients of the stores raise errors of their own beside OSError.
        if not isinstance(error, OSError) and type(error).__module__.split(".")[0] not in _CLIENTS:
            raise
        reason = redact(str(error)) or type(error).__name__
        hint = "; this run has no permission for it" * isinstance(error, PermissionError)
        raise StorageError(f"{uri}: could not {verb} it: {reason}{hint}") from error
