"""What a unit of work leaves behind: its files and its numbers, as small JSON.

Records are the only way in which counters travel: a retried task overwrites its
own record, so nothing is ever counted twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

TABLES = ("lineage", "rejects", "compacted")
"""The three tables, in the order in which they are committed."""


class DataFile(msgspec.Struct, frozen=True):
    """One Parquet file of one table.

    Attributes
    ----------
    table : str
        One of `TABLES`.
    name : str
        File name below the table's directory; holds the run_id.
    rows : int
        Rows in it.
    file_bytes : int
        Its size.
    digest : str
        blake2b-128 of its bytes, in hex.
    minimum, maximum : dict
        Smallest and largest value of the columns with statistics (plain JSON values).
    null_count : dict
        Nulls of the same columns.
    row_groups : int
        Row groups of the file.
    """

    table: str
    name: str
    rows: int
    file_bytes: int
    digest: str
    minimum: dict[str, Any] = {}
    maximum: dict[str, Any] = {}
    null_count: dict[str, int] = {}
    row_groups: int = 0


class SourceCounts(msgspec.Struct):
    """What became of the rows of one input file; read = the sum of the other four."""

    read: int = 0
    kept: int = 0
    merged: int = 0
    filtered: int = 0
    rejected: int = 0

    def is_conserved(self) -> bool:
        """Return whether every row that was read is accounted for, once."""
        return self.read == self.kept + self.merged + self.filtered + self.rejected


class CategoryCounts(msgspec.Struct):
    """What became of the valid rows of one category.

    Attributes
    ----------
    merged, filtered : int
        Rows of this category in LINEAGE.
    masks, stored_bytes : dict of str to int
        Kept rows and the bytes of their masks, by encoding.
    input_bytes : int
        Bytes of all its valid input masks as COCO strings.
    iou_sum : float
        Of its merged rows with their leaders' input masks.
    fidelity_sum : float
        Of its kept rows.
    min_fidelity : float
        Of its kept rows; 1.0 without any.
    mask_area, stored_area : int
        Pixels of the masks that its kept rows stand for, and of those that are stored.
    max_drift : float
        Largest relative change of the area of one of them, whatever its sign.
    boundary_sum, min_boundary : float
        Boundary IoU of its `boundary_masks` kept rows of sampled images; lowest 1.0 without any.
    """

    merged: int = 0
    filtered: int = 0
    masks: dict[str, int] = {}
    stored_bytes: dict[str, int] = {}
    input_bytes: int = 0
    iou_sum: float = 0.0
    fidelity_sum: float = 0.0
    min_fidelity: float = 1.0
    mask_area: int = 0
    stored_area: int = 0
    max_drift: float = 0.0
    boundary_masks: int = 0
    boundary_sum: float = 0.0
    min_boundary: float = 1.0

    def add(self, other: CategoryCounts) -> None:
        """Add another unit's counts."""
        for name in _SUMMED:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for own, more in ((self.masks, other.masks), (self.stored_bytes, other.stored_bytes)):
            for encoding, count in more.items():
                own[encoding] = own.get(encoding, 0) + count
        self.min_fidelity = min(self.min_fidelity, other.min_fidelity)
        self.min_boundary = min(self.min_boundary, other.min_boundary)
        self.max_drift = max(self.max_drift, other.max_drift)


_SUMMED = (
    "merged",
    "filtered",
    "input_bytes",
    "iou_sum",
    "fidelity_sum",
    "mask_area",
    "stored_area",
    "boundary_masks",
    "boundary_sum",
)


class MemberSample(msgspec.Struct):
    """A merged row of a sampled group, or the other row of a near miss."""

    source: str
    source_row: int
    category_id: int | None
    score: float | None
    iou: float
    counts: str


class GroupSample(msgspec.Struct):
    """One kept row with the rows that it stands for, small enough to draw.

    Attributes
    ----------
    kind : str
        Why it was chosen: one of `pipeline.samples.KINDS`.
    rank : float
        Lower is chosen first; ties go to the lower instance_id.
    overlap : float or None
        Lowest overlap of a member with the leader, by the measure of ``--dedup.overlap``.
    drift : float
        Relative change of the area by storing it.
    boundary_iou : float or None
        Of what is stored with what it stands for; None where that was not measured.
    counts, stored_counts : str
        The leader's input mask, and the mask that is stored for the group, as COCO strings;
        empty where they are too long to be kept.
    members : list of MemberSample
        The first of its members in order; `n_members` counts all of them.
    file_name : str or None
        Of its image, as the data name it; not to be trusted.
    """

    kind: str
    rank: float
    image_id: int | str
    instance_id: int
    category_id: int | None
    score: float | None
    height: int
    width: int
    source: str
    source_row: int
    n_members: int
    overlap: float | None
    fidelity: float
    counts: str
    stored_counts: str
    members: list[MemberSample] = []
    file_name: str | None = None
    drift: float = 0.0
    boundary_iou: float | None = None


class MaskSample(msgspec.Struct):
    """A mask that is to be stored: its image's size in pixels, and its COCO string."""

    height: int
    width: int
    counts: str


class UnitRecord(msgspec.Struct):
    """All that the driver learns of one unit of work.

    Attributes
    ----------
    unit : int
        Its number in the plan.
    run_id : str
        The run it belongs to.
    files : list of DataFile
        What it wrote.
    sources : dict of str to SourceCounts
        By source URI: rows that the unit read, and what became of the rows that met in
        it; where rows are shuffled only the sums over all units are equal.
    reasons : dict of str to int
        Rows by LINEAGE reason.
    rejects : dict of str to int
        Rows by REJECTS code.
    numbers : dict of str to float
        Sums by name: bytes, pairs, estimates (see `pipeline.measures`, `pipeline.estimate`).
    categories : dict of str to CategoryCounts
        By category_id, ``"null"`` without one; ``"other"`` sums those beyond the limit.
    samples : list of GroupSample
        The first few groups of each kind (see `pipeline.samples`).
    masks : list of MaskSample
        A few kept masks of the sampled images, which the driver tries in every encoding.
    histograms : dict of str to list of int
        Counts per bin, by name; equal names have equal bins in every unit.
    stage_s : dict of str to float
        Seconds by stage.
    """

    unit: int
    run_id: str
    files: list[DataFile] = []
    sources: dict[str, SourceCounts] = {}
    reasons: dict[str, int] = {}
    rejects: dict[str, int] = {}
    numbers: dict[str, float] = {}
    categories: dict[str, CategoryCounts] = {}
    samples: list[GroupSample] = []
    masks: list[MaskSample] = []
    histograms: dict[str, list[int]] = {}
    stage_s: dict[str, float] = {}


def total_sources(records: Sequence[UnitRecord]) -> dict[str, SourceCounts]:
    """Return by source URI what became of its rows, over all units."""
    totals: dict[str, SourceCounts] = {}
    for record in records:
        for source, counts in record.sources.items():
            total = totals.setdefault(source, SourceCounts())
            for name in SourceCounts.__struct_fields__:
                setattr(total, name, getattr(total, name) + getattr(counts, name))
    return totals
