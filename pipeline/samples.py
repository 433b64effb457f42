"""The few groups of a unit that are worth a picture: bounded, and the same whatever the units are.

Every unit keeps its first `PER_KIND` groups of each kind by a key that does not
depend on the unit. The first of all units' firsts are the first of the run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline import storage
from pipeline.arrow import pc
from pipeline.config import CompactConfig
from pipeline.dedup import Deduplicated, overlaps
from pipeline.estimate import NearMisses
from pipeline.quality import Drifts
from pipeline.records import GroupSample, MemberSample
from pipeline.stored import coco_counts

KINDS = ("largest", "least_certain", "near_miss", "worst_fidelity", "worst_boundary")
"""Why a group is kept, in the order in which a page shows them."""

PER_KIND = 3
"""Groups of each kind."""

MEMBERS = 8
"""Merged rows of a group whose masks are kept."""

STRING_BYTES = 16_384
"""Longest COCO string that is kept; a longer one is named without its mask."""


def choose(
    result: Deduplicated,
    compacted: pa.Table,
    lineage: pa.Table,
    near: NearMisses,
    drifts: Drifts,
    config: CompactConfig,
) -> list[GroupSample]:
    """Return the first groups of each kind.

    ``largest``: most merged rows. ``least_certain``: lowest overlap of a merged row with its
    leader. ``near_miss``: a pair that stayed apart by least. ``worst_fidelity``: lowest IoU of
    what is stored with what it stands for, where that is below 1; ``worst_boundary``: lowest
    boundary IoU.

    Parameters
    ----------
    result : Deduplicated
        The unit's rows and what became of them.
    compacted, lineage : pa.Table
        What is kept and what is not, in the order of the rows.
    near : NearMisses
        Of the sampled images.
    drifts : Drifts
        What storing the kept rows changed.
    config : CompactConfig
        Says by which measure rows overlap.

    Returns
    -------
    list of GroupSample
        At most `PER_KIND` of each of `KINDS`; empty for no rows.
    """
    kept_M = result.kept_M
    id_M = result.instance_id_N[kept_M]
    fidelity_M = compacted["fidelity"].to_numpy()
    n_merged_M = compacted["n_merged"].to_numpy().astype(np.float64)
    lowest_M = lowest_overlap(result, lineage, config)[kept_M]
    first_near, rank_near = _nearest(near, result)
    place_M = np.searchsorted(kept_M, first_near)
    picked: list[tuple[str, int, float]] = []
    for kind, rank_M, is_asked_M in (
        ("largest", -n_merged_M, n_merged_M > 0),
        ("least_certain", lowest_M, n_merged_M > 0),
        ("worst_fidelity", fidelity_M, fidelity_M < 1),
        ("worst_boundary", drifts.boundary_M, drifts.boundary_M < 1),
    ):
        picked += [(kind, n, float(rank_M[n])) for n in _first(rank_M, id_M, is_asked_M)]
    picked += [("near_miss", int(n), r) for n, r in zip(place_M, rank_near, strict=True)]
    if not picked:
        return []
    place_U = np.unique([n for _, n, _ in picked])
    stored = coco_counts(compacted.take(pa.array(place_U))).to_pylist()
    text_of = dict(zip(place_U.tolist(), stored, strict=True))
    samples: list[GroupSample] = []
    for kind, n, rank in picked:
        row = int(kept_M[n])
        own = near_members(result, near, row) if kind == "near_miss" else None
        sample = _sample(result, row, kind, rank, _text(text_of[n]), own)
        sample.fidelity = float(fidelity_M[n])
        sample.drift = float(drifts.drift_M[n])
        if not np.isnan(drifts.boundary_M[n]):
            sample.boundary_iou = float(drifts.boundary_M[n])
        if kind == "near_miss":
            sample.overlap = -rank
        elif sample.n_members:
            sample.overlap = float(lowest_M[n])
        samples.append(sample)
    return samples


def first_samples(found: Iterable[GroupSample]) -> list[GroupSample]:
    """Return the first groups of each kind out of those of several units, by kind."""
    ordered = sorted(found, key=lambda sample: (sample.rank, sample.instance_id))
    return [
        sample
        for kind in KINDS
        for sample in [one for one in ordered if one.kind == kind][:PER_KIND]
    ]


def lowest_overlap(
    result: Deduplicated, lineage: pa.Table, config: CompactConfig
) -> NDArray[np.float64]:
    """Return the lowest overlap of each row's merged rows with it, float64 (N,); 1.0 alone.

    LINEAGE has the rows that are not kept, in their order.
    """
    leader_N = result.grouping.leader_N
    overlap = lineage[config.dedup.overlap]
    gone_L = result.gone_L
    if overlap.null_count:
        gone_L = gone_L[pc.is_valid(overlap).to_numpy(zero_copy_only=False)]
        overlap = overlap.drop_null()
    lowest_N = np.ones(len(leader_N))
    np.minimum.at(lowest_N, leader_N[gone_L], overlap.to_numpy())
    return lowest_N


def near_members(result: Deduplicated, near: NearMisses, row: int) -> list[MemberSample]:
    """Return the row that a kept row nearly merged with, the nearest first."""
    own_P = np.flatnonzero(near.i_P == row)
    own_P = own_P[np.argsort(-near.overlap_P[own_P], kind="stable")][:1]
    return _members(result, near.j_P[own_P], near.iou_P[own_P])


def _nearest(near: NearMisses, result: Deduplicated) -> tuple[NDArray[np.int64], list[float]]:
    """Return the first rows of the pairs that overlap most, each once, and their ranks."""
    order_P = np.lexsort((result.instance_id_N[near.i_P], -near.overlap_P))
    first_P = np.unique(near.i_P[order_P], return_index=True)[1]
    chosen_P = order_P[np.sort(first_P)[:PER_KIND]]
    return near.i_P[chosen_P], [float(-near.overlap_P[n]) for n in chosen_P]


def _first(
    rank_M: NDArray[np.float64], id_M: NDArray[np.int64], is_asked_M: NDArray[np.bool_]
) -> Sequence[int]:
    """Return the places of the lowest ranks; ties by instance_id."""
    place_A = np.flatnonzero(is_asked_M)
    if len(place_A) > PER_KIND:
        # Only rows that rank with the first can be among them: sorting all costs more.
        last = np.partition(rank_M[place_A], PER_KIND - 1)[PER_KIND - 1]
        place_A = place_A[rank_M[place_A] <= last]
    order_A = np.lexsort((id_M[place_A], rank_M[place_A]))[:PER_KIND]
    return place_A[order_A].tolist()


def _sample(
    result: Deduplicated,
    row: int,
    kind: str,
    rank: float,
    stored_counts: str,
    own_members: list[MemberSample] | None,
) -> GroupSample:
    names = ["image_id", "category_id", "score", "height", "width", "source", "source_row"]
    if _has_file_names(result):
        names.append("file_name")
    facts = result.rows.table.select([*names, "counts"]).slice(row, 1).to_pylist()[0]
    if facts.get("file_name"):
        facts["file_name"] = storage.redact(facts["file_name"])
    # A leader comes before those it stands for, and in the same image.
    end = int(_image_end(result, row))
    merged_R = row + 1 + np.flatnonzero(result.grouping.leader_N[row + 1 : end] == row)
    if own_members is None:
        shown_R = merged_R[:MEMBERS]
        own_members = _members(result, shown_R, overlaps(result.grouping, shown_R)[0])
    return GroupSample(
        kind=kind,
        rank=rank,
        instance_id=int(result.instance_id_N[row]),
        n_members=len(merged_R),
        overlap=None,
        fidelity=1.0,
        counts=_text(facts.pop("counts")),
        stored_counts=stored_counts,
        members=own_members,
        **facts,
    )


def _image_end(result: Deduplicated, row: int) -> np.int64:
    """Return the row behind the last one of a row's image."""
    offsets_G1 = result.rows.image_offsets_G1
    return offsets_G1[np.searchsorted(offsets_G1, row, side="right")]


def _members(
    result: Deduplicated, rows_R: NDArray[np.int64], iou_R: NDArray[np.float64]
) -> list[MemberSample]:
    names = ["source", "source_row", "category_id", "score", "counts"]
    found = result.rows.table.select(names).take(pa.array(rows_R)).to_pylist()
    return [
        MemberSample(iou=float(iou), counts=_text(facts.pop("counts")), **facts)
        for facts, iou in zip(found, iou_R, strict=True)
    ]


def _has_file_names(result: Deduplicated) -> bool:
    """Return whether rows name their image's file in a column of their own."""
    table = result.rows.table
    if "file_name" not in table.column_names:
        return False
    dtype = table.schema.field("file_name").type
    return pa.types.is_string(dtype) or pa.types.is_large_string(dtype)


def _text(counts: bytes) -> str:
    return counts.decode("ascii") if len(counts) <= STRING_BYTES else ""
