"""What is at the output before a run: nothing, our tables, or what must not be touched."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import Literal

import msgspec

from pipeline import storage
from pipeline.config import FORMAT_VERSION
from pipeline.errors import ConfigError
from pipeline.publish.address import delta_uri
from pipeline.publish.log import (
    head_version,
    last_publication,
    live_names,
    live_sizes,
    open_table,
    publications,
)
from pipeline.records import TABLES

DATA_FILE = re.compile(
    r"(?P<temp>\.maskpress-tmp-[0-9a-f]+-)?part-\d{5,}-(?P<run_id>[0-9a-f]+)\.parquet"
)
"""Name of a data file, or of its temporary form on a local disk."""

_RUN_ID = re.compile(r"[0-9a-f]{16}")


class Target(msgspec.Struct, frozen=True):
    """What a run starts from.

    Attributes
    ----------
    uri : str
        The output.
    versions : dict of str to int or None
        By table: its version, None where it is absent.
    id_type : str or None
        ``"int"`` or ``"string"``: the type of image_id that the tables have; None: no table yet.
    """

    uri: str
    versions: dict[str, int | None]
    id_type: str | None = None


class RunState(msgspec.Struct, frozen=True):
    """Whether a run's files are in the tables.

    Attributes
    ----------
    kind : str
        ``"live"``: the newest version is exactly this run's files. ``"superseded"``: an older
        version is, and can be restored. ``"absent"``: none is.
    version : int or None
        The version of `compacted`; None if absent.
    """

    kind: Literal["live", "superseded", "absent"]
    version: int | None = None


def inspect_target(output_uri: str, input_uris: Iterable[str]) -> Target:
    """Return the state of the output, or refuse it.

    Parameters
    ----------
    output_uri : str
        The output.
    input_uris : iterable of str
        The inputs as they were given (directories too) and as they were found.

    Raises
    ------
    ConfigError
        If the output lies in an input or the reverse; if Delta cannot write there; if it holds
        anything but our tables, or what a first run that died leaves; if a newer Maskpress
        wrote it.
    """
    _refuse_nesting(output_uri, input_uris)
    delta_uri(output_uri)
    versions = {table: head_version(storage.join(output_uri, table)) for table in TABLES}
    version = versions["compacted"]
    if version is None:
        _require_leftovers(output_uri, versions)
        return Target(output_uri, versions)
    table_uri = storage.join(output_uri, "compacted")
    publication = last_publication(table_uri, version)
    if publication is None or publication.marker is None:
        raise ConfigError(
            f"{table_uri}: is a Delta table that Maskpress did not write; choose another --output"
        )
    if int(publication.marker.format) > int(FORMAT_VERSION):
        raise ConfigError(
            f"{table_uri}: has format {publication.marker.format}, this version writes format "
            f"{FORMAT_VERSION}; use the newer Maskpress that wrote it, or another --output"
        )
    return Target(output_uri, versions, _id_type(table_uri, version))


def find_run(target: Target, run_id: str) -> RunState:
    """Return whether a run's files are live, were live, or are not in the tables.

    A version whose files were deleted since (by vacuum) counts as absent: it cannot be
    restored, only computed again.
    """
    version = target.versions["compacted"]
    if version is None:
        return RunState("absent")
    table_uri = storage.join(target.uri, "compacted")
    last = last_publication(table_uri, version)
    if last and last.marker and last.marker.run_id == run_id:
        is_untouched = last.version == version or (
            live_names(table_uri, last.version) == live_names(table_uri, version)
        )
        if is_untouched:
            return RunState("live", last.version)
    for commit in reversed(publications(table_uri, version)):
        if commit.marker and commit.marker.run_id == run_id:
            versions = {**commit.marker.versions, "compacted": commit.version}
            if not missing_files(target.uri, versions):
                return RunState("superseded", commit.version)
    return RunState("absent")


def missing_files(output_uri: str, versions: dict[str, int]) -> list[str]:
    """Return the files of a set of table versions that the store no longer has, as table/name."""
    missing: list[str] = []
    for table, version in versions.items():
        table_uri = storage.join(output_uri, table)
        gone = live_names(table_uri, version).difference(storage.list_names(table_uri))
        missing += [f"{table}/{name}" for name in sorted(gone)]
    return missing


def damaged_files(target: Target) -> dict[str, str]:
    """Return what is wrong with live files, by table/name: they are missing, or of another size.

    One listing a table. Other bytes of the same number are for `pipeline.verify` to find.
    """
    head = target.versions["compacted"]
    table_uri = storage.join(target.uri, "compacted")
    last = None if head is None else last_publication(table_uri, head)
    if last is None or last.marker is None:
        return {}
    damaged: dict[str, str] = {}
    for table, version in {**last.marker.versions, "compacted": last.version}.items():
        table_uri = storage.join(target.uri, table)
        sizes = storage.list_sizes(table_uri)
        for name, file_bytes in live_sizes(table_uri, version).items():
            found = sizes.get(name)
            if found is None:
                damaged[f"{table}/{name}"] = "is missing"
            elif found != file_bytes:
                damaged[f"{table}/{name}"] = f"has {found} bytes instead of {file_bytes}"
    return damaged


def _refuse_nesting(output_uri: str, input_uris: Iterable[str]) -> None:
    output = _resolve(output_uri)
    for input_uri in input_uris:
        given = _resolve(input_uri)
        if storage.is_inside(output, given) or storage.is_inside(given, output):
            raise ConfigError(
                f"expected an output apart from the inputs, got the output {output_uri} and the "
                f"input {input_uri}, of which one lies in the other; choose another --output"
            )


def _resolve(uri: str) -> str:
    """Return a local URI without symbolic links, any other as it is."""
    return "file://" + os.path.realpath(storage.local_path(uri)) if storage.is_local(uri) else uri


def _require_leftovers(output_uri: str, versions: dict[str, int | None]) -> None:
    """Refuse an output without our `compacted` unless all in it is what a dead run leaves."""
    for name in storage.list_names(output_uri):
        uri = storage.join(output_uri, name)
        if name in ("runs", "reports"):
            foreign = [below for below in storage.list_names(uri) if not _RUN_ID.fullmatch(below)]
        elif name in TABLES:
            foreign = [below for below in storage.list_names(uri) if not _is_table_part(below)]
            version = versions[name]
            if version is not None and last_publication(uri, version) is None:
                foreign.append("_delta_log")
        else:
            foreign = [""]
        if foreign:
            raise ConfigError(
                f"{output_uri}: expected an empty or absent directory, or one that Maskpress "
                f"wrote, found {'/'.join([name, foreign[0]]).rstrip('/')}; choose another --output"
            )


def _is_table_part(name: str) -> bool:
    return name == "_delta_log" or DATA_FILE.fullmatch(name) is not None


def _id_type(table_uri: str, version: int) -> str:
    fields = {field.name: field for field in open_table(table_uri, version).schema().fields}
    return "int" if getattr(fields["image_id"].type, "type", "") == "long" else "string"
