"""INSTANCES -> INSTANCES without specks and pinholes; off unless asked for."""

from __future__ import annotations

import pyarrow as pa

from pipeline.columns import from_strings, size_hw, to_strings
from pipeline.config import CleanConfig
from pipeline.masks import measure, merge, rle


def clean_rows(instances: pa.Table, config: CleanConfig) -> pa.Table:
    """Remove small parts of every mask and fill its small holes, crowd regions included.

    Parameters
    ----------
    instances : pa.Table
        By `schemas.instances.instances_schema`.
    config : CleanConfig
        Sizes in pixels; with both at 0 the table is returned as it is.

    Returns
    -------
    pa.Table
        The same rows; ``counts``, ``area`` and ``bbox_*`` are of the cleaned masks.
    """
    if not config.is_on or not len(instances):
        return instances
    batch = rle.from_coco(to_strings(instances["counts"]), size_hw(instances))
    cleaned = merge.clean(batch, config.min_part_area, config.max_hole_area)
    bbox_N4 = measure.bbox_xywh(cleaned)
    columns = {
        "counts": from_strings(rle.to_coco(cleaned)),
        "area": pa.array(measure.area(cleaned)),
        "bbox_x": pa.array(bbox_N4[:, 0]),
        "bbox_y": pa.array(bbox_N4[:, 1]),
        "bbox_w": pa.array(bbox_N4[:, 2]),
        "bbox_h": pa.array(bbox_N4[:, 3]),
    }
    for name, values in columns.items():
        place = instances.schema.get_field_index(name)
        instances = instances.set_column(place, instances.schema.field(place), values)
    return instances
