"""Images with more rows than a worker may hold, told by their size before they are joined."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from pipeline.arrow import pc
from schemas.rejects import rejects_schema

ROW_BYTES = 256
"""What a row counts beside its COCO string."""


def split_oversize(
    tables: Sequence[pa.Table], max_image_bytes: int
) -> tuple[list[pa.Table], pa.Table]:
    """Take out the rows of images that are larger than an image may be.

    Parameters
    ----------
    tables : sequence of pa.Table
        INSTANCES of whole images together, one or more.
    max_image_bytes : int
        ``--read.max_image_bytes``.

    Returns
    -------
    tuple
        The tables without those rows, and REJECTS (code ``TOO_MANY_MASKS``) of them. Their
        bytes are not repeated there: that would take as much memory again.
    """
    tables = list(tables)
    nothing = rejects_schema().empty_table()
    if sum(ROW_BYTES * len(table) + table["counts"].nbytes for table in tables) <= max_image_bytes:
        return tables, nothing
    lengths = [_row_bytes(table) for table in tables]
    image_id = pa.chunked_array([c for table in tables for c in table["image_id"].chunks])
    encoded = image_id.combine_chunks().dictionary_encode()
    code_N = encoded.indices.to_numpy(zero_copy_only=False)
    bytes_G = np.bincount(code_N, weights=np.concatenate(lengths), minlength=1)
    large_N = bytes_G[code_N] > max_image_bytes
    if not large_N.any():
        return tables, nothing
    rejects, kept, start = [nothing], list[pa.Table](), 0
    for table in tables:
        is_large = large_N[start : start + len(table)]
        size_N = bytes_G[code_N[start : start + len(table)]]
        start += len(table)
        kept.append(table.filter(pa.array(~is_large)))
        rejects.append(_rejects(table, is_large, size_N, max_image_bytes))
    return kept, pa.concat_tables(rejects)


def _row_bytes(table: pa.Table) -> np.ndarray:
    return ROW_BYTES + pc.binary_length(table["counts"]).to_numpy().astype(np.int64)


def _rejects(
    table: pa.Table, is_large: np.ndarray, size_N: np.ndarray, max_image_bytes: int
) -> pa.Table:
    rows = table.select(["source", "source_row", "image_id"]).filter(pa.array(is_large))
    schema = rejects_schema()
    messages = [
        f"expected the rows of image {image_id!r} to take at most {max_image_bytes} bytes "
        f"(--read.max_image_bytes), they take {int(size)}; their bytes are not repeated here"
        for image_id, size in zip(rows["image_id"].to_pylist(), size_N[is_large], strict=True)
    ]
    columns = {
        "run_id": pa.repeat("", len(rows)),
        "source": rows["source"].cast(pa.string()),
        "source_row": rows["source_row"],
        "byte_offset": pa.nulls(len(rows), pa.int64()),
        "code": pa.repeat("TOO_MANY_MASKS", len(rows)),
        "field": pa.repeat("image_id", len(rows)),
        "message": pa.array(messages, pa.string()),
        "payload": pa.nulls(len(rows), schema.field("payload").type),
        "repaired": pa.nulls(len(rows), schema.field("repaired").type),
    }
    return pa.table(columns, schema=schema)
