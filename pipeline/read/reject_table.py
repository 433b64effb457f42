"""Rows that cannot be used, and rows that were repaired, as REJECTS."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import pyarrow as pa

from pipeline.read.raw_rows import Fault
from schemas.rejects import rejects_schema


class Reject(NamedTuple):
    """One row that cannot be used, or could not until it was repaired.

    Attributes
    ----------
    source_row : int
        0-based row of the file.
    byte_offset : int or None
        Where it starts; None where rows have no place of their own.
    fault : Fault
        Why.
    payload : bytes or None
        The row as it came; None if it is too large to repeat.
    repaired : bytes or None
        The mask that it was repaired to, as JSON; None for a row that is rejected.
    """

    source_row: int
    byte_offset: int | None
    fault: Fault
    payload: bytes | None
    repaired: bytes | None = None


def reject_table(uri: str, rejects: Sequence[Reject]) -> pa.Table:
    """Return REJECTS of one file, run_id "" (the sink sets it); empty for none."""
    if not rejects:
        return _no_rejects()
    columns = {
        "run_id": [""] * len(rejects),
        "source": [uri] * len(rejects),
        "source_row": [reject.source_row for reject in rejects],
        "byte_offset": [reject.byte_offset for reject in rejects],
        "code": [reject.fault.code for reject in rejects],
        "field": [reject.fault.field for reject in rejects],
        "message": [reject.fault.message for reject in rejects],
        "payload": [reject.payload for reject in rejects],
        "repaired": [reject.repaired for reject in rejects],
    }
    return pa.table(columns, schema=rejects_schema())


@cache
def _no_rejects() -> pa.Table:
    return rejects_schema().empty_table()
