"""The job by our own kernels, COCO strings in, survivors (and merged strings) out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.peers import image_offsets
from benchmarks.workload import Workload
from pipeline.masks import rle
from pipeline.masks.batch import CocoStrings
from pipeline.masks.group import Grouping, group_masks
from pipeline.masks.group_merge import Merged, group_and_merge


@dataclass(frozen=True)
class Policy:
    """One choice of the dedup options; `merge` is best, union or vote."""

    name: str
    overlap: str = "iou"
    group: str = "leader"
    merge: str = "best"
    per_category: bool = True


DEFAULT = Policy("ours, default")
UNION = Policy("ours, union to COCO strings", merge="union")

POLICIES = (
    DEFAULT,
    Policy("component", group="component"),
    Policy("ios", overlap="ios"),
    Policy("agnostic", per_category=False),
    Policy("agnostic, ios, component", overlap="ios", group="component", per_category=False),
    UNION,
    Policy("vote to COCO strings", merge="vote"),
)


def arguments(workload: Workload, *, per_category: bool = True) -> tuple[Any, ...]:
    """Return the arrays of `group_masks`; rows are sorted by image and score."""
    n_rows = len(workload)
    return (
        CocoStrings(workload.bytes_B, workload.offsets_N1),
        workload.size_hw_N2,
        image_offsets(workload),
        workload.category_id if per_category else np.zeros(n_rows, np.int64),
        np.zeros(n_rows, bool),
        None,
    )


def input_bytes(workload: Workload) -> int:
    """Return the bytes of the arrays that a call is given."""
    strings, *columns = arguments(workload)
    return sum(array.nbytes for array in (*strings, *columns) if array is not None)


def job(workload: Workload, policy: Policy, threshold: float) -> Callable[[], Grouping]:
    """Return the call that is timed."""
    given = arguments(workload, per_category=policy.per_category)
    options = {"threshold": threshold, "overlap": policy.overlap, "group": policy.group}
    fraction = 0.5 if policy.merge == "vote" else 0.0

    def run() -> Grouping:
        if policy.merge == "best":
            return group_masks(*given, **options)
        grouping, merged = group_and_merge(*given, **options, vote_fraction=fraction)
        kept_strings(given[0], grouping, merged)
        return grouping

    return run


def union_strings(workload: Workload, threshold: float) -> CocoStrings:
    """Return the COCO strings of all kept rows, each group's the union."""
    given = arguments(workload)
    return kept_strings(given[0], *group_and_merge(*given, threshold=threshold))


def kept_strings(strings: CocoStrings, grouping: Grouping, merged: Merged) -> CocoStrings:
    """Return the COCO strings of all kept rows: those of their groups, or their own."""
    n_rows = len(grouping.leader_N)
    choice_N = np.arange(n_rows)
    choice_N[merged.leader_K] = n_rows + np.arange(len(merged.leader_K))
    kept_K = np.flatnonzero(grouping.leader_N == np.arange(n_rows))
    return rle.choose_strings(strings, merged.strings, choice_N[kept_K])
