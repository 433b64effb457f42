"""A slow, obviously right model of the whole job, written from the semantics alone.

Every mask is a dense NumPy array, every pair is compared, nothing is pruned.
It shares no code with the product; only the codec is COCO's, through
`tests.oracle`. It covers: sizes that contradict each other, filters, the total
order, groups, merges, lineage. It does not cover cleaning, encodings, and the
parsing of bad bytes: `Row.mask` is always a canonical string.

Worked example: three 1x4 masks of one image and category, threshold 0.5::

    row 0  score 0.9  X X X .      kept, n_merged 1
    row 1  score 0.8  X X . .      IoU with row 0 is 2/3: merged into row 0
    row 2  score 0.7  . . . X      kept, n_merged 0
"""

from __future__ import annotations

import json
import math
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tests import oracle

Mask = NDArray[np.bool_]
RowKey = tuple[str, int]


@dataclass(frozen=True)
class Row:
    """One input row that the readers accepted.

    Attributes
    ----------
    mask : bytes
        The canonical COCO string of the input mask.
    bbox, area
        As they came with the row (COCO's XYWH floats), not measured from the mask.
    origin : str or None
        The value of ``--dedup.source_column``; None takes `source`.
    """

    image_id: int | str
    input_id: int | None
    category_id: int | None
    score: float | None
    iscrowd: bool
    height: int
    width: int
    mask: bytes
    bbox: tuple[float, float, float, float] | None = None
    area: float | None = None
    source: str = "a.json"
    source_row: int = 0
    origin: str | None = None

    @property
    def key(self) -> RowKey:
        """What tells this row from every other."""
        return (self.source, self.source_row)

    @property
    def compare_source(self) -> str:
        """The source that ``--dedup.across`` and ``--dedup.source_priority`` look at."""
        return self.source if self.origin is None else self.origin

    def dense(self) -> Mask:
        """Return the pixels, bool (height, width)."""
        return oracle.decode((self.height, self.width), self.mask)


@dataclass(frozen=True)
class Policy:
    """The options of filter, dedup and merge, with the product's defaults."""

    threshold: float = 0.8
    overlap: Literal["iou", "ios"] = "iou"
    group: Literal["none", "leader", "component"] = "leader"
    merge: Literal["best", "union", "vote"] = "best"
    vote_fraction: float = 0.5
    per_category: bool = True
    across: bool = False
    source_priority: Sequence[str] = ()
    min_score: float | None = None
    min_area: int | None = None


@dataclass
class Outcome:
    """Where every row went; each list is sorted by image and total order."""

    kept: list[dict[str, Any]] = field(default_factory=list)
    lineage: list[dict[str, Any]] = field(default_factory=list)
    rejects: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class _Claim:
    """How a row was merged: into which leader, through which row (both as places in the order)."""

    leader: int
    linked: int | None


def run(rows: Sequence[Row], policy: Policy) -> Outcome:
    """Say for every row whether it is kept, merged, filtered or rejected.

    Parameters
    ----------
    rows
        All rows of the job, in any order, with distinct (source, source_row).
    policy
        The options.

    Returns
    -------
    Outcome
        One dict per row, each in exactly one of the three lists.
    """
    keys = [row.key for row in rows]
    assert len(set(keys)) == len(keys), "two rows share (source, source_row)"
    by_image: dict[int | str, list[Row]] = defaultdict(list)
    for row in rows:
        by_image[row.image_id].append(row)
    outcome = Outcome()
    for image_id in sorted(by_image):
        _run_image(by_image[image_id], policy, outcome)
    assert len(rows) == len(outcome.kept) + len(outcome.lineage) + len(outcome.rejects)
    return outcome


