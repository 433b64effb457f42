"""How the rows of a JSON file are cut into slices."""

from __future__ import annotations

import io
import json
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from pipeline.read.json_stream import JsonWindow
from pipeline.read.row_scan import RowScan
from tests.pipeline.read.files import make_row

IMAGES = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 5)), min_size=1, max_size=8)


@given(IMAGES, st.integers(1, 1_500), st.sampled_from([1, 40, 1 << 20]), st.booleans())
def test_images_that_lie_together_are_cut_only_where_they_are_too_long(
    images: list[tuple[int, int]], unit_bytes: int, window_bytes: int, is_text: bool
) -> None:
    """In windows of any size, whatever the type of the ids."""
    ids = [image_id for image_id, n_rows in images for _ in range(n_rows)]
    names = [str(image_id) if is_text else image_id for image_id in ids]
    data = json.dumps([make_row(image_id=name) for name in names]).encode()
    rows = RowScan("test", "coco_results", "auto", unit_bytes)
    for found in JsonWindow("test", io.BytesIO(data).read, window_bytes).take_array():
        rows.add(found)
    rows.finish()
    assert sum(part.n_rows for part in rows.slices) == len(ids)
    for part, after in pairwise(rows.slices):
        size = part.stop - part.start
        assert part.first_row + part.n_rows == after.first_row
        if ids[after.first_row] == ids[after.first_row - 1]:
            assert size >= 2 * unit_bytes
        else:
            assert size >= unit_bytes
    for part in rows.slices:
        own = names[part.first_row : part.first_row + part.n_rows]
        assert (part.min_image_id, part.max_image_id) == (min(own), max(own))
