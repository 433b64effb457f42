"""Configuration of a run: one frozen dataclass per step, validated on construction.

The command line, the YAML file of ``--config`` and the resolved configuration
that is written into the output are all made from these classes: a field is the
flag ``--step.field``, and the string under it is its help text.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field
from typing import Any, Literal

from pipeline.errors import ConfigError

FORMAT_VERSION = "1"
"""Version of the on-disk format (docs/format.md); tables of another one are not read."""

Encoding = Literal["rle", "crack", "polygon"]

KERNEL_VERSION = 3
"""Raised whenever a decision or a stored byte of the kernels changes."""


def _require(is_valid: bool, flag: str, expected: str, value: object) -> None:
    if not is_valid:
        raise ConfigError(f"--{flag}: expected {expected}, got {value!r}")


def parse_duration(text: str) -> float | None:
    """Return the seconds that a text like ``90s``, ``45m``, ``1h30m`` or ``2d`` means, or None."""
    match = re.fullmatch(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?", text.strip())
    if match is None or not any(match.groups()):
        return None
    days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds or None


_REPAIRS = ("rle_tail", "rle_escape", "poly_box", "poly_wrap", "poly_text")


@dataclass(frozen=True, kw_only=True)
class ReadConfig:
    """How input files become instances."""

    format: Literal[
        "auto",
        "coco_results",
        "coco_lines",
        "coco_annotations",
        "detectron2_predictions",
        "detectron2_dicts",
        "sa1b",
        "parquet",
        "parquet_images",
        "compacted",
    ] = "auto"
    """What the input files are; auto finds out from the content of each."""

    columns: dict[str, str] = field(default_factory=dict[str, str])
    """Parquet: our name -> the file's column, where they differ, e.g. {"image_id": "img"}."""

    extras: dict[str, str] = field(default_factory=dict[str, str])
    """JSON: keys of a row that are carried through, and their type: int, float, bool, string."""

    drop: tuple[str, ...] = ()
    """Parquet: columns that are left out as if the file did not have them."""

    id_mode: Literal["auto", "int", "string"] = "auto"
    """Type of image_id in the output; auto takes the first input's and refuses a mix."""

    category_space: dict[str, str] = field(default_factory=dict[str, str])
    """File name pattern -> dataset, contiguous (detectron2's 0 to K-1), or JSON that maps them."""

    on_invalid: Literal["reject", "fail", "repair"] = "reject"
    """Rows that cannot be used: reject them, fail at the first, or try --read.repair before."""

    repair: tuple[str, ...] = ()
    """Repairs to try: rle_tail, rle_escape, poly_box, poly_wrap, poly_text (docs/inputs.md)."""

    skip_bad_files: bool = False
    """Leave out files that cannot be read, list them in the report, exit with 3."""

    max_image_bytes: int = 1 << 30
    """Bytes of one image's rows (256 each and their COCO strings); more: TOO_MANY_MASKS."""

    max_reject_fraction: float = 0.01
    """Above 100 rejects, the share of rows read that may be rejected before the run stops."""

    def __post_init__(self) -> None:
        _require(self.max_image_bytes >= 1, "read.max_image_bytes", ">= 1", self.max_image_bytes)
        _require(
            0 <= self.max_reject_fraction <= 1,
            "read.max_reject_fraction",
            "a fraction in [0, 1]",
            self.max_reject_fraction,
        )
        _require(
            set(self.extras.values()) <= {"int", "float", "bool", "string"},
            "read.extras",
            "keys with one of the types int, float, bool, string",
            self.extras,
        )
        _require(
            set(self.repair) <= set(_REPAIRS),
            "read.repair",
            f"names among {', '.join(_REPAIRS)}",
            self.repair,
        )
        _require(
            bool(self.repair) == (self.on_invalid == "repair"),
            "read.repair",
            "names with --read.on_invalid repair, and none without it",
            self.repair,
        )


@dataclass(frozen=True, kw_only=True)
class CleanConfig:
    """Removal of specks and holes before anything is compared; off by default."""

    min_part_area: int = 0
    """Smallest 8-connected part that is kept, in pixels; 0 keeps all."""

    max_hole_area: int = 0
    """Largest hole that is filled, in pixels; 0 fills none."""

    def __post_init__(self) -> None:
        _require(self.min_part_area >= 0, "clean.min_part_area", ">= 0 px", self.min_part_area)
        _require(self.max_hole_area >= 0, "clean.max_hole_area", ">= 0 px", self.max_hole_area)

    @property
    def is_on(self) -> bool:
        """Whether any mask may be changed."""
        return self.min_part_area > 1 or self.max_hole_area > 0