def _run_image(rows: list[Row], policy: Policy, outcome: Outcome) -> None:
    """Send each row of one image to its place in `outcome`."""
    rows = sorted(rows, key=lambda row: order_key(row, policy))
    if len({(row.height, row.width) for row in rows}) > 1:
        for row in rows:
            outcome.rejects.append(
                {"source": row.source, "source_row": row.source_row, "code": "SIZE_MISMATCH"}
            )
        return
    masks = [row.dense() for row in rows]
    reasons = [filter_reason(row, mask, policy) for row, mask in zip(rows, masks, strict=True)]
    valid = [n for n, reason in enumerate(reasons) if reason is None]
    claims = _group([rows[n] for n in valid], [masks[n] for n in valid], policy)
    claimed = {
        valid[member]: _Claim(
            valid[claim.leader], None if claim.linked is None else valid[claim.linked]
        )
        for member, claim in claims.items()
    }
    for n, row in enumerate(rows):
        if reasons[n] is not None:
            outcome.lineage.append(_lineage(row, reasons[n]))
        elif n in claimed:
            outcome.lineage.append(_merged(rows, masks, n, claimed[n]))
        else:
            members = [n] + [m for m in sorted(claimed) if claimed[m].leader == n]
            outcome.kept.append(_kept(row, [masks[m] for m in members], policy))


def order_key(row: Row, policy: Policy) -> tuple[Any, ...]:
    """Return the sort key of the total order; the least key comes first."""
    priority = list(policy.source_priority)
    origin = row.compare_source
    return (
        priority.index(origin) if origin in priority else len(priority),
        (1, 0.0) if row.score is None else (0, -row.score),
        -int(row.dense().sum()),
        row.mask,
        _null_last(row.category_id),
        _null_last(row.input_id),
        row.source,
        row.source_row,
    )


def _null_last(value: int | None) -> tuple[int, int]:
    return (1, 0) if value is None else (0, value)


def filter_reason(row: Row, mask: Mask, policy: Policy) -> str | None:
    """Return why a valid row is filtered, or None; the first reason of the list wins."""
    if policy.min_score is not None and row.score is not None and row.score < policy.min_score:
        return "min_score"
    if policy.min_area is not None and mask.sum() < policy.min_area:
        return "min_area"
    return None if mask.any() else "empty"


def overlap(a: Mask, b: Mask, kind: Literal["iou", "ios"]) -> float:
    """Return the IoU or the intersection over the smaller area; 0.0 where a mask is empty."""
    if not a.any() or not b.any():
        return 0.0
    intersection = int((a & b).sum())
    denominator = int((a | b).sum()) if kind == "iou" else min(int(a.sum()), int(b.sum()))
    return float(np.float64(intersection) / np.float64(denominator))


def _reaches(rows: list[Row], masks: list[Mask], i: int, j: int, policy: Policy) -> bool:
    """Say whether rows i and j may be compared and reach the threshold."""
    a, b = rows[i], rows[j]
    if a.iscrowd or b.iscrowd:
        return False
    if policy.per_category and a.category_id != b.category_id:
        return False
    if policy.across and a.compare_source == b.compare_source:
        return False
    return overlap(masks[i], masks[j], policy.overlap) >= policy.threshold


def _group(rows: list[Row], masks: list[Mask], policy: Policy) -> dict[int, _Claim]:
    """Return for each merged row its leader; rows are in the total order."""
    if policy.group == "leader":
        return _leaders(rows, masks, policy)
    if policy.group == "component":
        return _components(rows, masks, policy)
    return {}


def _leaders(rows: list[Row], masks: list[Mask], policy: Policy) -> dict[int, _Claim]:
    claims: dict[int, _Claim] = {}
    for i in range(len(rows)):
        if i in claims:
            continue
        for j in range(i + 1, len(rows)):
            if j not in claims and _reaches(rows, masks, i, j, policy):
                claims[j] = _Claim(leader=i, linked=None)
    return claims


def _components(rows: list[Row], masks: list[Mask], policy: Policy) -> dict[int, _Claim]:
    """Search breadth first from each leader; neighbours are visited in the total order."""
    claims: dict[int, _Claim] = {}
    seen: set[int] = set()
    for leader in range(len(rows)):
        if leader in seen:
            continue
        seen.add(leader)
        queue = deque([leader])
        while queue:
            parent = queue.popleft()
            for j in range(len(rows)):
                if j not in seen and _reaches(rows, masks, parent, j, policy):
                    seen.add(j)
                    claims[j] = _Claim(leader=leader, linked=parent)
                    queue.append(j)
    return claims


def merge_masks(masks: list[Mask], policy: Policy) -> Mask:
    """Return the stored mask of a group; its leader's mask comes first."""
    if policy.merge == "best" or len(masks) == 1:
        return masks[0]
    votes = np.sum(masks, axis=0)
    if policy.merge == "union":
        return votes >= 1
    stays = votes >= math.ceil(policy.vote_fraction * len(masks))
    return stays if stays.any() else masks[0]


