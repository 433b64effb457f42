"""A workload as files: what the whole job reads, and the floor of any pipeline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks.workload import Workload


def to_table(workload: Workload) -> pa.Table:
    """Return a row per instance by COCO's names, the strings without a copy."""
    x, y, w, h = workload.bbox_xywh_N4.T.copy()
    return pa.table(
        {
            "image_id": workload.image_id,
            "category_id": workload.category_id,
            "score": workload.score,
            "height": np.ascontiguousarray(workload.size_hw_N2[:, 0]),
            "width": np.ascontiguousarray(workload.size_hw_N2[:, 1]),
            "bbox_x": x,
            "bbox_y": y,
            "bbox_w": w,
            "bbox_h": h,
            "counts": to_binary(workload.bytes_B, workload.offsets_N1),
        }
    )


def to_binary(bytes_B: NDArray[np.uint8], offsets_N1: NDArray[np.int64]) -> pa.Array:
    """Return ragged bytes as a large_binary array, without a copy."""
    buffers = [None, pa.py_buffer(offsets_N1), pa.py_buffer(bytes_B)]
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(offsets_N1) - 1, buffers)


def write_parquet(table: pa.Table, path: Path | pa.NativeFile) -> None:
    """Write a table as the product writes its own."""
    pq.write_table(table, path, **parquet_options(table.schema))


def parquet_options(schema: pa.Schema) -> dict[str, Any]:
    """Return the product's settings: zstd 3, mask bytes as lengths and bytes, 1 MB pages."""
    is_bytes = {name: pa.types.is_large_binary(schema.field(name).type) for name in schema.names}
    return {
        "compression": "zstd",
        "compression_level": 3,
        "use_dictionary": [name for name, ours in is_bytes.items() if not ours],
        "column_encoding": {
            name: "DELTA_LENGTH_BYTE_ARRAY" for name, ours in is_bytes.items() if ours
        },
        "write_statistics": [name for name, ours in is_bytes.items() if not ours],
        "data_page_size": 1 << 20,
    }


def write_results_json(workload: Workload, path: Path) -> None:
    """Write a COCO results file, as detectron2's evaluator does."""
    rows = zip(
        workload.image_id.tolist(),
        workload.category_id.tolist(),
        workload.score.tolist(),
        workload.bbox_xywh_N4.tolist(),
        workload.size_hw_N2.tolist(),
        workload.strings(),
        strict=True,
    )
    entries = [
        {
            "image_id": image_id,
            "category_id": category_id,
            "bbox": bbox,
            "score": score,
            "segmentation": {"size": size, "counts": counts.decode()},
        }
        for image_id, category_id, score, bbox, size, counts in rows
    ]
    path.write_text(json.dumps(entries))
