"""The settings that are tried: every combination of a few values of each knob."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from pipeline.config import CompactConfig, DedupConfig, EncodeConfig
from pipeline.errors import ConfigError

MAX_SETTINGS = 2000
"""Settings that one sweep may try."""


@dataclass(frozen=True, kw_only=True)
class SweepConfig:
    """What is tried, on how many images, and how much quality a smaller table may cost."""

    thresholds: tuple[float, ...] = (0.5, 0.6, 0.7, 0.8, 0.9)
    """Values of --dedup.threshold."""

    groups: tuple[Literal["none", "leader", "component"], ...] = ("none", "leader", "component")
    """Values of --dedup.group; none is what re-encoding alone gives."""

    merges: tuple[Literal["best", "union", "vote"], ...] = ("best", "union", "vote")
    """Values of --dedup.merge."""

    per_category: tuple[bool, ...] = (True, False)
    """Values of --dedup.per_category."""

    encodings: tuple[Literal["rle", "crack", "polygon"], ...] = ("rle", "crack", "polygon")
    """Values of --encode.encoding."""

    fidelities: tuple[float, ...] = (0.95, 0.98, 0.99)
    """polygon: values of --encode.fidelity."""

    images: int = 200
    """Images in the sample: those whose ids have the smallest hashes."""

    max_drop: float | None = None
    """Quality that the recommended point may lack: of AP, by default 0.005; of mean IoU, 0.02."""

    def __post_init__(self) -> None:
        for name in ("thresholds", "groups", "merges", "per_category", "encodings", "fidelities"):
            values: tuple[Any, ...] = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise ConfigError(
                    f"--sweep.{name}: expected one value or more, each once, got {list(values)}"
                )
        for name in ("thresholds", "fidelities"):
            wrong = [value for value in getattr(self, name) if not 0 < value <= 1]
            if wrong:
                raise ConfigError(f"--sweep.{name}: expected numbers in (0, 1], got {wrong[0]}")
        if self.images < 1:
            raise ConfigError(f"--sweep.images: expected 1 or more, got {self.images}")
        if self.max_drop is not None and not 0 <= self.max_drop <= 1:
            raise ConfigError(f"--sweep.max_drop: expected a number in [0, 1], got {self.max_drop}")


class Setting(NamedTuple):
    """One point of the sweep: how masks are merged and how they are stored."""

    dedup: DedupConfig
    encode: EncodeConfig

    @property
    def flags(self) -> str:
        """The flags of the main job that ask for it."""
        parts = [f"--dedup.group {self.dedup.group}"]
        if self.dedup.group != "none":
            parts = [
                f"--dedup.threshold {self.dedup.threshold:g}",
                *parts,
                f"--dedup.merge {self.dedup.merge}",
                f"--dedup.per_category {str(self.dedup.per_category).lower()}",
            ]
        parts.append(f"--encode.encoding {self.encode.encoding}")
        if self.encode.encoding == "polygon":
            parts.append(f"--encode.fidelity {self.encode.fidelity:g}")
        return " ".join(parts)

    @property
    def is_default(self) -> bool:
        """Whether these are the settings of the main job without a flag."""
        return self == Setting(DedupConfig(), EncodeConfig())


def list_settings(config: CompactConfig, sweep: SweepConfig) -> list[Setting]:
    """Return every combination once; what does not matter to one keeps its default.

    Parameters
    ----------
    config : CompactConfig
        Everything that is not swept.
    sweep : SweepConfig
        The values.

    Raises
    ------
    ConfigError
        If there are more than `MAX_SETTINGS`.
    """
    dedups: list[DedupConfig] = []
    for group, per_category, merge, threshold in itertools.product(
        sweep.groups, sweep.per_category, sweep.merges, sweep.thresholds
    ):
        plain = dataclasses.replace(config.dedup, group=group)
        changed = dataclasses.replace(
            plain, per_category=per_category, merge=merge, threshold=threshold
        )
        dedups.append(plain if group == "none" else changed)
    encodes: list[EncodeConfig] = []
    for encoding in sweep.encodings:
        plain = dataclasses.replace(config.encode, encoding=encoding)
        floors = sweep.fidelities if encoding == "polygon" else (plain.fidelity,)
        encodes += [dataclasses.replace(plain, fidelity=floor) for floor in floors]
    found = [Setting(*pair) for pair in itertools.product(dict.fromkeys(dedups), encodes)]
    if len(found) > MAX_SETTINGS:
        raise ConfigError(
            f"--sweep: expected at most {MAX_SETTINGS:,} combinations, got {len(found):,}; "
            "give fewer values"
        )
    return found
