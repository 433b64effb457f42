"""One guarded commit to one table: it moves from the version that was seen, or not at all.

Found by trying: `max_commit_retries=0` makes a commit a compare-and-set, whatever was
committed meanwhile (with retries two racing creates both land); and a commit that is
reported as failed may have landed. So every outcome is read back from the log by its
token, also a good one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable

import msgspec
import pyarrow as pa
from deltalake import CommitProperties, PostCommitHookProperties, Schema, Transaction
from deltalake.exceptions import DeltaError
from deltalake.transaction import AddAction, create_table_with_add_actions

from pipeline.config import FORMAT_VERSION
from pipeline.errors import CommitUnknownError, CompactionError, ConflictError, StorageError
from pipeline.publish.address import delta_options, delta_uri
from pipeline.publish.log import Marker, explain, open_table, read_commit
from pipeline.records import DataFile
from schemas.metadata import FORMAT_KEY

APP_ID = "maskpress"
"""Name of our transaction marks in the log."""

_ATTEMPTS = 3

_HOOKS = PostCommitHookProperties(create_checkpoint=True, cleanup_expired_logs=False)


def rebase(table_uri: str, base: int, head: int) -> int:
    """Return the version to commit upon: past commits that only vacuumed, not past others."""
    while base < head:
        commit = read_commit(table_uri, base + 1)
        if commit is None or not commit.operation.startswith("VACUUM"):
            break
        base += 1
    return base


def commit_files(
    table_uri: str,
    base: int | None,
    files: Iterable[DataFile],
    schema: pa.Schema,
    marker: Marker,
    metadata: dict[str, str],
) -> int:
    """Make exactly these files the table, if it is still at version `base` (None: absent).

    Returns
    -------
    int
        The new version, ``base + 1``.

    Raises
    ------
    ConflictError
        If another commit came first; names its run.
    CommitUnknownError
        If it cannot be found out whether the commit landed.
    StorageError
        If it did not land.
    """
    adds = [_add_action(file) for file in files]

    def write(properties: CommitProperties) -> None:
        if base is None:
            create_table_with_add_actions(
                delta_uri(table_uri),
                Schema.from_arrow(schema),
                adds,
                mode="error",
                name=table_uri.rpartition("/")[2],
                description=f"Maskpress, {FORMAT_KEY} {FORMAT_VERSION} at its creation",
                configuration={"delta.enableExpiredLogCleanup": "false"},
                storage_options=delta_options(table_uri),
                commit_properties=properties,
                post_commithook_properties=_HOOKS,
            )
        else:
            open_table(table_uri, base).create_write_transaction(
                [*adds],
                "overwrite",
                schema,
                commit_properties=properties,
                post_commithook_properties=_HOOKS,
            )

    return _commit(table_uri, base, marker, metadata, write)


def commit_restore(table_uri: str, base: int, version: int, marker: Marker) -> int:
    """Make the files of an earlier version live again, if the table is still at `base`.

    Raises as `commit_files` does.
    """

    def write(properties: CommitProperties) -> None:
        open_table(table_uri, base).restore(
            version, commit_properties=properties, post_commithook_properties=_HOOKS
        )

    return _commit(table_uri, base, marker, {}, write)


def _commit(
    table_uri: str,
    base: int | None,
    marker: Marker,
    metadata: dict[str, str],
    write: Callable[[CommitProperties], None],
) -> int:
    version = 0 if base is None else base + 1
    properties = CommitProperties(
        custom_metadata={**metadata, **msgspec.to_builtins(marker)},
        max_commit_retries=0,
        app_transactions=[Transaction(APP_ID, version)],
    )
    reason: Exception | None = None
    for _ in range(_ATTEMPTS):
        try:
            write(properties)
        except (DeltaError, OSError, CompactionError) as error:
            reason = error
        if _has_landed(table_uri, version, marker, reason):
            return version
    text = "" if reason is None else explain(reason)
    raise StorageError(
        f"{table_uri}: version {version} could not be committed in {_ATTEMPTS} attempts "
        f"and is not in the log; nothing of it is visible, run again to continue: {text}"
    ) from reason


def _has_landed(table_uri: str, version: int, marker: Marker, reason: Exception | None) -> bool:
    """Read back what the log holds at the version that was to be ours."""
    try:
        landed = read_commit(table_uri, version)
    except CompactionError as error:
        text = "no error" if reason is None else explain(reason)
        raise CommitUnknownError(
            f"{table_uri}: it could not be found out whether version {version} was committed; "
            f"run again: it continues, or says that all is done. {error} (commit: {text})"
        ) from error
    if landed is None:
        return False
    if landed.marker is not None and landed.marker.token == marker.token:
        return True
    raise conflict(table_uri, version)


def conflict(table_uri: str, version: int | None) -> ConflictError:
    """Return the error of a run that lost a table to the commit of a version (None: deleted)."""
    if version is None:
        return ConflictError(f"{table_uri}: was deleted since this run started; run again")
    commit = read_commit(table_uri, version)
    if commit is not None and commit.marker is not None:
        winner = f"run {commit.marker.run_id}"
    else:
        winner = f"a {commit.operation or 'commit' if commit else 'commit'} that is not ours"
    return ConflictError(
        f"{table_uri}: changed since this run started: {winner} committed version {version}; "
        "nothing was published, run again to replace what is there now"
    )


def _add_action(file: DataFile) -> AddAction:
    bounded = {
        name
        for name, low in file.minimum.items()
        if not any(isinstance(x, float) and not math.isfinite(x) for x in (low, file.maximum[name]))
    }
    stats = {
        "numRecords": file.rows,
        "minValues": {name: file.minimum[name] for name in sorted(bounded)},
        "maxValues": {name: file.maximum[name] for name in sorted(bounded)},
        "nullCount": file.null_count,
    }
    return AddAction(
        path=file.name,
        size=file.file_bytes,
        partition_values={},
        modification_time=int(time.time() * 1000),
        data_change=True,
        stats=msgspec.json.encode(stats).decode(),
    )
