"""The front and the recommended point, by hand."""

from __future__ import annotations

from pipeline.config import DedupConfig, EncodeConfig
from pipeline.tune import Point, Setting, SweepConfig, Swept, choose
from pipeline.tune.front import pareto


def point(file_bytes: int, iou: float, ap: float | None = None, is_within: bool = True) -> Point:
    setting = Setting(DedupConfig(per_category=is_within, threshold=iou), EncodeConfig())
    return Point(setting, 1, file_bytes, iou, None, ap)


def swept(points: list[Point], ap_before: float | None = None) -> Swept:
    return Swept(points, 9, 9, ap_before, {})


def test_front_holds_what_nothing_beats() -> None:
    a, b, c = point(10, 0.5), point(20, 0.9), point(30, 0.95)
    beaten, twin = point(25, 0.9), point(20, 0.9)
    assert pareto([c, beaten, b, twin, a], "iou") == [a, b, c]


def test_smallest_that_is_good_enough() -> None:
    points = [point(10, 0.5), point(20, 0.985), point(30, 1.0)]
    assert choose(swept(points), SweepConfig()).best is points[1]
    assert choose(swept(points), SweepConfig(max_drop=0.0)).best is points[2]


def test_ap_counts_where_there_is_one() -> None:
    points = [point(10, 0.5, 0.40), point(20, 0.6, 0.398), point(30, 1.0, 0.41)]
    choice = choose(swept(points, 0.404), SweepConfig())
    assert (choice.measure, choice.best) == ("ap", points[0])


def test_none_is_good_enough() -> None:
    points = [point(10, 0.5), point(20, 0.6)]
    choice = choose(swept(points), SweepConfig(max_drop=0.1))
    assert (choice.best, choice.reaches_floor) == (points[1], False)


def test_lost_categories_are_recommended_only_where_ap_counts_them() -> None:
    across, within = point(10, 0.99, 0.5, is_within=False), point(20, 0.99, 0.5)
    assert choose(swept([across, within]), SweepConfig()).best is within
    assert choose(swept([across, within], 0.5), SweepConfig()).best is across
    assert choose(swept([across]), SweepConfig()).best is across
