"""SA-1B: a JSON file per image, ``{"image": {...}, "annotations": [...]}``.

It has no categories, so all masks are of one class. The score is SAM's
``predicted_iou``; ``stability_score`` is carried through beside it.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pyarrow as pa

from pipeline.config import ReadConfig
from pipeline.read.json_extras import extras_schema
from pipeline.read.nested_json import nested_payloads, read_nested, scan_nested
from pipeline.read.nested_text import FlatRows, Nesting
from pipeline.read.raw_rows import RawRows
from pipeline.read.slices import FileScan, ReadResult, Slice, SourceContext
from pipeline.storage import InputFile

FORMAT = "sa1b"
_NESTING = Nesting(FORMAT, "annotations", image_key="image", is_single=True)
_EXTRAS = pa.schema([pa.field("stability_score", pa.float64())])


class _Quality(msgspec.Struct, gc=False):
    predicted_iou: float | None = None
    stability_score: float | None = None


def scan(file: InputFile, config: ReadConfig, unit_bytes: int) -> FileScan:
    """Count the masks of the image; see `pipeline.read.nested_json.scan_nested`."""
    found = scan_nested(file, config, unit_bytes, _NESTING)
    schema = pa.schema([*_EXTRAS, *extras_schema(config)])
    extras = schema.serialize().to_pybytes()
    source = msgspec.structs.replace(found.source, extras=extras)
    return msgspec.structs.replace(found, extras=extras, source=source)


def read(part: Slice, source: SourceContext, config: ReadConfig, id_type: str) -> ReadResult:
    """Read the masks of the image; see `pipeline.read.nested_json.read_nested`."""
    return read_nested(part, source, config, id_type, _NESTING, _with_quality)


def payloads(
    part: Slice, source: SourceContext, source_rows: Sequence[int]
) -> list[tuple[int | None, bytes]]:
    """Return byte offsets of masks of the image, and the masks as rows."""
    return nested_payloads(part, source, source_rows, _NESTING)


def _with_quality(raw: RawRows, flat: FlatRows, places: Sequence[int]) -> RawRows:
    found = [_quality(flat.text[slice(*flat.spans[place])]) for place in places]
    scores = pa.array([quality.predicted_iou for quality in found], pa.float64())
    stability = pa.array([quality.stability_score for quality in found], pa.float64())
    return raw._replace(score=scores, extras=pa.Table.from_arrays([stability], schema=_EXTRAS))


def _quality(row: bytes) -> _Quality:
    try:
        return msgspec.json.decode(row, type=_Quality)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _Quality()
