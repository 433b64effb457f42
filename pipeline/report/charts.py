"""Charts as SVG without a view box: lengths in percent and pixels, so that text never shrinks."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

from markupsafe import Markup

PLOT_PX = 132
"""Height of a histogram without its labels."""


class Bar(NamedTuple):
    """A row of a bar chart.

    Attributes
    ----------
    label, text : str
        What it is, and its value in words.
    start, length : float
        In [0, 1] of the full width.
    kind : str
        Class that gives the colour.
    note : str
        A second line, or nothing.
    """

    label: str
    text: str
    start: float
    length: float
    kind: str
    note: str = ""


class Column(NamedTuple):
    """A bin of a histogram: its label under the axis (often empty), how many, title and colour."""

    label: str
    n: int
    title: str
    kind: str = "main"


def bar(start: float, length: float, kind: str) -> Markup:
    """Return one horizontal bar; anything that is not nothing shows."""
    length = min(max(length, 0.0), 1.0)
    width = max(length, 0.003) if length else 0.0
    left = min(max(start, 0.0), 1.0 - width)
    return Markup(
        '<svg class="bar" aria-hidden="true"><rect class="track" width="100%" height="100%"/>'
        '<rect class="{}" x="{:.3f}%" width="{:.3f}%" height="100%"/></svg>'
    ).format(kind, 100 * left, 100 * width)


def histogram(columns: Sequence[Column], mark: float | None = None) -> Markup:
    """Return a histogram of equal bins, its largest count on the axis.

    Parameters
    ----------
    columns : sequence of Column
        The bins, from left to right.
    mark : float, optional
        Where a vertical line stands, in [0, 1] of the width.
    """
    most = max((column.n for column in columns), default=0)
    width = 100 / max(len(columns), 1)
    parts = [Markup('<svg class="plot" role="img" height="{}">').format(PLOT_PX + 22)]
    for share in (0.0, 0.5, 1.0):
        y = 12 + (PLOT_PX - 12) * (1 - share)
        parts.append(Markup('<line class="grid" x2="100%" y1="{0:.1f}" y2="{0:.1f}"/>').format(y))
    for n, column in enumerate(columns):
        height = (PLOT_PX - 12) * column.n / most if most else 0
        height = max(height, 1.5) if column.n else 0
        parts.append(
            Markup(
                '<rect class="{}" x="{:.3f}%" y="{:.1f}" width="{:.3f}%" height="{:.1f}">'
                "<title>{}</title></rect>"
            ).format(
                column.kind,
                n * width + width * 0.06,
                PLOT_PX - height,
                width * 0.88,
                height,
                column.title,
            )
        )
        if column.label:
            parts.append(_label((n + 0.5) * width, column.label))
    if mark is not None:
        parts.append(
            Markup('<line class="mark" x1="{0:.3f}%" x2="{0:.3f}%" y1="4" y2="{1}"/>').format(
                100 * mark, PLOT_PX
            )
        )
    parts.append(Markup('<text class="top" x="100%" y="9">{}</text></svg>').format(f"{most:,}"))
    return Markup("").join(parts)


class Dot(NamedTuple):
    """A point of a scatter plot: in data units, its colour's class, its title, and its size."""

    x: float
    y: float
    kind: str
    title: str
    radius: float = 3.5


def scatter(dots: Sequence[Dot], front: Sequence[Dot], labels: tuple[str, str, str, str]) -> Markup:
    """Return a scatter plot, with a staircase through the points of a front.

    Parameters
    ----------
    dots : sequence of Dot
        All points; later ones lie on top.
    front : sequence of Dot
        Those of the front, x and y rising.
    labels : tuple of str
        Lowest and highest x, lowest and highest y, in words.
    """
    x_of, y_of = _scale([dot.x for dot in dots], 3, 97), _scale([dot.y for dot in dots], 274, 18)
    grid = Markup('<line class="grid" x2="100%" y1="{0}" y2="{0}"/>')
    parts = [Markup('<svg class="plot" role="img" height="314">')]
    parts += [grid.format(y) for y in (18, 82, 146, 210, 274)]
    line = Markup('<line class="front" x1="{:.2f}%" x2="{:.2f}%" y1="{:.1f}" y2="{:.1f}"/>')
    for a, b in itertools.pairwise(front):
        parts.append(line.format(x_of(a.x), x_of(b.x), y_of(a.y), y_of(a.y)))
        parts.append(line.format(x_of(b.x), x_of(b.x), y_of(a.y), y_of(b.y)))
    circle = Markup('<circle class="{}" cx="{:.2f}%" cy="{:.1f}" r="{}"><title>{}</title></circle>')
    parts += [
        circle.format(dot.kind, x_of(dot.x), y_of(dot.y), dot.radius, dot.title) for dot in dots
    ]
    text = Markup('<text class="{}" x="{}" y="{}">{}</text>')
    for kind, x, y, label in (
        ("start", "0", 306, labels[0]),
        ("end", "100%", 306, labels[1]),
        ("start", "0", 290, labels[2]),
        ("start", "0", 12, labels[3]),
    ):
        parts.append(text.format(kind, x, y, label))
    return Markup("").join([*parts, Markup("</svg>")])


def _scale(values: Sequence[float], first: float, last: float) -> Callable[[float], float]:
    """Return the map of [lowest, highest] to [first, last]; the middle where all are equal."""
    low, high = min(values, default=0.0), max(values, default=0.0)
    if low == high:
        return lambda value: (first + last) / 2
    return lambda value: first + (last - first) * (value - low) / (high - low)


def _label(x: float, text: str) -> Markup:
    anchor = "start" if x < 4 else "end" if x > 96 else "middle"
    return Markup('<text class="{}" x="{:.3f}%" y="{}">{}</text>').format(
        anchor, 0 if anchor == "start" else 100 if anchor == "end" else x, PLOT_PX + 15, text
    )
