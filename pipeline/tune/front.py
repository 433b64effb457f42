"""The points that no other beats in both bytes and quality, and the one to take."""

from __future__ import annotations

from typing import Literal, NamedTuple

from pipeline.tune.measure import Point, Swept
from pipeline.tune.settings import SweepConfig

AP_DROP = 0.005
"""AP that the recommended point may have less than all rows that came."""

IOU_DROP = 0.02
"""How far below 1 the mean IoU of the recommended point may lie."""


class Choice(NamedTuple):
    """What is recommended, and why.

    Attributes
    ----------
    measure : {"ap", "iou"}
        What stands for quality.
    floor : float
        Lowest quality that was accepted.
    front : list of Point
        The Pareto front, smallest first.
    best : Point
        The smallest point whose quality reaches the floor; where none does, the point of
        the highest quality.
    reaches_floor : bool
        Whether it does.
    """

    measure: Literal["ap", "iou"]
    floor: float
    front: list[Point]
    best: Point
    reaches_floor: bool


def choose(swept: Swept, config: SweepConfig) -> Choice:
    """Find the front and choose a point of it.

    Without a ground truth nothing says what a lost category costs: then no point that
    merges across categories is recommended as long as there is another.

    Parameters
    ----------
    swept : Swept
        At least one point.
    config : SweepConfig
        `max_drop` sets the floor: below the AP of all rows that came, or below 1.
    """
    if swept.ap_before is not None:
        measure: Literal["ap", "iou"] = "ap"
        drop = AP_DROP if config.max_drop is None else config.max_drop
        floor = swept.ap_before - drop
    else:
        measure = "iou"
        floor = 1 - (IOU_DROP if config.max_drop is None else config.max_drop)
    front = pareto(swept.points, measure)
    open_to = swept.points
    if measure == "iou":
        open_to = [one for one in swept.points if keeps_categories(one)] or swept.points
    ranked = pareto(open_to, measure)
    good = [point for point in ranked if quality(point, measure) >= floor]
    return Choice(measure, floor, front, (good or ranked[-1:])[0], bool(good))


def keeps_categories(point: Point) -> bool:
    """Return whether no row is merged into one of another category."""
    config = point.setting.dedup
    return config.per_category or config.group == "none"


def pareto(points: list[Point], measure: str) -> list[Point]:
    """Return the points that no other equals or beats in both, smallest first.

    Of equal points the first in the list stays.
    """
    front: list[Point] = []
    for point in sorted(points, key=lambda one: (one.file_bytes, -quality(one, measure))):
        if not front or quality(point, measure) > quality(front[-1], measure):
            front.append(point)
    return front


def quality(point: Point, measure: str) -> float:
    """Return what is drawn against bytes; an undefined AP is 0."""
    return point.mean_iou if measure == "iou" else (point.ap or 0.0)
