"""Where a row of the input went: what the tables say about it, and what it looks like."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import publish, read, runs, storage
from pipeline.arrow import pc
from pipeline.config import ReadConfig
from pipeline.dataset import file_uris, read_config
from pipeline.errors import ConfigError, InputError
from pipeline.stored import coco_counts


class Fate(NamedTuple):
    """What became of one row.

    Attributes
    ----------
    source : str
        URI of its file.
    source_row : int
        Its number there.
    fate : str
        ``kept``, a reason of LINEAGE, or ``rejected``.
    facts : dict
        Its row of the table that has it.
    kept : dict or None
        The row of COMPACTED that has or stands for it, with ``counts`` as a COCO string.
    run_id : str
        The run that is published.
    """

    source: str
    source_row: int
    fate: str
    facts: dict[str, Any]
    kept: dict[str, Any] | None
    run_id: str


def explain_row(output: str, source: str, source_row: int) -> Fate:
    """Look a row of an input file up.

    Parameters
    ----------
    output : str
        URI of the tables.
    source : str
        The input file, as a path or as the URI that the tables hold.
    source_row : int
        Its number in the file, from 0.

    Raises
    ------
    ConfigError
        If nothing is published there, or no table has the row.
    """
    uri = storage.to_uri(source)
    wanted = {"source": uri, "source_row": source_row}
    kept = _kept(output, wanted)
    if kept:
        return Fate(uri, source_row, "kept", kept[0], kept[0], kept[0]["run_id"])
    for name in ("lineage", "rejects"):
        rows = _find(output, name, wanted).to_pylist()
        found = [row for row in rows if row.get("repaired") is None]
        if not found:
            continue
        facts = found[0]
        leader = facts.get("kept_instance_id")
        kept = (
            []
            if leader is None
            else _kept(output, {"image_id": facts["image_id"], "instance_id": leader})
        )
        fate = facts.get("reason", "rejected")
        return Fate(uri, source_row, fate, facts, kept[0] if kept else None, facts["run_id"])
    raise ConfigError(
        f"{uri}: row {source_row} is in none of the published tables of {output}; check the file's "
        "path as it was when the run read it, and the row's number (from 0)"
    )


def explain_image(output: str, image_id: str) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Return the kept rows of an image in order, each with the rows of LINEAGE that it stands for.

    Raises
    ------
    ConfigError
        If nothing is published there, or the table has no such image.
    """
    value = _image_value(output, image_id)
    kept = _kept(output, {"image_id": value})
    merged = _find(output, "lineage", {"image_id": value}).to_pylist()
    if not kept and not merged:
        raise ConfigError(f"{output}: no row of image {image_id!r} is kept, merged or filtered")
    below: dict[int | None, list[dict[str, Any]]] = {}
    for row in merged:
        below.setdefault(row["kept_instance_id"], []).append(row)
    return [(row, below.get(row["instance_id"], [])) for row in kept]


def filtered_rows(output: str, image_id: str) -> list[dict[str, Any]]:
    """Return the rows of LINEAGE of an image that were left out without a kept row."""
    rows = _find(output, "lineage", {"image_id": _image_value(output, image_id)})
    return rows.filter(pc.is_null(rows["kept_instance_id"])).to_pylist()


def own_mask(output: str, fate: Fate) -> tuple[str, str]:
    """Read a row's own mask again from its file.

    Returns
    -------
    counts : str
        Its COCO string as it came (cleaning aside); "" where it cannot be had.
    why : str
        Why not: the file is gone or is another, the run's plan is gone, the row was rejected.
    """
    plan = runs.read_plan(output, fate.run_id)
    if plan is None:
        return "", f"the plan of run {fate.run_id} is gone, so the source cannot be read again"
    known = [file for file in plan.inventory if file.uri == fate.source]
    if not known or not storage.exists(fate.source):
        return "", f"the source {fate.source} is gone, so the row's own outline is not to be had"
    changed = storage.changed_files(known)
    if changed:
        return "", f"the source is not what the run read: {'; '.join(changed)}"
    config = _read_config(output)
    for unit in plan.read_units:
        for part in unit.slices:
            if part.uri == fate.source and 0 <= fate.source_row - part.first_row < part.n_rows:
                try:
                    found = read.read(part, plan.contexts[part.uri], config, plan.id_type)
                except InputError as error:
                    return "", f"the source cannot be read: {error.message}"
                own = found.instances.filter(
                    pc.equal(found.instances["source_row"], fate.source_row)
                )
                if len(own):
                    return own["counts"][0].as_py().decode("ascii"), ""
    return "", "the row has no usable mask"


def _read_config(output: str) -> ReadConfig:
    uris = file_uris(output)
    return msgspec.convert(read_config(uris[0])["read"], ReadConfig) if uris else ReadConfig()


def _image_value(output: str, image_id: str) -> int | str:
    schema = pa.schema(publish.open_tables(output)["compacted"].schema())
    if not pa.types.is_integer(schema.field("image_id").type):
        return image_id
    try:
        return int(image_id)
    except ValueError:
        raise ConfigError(f"--image_id: expected an integer, got {image_id!r}") from None


def _find(output: str, name: str, wanted: dict[str, Any]) -> pa.Table:
    """Return the rows of a table whose columns have the given values, file by file."""
    table = publish.open_tables(output)[name]
    found = [pa.schema(table.schema()).empty_table()]
    for row in pa.table(table.get_add_actions(flatten=True)).to_pylist():
        if "image_id" in wanted and not _may_have(row, wanted["image_id"]):
            continue
        with storage.open_input(storage.join(output, name, row["path"])) as stream:
            file = pq.ParquetFile(stream)
            for number in range(file.num_row_groups):
                is_wanted = _matches(file.read_row_group(number, list(wanted)), wanted)
                if pc.any(is_wanted).as_py():
                    found.append(file.read_row_group(number).filter(is_wanted))
    return pa.concat_tables([found[0].cast(found[-1].schema), *found[1:]]).combine_chunks()


def _matches(rows: pa.Table, wanted: dict[str, Any]) -> pa.ChunkedArray:
    result = pa.chunked_array([pa.repeat(True, len(rows))])
    for column, value in wanted.items():
        result = pc.and_(result, pc.fill_null(pc.equal(rows[column], value), False))
    return result


def _may_have(action: dict[str, Any], image_id: int | str) -> bool:
    low, high = action["min.image_id"], action["max.image_id"]
    if isinstance(image_id, int):
        return low <= image_id <= high
    return low.encode() <= image_id.encode() <= high.encode()


def _kept(output: str, wanted: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of COMPACTED that are asked for; their masks as COCO strings."""
    rows = _find(output, "compacted", wanted)
    counts = [value.decode("ascii") for value in coco_counts(rows).to_pylist()]
    return [{**row, "counts": text} for row, text in zip(rows.to_pylist(), counts, strict=True)]