def bbox_of(mask: Mask) -> tuple[int, int, int, int]:
    """Return the tight box (x, y, w, h) of a mask that has a pixel."""
    ys, xs = np.nonzero(mask)
    x, y = int(xs.min()), int(ys.min())
    return x, y, int(xs.max()) - x + 1, int(ys.max()) - y + 1


def _kept(leader: Row, masks: list[Mask], policy: Policy) -> dict[str, Any]:
    stored = merge_masks(masks, policy)
    return {
        "image_id": leader.image_id,
        "input_id": leader.input_id,
        "category_id": leader.category_id,
        "score": leader.score,
        "iscrowd": leader.iscrowd,
        "height": leader.height,
        "width": leader.width,
        "mask": oracle.encode(stored),
        "bbox": bbox_of(stored),
        "area": int(stored.sum()),
        "input_bbox": leader.bbox,
        "input_area": leader.area,
        "n_merged": len(masks) - 1,
        "source": leader.source,
        "source_row": leader.source_row,
    }


def _merged(rows: list[Row], masks: list[Mask], n: int, claim: _Claim) -> dict[str, Any]:
    leader = rows[claim.leader]
    reason = "exact_duplicate" if rows[n].mask == leader.mask else "merged"
    return _lineage(
        rows[n],
        reason,
        leader=leader.key,
        iou=overlap(masks[claim.leader], masks[n], "iou"),
        ios=overlap(masks[claim.leader], masks[n], "ios"),
        linked=None if claim.linked is None else rows[claim.linked].key,
    )


def _lineage(
    row: Row,
    reason: str | None,
    leader: RowKey | None = None,
    iou: float | None = None,
    ios: float | None = None,
    linked: RowKey | None = None,
) -> dict[str, Any]:
    return {
        "image_id": row.image_id,
        "input_id": row.input_id,
        "category_id": row.category_id,
        "score": row.score,
        "source": row.source,
        "source_row": row.source_row,
        "reason": reason,
        "leader": leader,
        "iou": iou,
        "ios": ios,
        "linked": linked,
    }


def load_results(path: Path, source: str | None = None) -> list[Row]:
    """Read a COCO results file (a list of detections with compressed RLE).

    `source` is what the rows name as their file; None takes the path as it is.
    """
    entries: list[dict[str, Any]] = json.loads(path.read_text())
    return [
        _row(entry, n, _canonical(entry["segmentation"], None), source or str(path))
        for n, entry in enumerate(entries)
    ]


def load_annotations(path: Path, source: str | None = None) -> list[Row]:
    """Read a COCO or LVIS annotation file (polygons or RLE, sizes from ``images``)."""
    document: dict[str, Any] = json.loads(path.read_text())
    sizes = {image["id"]: (image["height"], image["width"]) for image in document["images"]}
    return [
        _row(
            entry,
            n,
            _canonical(entry["segmentation"], sizes[entry["image_id"]]),
            source or str(path),
        )
        for n, entry in enumerate(document["annotations"])
    ]


def _canonical(segmentation: Any, size_hw: tuple[int, int] | None) -> tuple[int, int, bytes]:
    """Return (height, width, canonical string) of polygons, compressed or plain RLE."""
    if isinstance(segmentation, list):
        assert size_hw is not None, "polygons need the image's size"
        return (*size_hw, oracle.from_polygons(segmentation, *size_hw))
    height, width = segmentation["size"]
    counts = segmentation["counts"]
    if isinstance(counts, list):
        runs = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
        dense = runs.reshape((height, width), order="F")
    else:
        dense = oracle.decode((height, width), counts.encode())
    return height, width, oracle.encode(dense)


def _row(entry: dict[str, Any], n: int, canonical: tuple[int, int, bytes], source: str) -> Row:
    height, width, mask = canonical
    bbox = entry.get("bbox")
    return Row(
        image_id=entry["image_id"],
        input_id=entry.get("id"),
        category_id=entry.get("category_id"),
        score=entry.get("score"),
        iscrowd=bool(entry.get("iscrowd", 0)),
        height=height,
        width=width,
        mask=mask,
        bbox=None if bbox is None else tuple(bbox),
        area=entry.get("area"),
        source=source,
        source_row=n,
    )
