"""The three tables as one publication, and every live file against the log and its record."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import publish, storage
from pipeline.config import FORMAT_VERSION
from pipeline.errors import CompactionError
from pipeline.plan import Plan, parse_extras
from pipeline.publish.tables import publication_at
from pipeline.records import TABLES, DataFile, UnitRecord, total_sources
from pipeline.runs import plan_uri
from pipeline.verify.findings import FILE_ADVICE, Findings
from schemas.compacted import COMPACTED_COLUMNS, compacted_schema
from schemas.lineage import lineage_schema
from schemas.metadata import FORMAT_KEY
from schemas.rejects import rejects_schema

RECORD_ADVICE = (
    "the record was changed: bring it back from a backup; the tables may be sound, but the report "
    "and a check of their files rest on it"
)
"""What to do about a record that contradicts itself."""

_CHUNK_BYTES = 8 << 20
_AT_ONCE = 8


class Published(NamedTuple):
    """What is published, as far as it is sound.

    Attributes
    ----------
    uri : str
        The output.
    run_id : str
        The run whose files are live.
    plan : Plan or None
        Of that run; None where it is gone.
    files : dict of str to list of str
        By table, the URIs of the files that are as they were written; those of
        ``compacted`` in order of their smallest image_id.
    is_whole : bool
        Whether these are all files.
    """

    uri: str
    run_id: str
    plan: Plan | None
    files: dict[str, list[str]]
    is_whole: bool


def check_publication(uri: str, version: int | None, findings: Findings) -> Published:
    """Check the log, the schemas and every live file of the three tables.

    Parameters
    ----------
    uri : str
        The output.
    version : int or None
        Of ``compacted``; None: the newest.
    findings : Findings
        Takes what is wrong.

    Raises
    ------
    ConfigError
        If nothing of ours is published there, or not up to that version.
    StorageError
        If a log cannot be read.
    """
    commit, version = publication_at(uri, version)
    assert commit.marker is not None
    run_id, written = commit.marker.run_id, commit.marker.format
    if written != FORMAT_VERSION:
        findings.add(
            f"compacted version {version}",
            f"format version {FORMAT_VERSION}",
            f"{written}",
            "Nothing else was checked; use the Maskpress that wrote it",
        )
        return Published(uri, run_id, None, {name: [] for name in TABLES}, is_whole=False)
    tables = publish.open_tables(uri, version)
    logged = {name: _logged_files(name, table) for name, table in tables.items()}
    plan = _read_plan(uri, run_id, findings)
    recorded = _read_records(uri, run_id, findings)
    n_before = len(findings.problems)
    _check_names(logged, recorded, plan, findings)
    rows = sum(file.rows for file in logged["compacted"])
    if rows != commit.marker.rows:
        findings.add("compacted", f"{commit.marker.rows} rows by its commit", f"{rows}")
    schemas = _expected_schemas(uri, tables, plan, logged)
    for name, table in tables.items():
        _check_schema(name, pa.schema(table.schema().to_arrow()), schemas[name], findings)
    files = _check_files(uri, logged, recorded, schemas, findings)
    return Published(uri, run_id, plan, files, is_whole=len(findings.problems) == n_before)


def _logged_files(table: str, opened: Any) -> list[DataFile]:
    """Return what the log says of a table's live files, in order of their smallest image_id."""
    rows = pa.table(opened.get_add_actions(flatten=True)).to_pylist()
    files: list[DataFile] = []
    for row in rows:
        stated = {
            part: {
                key.removeprefix(f"{part}."): value
                for key, value in row.items()
                if key.startswith(f"{part}.") and value is not None
            }
            for part in ("min", "max", "null_count")
        }
        # The log leaves out bounds that are not finite, which says nothing of the footer.
        nulls = {
            name: count
            for name, count in stated["null_count"].items()
            if name in stated["min"] or count == row["num_records"]
        }
        files.append(
            DataFile(
                table=table,
                name=row["path"],
                rows=row["num_records"],
                file_bytes=row["size_bytes"],
                digest="",
                minimum=stated["min"],
                maximum=stated["max"],
                null_count=nulls,
            )
        )
    return sorted(files, key=_first_image)