@dataclass(frozen=True, kw_only=True)
class FilterConfig:
    """Valid rows that are left out."""

    min_score: float | None = None
    """Lowest score that is kept; a row without a score is never filtered by it."""

    min_area: int = 0
    """Smallest mask that is kept, in pixels of the cleaned input mask; 0 keeps all but empty."""

    def __post_init__(self) -> None:
        _require(self.min_area >= 0, "filter.min_area", ">= 0 px", self.min_area)
        _require(
            self.min_score is None or self.min_score == self.min_score,
            "filter.min_score",
            "a number",
            self.min_score,
        )


@dataclass(frozen=True, kw_only=True)
class DedupConfig:
    """Which masks of one image are the same object, and what stands for them."""

    threshold: float = 0.8
    """Overlap from which two masks are the same, in (0, 1]."""

    overlap: Literal["iou", "ios"] = "iou"
    """iou: intersection over union; ios: intersection over the smaller area (nested masks)."""

    group: Literal["none", "leader", "component"] = "leader"
    """leader: best first, claims what it overlaps; component: chains of pairs; none: re-encode."""

    merge: Literal["best", "union", "vote"] = "best"
    """best: the leader's mask as it is; union: all pixels; vote: what enough members have."""

    vote_fraction: float = 0.5
    """vote: a pixel stays if at least ceil(fraction x members) have it, in (0, 1]."""

    per_category: bool = True
    """Compare only within a category; false compares across categories too."""

    across: bool = False
    """Compare only rows of different sources (annotators, models); never within one."""

    source_column: str | None = None
    """across: the extra column that names a row's source; default its file."""

    source_priority: tuple[str, ...] = ()
    """across: sources, best first; precedes the score in the order."""

    def __post_init__(self) -> None:
        _require(0 < self.threshold <= 1, "dedup.threshold", "a number in (0, 1]", self.threshold)
        _require(
            0 < self.vote_fraction <= 1,
            "dedup.vote_fraction",
            "a fraction in (0, 1]",
            self.vote_fraction,
        )
        _require(
            self.across or (self.source_column is None and not self.source_priority),
            "dedup.source_column and --dedup.source_priority",
            "--dedup.across true beside them",
            "--dedup.across false",
        )


@dataclass(frozen=True, kw_only=True)
class EncodeConfig:
    """How the kept masks are stored."""

    encoding: Encoding = "rle"
    """rle: COCO strings; crack: lossless contours, smaller; polygon: few vertices, loss bounded."""

    fidelity: float = 0.98
    """polygon: lowest IoU of what is stored with the mask, in (0, 1]; else it stays lossless."""

    epsilon: float | None = None
    """polygon: tolerance to start from, a fraction of the arc length; the floor still holds."""

    def __post_init__(self) -> None:
        _require(0 < self.fidelity <= 1, "encode.fidelity", "a number in (0, 1]", self.fidelity)
        _require(
            self.epsilon is None or 0 < self.epsilon < 1,
            "encode.epsilon",
            "a fraction in (0, 1)",
            self.epsilon,
        )


@dataclass(frozen=True, kw_only=True)
class WriteConfig:
    """How the Parquet files are written."""

    compression_level: int = 3
    """zstd level: 3 for tables in use, 19 for archives."""

    row_group_rows: int = 50_000
    """Rows from which a row group is closed, at the end of an image."""

    def __post_init__(self) -> None:
        _require(
            1 <= self.compression_level <= 22,
            "write.compression_level",
            "a zstd level, 1 to 22",
            self.compression_level,
        )
        _require(self.row_group_rows >= 1, "write.row_group_rows", ">= 1 row", self.row_group_rows)


