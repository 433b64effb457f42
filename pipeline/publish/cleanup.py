"""Deleting what nothing needs any more; everything in doubt is kept.

Deleted are files that the log removed longer ago than the retention (what Delta calls a lite
vacuum; its full mode deletes a running job's files) and files of runs that died before they
published. Of both, those of a run stay that is live or was superseded within the retention (a
table's log may have removed its files earlier, by a run that died half-way), or that may be
alive. Nothing is decided by a file's time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from pipeline import storage
from pipeline.errors import ConfigError, InputError
from pipeline.publish.heartbeat import is_silent, read_heartbeat
from pipeline.publish.log import Commit, head_version, live_names, open_table, publications
from pipeline.publish.tables import publication_at
from pipeline.publish.target import DATA_FILE
from pipeline.records import TABLES


def vacuum(output_uri: str, retention_hours: int = 168, dry_run: bool = True) -> list[str]:
    """Delete, or with `dry_run` only list, what no retained version and no live run needs.

    Parameters
    ----------
    output_uri : str
        The output.
    retention_hours : int
        How long a version stays restorable after it was superseded.
    dry_run : bool
        Only say what would be deleted.

    Returns
    -------
    list of str
        Names below the output, sorted: data files, and the records of units whose files go
        (else a run could later count on files that are gone).

    Raises
    ------
    ConfigError
        If nothing is published there, or not by Maskpress; if the retention is negative.
    """
    if retention_hours < 0:
        raise ConfigError(f"--retention_hours: expected >= 0, got {retention_hours}")
    _, head = publication_at(output_uri)
    now_s = time.time()
    retained = _retained(
        storage.join(output_uri, "compacted"), head, now_s - 3600 * retention_hours
    )

    @cache
    def liveness(run_id: str) -> str:
        beat = read_heartbeat(output_uri, run_id)
        return "unknown" if beat is None else "dead" if is_silent(beat, now_s) else "alive"

    doomed: list[str] = []
    for table in TABLES:
        doomed += _doomed(output_uri, table, retained, retention_hours, liveness)
    records = _unit_records(output_uri, doomed)
    if not dry_run:
        # Records first: a run never finds a record of a file that is gone.
        for batch in (records, doomed):
            with ThreadPoolExecutor(max_workers=16) as pool:
                list(pool.map(lambda name: _remove(storage.join(output_uri, name)), batch))
    return sorted(records + doomed)


def _retained(table_uri: str, head: int, since_s: float) -> list[Commit]:
    """Return the publications that are live or were superseded after `since_s`."""
    commits = publications(table_uri, head)
    superseded_ms = [later.timestamp_ms for later in commits[1:]]
    old = [
        commit for commit, end in zip(commits, superseded_ms, strict=False) if end >= since_s * 1000
    ]
    return [*old, commits[-1]]


def _doomed(
    output_uri: str,
    table: str,
    retained: list[Commit],
    retention_hours: int,
    liveness: Callable[[str], str],
) -> list[str]:
    """Return the files of one table that may go, as table/name."""
    table_uri = storage.join(output_uri, table)
    head = head_version(table_uri)
    if head is None:
        return []
    logged = frozenset[str]().union(
        *(live_names(table_uri, c.version) for c in publications(table_uri, head))
    )
    retained_runs = {commit.marker.run_id for commit in retained if commit.marker is not None}
    expired = frozenset(
        open_table(table_uri, head).vacuum(
            retention_hours, dry_run=True, enforce_retention_duration=False, full=False
        )
    )
    doomed: list[str] = []
    for name in storage.list_names(table_uri):
        match = DATA_FILE.fullmatch(name)
        if match is None:  # of another tool, or not a data file at all
            is_doomed = name in expired
        elif match["temp"]:
            is_doomed = liveness(match["run_id"]) == "dead"
        elif match["run_id"] in retained_runs or liveness(match["run_id"]) == "alive":
            is_doomed = False
        else:
            is_orphan = name not in logged and liveness(match["run_id"]) == "dead"
            is_doomed = is_orphan or name in expired
        if is_doomed:
            doomed.append(f"{table}/{name}")
    return doomed


def _unit_records(output_uri: str, doomed: list[str]) -> list[str]:
    """Return the records of all runs of which a data file goes."""
    matches = [DATA_FILE.fullmatch(name.partition("/")[2]) for name in doomed]
    run_ids = sorted({match["run_id"] for match in matches if match and not match["temp"]})
    folders = [f"runs/{run_id}/units" for run_id in run_ids]
    return [
        f"{folder}/{name}"
        for folder in folders
        for name in storage.list_names(storage.join(output_uri, folder))
    ]


def _remove(uri: str) -> None:
    try:
        storage.remove(uri)
    except InputError:
        return  # another vacuum was faster
