"""A sweep as one self-contained page: bytes against quality, the front, and every point.

Needs the packages of ``maskpress[report]``.
"""

from __future__ import annotations

from markupsafe import Markup

from pipeline.report import charts, html
from pipeline.report.charts import Dot
from pipeline.report.words import human_bytes
from pipeline.tune.front import Choice, quality
from pipeline.tune.measure import Point, Swept
from pipeline.tune.sample import Sample

NAMES = {"ap": "mask AP", "iou": "mean IoU"}


def make_page(sample: Sample, swept: Swept, choice: Choice, flags: str) -> str:
    """Return the page.

    Parameters
    ----------
    sample, swept, choice
        What was tried, what came out, and what is recommended.
    flags : str
        The recommended flags, those of the user's own included.
    """
    return html.render(
        "tune.html.j2",
        settings=swept.points,
        front=choice.front,
        best=choice.best,
        best_quality=quality(choice.best, choice.measure),
        reaches_floor=choice.reaches_floor,
        floor=choice.floor,
        quality_name=NAMES[choice.measure],
        reason=reason(choice),
        flags=flags,
        chart=chart(swept, choice),
        encodings=list(dict.fromkeys(p.setting.encode.encoding for p in swept.points)),
        has_default=any(p.setting.is_default for p in swept.points),
        largest=max(p.file_bytes for p in swept.points),
        ap_before=swept.ap_before,
        n_rows=swept.n_rows,
        n_pairs=swept.n_pairs,
        n_images=sample.n_images,
        n_images_seen=sample.n_images_seen,
        stage_s=swept.stage_s,
    )


def reason(choice: Choice) -> str:
    """Return in a sentence why the point is recommended."""
    name, floor = NAMES[choice.measure], f"{choice.floor:.4f}"
    if not choice.reaches_floor:
        return f"The highest {name} of all; none reaches {floor}."
    text = f"The smallest table whose {name} is at least {floor}"
    if choice.measure == "iou":
        text += ", without merging across categories: no ground truth says what that costs"
    return text + "."


def chart(swept: Swept, choice: Choice) -> Markup:
    """Return the scatter plot of all points."""
    points = swept.points
    dots = [_dot(point, choice) for point in points]
    rings = [_dot(p, choice)._replace(kind="now", radius=6) for p in points if p.setting.is_default]
    rings.append(_dot(choice.best, choice)._replace(kind="best", radius=7))
    sizes = [point.file_bytes for point in points]
    values = [quality(point, choice.measure) for point in points]
    labels = (
        human_bytes(min(sizes)),
        human_bytes(max(sizes)),
        f"{min(values):.4f}",
        f"{max(values):.4f} {NAMES[choice.measure]}",
    )
    return charts.scatter([*dots, *rings], [_dot(p, choice) for p in choice.front], labels)


def _dot(point: Point, choice: Choice) -> Dot:
    value = quality(point, choice.measure)
    title = f"{point.setting.flags}: {human_bytes(point.file_bytes)}, {value:.4f}"
    return Dot(point.file_bytes, value, point.setting.encode.encoding, title)
