"""The demo's input: worked examples by hand, and one photograph through the oracle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs import demo
from pipeline.errors import ConfigError
from pipeline.masks import dense
from tests import oracle

LABELS_HW = np.array([[0, 0, 1], [0, 0, 2]])
LAB_HW3 = np.zeros((2, 3, 3))
LAB_HW3[0, 2] = (3, 0, 4)
LAB_HW3[1, 2] = (0, 0, 1)


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return demo.propose("coins.png")


def test_adjacency_by_hand() -> None:
    neighbours, border = demo.adjacency(LABELS_HW, 3)
    assert neighbours == [{1: 1, 2: 1}, {0: 1, 2: 1}, {0: 1, 1: 1}]
    assert border == [8, 4, 4]


def test_merge_hierarchy_by_hand() -> None:
    regions = demo.merge_hierarchy(LABELS_HW, LAB_HW3)
    # 0 and 2 differ by 1 (4*1/5 * 1 = 0.8), 1 and 2 by sqrt(18) (1/2 * 18 = 9), 0 and 1 by 5.
    assert regions.members_TB.tolist() == [
        [True, False, False],
        [False, True, False],
        [False, False, True],
        [True, False, True],
        [True, True, True],
    ]
    assert regions.area_T.tolist() == [4, 1, 1, 5, 6]
    assert regions.border_T.tolist() == [8, 4, 4, 10, 10]
    np.testing.assert_allclose(regions.color_T3[3], (0, 0, 0.2))
    np.testing.assert_allclose(
        regions.step_T,
        [(5 + 1) / 8, (5 + 18**0.5) / 4, (1 + 18**0.5) / 4, 2 * (9 + 3.8**2) ** 0.5 / 10, 0],
    )


def test_runs_of_regions_are_those_of_their_pixels() -> None:
    random = np.random.default_rng(2)
    labels_HW = random.integers(0, 5, (7, 9))
    members_NB = random.random((20, 5)) < 0.5
    members_NB[:2] = [[False], [True]]
    runs, expected = (
        demo.encode(labels_HW, members_NB),
        dense.from_bitmaps(members_NB[:, labels_HW]),
    )
    for ours, theirs in zip(runs, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
        assert ours.dtype == theirs.dtype


def test_categories_by_hand() -> None:
    colors = [(20, 3, 3), (80, -3, 3), (50, 30, 30), (50, -10, -30)]
    assert demo.categories(np.array(colors, np.float64)).tolist() == [1, 2, 3, 4]
    assert sorted(demo.CATEGORIES) == [1, 2, 3, 4]


def test_score_of_a_square_is_its_contrast() -> None:
    square = demo.Regions(
        np.zeros((5, 5), np.int64),
        np.ones((2, 1), np.bool_),
        np.array([25, 25]),
        np.zeros((2, 3)),
        np.array([20.0, 40.0]),
        np.array([12.0, 36.0]),
    )
    np.testing.assert_allclose(demo.scores(square), [0.5, 0.75 * 0.5])


def test_rows_are_those_of_a_results_file(rows: list[dict[str, Any]]) -> None:
    assert 100 < len(rows) <= demo.N_PROPOSALS
    expected = {"image_id", "category_id", "bbox", "score", "segmentation"}
    assert all(row.keys() == expected for row in rows)
    assert {row["image_id"] for row in rows} == {demo.PHOTOGRAPHS.index("coins.png") + 1}
    assert {row["category_id"] for row in rows} <= demo.CATEGORIES.keys()
    scores = [row["score"] for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert 0 < scores[-1] < scores[0] <= 1


def test_every_mask_reads_in_pycocotools(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        size_hw, counts = row["segmentation"]["size"], row["segmentation"]["counts"].encode()
        assert size_hw == [303, 384]
        assert oracle.canonical(size_hw, counts) == counts
        assert oracle.to_bbox(size_hw, counts) == tuple(row["bbox"])
        share = oracle.area(size_hw, counts) / (303 * 384)
        assert demo.MIN_AREA <= share <= demo.MAX_AREA


def test_there_is_something_to_merge(rows: list[dict[str, Any]]) -> None:
    counts = [row["segmentation"]["counts"].encode() for row in rows]
    above = np.triu(oracle.iou([303, 384], counts, counts) >= 0.8, k=1)
    assert above.any(axis=0).mean() > 0.2


def test_photographs_come_with_the_package() -> None:
    for name in demo.PHOTOGRAPHS:
        assert demo.load_photograph(name).shape[2] == 3


def test_the_same_file_comes_out_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "PHOTOGRAPHS", ("coins.png",))
    contents = set[bytes]()
    for _ in range(2):
        assert demo.main(["--data", str(tmp_path / "data")]) == 0
        contents.add((tmp_path / "data" / demo.RESULTS_NAME).read_bytes())
    assert len(contents) == 1
    assert len(json.loads(contents.pop())) == 600
    assert [path.name for path in (tmp_path / "data").iterdir()] == [demo.RESULTS_NAME]
    assert "600 region proposals on 1 photographs" in capsys.readouterr().out


def test_a_file_is_no_data_folder(tmp_path: Path) -> None:
    occupied = tmp_path / "data"
    occupied.write_text("mine")
    for folder in (occupied, occupied / "below"):
        with pytest.raises(ConfigError, match="--data: expected a folder"):
            demo.main(["--data", str(folder)])
    assert occupied.read_text() == "mine"
