"""The job by our own kernels, COCO strings in, survivors (and merged strings) out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers import image_offsets
from benchmarks.workload import Workload
from pipeline.masks import merge, rle
from pipeline.masks.batch import CocoStrings
from pipeline.masks.group import Grouping, group_masks


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
    strings, sizes_N2 = given[0], given[1]

    def run() -> Grouping:
        grouping = group_masks(
            *given, threshold=threshold, overlap=policy.overlap, group=policy.group
        )
        if policy.merge != "best":
            merged_strings(strings, sizes_N2, grouping.leader_N, is_vote=policy.merge == "vote")
        return grouping

    return run


def merged_strings(
    strings: CocoStrings,
    size_hw_N2: NDArray[np.int32],
    leader_N: NDArray[np.int64],
    *,
    is_vote: bool,
) -> CocoStrings:
    """Return the COCO strings of all kept rows: a group's union, or its half's vote."""
    n_rows = len(leader_N)
    members_N = np.bincount(leader_N, minlength=n_rows)
    kept_K = np.flatnonzero(members_N)
    leader_G = np.flatnonzero(members_N > 1)
    member_M = np.flatnonzero(members_N[leader_N] > 1)
    member_M = member_M[np.argsort(leader_N[member_M], kind="stable")]
    sizes_G = members_N[leader_G]
    group_offsets_G1 = np.concatenate([[0], np.cumsum(sizes_G)])
    batch = rle.from_coco(rle.take_strings(strings, member_M), size_hw_N2[member_M])
    every_M = np.arange(len(member_M))
    votes_G = (sizes_G + 1) // 2 if is_vote else np.ones(len(sizes_G), np.int64)
    merged = rle.to_coco(merge.vote(batch, group_offsets_G1, every_M, votes_G))
    choice_N = np.arange(n_rows)
    choice_N[leader_G] = n_rows + np.arange(len(leader_G))
    return rle.take_strings(rle.concat_strings([strings, merged]), choice_N[kept_K])
