"""Files that are damaged, empty or of another kind, and rows without end: what becomes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import InputError, SchemaError
from tests.pipeline.read.files import make_annotations, make_row, read_whole, write_file
from tests.pipeline.read.test_hazards import named

pytestmark = pytest.mark.usefixtures("both_ways")

DAMAGED: list[tuple[str, bytes, str]] = [
    ("40 empty", b"", "byte 0: .*empty"),
    ("40 spaces", b" \n", "byte 2: .*empty"),
    ("40 not JSON", b"hello", "byte 0: expected Parquet or JSON"),
    ("40 number", b"12", "expected COCO"),
    ("40 object of another kind", b'{"a": [1], "b": 2}', "expected COCO.*'a', 'b'"),
    ("40 list of another kind", b"[1, 2]", "expected COCO.*first row is 1"),
    ("40 cut in a row", b'[{"image_id": 1, "segm', r"byte 22: .*starts at byte 1;"),
    ("40 cut after a row", b'[{"image_id": 1}', "byte 16: .*cut off"),
    ("40 cut in images", b'{"images": [{"id": 1}', "byte 21: .*cut off"),
    ("40 cut after a key", b'{"images"', "byte 9: expected ':'"),
    ("40 more behind", b'[{"image_id": 1, "segmentation": 1}] x', "byte 37: .*end of the file"),
    ("40 no comma", b'[{"image_id": 1} {"image_id": 2}]', "byte 17: .*','"),
    ("40 trailing comma", b'[{"image_id": 1, "segmentation": [[1]]},]', "byte 40: "),
    ("40 wrong bracket", b'[{"image_id": [1}]', "byte 16: .*bracket"),
    ("40 key twice", b'[{"image_id": 1, "image_id": 2}]', "byte 17: .*once"),
    ("40 list twice", b'{"images": [], "images": []}', "byte 24: .*once"),
    ("40 nested", b'[{"image_id": ' + b"[" * 100_000, "byte 213: .*nested"),
    ("40 mark", b"\xef\xbb\xbf[]", "byte 0: .*byte order mark"),
    ("40 UTF-16", "[]".encode("utf-16"), "byte 0: .*byte order mark"),
    ("40 no list", b'{"annotations": {}}', "byte 16: .*list under 'annotations'"),
    ("40 no annotations", b'{"images": []}', "'annotations', got one with 'images'"),
    ("40 bad number", b'[{"image_id": 01, "segmentation": [[1]]}]', "byte 15: "),
    ("40 bad word", b'[{"image_id": 1, "x": nul, "segmentation": [[1]]}]', "byte 23: "),
]


@pytest.mark.parametrize(("data", "message"), named(DAMAGED))
def test_damaged_files(tmp_path: Path, data: bytes, message: str) -> None:
    file = write_file(tmp_path, data)
    with pytest.raises((InputError, SchemaError), match=message) as caught:
        read_whole(file)
    assert caught.value.message.startswith(file.uri)
    assert caught.value.exit_code == 2


def test_boxes_only_is_refused(tmp_path: Path) -> None:
    for mask in (..., [], None):
        file = write_file(tmp_path, [make_row(segmentation=mask)] * 3)
        with pytest.raises(SchemaError, match=r"boxes only.*segmentation model"):
            read_whole(file)


@pytest.mark.parametrize("content", [[], make_annotations()])
def test_no_rows_is_valid(tmp_path: Path, content: Any) -> None:
    whole = read_whole(write_file(tmp_path, content))
    assert whole.scan.slices == []
    assert whole.scan.id_type is None


def test_42_long_row_is_refused_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("row_scan", "json_read"):
        monkeypatch.setattr(f"pipeline.read.{module}.MAX_VALUE_BYTES", 1_000)
    rows = [make_row(), make_row(note="x" * 2_000), make_row(score=0.25)]
    whole = read_whole(write_file(tmp_path, rows))
    assert whole.instances["score"].to_pylist() == [0.5, 0.25]
    assert whole.rejects.to_pylist()[0] | {"message": ""} == {
        "run_id": "",
        "source": whole.scan.slices[0].uri,
        "source_row": 1,
        "byte_offset": whole.scan.slices[1].start,
        "code": "VALUE_TOO_LARGE",
        "field": "",
        "message": "",
        "payload": None,
        "repaired": None,
    }


def test_42_endless_row_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.read.json_stream.MAX_ELEMENT_BYTES", 1_000)
    monkeypatch.setattr("pipeline.read.detect._SNIFF_BYTES", 100)
    with pytest.raises(InputError, match=r"byte 1: .*VALUE_TOO_LARGE"):
        read_whole(write_file(tmp_path, [make_row(note="x" * 5_000)]))