@dataclass(frozen=True, kw_only=True)
class GateConfig:
    """Limits on the report's figures; a run that breaks one publishes nothing and exits 6."""

    max_merged_fraction: float | None = None
    """Largest share of the rows read that may be merged, in [0, 1]."""

    min_mean_iou: float | None = None
    """Smallest mean IoU of merged rows with their leaders' input masks, in [0, 1]."""

    max_ap_drop: float | None = None
    """Largest loss of COCO mask AP against --report.ground_truth, in [0, 1]."""

    def __post_init__(self) -> None:
        for name in ("max_merged_fraction", "min_mean_iou", "max_ap_drop"):
            value = getattr(self, name)
            is_valid = value is None or 0 <= value <= 1
            _require(is_valid, f"gate.{name}", "a fraction in [0, 1]", value)


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """What the report is about beyond the run itself; nothing here changes the result."""

    ground_truth: str | None = None
    """COCO annotations: AP and boundary AP on its images, of what came and of what is kept."""

    images: str | None = None
    """Directory or URI of the images: the page draws outlines over them."""

    image_names: str | None = None
    """Name of an image in there, e.g. {image_id:012d}.jpg; default file_name, then usual names."""

    def __post_init__(self) -> None:
        _require(
            self.image_names is None or "{image_id" in self.image_names,
            "report.image_names",
            "a name with {image_id} or {image_id:012d}",
            self.image_names,
        )
        _require(
            self.image_names is None or self.images is not None,
            "report.image_names",
            "--report.images FOLDER beside it",
            self.images,
        )


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Resources of the run; nothing here changes the result."""

    backend: Literal["auto", "numba", "torch"] = "auto"
    """numba: compiled, CPU only; torch: on the device; auto: torch with a GPU, else numba."""

    unit_bytes: int = 64 << 20
    """Input bytes that one unit of work reads, about; more, smaller units use less memory."""

    workers: int | None = None
    """Actors that deduplicate and encode; default from the cluster's CPUs or GPUs."""

    resume: bool = True
    """Continue a run that died with the units it had not finished; false starts over."""

    shared_path: bool = False
    """State that a local output path is the same storage on every node of the cluster."""

    deadline: str | None = None
    """Time after which the run stops as by SIGTERM, to be continued: 90s, 45m, 8h, 1h30m."""

    no_progress: str = "2h"
    """Time without a finished unit of work after which the run stops with an error."""

    check_space: bool = True
    """Refuse to start where memory or disks are too small by estimate; false tries all the same."""

    unit_timeout: str = "10m"
    """Time in which a unit of work is read or compacted, else it is searched for the row."""

    def __post_init__(self) -> None:
        for name in ("deadline", "no_progress", "unit_timeout"):
            value = getattr(self, name)
            is_valid = value is None or parse_duration(value) is not None
            _require(is_valid, f"run.{name}", "a duration like 90s, 45m, 8h, 1h30m", value)
        _require(self.unit_bytes >= 1, "run.unit_bytes", ">= 1 byte", self.unit_bytes)
        _require(self.workers is None or self.workers >= 1, "run.workers", ">= 1", self.workers)


@dataclass(frozen=True, kw_only=True)
class CompactConfig:
    """Everything that decides a run of the main job."""

    inputs: tuple[str, ...]
    """Files, directories, globs or URIs (file://, s3://) of predictions or annotations."""

    output: str
    """Directory or URI of the tables: compacted, lineage, rejects, reports and runs."""

    read: ReadConfig = field(default_factory=ReadConfig)
    clean: CleanConfig = field(default_factory=CleanConfig)
    filter: FilterConfig = field(default_factory=FilterConfig)
    dedup: DedupConfig = field(default_factory=DedupConfig)
    encode: EncodeConfig = field(default_factory=EncodeConfig)
    write: WriteConfig = field(default_factory=WriteConfig)
    report: ReportConfig = field(default_factory=ReportConfig)
    gate: GateConfig = field(default_factory=GateConfig)
    run: RunConfig = field(default_factory=RunConfig)

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where masks are compared; auto takes a GPU when the cluster has one."""

    dry_run: bool = False
    """Plan and print what would be done; write nothing."""

    def __post_init__(self) -> None:
        _require(bool(self.inputs), "inputs", "at least one INPUT", self.inputs)
        _require(bool(self.output.strip()), "output", "a directory or URI", self.output)
        _require(
            self.gate.max_ap_drop is None or self.report.ground_truth is not None,
            "gate.max_ap_drop",
            "--report.ground_truth FILE beside it",
            self.report.ground_truth,
        )
        _require(
            not (self.run.backend == "numba" and self.device == "cuda"),
            "device",
            "auto or cpu beside --run.backend numba",
            self.device,
        )

    def decisive(self) -> dict[str, Any]:
        """Return the settings that decide the content of the tables, as plain values.

        Inputs, output, gates, device and resources are left out: the same rows come
        out whatever they are. Part of the hash that names a run.
        """
        steps = ("read", "clean", "filter", "dedup", "encode", "write")
        return {step: dataclasses.asdict(getattr(self, step)) for step in steps}
