"""Reading whole files: parity with COCO's own code, and independence of how files are cut."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import read, storage
from pipeline.config import ReadConfig
from pipeline.errors import InputError
from tests import oracle
from tests.pipeline.read.files import (
    make_annotation,
    make_annotations,
    make_rle,
    make_row,
    read_whole,
    write_file,
)

SHARED = {
    "detectron2_mask_rcnn_coco_instances_results.json": 198,
    "instances_val2014_fakesegm100_results.json": 734,
    "lvis_val_100.json": 977,
}


def expected_mask(row: dict[str, Any], sizes: dict[Any, list[int]]) -> tuple[list[int], bytes]:
    mask = row["segmentation"]
    if isinstance(mask, list):
        size = sizes[row["image_id"]]
        return size, oracle.from_polygons(mask, *size)
    return mask["size"], oracle.canonical(mask["size"], mask["counts"].encode())


@pytest.mark.parametrize("name", SHARED)
def test_every_shared_mask_is_that_of_pycocotools(shared_data: Path, name: str) -> None:
    content = json.loads((shared_data / name).read_bytes())
    rows = content if isinstance(content, list) else content["annotations"]
    images = [] if isinstance(content, list) else content["images"]
    sizes = {image["id"]: [image["height"], image["width"]] for image in images}
    file = storage.inspect_file(storage.to_uri(str(shared_data / name)))
    whole = read_whole(file, unit_bytes=100_000)
    assert len(whole.instances) == SHARED[name] == len(rows)
    assert len(whole.rejects) == 0
    assert len(whole.scan.slices) > 1
    assert whole.scan.n_images == len({row["image_id"] for row in rows})
    for got, row in zip(whole.instances.to_pylist(), rows, strict=True):
        size, counts = expected_mask(row, sizes)
        assert [got["height"], got["width"]] == size
        assert got["counts"] == counts
        assert got["area"] == oracle.area(size, counts)
        assert tuple(got[f"bbox_{k}"] for k in "xywh") == oracle.to_bbox(size, counts)
        check_fields(got, row)


def check_fields(got: dict[str, Any], row: dict[str, Any]) -> None:
    for key in ("image_id", "category_id", "score"):
        assert got[key] == row.get(key)
    assert got["input_id"] == row.get("id")
    assert got["input_area"] == row.get("area")
    box = row.get("bbox") or [None] * 4
    assert [got[f"input_bbox_{k}"] for k in "xywh"] == box


MASKS = st.one_of(
    st.sampled_from(["52207", "", "P", "é", "\\"]).map(make_rle),
    st.just(make_rle([0, 20])),
    st.just(None),
    st.just([[1, 1, 3, 1, 3, 3]]),
    st.just({"size": [4, 5]}),
)
ROWS = st.builds(
    make_row,
    segmentation=MASKS,
    score=st.sampled_from([None, 0.5, "x", 7]),
    image_id=st.sampled_from([7, 8, 2**70, None]),
    category_id=st.sampled_from([1, 1, None]),
)


@given(st.lists(ROWS, max_size=8), st.integers(1, 2_000), st.booleans())
def test_slices_of_any_size_give_the_same_rows(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[dict[str, Any]],
    unit_bytes: int,
    is_annotations: bool,
) -> None:
    rows = [make_row(), *rows]
    content = make_annotations(*rows) if is_annotations else rows
    file = write_file(tmp_path_factory.mktemp("read"), content)
    whole, cut = read_whole(file), read_whole(file, unit_bytes=unit_bytes)
    assert len(whole.scan.slices) == 1
    assert cut.instances == whole.instances
    assert cut.rejects == whole.rejects
    assert cut.counters == whole.counters
    assert cut.scan.image_id_sample == whole.scan.image_id_sample
    assert cut.scan.n_images == whole.scan.n_images
    for part in cut.scan.slices[:-1]:
        assert part.stop - part.start >= unit_bytes


@pytest.mark.parametrize("order", ["ian", "nai", "ani", "cxna"])
def test_lists_come_in_any_order(tmp_path: Path, order: str) -> None:
    content = make_annotations(make_annotation([[1, 1, 4, 1, 4, 4, 1, 4]]))
    parts = {"i": "images", "n": "annotations", "a": "categories", "c": "categories"}
    chosen = {parts.get(k, k): content.get(parts.get(k, k), [{"y": "]"}]) for k in order}
    chosen |= {key: value for key, value in content.items() if key not in chosen}
    file = write_file(tmp_path, json.dumps(chosen, indent=2))
    assert read_whole(file).instances["area"].to_pylist() == [9]


def test_payloads_are_the_bytes_of_the_rows(tmp_path: Path) -> None:
    rows = [make_row(score=n / 10) for n in range(5)]
    text = "[\n " + " ,\n ".join(json.dumps(row, indent=1) for row in rows) + "\n]\n"
    file = write_file(tmp_path, text)
    scan = read.scan(file, ReadConfig(), 300)
    assert len(scan.slices) > 1
    part = scan.slices[1]
    found = read.payloads(part, scan.source, [part.first_row])
    assert found == [(part.start, json.dumps(rows[part.first_row], indent=1).encode())]
    assert text.encode()[part.start :].startswith(found[0][1])


def test_columns_follow_the_schema(tmp_path: Path) -> None:
    whole = read_whole(write_file(tmp_path, [make_row(image_id="a"), make_row(image_id="b")]))
    assert whole.instances.schema.field("image_id").type == pa.large_string()
    assert whole.instances["source"].to_pylist() == [whole.scan.slices[0].uri] * 2
    assert whole.instances["source_row"].to_pylist() == [0, 1]


def test_sample_is_spread_over_the_file(tmp_path: Path) -> None:
    rows = [{"image_id": n, "segmentation": [[1]]} for n in range(5_000)]
    file = write_file(tmp_path, rows)
    samples = [read.scan(file, ReadConfig(), size).image_id_sample for size in (1_000, 10**9)]
    assert samples[0] == samples[1]
    assert 500 <= len(samples[0]) <= 1_000
    gaps = {b - a for a, b in zip(samples[0], samples[0][1:], strict=False)}
    assert len(gaps) == 1


def test_changed_file_is_noticed(tmp_path: Path) -> None:
    file = write_file(tmp_path, [make_row(), make_row()])
    scan = read.scan(file, ReadConfig(), 1 << 20)
    path = tmp_path / "input.json"
    path.write_text(path.read_text()[:-10])
    with pytest.raises(InputError, match="changed during the run"):
        read.read(scan.slices[0], scan.source, ReadConfig(), "int")
