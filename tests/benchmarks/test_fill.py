"""Both sides of the comparison fill the same masks."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import fill
from tests import oracle


def test_a_square_by_both() -> None:
    # The worked example of `pipeline.masks.polygon_fill`, alone and beside a second ring.
    square = [1.0, 1.0, 3.0, 1.0, 3.0, 2.0, 1.0, 2.0]
    other = [0.0, 0.0, 1.0, 0.0, 1.0, 1.0]
    polygons = fill.to_polygons("two", [[square], [square, other]], [(3, 4), (3, 4)])
    ours = fill.split(fill.fill(polygons))
    assert ours[0] == oracle.to_string([4, 1, 2, 1, 4])
    assert ours == fill.fill_by_pycocotools(polygons)


def test_real_polygons_give_equal_strings(shared_data: Path) -> None:
    row = fill.compare(fill.from_file(shared_data / "lvis_val_100.json"), repeat=1)
    assert row[:2] == ["lvis_val_100", "977"]


def test_a_difference_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fill, "fill_by_pycocotools", lambda polygons: [b"other"])
    with pytest.raises(SystemExit, match="expected the strings of pycocotools"):
        fill.compare(fill.generated(1), repeat=1)