def _first_image(file: DataFile) -> tuple[Any, str]:
    first = file.minimum.get("image_id", "")
    return (first.encode() if isinstance(first, str) else first, file.name)


def _read_plan(uri: str, run_id: str, findings: Findings) -> Plan | None:
    where = plan_uri(uri, run_id)
    if not storage.exists(where):
        return None
    try:
        return msgspec.json.decode(storage.read_bytes(where), type=Plan)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        findings.add(f"runs/{run_id}/plan.json", "the plan of the run", str(error), FILE_ADVICE)
        return None


def _read_records(uri: str, run_id: str, findings: Findings) -> dict[tuple[str, str], DataFile]:
    """Return the files that the records of a run name, whether they are there or not."""
    folder = storage.join(uri, "runs", run_id, "units")
    recorded: dict[tuple[str, str], DataFile] = {}
    for name in storage.list_names(folder):
        if name.startswith("."):
            continue
        try:
            record = msgspec.json.decode(
                storage.read_bytes(storage.join(folder, name)), type=UnitRecord
            )
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            where = f"runs/{run_id}/units/{name}"
            findings.add(where, "the record of a unit of work", str(error), FILE_ADVICE)
            continue
        recorded |= {(file.table, file.name): file for file in record.files}
        _check_counts(f"runs/{run_id}/units/{name}", record, findings)
    return recorded


def _check_counts(where: str, record: UnitRecord, findings: Findings) -> None:
    """Check that what a record counts is what its files hold."""
    counts = list(total_sources([record]).values())
    repaired = int(record.numbers.get("repaired_rows", 0))
    counted = {
        "compacted": sum(own.kept for own in counts),
        "lineage": sum(own.merged + own.filtered for own in counts),
        "rejects": sum(own.rejected for own in counts) + repaired,
    }
    for table, n_rows in counted.items():
        written = sum(file.rows for file in record.files if file.table == table)
        if written != n_rows:
            expected = f"as many rows of {table} by its counts as in its files, {written}"
            findings.add(where, expected, f"{n_rows}", RECORD_ADVICE)


def _check_names(
    logged: dict[str, list[DataFile]],
    recorded: dict[tuple[str, str], DataFile],
    plan: Plan | None,
    findings: Findings,
) -> None:
    """Check that exactly the run's files are live, each as its record says."""
    if not recorded:
        if plan is None or any(logged.values()):
            findings.notes.append("the records of the run are gone: no checksum was compared")
        return
    live = {(file.table, file.name): file for own in logged.values() for file in own}
    for table, name in sorted(live.keys() ^ recorded.keys()):
        is_live = (table, name) in live
        findings.add(
            f"{table}/{name}",
            "exactly the files of the run to be live",
            "a live file that no record of the run names" if is_live else "that it is not live",
            "Another tool changed the table, or records are lost: go back with jobs/restore.py",
        )
    for key in sorted(live.keys() & recorded.keys()):
        ours, theirs = recorded[key], live[key]
        if (ours.rows, ours.file_bytes) != (theirs.rows, theirs.file_bytes):
            findings.add(
                "/".join(key),
                f"{ours.rows} rows and {ours.file_bytes} bytes, as its record says",
                f"{theirs.rows} rows and {theirs.file_bytes} bytes in the log",
                FILE_ADVICE,
            )


