"""What is not a local file is read through streams and byte ranges, and gives the same."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import storage
from pipeline.errors import InputError
from tests.pipeline.read.files import (
    SQUARE,
    make_annotation,
    make_annotations,
    make_row,
    read_whole,
)

RING = [1, 1, 4, 1, 4, 4, 1, 4]
N = 30


def to_parquet() -> bytes:
    columns = {"image_id": list(range(N)), "counts": [SQUARE] * N}
    stream = pa.BufferOutputStream()
    table = pa.table(columns | {"height": [4] * N, "width": [5] * N})
    pq.write_table(table, stream, row_group_size=7)
    return stream.getvalue().to_pybytes()


def to_files() -> dict[str, bytes]:
    results = json.dumps([make_row(image_id=n) for n in range(N)]).encode()
    rows = [make_annotation([RING], id=n) for n in range(N)]
    return {
        "results.json": results,
        "results.json.gz": gzip.compress(results),
        "annotations.json": json.dumps(make_annotations(*rows)).encode(),
        "rows.parquet": to_parquet(),
    }


@pytest.fixture
def folder() -> Iterator[str]:
    yield "memory://read-tests"
    for name in storage.list_names("memory://read-tests"):
        storage.remove(f"memory://read-tests/{name}")


@pytest.mark.parametrize("name", to_files())
def test_files_of_a_store(folder: str, name: str) -> None:
    uri = f"{folder}/{name}"
    storage.write_bytes(uri, to_files()[name])
    whole = read_whole(storage.inspect_file(uri), unit_bytes=500)
    assert len(whole.scan.slices) > 1
    assert whole.instances["source_row"].to_pylist() == list(range(N))
    assert whole.instances["source"].to_pylist() == [uri] * N


@pytest.mark.parametrize("name", ["results.json", "rows.parquet"])
def test_cut_files_of_a_store(folder: str, name: str) -> None:
    uri = f"{folder}/{name}"
    storage.write_bytes(uri, to_files()[name][:-20])
    with pytest.raises(InputError, match=uri):
        read_whole(storage.inspect_file(uri))
