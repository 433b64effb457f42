"""Worked examples by hand that pin the model itself, one rule each."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import oracle
from tests.model import Outcome, Policy, Row, load_annotations, load_results, order_key, run


def mask_of(picture: str) -> tuple[int, int, bytes]:
    """Return (height, width, COCO string) of a picture: lines by blanks, X is set."""
    dense = np.array([[char == "X" for char in line] for line in picture.split()])
    return (*dense.shape, oracle.encode(dense))


def picture_of(kept: dict[str, Any]) -> str:
    dense = oracle.decode((kept["height"], kept["width"]), kept["mask"])
    return " ".join("".join("X" if pixel else "." for pixel in line) for line in dense)


def row(picture: str, source_row: int, **values: Any) -> Row:
    height, width, mask = mask_of(picture)
    fields: dict[str, Any] = {
        "image_id": 1,
        "input_id": None,
        "category_id": 1,
        "score": 1.0 - source_row / 100,
        "iscrowd": False,
    }
    fields.update(values)
    return Row(height=height, width=width, mask=mask, source_row=source_row, **fields)


def kept_rows(outcome: Outcome) -> list[int]:
    return [kept["source_row"] for kept in outcome.kept]


def reasons(outcome: Outcome) -> dict[int, str]:
    return {line["source_row"]: line["reason"] for line in outcome.lineage}


# A chain: neighbours overlap at IoU 3/5, the ends at 2/6.
CHAIN = ["XXXX..", ".XXXX.", "..XXXX"]


def chain_rows() -> list[Row]:
    return [row(picture, n) for n, picture in enumerate(CHAIN)]


def test_leader_claims_with_its_own_mask_and_not_through_a_member() -> None:
    outcome = run(chain_rows(), Policy(threshold=0.6, merge="union"))
    assert kept_rows(outcome) == [0, 2]
    assert picture_of(outcome.kept[0]) == "XXXXX."
    (line,) = outcome.lineage
    assert line["leader"] == ("a.json", 0)
    assert line["reason"] == "merged"
    assert (line["iou"], line["ios"], line["linked"]) == (3 / 5, 3 / 4, None)


def test_component_joins_the_chain_and_names_the_row_it_was_linked_through() -> None:
    outcome = run(chain_rows(), Policy(threshold=0.6, group="component"))
    (kept,) = outcome.kept
    assert (kept["source_row"], kept["n_merged"], picture_of(kept)) == (0, 2, "XXXX..")
    by_row = {line["source_row"]: line for line in outcome.lineage}
    assert by_row[1]["linked"] == ("a.json", 0)
    assert by_row[2]["linked"] == ("a.json", 1)
    assert by_row[2]["leader"] == ("a.json", 0)
    assert by_row[2]["iou"] == 2 / 6


def test_component_takes_the_shortest_link_and_the_first_of_equals() -> None:
    # 3 is reached from 1 and from 2, not from 0; 1 was visited first.
    pictures = ["XXXXXX....", ".XXXXXX...", "XXXXXXX...", "..XXXXXXX."]
    outcome = run(
        [row(picture, n) for n, picture in enumerate(pictures)],
        Policy(threshold=0.55, group="component"),
    )
    by_row = {line["source_row"]: line for line in outcome.lineage}
    assert by_row[3]["iou"] == 4 / 9
    assert [by_row[n]["linked"] for n in (1, 2, 3)] == [("a.json", n) for n in (0, 0, 1)]


def test_group_none_keeps_even_exact_duplicates() -> None:
    rows = [row("XX..", 0), row("XX..", 1)]
    assert kept_rows(run(rows, Policy(group="none"))) == [0, 1]


def test_the_threshold_itself_reaches() -> None:
    rows = [row("XXXX.", 0), row("XXXXX", 1)]
    assert kept_rows(run(rows, Policy(threshold=4 / 5))) == [0]
    assert kept_rows(run(rows, Policy(threshold=np.nextafter(4 / 5, 1)))) == [0, 1]


def test_overlap_is_of_masks_and_not_of_boxes() -> None:
    rows = [row("XXX X.. X..", 0), row("... .XX .XX", 1)]
    assert kept_rows(run(rows, Policy(threshold=0.01))) == [0, 1]


def test_ios_merges_a_nested_mask_that_iou_keeps() -> None:
    rows = [row("XXXXXX", 0), row("XX....", 1)]
    assert kept_rows(run(rows, Policy())) == [0, 1]
    outcome = run(rows, Policy(overlap="ios"))
    assert kept_rows(outcome) == [0]
    assert (outcome.lineage[0]["iou"], outcome.lineage[0]["ios"]) == (2 / 6, 1.0)


def test_a_small_leader_takes_the_large_one_by_ios_and_best_keeps_the_small_mask() -> None:
    rows = [row("XX....", 0), row("XXXXXX", 1)]
    assert picture_of(run(rows, Policy(overlap="ios")).kept[0]) == "XX...."


@pytest.mark.parametrize(
    ("merge", "fraction", "expected"),
    [
        ("best", 0.5, "XXXX.."),
        ("union", 0.5, "XXXXXX"),
        ("vote", 0.5, ".XXXX."),  # votes 1 2 3 3 2 1, at least 2 of 3
        ("vote", 1.0, "..XX.."),
        ("vote", 0.3, "XXXXXX"),
    ],
)
def test_merge_of_a_group_of_three(merge: Any, fraction: float, expected: str) -> None:
    policy = Policy(threshold=0.6, group="component", merge=merge, vote_fraction=fraction)
    (kept,) = run(chain_rows(), policy).kept
    assert picture_of(kept) == expected
    x = expected.index("X")
    n = expected.count("X")
    assert (kept["bbox"], kept["area"]) == ((x, 0, n, 1), n)


def test_vote_of_two_keeps_ties_and_an_empty_vote_keeps_the_leader() -> None:
    pair = [row("XXX.", 0), row(".XXX", 1)]
    policy = Policy(threshold=0.5, merge="vote")
    assert picture_of(run(pair, policy).kept[0]) == "XXXX"
    # 0-1 and 1-2 share a pixel, no pixel is in all three.
    chain = [row("XX..", 0), row(".XX.", 1), row("..XX", 2)]
    policy = Policy(threshold=0.3, group="component", merge="vote", vote_fraction=1.0)
    (kept,) = run(chain, policy).kept
    assert (picture_of(kept), kept["n_merged"]) == ("XX..", 2)


def test_categories_compare_only_when_asked() -> None:
    rows = [row("XX..", 0, category_id=1), row("XX..", 1, category_id=2)]
    assert kept_rows(run(rows, Policy())) == [0, 1]
    outcome = run(rows, Policy(per_category=False))
    assert [kept["category_id"] for kept in outcome.kept] == [1]
    assert reasons(outcome) == {1: "exact_duplicate"}


def test_null_categories_are_one_class() -> None:
    rows = [row("XX..", 0, category_id=None), row("XX..", 1, category_id=None)]
    assert kept_rows(run(rows, Policy())) == [0]


def test_images_never_compare() -> None:
    rows = [row("XX..", 0, image_id=1), row("XX..", 1, image_id=2)]
    assert kept_rows(run(rows, Policy())) == [0, 1]


def test_crowd_rows_neither_claim_nor_are_claimed_but_are_filtered() -> None:
    rows = [row("XX..", 0, iscrowd=True), row("XX..", 1), row("XX..", 2, iscrowd=True)]
    assert kept_rows(run(rows, Policy())) == [0, 1, 2]
    assert reasons(run(rows, Policy(min_area=3))) == dict.fromkeys(range(3), "min_area")


def test_filters_and_their_order() -> None:
    rows = [
        row("XX..", 0, score=0.1),
        row("....", 1, score=0.1),
        row("X...", 2, score=0.9),
        row("....", 3, score=0.9),
        row("XX..", 4, score=None),
    ]
    outcome = run(rows, Policy(min_score=0.5, min_area=2))
    assert reasons(outcome) == {0: "min_score", 1: "min_score", 2: "min_area", 3: "min_area"}
    assert kept_rows(outcome) == [4]
    assert reasons(run(rows, Policy())) == {1: "empty", 3: "empty", 4: "exact_duplicate"}


def test_a_filtered_row_claims_nothing() -> None:
    rows = [row("XXXXX", 0, score=0.1), row("XXXX.", 1, score=None)]
    assert kept_rows(run(rows, Policy(min_score=0.5))) == [1]


def test_sizes_that_differ_reject_every_row_of_the_image() -> None:
    rows = [row("XX..", 0), row("XX... XX...", 1), row("....", 2), row("X", 3, image_id=2)]
    outcome = run(rows, Policy())
    assert {line["source_row"]: line["code"] for line in outcome.rejects} == dict.fromkeys(
        range(3), "SIZE_MISMATCH"
    )
    assert kept_rows(outcome) == [3]


def test_total_order_one_key_at_a_time() -> None:
    base = row("XX..", 5, score=0.5, category_id=3, input_id=7)
    _, _, other_mask = mask_of(".XX.")
    _, _, larger = mask_of("XXX.")
    in_order = [
        replace(base, score=0.9, mask=mask_of("X...")[2]),
        replace(base, mask=larger),
        replace(base, category_id=2),
        replace(base, input_id=6),
        base,
        replace(base, source_row=6),
        replace(base, source="b.json", source_row=0),
        replace(base, input_id=None),
        replace(base, category_id=None),
        replace(base, mask=other_mask, category_id=0),  # b"121" after b"022"
        replace(base, score=0.0),
        replace(base, score=None, mask=larger),
    ]
    keys = [order_key(entry, Policy()) for entry in in_order]
    assert keys == sorted(keys)


def test_the_order_of_the_input_changes_nothing() -> None:
    rows = chain_rows()
    for policy in (Policy(threshold=0.6), Policy(threshold=0.6, group="component", merge="vote")):
        assert run(rows[::-1], policy) == run(rows, policy)


def test_across_compares_only_different_sources() -> None:
    rows = [
        row("XX..", 0, source="a"),
        row("XX..", 1, source="a"),
        row("XX..", 2, source="b"),
    ]
    outcome = run(rows, Policy(across=True))
    assert kept_rows(outcome) == [0, 1]
    assert outcome.lineage[0]["leader"] == ("a", 0)


def test_source_priority_precedes_the_score() -> None:
    rows = [
        row("XX..", 0, source="a", score=0.9),
        row("XX..", 1, source="b", score=0.1),
        row("XX..", 2, source="c", score=0.5),
    ]
    outcome = run(rows, Policy(across=True, source_priority=("b",)))
    assert kept_rows(outcome) == [1]
    assert {line["source_row"] for line in outcome.lineage} == {0, 2}


def test_origin_stands_for_the_source_column() -> None:
    rows = [row("XX..", 0, origin="ann"), row("XX..", 1, origin="bob")]
    assert kept_rows(run(rows, Policy(across=True))) == [0]
    outcome = run(rows, Policy(across=True, source_priority=("bob", "ann")))
    assert kept_rows(outcome) == [1]


def test_a_kept_row_has_the_leaders_values_and_a_measured_box() -> None:
    rows = [
        row(
            ".... .XX. .X..",
            0,
            input_id=9,
            category_id=4,
            bbox=(0.5, 0.25, 3.0, 2.0),
            area=6.5,
        ),
        row(".... .XX. .XX.", 1, input_id=10, category_id=4),
    ]
    (kept,) = run(rows, Policy(threshold=0.7)).kept
    assert (kept["input_id"], kept["category_id"], kept["score"]) == (9, 4, 1.0)
    assert (kept["bbox"], kept["area"]) == ((1, 1, 2, 2), 3)
    assert (kept["input_bbox"], kept["input_area"]) == ((0.5, 0.25, 3.0, 2.0), 6.5)


def test_no_rows() -> None:
    assert run([], Policy()) == Outcome()


def test_the_real_results_files_load(shared_data: Path) -> None:
    rows = load_results(shared_data / "detectron2_mask_rcnn_coco_instances_results.json", "d2")
    assert len(rows) == 198
    assert rows[0].key == ("d2", 0)
    assert (rows[0].height, rows[0].width, rows[0].category_id) == (388, 633, 7)
    assert rows[0].mask.startswith(b"h`S45e;`0E8K4L3L5L")
    assert rows[0].bbox is not None
    outcome = run(rows, Policy())
    assert (len(outcome.kept), len(outcome.lineage), len(outcome.rejects)) == (196, 2, 0)


def test_the_real_annotations_load(shared_data: Path) -> None:
    rows = load_annotations(shared_data / "lvis_val_100.json")
    assert len(rows) == 977
    assert (rows[0].image_id, rows[0].input_id, rows[0].category_id) == (565853, 1, 852)
    assert rows[0].score is None
    # COCO's own area comes from the polygon and is near the mask's.
    assert abs(int(rows[0].dense().sum()) - 959.73) < 60


def test_plain_and_compressed_counts_load_alike(tmp_path: Path) -> None:
    height, width, mask = mask_of("XX. .X.")
    counts = [1 - 1, 1, 1, 2, 2]
    document = {
        "images": [{"id": 1, "height": height, "width": width}],
        "annotations": [
            {
                "id": n,
                "image_id": 1,
                "category_id": 1,
                "iscrowd": 1,
                "segmentation": {"size": [height, width], "counts": value},
            }
            for n, value in enumerate([counts, mask.decode()])
        ],
    }
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(document))
    rows = load_annotations(path)
    assert [entry.mask for entry in rows] == [mask, mask]
    assert all(entry.iscrowd for entry in rows)