def _expected_schemas(
    uri: str, tables: dict[str, Any], plan: Plan | None, logged: dict[str, list[DataFile]]
) -> dict[str, pa.Schema]:
    """Return the schemas of this format; without a plan the first file says which extras."""
    in_log = pa.schema(tables["compacted"].schema().to_arrow())
    is_int = "image_id" in in_log.names and pa.types.is_integer(in_log.field("image_id").type)
    id_type = "int" if is_int else "string"
    found = in_log
    if plan is None:
        for file in logged["compacted"]:
            try:
                with storage.open_input(storage.join(uri, "compacted", file.name)) as stream:
                    found = pq.read_schema(stream)
                break
            except (pa.ArrowException, OSError, CompactionError):
                continue  # reported where every file is looked at
    extras = [field for field in found if field.name not in COMPACTED_COLUMNS]
    if plan is not None:
        extras = list(parse_extras(plan.extras))
    return {
        "compacted": compacted_schema(id_type, extras),
        "lineage": lineage_schema(id_type),
        "rejects": rejects_schema(),
    }


def _check_schema(table: str, found: pa.Schema, schema: pa.Schema, findings: Findings) -> None:
    """Compare the log's schema: all names, and the types of the columns that are ours."""
    if found.names != schema.names:
        findings.add(f"{table}, log", f"the columns {schema.names}", f"{found.names}", FILE_ADVICE)
        return
    for field in schema:
        is_ours = table != "compacted" or field.name in COMPACTED_COLUMNS
        if is_ours and found.field(field.name).type != field.type:
            where = f"{table}, log, column {field.name}"
            findings.add(where, f"{field.type}", f"{found.field(field.name).type}", FILE_ADVICE)


def _check_files(
    uri: str,
    logged: dict[str, list[DataFile]],
    recorded: dict[tuple[str, str], DataFile],
    schemas: dict[str, pa.Schema],
    findings: Findings,
) -> dict[str, list[str]]:
    """Check every live file; return the URIs of the sound ones, by table."""

    def look(file: DataFile) -> str:
        record = recorded.get((file.table, file.name))
        return _damage(uri, file, record.digest if record else "", schemas)

    sound: dict[str, list[str]] = {}
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        for table, files in logged.items():
            sound[table] = []
            for file, damage in zip(files, pool.map(look, files), strict=True):
                findings.count("files", 1)
                findings.count("bytes", file.file_bytes)
                if damage:
                    expected = "the file as its log entry and its record describe it"
                    findings.add(f"{table}/{file.name}", expected, damage, FILE_ADVICE)
                else:
                    sound[table].append(storage.join(uri, table, file.name))
    return sound


def _damage(uri: str, file: DataFile, digest: str, schemas: dict[str, pa.Schema]) -> str:
    """Return what is wrong with a file, "" if nothing is; no digest: only its footer is read."""
    own_uri = storage.join(uri, file.table, file.name)
    try:
        publish.verify_files(uri, [file], schemas)
        found = _digest(own_uri) if digest else ""
        with storage.open_input(own_uri) as stream:
            metadata = pq.read_schema(stream).metadata or {}
    except CompactionError as error:
        # A store that fails says nothing of the file: then this raises, and the job ends.
        if storage.exists(own_uri):
            storage.read_bytes(own_uri, 0, 1)
        # What a run is told that is about to publish does not apply here.
        text = error.message.partition("; nothing was published")[0]
        return text.removeprefix(f"{own_uri}: ")
    except (pa.ArrowException, OSError) as error:
        return f"a footer that cannot be read: {error}"
    if found != digest:
        return f"the checksum {found} instead of {digest}: its bytes were changed"
    written = metadata.get(FORMAT_KEY.encode(), b"none").decode()
    return "" if written == FORMAT_VERSION else f"format version {written} in its footer"


def _digest(uri: str) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with storage.open_input(uri) as stream:
        while data := stream.read(_CHUNK_BYTES):
            digest.update(data)
    return digest.hexdigest()


def total_rows(published: Published, table: str) -> int:
    """Return the rows of a table's sound files, by their footers."""
    total = 0
    for uri in published.files[table]:
        with storage.open_input(uri) as stream:
            total += pq.read_metadata(stream).num_rows
    return total
