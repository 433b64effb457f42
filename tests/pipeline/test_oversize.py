"""Images that no worker may hold are taken out by their size, whole, and by nothing else."""

from __future__ import annotations

import pyarrow as pa
import pytest

from pipeline.oversize import ROW_BYTES, split_oversize
from schemas.instances import instances_schema
from tests import model, oracle
from tests.instances import to_instances


def rows(image_id: int, first: int, n: int) -> pa.Table:
    import numpy as np

    mask = oracle.encode(np.ones((2, 2), bool))
    made = [
        model.Row(image_id, None, 1, 0.5, False, 2, 2, mask, source_row=first + k) for k in range(n)
    ]
    return to_instances(made)


@pytest.mark.parametrize("limit_rows", [4, 5])
def test_rows_of_one_image_count_together_over_all_tables(limit_rows: int) -> None:
    row_bytes = ROW_BYTES + len(rows(1, 0, 1)["counts"][0].as_py())
    tables = [pa.concat_tables([rows(1, 0, 3), rows(2, 3, 1)]), rows(1, 4, 2)]
    kept, rejects = split_oversize(tables, limit_rows * row_bytes)
    left = pa.concat_tables(kept)["source_row"].to_pylist()
    found = rejects.to_pylist()
    if limit_rows == 5:
        assert (left, found) == ([0, 1, 2, 3, 4, 5], [])
        return
    assert left == [3]
    assert [row["source_row"] for row in found] == [0, 1, 2, 4, 5]
    assert {row["code"] for row in found} == {"TOO_MANY_MASKS"}
    assert f"they take {5 * row_bytes}" in found[0]["message"]
    assert "--read.max_image_bytes" in found[0]["message"]
    assert found[0]["payload"] is None


def test_no_rows() -> None:
    empty = instances_schema("string").empty_table()
    kept, rejects = split_oversize([empty], 1)
    assert len(kept[0]) == len(rejects) == 0
