"""The three tables as one: published in order, `compacted` last, and opened as a set that fits.

Delta commits one table at a time. What makes three commits one act is that the commit of
`compacted` names the versions of the other two, and that readers open those.
"""

from __future__ import annotations

import pyarrow as pa
from deltalake import DeltaTable

from pipeline import storage
from pipeline.config import FORMAT_VERSION
from pipeline.errors import ConfigError, ConflictError, SchemaError
from pipeline.publish.commit import commit_files, conflict, rebase
from pipeline.publish.log import (
    Commit,
    Marker,
    head_version,
    last_publication,
    live_names,
    open_table,
)
from pipeline.publish.target import Target
from pipeline.records import TABLES, DataFile


def publish(
    target: Target,
    run_id: str,
    token: str,
    files: dict[str, list[DataFile]],
    schemas: dict[str, pa.Schema],
    metadata: dict[str, str],
) -> dict[str, int]:
    """Replace the tables' content by exactly a run's files: one commit per table, compacted last.

    A table that already holds exactly this run's files (this run died here, or its twin was
    faster) is left as it is, so that running again completes what a crash cut short.

    Parameters
    ----------
    target : Target
        What the run started from; every table must still be there (vacuums aside).
    run_id : str
        The run.
    token : str
        Random, new for every attempt: by it a commit whose reply was lost is recognised.
    files : dict of str to list of DataFile
        By table, verified (see `verify_files`); an empty list makes an empty table.
    schemas : dict of str to pa.Schema
        By table. It replaces the one before: extra columns may come and go with a run.
    metadata : dict of str to str
        Goes into each commit's metadata.

    Returns
    -------
    dict of str to int
        By table: the version that holds the run.

    Raises
    ------
    SchemaError
        If the type of image_id differs from the table's.
    ConflictError
        If another run came first; names it.
    CommitUnknownError
        If it cannot be found out whether a commit landed.
    StorageError
        If the store refuses.
    """
    _require_id_type(target, schemas["compacted"])
    names = {table: frozenset(file.name for file in files[table]) for table in TABLES}
    live = _find_own(storage.join(target.uri, "compacted"), run_id, names["compacted"])
    if live and live.marker:
        return {**live.marker.versions, "compacted": live.version}
    # All before the first commit: a run that has lost must not touch any table.
    bases = {table: _find_base(target, table, run_id, names[table]) for table in TABLES}
    storage.require_exclusive_create(storage.join(target.uri, "runs", run_id, f"probe-{token}"))
    versions: dict[str, int] = {}
    for table in TABLES:
        base = bases[table]
        if isinstance(base, Commit):
            versions[table] = base.version
            continue
        marker = Marker(
            run_id=run_id,
            token=token,
            format=FORMAT_VERSION,
            rows=sum(file.rows for file in files[table]),
            versions=dict(versions) if table == "compacted" else {},
        )
        table_uri = storage.join(target.uri, table)
        try:
            versions[table] = commit_files(
                table_uri, base, files[table], schemas[table], marker, metadata
            )
        except ConflictError:
            twin = _find_own(table_uri, run_id, names[table])
            if twin is None:
                raise
            versions[table] = twin.version
    return versions


def open_tables(output_uri: str, version: int | None = None) -> dict[str, DeltaTable]:
    """Return the tables as one run published them.

    Parameters
    ----------
    output_uri : str
        The output.
    version : int, optional
        Of `compacted`; default the newest.

    Returns
    -------
    dict of str to DeltaTable
        `compacted` at that version, the others at the versions that belong to it.

    Raises
    ------
    ConfigError
        If nothing is published there, or not by Maskpress, or not up to that version, or in
        another format.
    """
    commit, version = publication_at(output_uri, version)
    assert commit.marker is not None
    if commit.marker.format != FORMAT_VERSION:
        raise ConfigError(
            f"{output_uri}: has format {commit.marker.format} at version {version} of compacted, "
            f"expected format {FORMAT_VERSION}; use the Maskpress that wrote it"
        )
    versions = {**commit.marker.versions, "compacted": version}
    return {table: open_table(storage.join(output_uri, table), versions[table]) for table in TABLES}


def publication_at(output_uri: str, version: int | None = None) -> tuple[Commit, int]:
    """Return the publication of `compacted` that a version shows, and that version.

    Raises as `open_tables` does.
    """
    table_uri = storage.join(output_uri, "compacted")
    head = head_version(table_uri)
    if head is None:
        raise ConfigError(f"{output_uri}: nothing is published there; check the path")
    if version is not None and not 0 <= version <= head:
        raise ConfigError(f"{table_uri}: expected a version from 0 to {head}, got {version}")
    commit = last_publication(table_uri, head if version is None else version)
    if commit is None or commit.marker is None:
        raise ConfigError(f"{table_uri}: is not a table of Maskpress")
    return commit, head if version is None else version


def _require_id_type(target: Target, schema: pa.Schema) -> None:
    id_type = "int" if pa.types.is_int64(schema.field("image_id").type) else "string"
    if target.id_type not in (None, id_type):
        raise SchemaError(
            f"{target.uri}: its tables have image_id of type {target.id_type}, this run has "
            f"{id_type}; a table's type never changes: convert with --read.id_mode "
            f"{target.id_type}, or choose another --output"
        )


def _find_own(table_uri: str, run_id: str, names: frozenset[str]) -> Commit | None:
    """Return the commit by which a table holds exactly this run's files, None if it does not."""
    head = head_version(table_uri)
    if head is None:
        return None
    last = last_publication(table_uri, head)
    if last is None or last.marker is None or last.marker.run_id != run_id:
        return None
    return last if live_names(table_uri, head) == names else None


def _find_base(
    target: Target, table: str, run_id: str, names: frozenset[str]
) -> Commit | int | None:
    """Return the commit that already holds the run, else the version to commit upon."""
    table_uri = storage.join(target.uri, table)
    own = _find_own(table_uri, run_id, names)
    if own is not None:
        return own
    base, head = target.versions[table], head_version(table_uri)
    if base is not None and head is not None:
        base = rebase(table_uri, base, head)
    if base != head:
        own = _find_own(table_uri, run_id, names)  # a twin may have come between the two looks
        if own is None:
            raise conflict(table_uri, head)
        return own
    return base
