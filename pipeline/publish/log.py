"""Our tables' Delta logs, for reading: which run published which version.

A publication is a commit that carries our marker in its commit metadata::

    {"maskpress.format": "1", "run_id": "9f…", "token": "c1…", "rows": 120,
     "versions": {"lineage": 4, "rejects": 4}}        # versions: of `compacted` only

Delta cannot set a property of our own in the commit that creates a table, and a format
version that is a property could not change in the same commit as the files; so the marker
is what makes a table ours. The log is never cleaned up: the markers are in it.
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from pipeline import storage
from pipeline.errors import InputError, StorageError
from pipeline.publish.address import delta_options, delta_uri
from schemas.metadata import FORMAT_KEY


class Marker(msgspec.Struct, frozen=True):
    """What a publication says about itself.

    Attributes
    ----------
    run_id : str
        The run whose files are live from here on.
    token : str
        Of the attempt, to recognise a commit whose reply was lost.
    format : str
        Version of the on-disk format of its files.
    rows : int
        Rows of the table.
    versions : dict of str to int
        `compacted` only: the versions of the other tables that belong to it.
    restored_from : int or None
        The earlier publication of this table that a rollback made live again.
    """

    run_id: str
    token: str
    format: str = msgspec.field(name=FORMAT_KEY)
    rows: int = 0
    versions: dict[str, int] = {}
    restored_from: int | None = None


class Commit(msgspec.Struct, frozen=True):
    """One version of a table's log; `marker` is None unless it is a publication."""

    version: int
    timestamp_ms: int
    operation: str
    marker: Marker | None


def open_table(table_uri: str, version: int | None = None) -> DeltaTable:
    """Return a table at a version, or at its newest.

    Raises
    ------
    StorageError
        If it cannot be read at that version.
    """
    try:
        return DeltaTable(
            delta_uri(table_uri),
            version=version,
            storage_options=delta_options(table_uri),
        )
    except (DeltaError, OSError) as error:
        at = "" if version is None else f" at version {version}"
        reason = explain(error)
        raise StorageError(f"{table_uri}: could not read the Delta log{at}: {reason}") from error


def explain(error: BaseException) -> str:
    """Return what Delta says as one plain line: its messages are coloured and span several."""
    return " ".join(re.sub(r"\x1b\[[0-9;]*m|↳", " ", storage.redact(str(error))).split())


def head_version(table_uri: str) -> int | None:
    """Return a table's newest version, None where there is no table."""
    log_names = storage.list_names(storage.join(table_uri, "_delta_log"))
    if not any(name.endswith((".json", ".parquet")) for name in log_names):
        return None
    return open_table(table_uri).version()


def live_names(table_uri: str, version: int) -> frozenset[str]:
    """Return the names of the files that make up a version."""
    actions = open_table(table_uri, version).get_add_actions()
    return frozenset(actions["path"].to_pylist())


def live_sizes(table_uri: str, version: int) -> dict[str, int]:
    """Return the bytes of the files that make up a version, by name, as the log states them."""
    actions = open_table(table_uri, version).get_add_actions()
    return dict(zip(actions["path"].to_pylist(), actions["size_bytes"].to_pylist(), strict=True))


def read_commit(table_uri: str, version: int) -> Commit | None:
    """Return one commit as the log has it, None where the log has no such file."""
    try:
        data = storage.read_bytes(storage.join(table_uri, "_delta_log", f"{version:020d}.json"))
    except InputError:
        return None
    info: dict[str, Any] = {}
    for line in data.splitlines():
        if line.startswith(b'{"commitInfo"'):
            info = msgspec.json.decode(line)["commitInfo"]
    marker = msgspec.convert(info, Marker) if FORMAT_KEY in info and "token" in info else None
    return Commit(version, int(info.get("timestamp", 0)), str(info.get("operation", "")), marker)


def last_publication(table_uri: str, version: int) -> Commit | None:
    """Return the publication that a version shows: the newest at or before it."""
    for earlier in range(version, -1, -1):
        commit = read_commit(table_uri, earlier)
        if commit is None or commit.marker is not None:
            return commit
    return None


def publications(table_uri: str, version: int) -> list[Commit]:
    """Return all publications up to a version, oldest first."""
    names = storage.list_names(storage.join(table_uri, "_delta_log"))
    stems = [name.removesuffix(".json") for name in names if name.endswith(".json")]
    found = sorted(int(stem) for stem in stems if stem.isdigit() and int(stem) <= version)
    with ThreadPoolExecutor(max_workers=16) as pool:
        commits = pool.map(lambda number: read_commit(table_uri, number), found)
        return [commit for commit in commits if commit is not None and commit.marker is not None]
