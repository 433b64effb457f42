"""The end of reading a slice, whatever its format: validate, repair, say what is rejected."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.config import ReadConfig
from pipeline.errors import InputError
from pipeline.read.json_faults import show
from pipeline.read.mask_columns import Rle, mask_columns
from pipeline.read.raw_rows import Fault, RawRows
from pipeline.read.reject_table import Reject, reject_table
from pipeline.read.repair import CODES, Repair, mask_of, repair_mask, take_but_masks
from pipeline.read.slices import ReadResult, Slice
from pipeline.read.validate import FileFacts, validate

RowBytes = Callable[[int], tuple[int | None, bytes | None]]
"""Row of a slice -> its byte offset, and its bytes as they came unless they are too many."""


class RawGroup(NamedTuple):
    """Raw rows of a slice, and which rows of the slice they are.

    Attributes
    ----------
    raw : RawRows
        N rows.
    place_N : int64 (N,)
        Rows of the slice, ascending.
    """

    raw: RawRows
    place_N: NDArray[np.int64]


def with_extras(group: RawGroup, extras: pa.Table) -> RawGroup:
    """Return a group with extra columns, given for all rows of the slice."""
    own = extras.take(pa.array(group.place_N))
    table = group.raw.extras
    for field in extras.schema:
        table = table.append_column(field, own[field.name])
    return group._replace(raw=group.raw._replace(extras=table))


def finish_slice(
    part: Slice,
    groups: Sequence[RawGroup],
    faults: dict[int, Fault],
    repairs: dict[int, Repair],
    config: ReadConfig,
    id_type: str,
    facts: FileFacts,
    row_bytes: RowBytes,
) -> ReadResult:
    """Validate the raw rows of a slice and put the result together.

    Parameters
    ----------
    part : Slice
        The slice.
    groups : sequence of RawGroup
        Its rows whose values have the right types.
    faults : dict of int to Fault
        By row of the slice: those that have not.
    repairs : dict of int to Repair
        By row of the slice: those that were repaired to have them.
    config : ReadConfig
        What to do with rows at fault.
    id_type : str
        ``"int"`` or ``"string"``.
    facts : FileFacts
        What the rest of the file says.
    row_bytes : callable
        Gives the bytes of a row; called for those at fault or repaired.

    Raises
    ------
    InputError
        With ``--read.on_invalid fail``, if a row is at fault.
    """
    tables: list[pa.Table] = []
    counters: Counter[str] = Counter()
    faults, repairs = dict(faults), dict(repairs)
    for raw, place_N in groups:
        checked = validate(raw, part.uri, id_type, facts)
        tables.append(checked.instances)
        counters.update(checked.counters)
        found = checked.faults
        if config.repair and found:
            mended, table, notes = _repair(raw, found, config.repair, part.uri, id_type, facts)
            tables.append(table)
            counters.update(notes)
            repairs |= {int(place_N[row]): repair for row, repair in mended.items()}
            found = {row: fault for row, fault in found.items() if row not in mended}
        faults |= {int(place_N[row]): fault for row, fault in found.items()}
    repairs = {row: repair for row, repair in repairs.items() if row not in faults}
    if faults and config.on_invalid == "fail":
        raise _first_fault(part, faults, row_bytes)
    counters.update(f"repaired_{repair.name}" for repair in repairs.values())
    return ReadResult(
        _in_order(tables),
        _table(part, faults, row_bytes),
        dict(counters),
        _repair_table(part, repairs, row_bytes),
    )


def _repair(
    raw: RawRows,
    faults: dict[int, Fault],
    names: Sequence[str],
    uri: str,
    id_type: str,
    facts: FileFacts,
) -> tuple[dict[int, Repair], pa.Table, dict[str, int]]:
    """Return repairs by row, the rows that are usable after them, and what they count."""
    wanted = {code for name in names for code in CODES[name]}
    asked = [row for row, fault in sorted(faults.items()) if fault.code in wanted]
    found = {row: repair_mask(mask_of(raw, row), faults[row].code, names) for row in asked}
    mended = {row: repair for row, repair in found.items() if repair is not None}
    rows_M = np.array(list(mended), np.int64)
    masks = mask_columns([_to_mask(mask) for mask, _ in mended.values()])
    again = RawRows(**take_but_masks(raw, rows_M), **masks)
    checked = validate(again, uri, id_type, facts)
    good = {
        row: Repair(name, faults[row], mask)
        for n, (row, (mask, name)) in enumerate(mended.items())
        if n not in checked.faults
    }
    return good, checked.instances, checked.counters


def _to_mask(mask: Any) -> Any:
    return Rle(tuple(mask["size"]), mask["counts"]) if isinstance(mask, dict) else mask


def _repair_table(part: Slice, repairs: dict[int, Repair], row_bytes: RowBytes) -> pa.Table:
    rows: list[Reject] = []
    for place in sorted(repairs):
        name, (code, field, message), mask = repairs[place]
        fault = Fault(code, field, f"repaired by {name}: {message}")
        offset, payload = row_bytes(place)
        rows.append(
            Reject(part.first_row + place, offset, fault, payload, msgspec.json.encode(mask))
        )
    return reject_table(part.uri, rows)


def _in_order(tables: Sequence[pa.Table]) -> pa.Table:
    filled = [table for table in tables if len(table)] or [tables[0]]
    if len(filled) == 1:
        return filled[0]
    return pa.concat_tables(filled).sort_by("source_row").combine_chunks()


def _table(part: Slice, faults: dict[int, Fault], row_bytes: RowBytes) -> pa.Table:
    rejects: list[Reject] = []
    for place in sorted(faults):
        offset, payload = row_bytes(place)
        rejects.append(Reject(part.first_row + place, offset, faults[place], payload))
    return reject_table(part.uri, rejects)


def _first_fault(part: Slice, faults: dict[int, Fault], row_bytes: RowBytes) -> InputError:
    place = min(faults)
    code, field, message = faults[place]
    offset, payload = row_bytes(place)
    where = "" if offset is None else f" (byte {offset})"
    return InputError(
        f"{part.uri}: row {part.first_row + place}{where}: {code}: {field}: {message}; the row: "
        f"{show((payload or b'').decode('utf-8', 'replace'))}; mend it, or reject such rows with "
        "--read.on_invalid reject"
    )
