"""What data say is text: no path or URL in it is opened, and no credential in it is repeated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline import flow, storage
from pipeline.config import CompactConfig, ReadConfig
from pipeline.errors import SchemaError
from tests.pipeline.read.files import (
    make_annotation,
    make_annotations,
    make_row,
    read_whole,
    write_file,
)

SECRET = "s3://key:topsecret@bucket/x.png"
PATHS = ["../../etc/passwd", "/etc/passwd", SECRET, "zip://a::file:///etc/passwd", "http://h/x"]
RING = [1, 1, 4, 1, 4, 4, 1, 4]


def test_44_nothing_that_data_name_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images: list[dict[str, Any]] = [
        {"id": n, "height": 10, "width": 10, "file_name": path, "coco_url": path}
        for n, path in enumerate(PATHS)
    ]
    rows = [make_annotation([RING], image_id=n, file_name=path) for n, path in enumerate(PATHS)]
    rows.append(make_annotation([RING], image_id=2, file_name=SECRET))
    rows.append(make_annotation([RING], image_id=0, score=SECRET, file_name=SECRET))
    path = tmp_path / "in.json"
    path.write_text(json.dumps(make_annotations(*rows, images=images)))
    opened: list[str] = []
    before = storage.file_system

    def file_system(uri: str) -> tuple[Any, str]:
        opened.append(uri)
        return before(uri)

    monkeypatch.setattr(storage, "file_system", file_system)
    output = tmp_path / "out"
    config = ReadConfig(extras={"file_name": "string"})
    flow.run(CompactConfig(inputs=(str(path),), output=str(output), read=config))
    assert opened
    assert all(uri.startswith(f"file://{tmp_path}") for uri in opened)
    texts = [
        *output.glob("reports/**/*"),
        *output.glob("runs/**/*"),
        *output.glob("*/_delta_log/*"),
    ]
    found = [p for p in texts if p.is_file() and b"topsecret" in p.read_bytes()]
    assert found == []


def test_44_messages_repeat_no_credential(tmp_path: Path) -> None:
    whole = read_whole(write_file(tmp_path, [make_row(), make_row(score=SECRET)]))
    assert "s3://***@bucket" in whole.rejects["message"][0].as_py()
    with pytest.raises(SchemaError) as caught:
        read_whole(write_file(tmp_path, [{"file_name": SECRET}]))
    assert "topsecret" not in caught.value.message
