"""Places point labels so that none covers another label, a marker or a curve."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt
    from matplotlib.axes import Axes

FONT_SIZE = 7.5
# Distances from the point that are tried, nearest first. [points]
DISTANCES = (9.0, 13.0, 19.0, 27.0, 37.0, 49.0, 64.0)
LEADER_FROM = 16.0
# Above and to the right of a falling frontier is free; below and to the left are other points.
ANGLES_DEG = (45, 25, 65, 0, 90, 110, -20, 135, 180, -45, 225, 270)
MARKER_POINTS = 5.0
GAP_POINTS = 10.0
"""Air beside a label, so that two on one line do not read as one. [points]"""


@dataclass(frozen=True, kw_only=True)
class Label:
    """A text that belongs to a point, in data coordinates."""

    x: float
    y: float
    text: str
    colour: str


class Box(NamedTuple):
    """A rectangle in pixels."""

    x0: float
    y0: float
    x1: float
    y1: float

    def overlaps(self, other: Box) -> bool:
        """Whether the two share any area."""
        return (
            self.x0 < other.x1 and other.x0 < self.x1 and self.y0 < other.y1 and other.y0 < self.y1
        )


def place_labels(axes: Axes, labels: Sequence[Label]) -> list[Label]:
    """Write labels beside their points and return those for which there was room.

    Each label takes the nearest place that covers no label and no marker and stays inside the
    axes, preferring places off the curves; far ones get a thin leader. A label without such a
    place is left out: its point stays in the table. Earlier labels choose first.
    """
    figure = axes.figure
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    pixels = figure.dpi / 72.0
    inside = Box(*axes.get_window_extent(renderer).extents)
    curves, blocked = _obstacles(axes, renderer, half=MARKER_POINTS * pixels)
    placed: list[Label] = []
    for label in labels:
        x, y = axes.transData.transform((label.x, label.y))
        text = axes.text(
            label.x, label.y, label.text, fontsize=FONT_SIZE, color=label.colour, zorder=6
        )
        extent = text.get_window_extent(renderer)
        width, height = extent.width + GAP_POINTS * pixels, extent.height + pixels
        best: tuple[float, float, float, Box] | None = None
        for distance in DISTANCES:
            for rank, angle in enumerate(ANGLES_DEG):
                box = _box_at(
                    x=x, y=y, distance=distance * pixels, angle_deg=angle, size=(width, height)
                )
                if not _contains(inside, box) or any(box.overlaps(other) for other in blocked):
                    continue
                crossed = _points_inside(curves, box)
                cost = distance + 0.4 * rank + 6.0 * min(crossed, 4)
                if best is None or cost < best[0]:
                    best = (cost, distance, angle, box)
        if best is None:
            text.remove()
            continue
        _, distance, _, box = best
        centre = ((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2)
        text.set(ha="center", va="center")
        text.set_position(tuple(axes.transData.inverted().transform(centre)))
        if distance > LEADER_FROM:
            _draw_leader(axes, start=(x, y), box=box, colour=label.colour)
        blocked.append(box)
        placed.append(label)
    return placed


def _obstacles(
    axes: Axes, renderer: object, *, half: float
) -> tuple[npt.NDArray[np.float64], list[Box]]:
    """Pixels along the curves, and boxes of the markers and the legend."""
    curves: list[npt.NDArray[np.float64]] = []
    boxes: list[Box] = []
    for line in axes.get_lines():
        points = axes.transData.transform(np.column_stack(line.get_data()))
        if line.get_linestyle() == "None":
            boxes.extend(Box(x - half, y - half, x + half, y + half) for x, y in points)
        else:
            curves.append(points)
    legend = axes.get_legend()
    if legend is not None:
        boxes.append(Box(*legend.get_window_extent(renderer).extents))  # type: ignore[arg-type]
    return (np.vstack(curves) if curves else np.empty((0, 2))), boxes


def _box_at(
    *, x: float, y: float, distance: float, angle_deg: float, size: tuple[float, float]
) -> Box:
    """The box whose nearest edge lies ``distance`` from a point in the direction of an angle."""
    dx, dy = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    cx = x + dx * distance + size[0] / 2 * _toward(dx)
    cy = y + dy * distance + size[1] / 2 * _toward(dy)
    return Box(cx - size[0] / 2, cy - size[1] / 2, cx + size[0] / 2, cy + size[1] / 2)


def _toward(component: float) -> float:
    return 0.0 if abs(component) < 0.1 else math.copysign(1.0, component)


def _contains(outer: Box, inner: Box) -> bool:
    return (
        outer.x0 <= inner.x0
        and outer.y0 <= inner.y0
        and inner.x1 <= outer.x1
        and inner.y1 <= outer.y1
    )


def _points_inside(points: npt.NDArray[np.float64], box: Box) -> int:
    within = (
        (points[:, 0] > box.x0)
        & (points[:, 0] < box.x1)
        & (points[:, 1] > box.y0)
        & (points[:, 1] < box.y1)
    )
    return int(within.sum())


def _draw_leader(axes: Axes, *, start: tuple[float, float], box: Box, colour: str) -> None:
    """A thin line from just outside the marker to the nearest point of the label's box."""
    end = (min(max(start[0], box.x0), box.x1), min(max(start[1], box.y0), box.y1))
    length = math.dist(start, end)
    gap = MARKER_POINTS * axes.figure.dpi / 72.0
    first = tuple(s + (e - s) * gap / length for s, e in zip(start, end, strict=True))
    ends: Iterable[tuple[float, ...]] = axes.transData.inverted().transform([first, end])
    xs, ys = zip(*ends, strict=True)
    axes.plot(xs, ys, color=colour, linewidth=0.6, alpha=0.6, zorder=2)
