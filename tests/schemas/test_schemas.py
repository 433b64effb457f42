"""The schemas are frozen: a change here is a change of the format, and is meant."""

from __future__ import annotations

import pyarrow as pa
import pytest

from schemas.compacted import COMPACTED_COLUMNS, MASK_COLUMNS, compacted_schema
from schemas.instances import FIXED_COLUMNS, instances_schema
from schemas.lineage import REASONS, lineage_schema
from schemas.rejects import CODES, rejects_schema

INSTANCES = """
image_id int64
input_id int64?
category_id int64?
score double?
iscrowd bool
height int32
width int32
bbox_x int32
bbox_y int32
bbox_w int32
bbox_h int32
area int64
input_bbox_x double?
input_bbox_y double?
input_bbox_w double?
input_bbox_h double?
input_area double?
counts large_binary
source large_string
source_row int64
"""

COMPACTED = """
image_id int64
instance_id int64
input_id int64?
category_id int64?
score double?
iscrowd bool
height int32
width int32
bbox_x int32
bbox_y int32
bbox_w int32
bbox_h int32
area int64
input_bbox_x double?
input_bbox_y double?
input_bbox_w double?
input_bbox_h double?
input_area double?
encoding string
counts binary?
crack binary?
polygon binary?
n_merged int32
fidelity double
source string
source_row int64
run_id string
"""

LINEAGE = """
run_id string
image_id int64
source string
source_row int64
input_id int64?
category_id int64?
score double?
reason string
kept_instance_id int64?
iou double?
ios double?
linked_source string?
linked_source_row int64?
"""

REJECTS = """
run_id string
source string
source_row int64
byte_offset int64?
code string
field string
message string
payload binary?
repaired binary?
"""

SCHEMAS = {
    "instances": (instances_schema("int"), INSTANCES),
    "compacted": (compacted_schema("int"), COMPACTED),
    "lineage": (lineage_schema("int"), LINEAGE),
    "rejects": (rejects_schema(), REJECTS),
}


def listed(schema: pa.Schema) -> list[str]:
    return [f"{field.name} {field.type}{'?' if field.nullable else ''}" for field in schema]


@pytest.mark.parametrize("name", SCHEMAS)
def test_schema_is_frozen(name: str) -> None:
    schema, frozen = SCHEMAS[name]
    assert listed(schema) == frozen.strip().splitlines()


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_field_says_what_it_means(name: str) -> None:
    for field in SCHEMAS[name][0]:
        assert field.metadata[b"meaning"]


@pytest.mark.parametrize("name", ["compacted", "lineage", "rejects"])
def test_delta_can_store_every_type(name: str) -> None:
    plain = {pa.int64(), pa.int32(), pa.float64(), pa.bool_(), pa.string(), pa.binary()}
    schema = SCHEMAS[name][0]
    assert {field.type for field in schema} <= plain
    assert len({field.name.lower() for field in schema}) == len(schema)


def test_string_ids_change_only_the_id() -> None:
    for make in (instances_schema, compacted_schema, lineage_schema):
        whole, text = make("int"), make("string")
        differing = [a.name for a, b in zip(whole, text, strict=True) if a.type != b.type]
        assert differing == ["image_id"]


def test_extra_columns_follow_the_fixed_ones() -> None:
    extra = pa.field("depth", pa.float64())
    assert instances_schema("int", [extra]).names == [*FIXED_COLUMNS, "depth"]
    names = compacted_schema("int", [extra]).names
    assert names == [*COMPACTED_COLUMNS[:-1], "depth", "run_id"]


def test_closed_sets() -> None:
    assert len(set(CODES)) == len(CODES)
    assert all(code.isupper() for code in CODES)
    assert REASONS == ("merged", "exact_duplicate", "min_score", "min_area", "empty")
    assert MASK_COLUMNS == ("counts", "crack", "polygon")
