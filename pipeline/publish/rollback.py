"""What was published when, and the way back to it."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import Any

from pipeline import storage
from pipeline.errors import ConfigError, StorageError
from pipeline.publish.commit import commit_restore
from pipeline.publish.log import Marker, head_version, last_publication, live_names, publications
from pipeline.publish.tables import publication_at
from pipeline.publish.target import missing_files
from pipeline.records import TABLES


def history(output_uri: str) -> list[dict[str, Any]]:
    """Return the publications of an output, newest first.

    Returns
    -------
    list of dict
        version : int, of `compacted`; timestamp : str, ISO 8601 in UTC; run_id : str;
        rows : int; restored_from : int or None, the version that a rollback made live again;
        is_live : bool, of the newest one, unless another tool has changed the table since.

    Raises
    ------
    ConfigError
        If nothing is published there, or not by Maskpress.
    """
    last, head = publication_at(output_uri)
    table_uri = storage.join(output_uri, "compacted")
    is_untouched = last.version == head or (
        live_names(table_uri, last.version) == live_names(table_uri, head)
    )
    return [
        {
            "version": commit.version,
            "timestamp": datetime.fromtimestamp(commit.timestamp_ms / 1000, UTC).isoformat(),
            "run_id": commit.marker.run_id,
            "rows": commit.marker.rows,
            "restored_from": commit.marker.restored_from,
            "is_live": commit.version == last.version and is_untouched,
        }
        for commit in reversed(publications(table_uri, head))
        if commit.marker is not None
    ]


def restore(output_uri: str, version: int) -> int:
    """Make an earlier publication live again: one metadata commit per table, compacted last.

    Parameters
    ----------
    output_uri : str
        The output.
    version : int
        Of `compacted`.

    Returns
    -------
    int
        The new version of `compacted`; the present one if that publication is live already.

    Raises
    ------
    ConfigError
        If there is no such version, or files of it were deleted.
    ConflictError
        If a run published meanwhile; names it.
    """
    heads = {table: head_version(storage.join(output_uri, table)) for table in TABLES}
    commit, _ = publication_at(output_uri, version)
    assert commit.marker is not None
    if commit.version == heads["compacted"]:
        return commit.version
    wanted = {**commit.marker.versions, "compacted": commit.version}
    missing = missing_files(output_uri, wanted)
    if missing:
        raise ConfigError(
            f"{output_uri}: version {version} cannot be restored: {len(missing)} of its files "
            f"were deleted since (by vacuum), the first is {missing[0]}"
        )
    token = secrets.token_hex(8)
    versions: dict[str, int] = {}
    for table in TABLES:
        table_uri, head = storage.join(output_uri, table), heads[table]
        if head is None:
            raise StorageError(f"{table_uri}: is missing")
        if wanted[table] == head:
            versions[table] = head
            continue
        earlier = last_publication(table_uri, wanted[table])
        marker = Marker(
            run_id=commit.marker.run_id,
            token=token,
            format=commit.marker.format,
            rows=earlier.marker.rows if earlier and earlier.marker else 0,
            versions=dict(versions) if table == "compacted" else {},
            restored_from=wanted[table],
        )
        versions[table] = commit_restore(table_uri, head, wanted[table], marker)
    return versions["compacted"]
