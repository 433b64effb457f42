"""Whether what is published is what its run wrote, and what its sources say.

Order of the modules: `published` looks at logs and files, `accounts` counts every source's
rows, `links` compares the tables with each other, `content` decodes masks, `sources` reads
the inputs again. Each of them only adds to the findings.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable

import msgspec
import pyarrow as pa

from pipeline import dataset, storage
from pipeline.errors import ConfigError, InputError
from pipeline.verify.accounts import check_conservation
from pipeline.verify.content import check_masks
from pipeline.verify.findings import (
    FILE_ADVICE,
    Findings,
    Problem,
    count_row_groups,
    read_row_groups,
    short_name,
)
from pipeline.verify.links import check_identities, check_lineage, check_order
from pipeline.verify.published import Published, check_publication
from pipeline.verify.sources import Settings, SourceCheck

__all__ = ["Findings", "Problem", "verify"]


def verify(
    output: str,
    version: int | None = None,
    sample_fraction: float = 0.02,
    is_all: bool = False,
) -> Findings:
    """Check what is published at an output.

    Parameters
    ----------
    output : str
        Directory or URI of the tables.
    version : int, optional
        Of ``compacted``; default the newest.
    sample_fraction : float
        Share of the row groups, in (0, 1], whose masks are decoded and compared with their
        sources; at least one is. Which ones depends on the files' names only.
    is_all : bool
        All of them; and rows that are missing or come twice are named.

    Returns
    -------
    Findings
        No problems: all is well, notes aside. Files that are damaged are left out of the
        checks of rows, and checks of all rows together are left out then.

    Raises
    ------
    ConfigError
        If nothing is published there, or not by Maskpress, or not up to that version; if the
        fraction is none.
    StorageError
        If the store fails.
    """
    if not 0 < sample_fraction <= 1:
        raise ConfigError(
            f"--sample_fraction: expected a fraction in (0, 1], got {sample_fraction}"
        )
    findings = Findings()
    published = check_publication(storage.to_uri(output), version, findings)
    settings = _read_settings(published, findings)
    _check_all_rows(published, settings, findings, is_all)
    if settings is not None and published.files["compacted"]:
        fraction = 1.0 if is_all else sample_fraction
        _guarded(findings, lambda: _check_sample(published, settings, findings, fraction))
    return findings


def _check_all_rows(
    published: Published, settings: Settings | None, findings: Findings, is_all: bool
) -> None:
    """Do the checks that look at every row."""
    _guarded(findings, lambda: check_order(published, findings))
    if settings is not None:
        _guarded(findings, lambda: check_lineage(published, settings.dedup, findings))
    if not published.is_whole:
        findings.notes.append(
            "the rows of each source and the links from lineage were not counted: see above"
        )
        return
    _guarded(findings, lambda: check_identities(published, findings))
    plan = published.plan
    if plan is None:
        findings.notes.append("the plan of the run is gone: the rows of its sources are not known")
        return
    _guarded(findings, lambda: check_conservation(published, plan, findings, is_all))


def _check_sample(
    published: Published, settings: Settings, findings: Findings, fraction: float
) -> None:
    """Decode the masks of the sampled row groups, and compare them with their sources."""
    sources = None
    if published.plan is not None:
        sources = SourceCheck(published.plan, settings, findings)
    for uri, numbers in _sample(published.files["compacted"], fraction).items():
        where = short_name(uri)
        for group in read_row_groups(uri, numbers=numbers):
            counts = check_masks(where, group.first_row, group.rows, settings.encode, findings)
            if sources is not None and counts is not None:
                sources.add(where, group.first_row, group.rows, counts)
    if sources is not None:
        sources.finish()


def _sample(uris: list[str], fraction: float) -> dict[str, set[int]]:
    """Return the row groups that are looked at, by file: those of the lowest hashes."""
    places = [(uri, number) for uri in uris for number in range(count_row_groups(uri))]
    places.sort(key=lambda place: _hash(*place))
    chosen: dict[str, set[int]] = {}
    for uri, number in places[: math.ceil(fraction * len(places))]:
        chosen.setdefault(uri, set()).add(number)
    return {uri: chosen[uri] for uri in uris if uri in chosen}


def _hash(uri: str, number: int) -> bytes:
    return hashlib.blake2b(f"{short_name(uri)}:{number}".encode(), digest_size=8).digest()


def _read_settings(published: Published, findings: Findings) -> Settings | None:
    """Return the settings of the run, None where there is no file that has them."""
    for uri in [*published.files["compacted"], *published.files["lineage"]]:
        try:
            return msgspec.convert(dataset.read_config(uri), Settings)
        except (KeyError, msgspec.MsgspecError, pa.ArrowException, ConfigError) as error:
            expected = "the settings of the run in the footer"
            findings.add(short_name(uri), expected, f"{error!r}", FILE_ADVICE)
            return None
    return None


def _guarded(findings: Findings, check: Callable[[], None]) -> None:
    """Do a check; a file that cannot be read ends it, and is a problem."""
    try:
        check()
    except InputError as error:
        findings.add("a table", "files that can be read", error.message, FILE_ADVICE)
