"""Leaders decided from pairs, by hand and against the grouping that compares by itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import ConfigError, MaskError
from pipeline.masks import decide, group, overlap, rle
from pipeline.masks.batch import CocoStrings
from tests import oracle
from tests.strategies import bitmaps_of

PAIRS = (np.array([0, 0, 1]), np.array([1, 2, 2]))


@pytest.mark.parametrize(("policy", "expected"), [("leader", [0, 0, 2]), ("component", [0, 0, 0])])
def test_worked_example(policy: Any, expected: list[int]) -> None:
    is_match = np.array([3 / 5, 2 / 6, 3 / 5]) >= 0.5
    assert decide.leaders_of_pairs(3, *PAIRS, is_match, policy).tolist() == expected


def test_no_pair_and_no_row() -> None:
    none = np.zeros(0, np.int64)
    for n_rows in (0, 2):
        found = decide.leaders_of_pairs(n_rows, none, none, np.zeros(0, bool), "component")
        assert found.tolist() == list(range(n_rows))


def test_broken_contracts() -> None:
    yes = np.ones(3, bool)
    with pytest.raises(MaskError, match="sorted by i"):
        decide.leaders_of_pairs(3, PAIRS[1], PAIRS[0], yes)
    with pytest.raises(MaskError, match="expected pairs"):
        decide.leaders_of_pairs(3, *PAIRS, yes[:2])
    with pytest.raises(MaskError):
        decide.leaders_of_pairs(2, *PAIRS, yes)
    with pytest.raises(ConfigError, match="unknown group"):
        decide.leaders_of_pairs(3, *PAIRS, yes, "chain")  # pyright: ignore[reportArgumentType]


@settings(max_examples=60, deadline=None)
@given(
    bitmaps=st.lists(bitmaps_of((4, 5)), min_size=1, max_size=12),
    threshold=st.sampled_from([0.3, 0.5, 0.8, 1.0]),
    policy=st.sampled_from(["leader", "component"]),
    n_categories=st.integers(1, 2),
)
def test_same_as_the_grouping_that_compares_by_itself(
    bitmaps: list[np.ndarray], threshold: float, policy: Any, n_categories: int
) -> None:
    texts = [oracle.encode(one) for one in bitmaps]
    offsets = np.concatenate(([0], np.cumsum([len(text) for text in texts]))).astype(np.int64)
    strings = CocoStrings(np.frombuffer(b"".join(texts), np.uint8), offsets)
    n = len(texts)
    sizes, images = np.tile(np.array([[4, 5]], np.int32), (n, 1)), np.array([0, n])
    category, crowd = np.arange(n) % n_categories, np.zeros(n, bool)
    expected = group.group_masks(
        strings, sizes, images, category, crowd, None, threshold=threshold, group=policy
    )
    batch = rle.from_coco(strings, sizes)
    facts = rle.inspect_coco(strings, sizes)
    i, j = overlap.candidate_pairs(facts.bbox_xywh_N4, facts.area_N, images, threshold=0.3)
    shared = overlap.matched_intersection(batch, i, j)
    iou = overlap.matched_iou(shared, facts.area_N[i], facts.area_N[j])
    is_match = (iou >= threshold) & (category[i] == category[j])
    found = decide.leaders_of_pairs(n, i, j, is_match, policy)
    assert found.tolist() == expected.leader_N.tolist()
