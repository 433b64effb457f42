"""A sampled group -> a picture of outlines with a legend."""

from __future__ import annotations

from typing import NamedTuple

from markupsafe import Markup

from pipeline.masks.batch import MaskBatch
from pipeline.records import GroupSample
from pipeline.report.images import Backdrop, backdrop
from pipeline.report.names import ImageFolder
from pipeline.report.outline import Window, read_masks, sample, svg_path, window
from pipeline.report.words import clip, decimals, name_of, signed_percent

COLOURS = 8
"""Classes ``c0`` to ``c7`` of members' outlines."""


class LegendRow(NamedTuple):
    """A mask of the picture: its colour's class, what it is, and its facts."""

    kind: str
    name: str
    facts: str


class Picture(NamedTuple):
    """A drawn group: title, facts in words, the SVG (empty where masks were too long), legend.

    `note` says why no image lies behind the outlines where one was asked for.
    """

    title: str
    facts: str
    svg: Markup
    legend: list[LegendRow]
    note: str = ""


def picture(group: GroupSample, folder: ImageFolder | None = None) -> Picture:
    """Return a group: the kept mask filled, members outlined, over its image where it is there."""
    is_pair = group.kind == "near_miss"
    legend = [LegendRow("kept", "kept", _facts(group.score, group.category_id, None))]
    drawn: list[tuple[str, str]] = []
    if group.stored_counts:
        drawn.append(("kept", group.stored_counts))
    if group.counts and group.counts != group.stored_counts:
        drawn.append(("leader", group.counts))
        legend.append(LegendRow("leader", "its mask as it came", ""))
    for n, member in enumerate(group.members):
        kind = f"c{n % COLOURS}"
        what = "also kept" if is_pair else "merged"
        is_other = member.category_id != group.category_id
        facts = _facts(member.score, member.category_id if is_other else None, member.iou)
        legend.append(LegendRow(kind, f"{what}, row {member.source_row}", facts))
        if member.counts:
            drawn.append((kind, member.counts))
    n_more = group.n_members - len(group.members)
    if n_more > 0 and not is_pair:
        legend.append(LegendRow("", f"and {n_more:,} more", ""))
    facts = f"row {group.source_row} of {clip(name_of(group.source))}, "
    facts += f"{group.height} x {group.width} px"
    if group.fidelity < 1:
        facts += f", stored with IoU {group.fidelity:.4f}, area {signed_percent(group.drift)}"
        if group.boundary_iou is not None:
            facts += f", boundary IoU {group.boundary_iou:.4f}"
    if not drawn:
        return Picture(_title(group), facts, Markup(""), legend)
    batch = read_masks([text for _, text in drawn], group.height, group.width)
    view = window(batch, group.height, group.width)
    behind = Backdrop("", "") if folder is None else backdrop(folder, group, view)
    svg = _svg([kind for kind, _ in drawn], batch, view, group, behind.data)
    return Picture(_title(group), facts, svg, legend, behind.note)


def _title(group: GroupSample) -> str:
    image = f"image {clip(group.image_id)}"
    if group.kind == "largest":
        return f"{image}: {group.n_members:,} merged into one"
    if group.kind == "worst_fidelity":
        return f"{image}: fidelity {decimals(group.fidelity, 4)}"
    if group.kind == "worst_boundary":
        return f"{image}: boundary IoU {decimals(group.boundary_iou, 4)}"
    return f"{image}: overlap {decimals(group.overlap, 4)}"


def _facts(score: float | None, category_id: int | None, iou: float | None) -> str:
    parts = [] if iou is None else [f"IoU {iou:.3f}"]
    parts += [] if score is None else [f"score {score:.3f}"]
    parts += [] if category_id is None else [f"category {category_id}"]
    return " · ".join(parts)


def _svg(
    kinds: list[str], batch: MaskBatch, view: Window, group: GroupSample, image: str
) -> Markup:
    parts = [
        Markup('<path class="{}" d="{}"/>').format(kind, svg_path(sample(batch, n, view)))
        for n, kind in enumerate(kinds)
    ]
    if image:
        width = min(view.columns, (group.width - view.x) / view.step)
        height = min(view.rows, (group.height - view.y) / view.step)
        behind = Markup(
            '<image width="{:.3f}" height="{:.3f}" preserveAspectRatio="none" href="{}"/>'
        )
        parts.insert(0, behind.format(width, height, image))
    kind = "picture over" if image else "picture"
    return Markup('<svg class="{}" role="img" viewBox="{}">{}</svg>').format(
        kind, _view_box(view), Markup("").join(parts)
    )


def _view_box(view: Window) -> str:
    return f"-0.5 -0.5 {view.columns + 1} {view.rows + 1}"
