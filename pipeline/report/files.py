"""What lies in ``OUT/reports/<run_id>/``: report.json, samples.json, figures.jsonl, report.html."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from pipeline import storage
from pipeline.config import ReportConfig
from pipeline.errors import ConfigError, StorageError
from pipeline.records import GroupSample, UnitRecord
from pipeline.report.names import ImageFolder, find_folder
from pipeline.samples import first_samples

NO_PAGE = "report.html was not made: install the packages of maskpress[report]"
"""Said where the packages that make the page are absent; no failure."""


def write(
    output: str,
    document: dict[str, Any],
    records: Sequence[UnitRecord],
    name_files: Callable[[list[GroupSample]], list[GroupSample]] = list,
) -> list[GroupSample]:
    """Write all but the page into the run's folder of reports; return the groups it will show.

    Parameters
    ----------
    output : str
        URI of the output.
    document : dict
        The report, see `pipeline.report.build`.
    records : sequence of UnitRecord
        Whose groups the page will show.
    name_files : callable
        Adds the file names of the groups' images.
    """
    samples = first_samples(sample for record in records for sample in record.samples)
    samples = name_files(samples)
    uri = _uri(output, document["run_id"], "samples.json")
    storage.write_bytes(uri, msgspec.json.encode(samples))
    _write_numbers(output, document)
    return samples


def write_again(output: str, document: dict[str, Any]) -> None:
    """Write the report again with what followed the commit.

    A store that refuses is no failure: the run has published before.
    """
    with suppress(StorageError):
        _write_numbers(output, document)


def _write_numbers(output: str, document: dict[str, Any]) -> None:
    lines = [msgspec.json.encode(line) for line in figures(document)]
    for name, data in (
        ("figures.jsonl", b"\n".join(lines) + b"\n"),
        ("report.json", msgspec.json.format(msgspec.json.encode(document))),
    ):
        storage.write_bytes(_uri(output, document["run_id"], name), data)


def read(output: str, run_id: str) -> tuple[dict[str, Any], list[GroupSample]]:
    """Return the report of a run and its sampled groups.

    Raises
    ------
    ConfigError
        If the run has left no report there.
    """
    uri = _uri(output, run_id, "report.json")
    if not storage.exists(uri):
        raise ConfigError(f"{uri}: no such report; check the output and the run")
    document = msgspec.json.decode(storage.read_bytes(uri))
    data = storage.read_bytes(_uri(output, run_id, "samples.json"))
    return document, msgspec.json.decode(data, type=list[GroupSample])


def render(output: str, run_id: str, folder: ImageFolder | None = None) -> str:
    """Make report.html from report.json and samples.json; return as `write_page`.

    Raises
    ------
    ConfigError
        If the run has left no report there.
    """
    try:
        document, samples = read(output, run_id)
    except StorageError as error:
        return f"report.html was not made: {error.message}"
    return write_page(output, document, samples, folder)


def write_page(
    output: str,
    document: dict[str, Any],
    samples: Sequence[GroupSample],
    folder: ImageFolder | None = None,
) -> str:
    """Make report.html; return where it is, or why not.

    A page that could not be made is said and is no failure: the run has published before.
    Pictures are drawn over the images of `folder`.
    """
    try:
        from pipeline.report import page
    except ModuleNotFoundError:
        return NO_PAGE
    uri = _uri(output, document["run_id"], "report.html")
    try:
        storage.write_bytes(uri, page.make_page(document, samples, folder).encode())
    except StorageError as error:
        return f"report.html was not made: {error.message}"
    return uri


def render_missing(output: str, run_id: str, config: ReportConfig) -> None:
    """Make the page that a run left out which died between its commit and its report.html."""
    has_data = storage.exists(_uri(output, run_id, "report.json"))
    if has_data and not storage.exists(_uri(output, run_id, "report.html")):
        render(output, run_id, find_folder(config))


def figures(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the numbers of a report one by one, for nightly comparison.

    Yields
    ------
    dict
        ``run_id``, ``figure`` (the keys of report.json that lead to it, joined by dots) and
        ``value``. Lists, settings, gates, and what is told by source or category are left out.
    """
    left_out = ("config", "versions", "sources", "categories", "category_names")
    left_out += ("histograms", "gates")
    for key, value in document.items():
        if key == "metrics" and value is not None:
            value = {name: inner for name, inner in value.items() if name != "categories"}
        if key not in left_out:
            for figure, number in _numbers(key, value):
                yield {"run_id": document["run_id"], "figure": figure, "value": number}


def _numbers(key: str, value: Any) -> Iterator[tuple[str, float]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _numbers(f"{key}.{name}", inner)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield key, value


def _uri(output: str, run_id: str, name: str) -> str:
    return storage.join(output, "reports", run_id, name)
