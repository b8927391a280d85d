"""Places the labels of points where they cover no line, no point and no other label."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.path import Path
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox

_SIDES = ((1, -1), (-1, 1), (1, 1), (-1, -1), (0, 1), (0, -1), (1, 0), (-1, 0))
"""Where a label may stand, seen from its point: below to the right first."""

_DISTANCES = (11, 16, 24, 34, 46, 60, 76)
"""Points between a label and the middle of its point."""

_OUTSIDE = 3
"""To leave the axes is as bad as to cover so many things."""

_Place = tuple[int, int, int]
"""Across (-1, 0, 1), up (-1, 0, 1), and the distance."""


@dataclass(frozen=True, kw_only=True)
class Label:
    """The text of the point `at`, in the coordinates of the data."""

    text: str
    at: tuple[float, float]
    colour: str
    bold: bool = False


def place(figure: Figure, axes: Axes, labels: Sequence[Label]) -> None:
    """Draw the labels. The layout of the figure is settled first, and stays. A label that finds no free place stands
    where it covers the fewest things."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    lines, taken = list(paths(axes)), list(points(axes))
    for label in labels:
        note = axes.annotate(
            label.text,
            label.at,
            xytext=(0, 0),
            textcoords="offset points",
            fontsize=10,
            fontweight="bold" if label.bold else "normal",
            color=label.colour,
            zorder=7,
        )
        taken.append(_settle(note, axes, lines, taken))


def _settle(note: Annotation, axes: Axes, lines: Sequence[Path], taken: Sequence[Bbox]) -> Bbox:
    """Move a label to its best place; returns its box, in pixels."""
    costs: list[tuple[int, _Place]] = []
    for where in _places():
        box = _at(note, where)
        inside = axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1 and axes.bbox.y0 <= box.y0 and box.y1 <= axes.bbox.y1
        cost = covers(box, lines, taken) + (0 if inside else _OUTSIDE)
        if not cost:
            return box
        costs.append((cost, where))
    _, best = min(costs, key=lambda one: one[0])
    return _at(note, best)


def _places() -> Iterator[_Place]:
    for distance in _DISTANCES:
        for across, up in _SIDES:
            yield across, up, distance


def _at(note: Annotation, where: _Place) -> Bbox:
    across, up, distance = where
    reach = distance * (0.75 if across and up else 1.0)
    note.set_position((across * reach, up * reach))
    note.set_horizontalalignment("left" if across > 0 else "right" if across else "center")
    note.set_verticalalignment("bottom" if up > 0 else "top" if up else "center")
    return note.get_window_extent()


def covers(box: Bbox, lines: Sequence[Path], boxes: Sequence[Bbox]) -> int:
    """How many of the lines and boxes a box covers, all in pixels."""
    return sum(line.intersects_bbox(box, filled=False) for line in lines) + sum(box.overlaps(one) for one in boxes)


def paths(axes: Axes) -> Iterator[Path]:
    """The lines that are drawn in the axes, in pixels."""
    for line in axes.lines:
        if line.get_linestyle() not in ("None", "", " ") and len(line.get_path()):
            yield line.get_transform().transform_path(line.get_path())
    for collection in axes.collections:
        if hasattr(collection, "get_segments"):
            yield from (collection.get_transform().transform_path(path) for path in collection.get_paths())


def points(axes: Axes) -> Iterator[Bbox]:
    """The marked points that are drawn in the axes, as boxes in pixels."""
    from matplotlib.transforms import Bbox

    for line in axes.lines:
        if line.get_marker() in ("None", "", " ", None):
            continue
        half = line.get_markersize() / 2 * axes.figure.dpi / 72
        for x, y in line.get_transform().transform(line.get_path().vertices):
            yield Bbox.from_extents(x - half, y - half, x + half, y + half)
