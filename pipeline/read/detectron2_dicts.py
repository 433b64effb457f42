"""Dataset dicts of detectron2 as JSON: ``[{image_id, height, width, annotations}]``.

The categories are detectron2's contiguous ones: 0 to K - 1, in the order of the
dataset's ids, not these ids themselves. Boxes are as ``bbox_mode`` says.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.config import ReadConfig
from pipeline.read.nested_json import nested_payloads, read_nested, scan_nested
from pipeline.read.nested_text import Nesting
from pipeline.read.slices import FileScan, ReadResult, Slice, SourceContext
from pipeline.storage import InputFile

FORMAT = "detectron2_dicts"
_NESTING = Nesting(FORMAT, "annotations")


def scan(file: InputFile, config: ReadConfig, unit_bytes: int) -> FileScan:
    """Cut the images into slices; see `pipeline.read.nested_json.scan_nested`."""
    return scan_nested(file, config, unit_bytes, _NESTING)


def read(part: Slice, source: SourceContext, config: ReadConfig, id_type: str) -> ReadResult:
    """Read the instances of one slice; see `pipeline.read.nested_json.read_nested`."""
    return read_nested(part, source, config, id_type, _NESTING)


def payloads(
    part: Slice, source: SourceContext, source_rows: Sequence[int]
) -> list[tuple[int | None, bytes]]:
    """Return byte offsets of instances of a slice, and the instances as rows."""
    return nested_payloads(part, source, source_rows, _NESTING)
