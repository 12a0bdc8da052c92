"""Pictures of a comparison: the curves with the compared speeds marked, and their ratio."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from simulator.output.style import DASHES, FAINT_INK, INK, dress
from simulator.studies.compare.ratios import ratio_interval
from simulator.studies.pareto_plot import X_LABEL, colours_of, pareto_figure, series_of

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from simulator.studies.compare.run import ComparisonResult
    from simulator.studies.compare.sides import Side

    Array = npt.NDArray[np.float64]

_MOST_RATIO = 20.0
_TICKS = (
    0.05,
    0.07,
    0.1,
    0.15,
    0.2,
    0.3,
    0.5,
    0.7,
    1.0,
    1.5,
    2.0,
    3.0,
    4.0,
    5.0,
    7.0,
    10.0,
    15.0,
    20.0,
    30.0,
)


def comparison_figure(
    result: ComparisonResult, *, log: bool = False, measured: pd.DataFrame | None = None
) -> Figure:
    """The Pareto plot of all systems, a thin line at each compared speed."""
    figure = pareto_figure(
        series=series_of(result.runs()), caption=result.caption, measured=measured, log=log
    )
    (axes,) = figure.axes
    _mark_speeds(axes, result.at)
    return figure


def ratio_figure(result: ComparisonResult) -> Figure:
    """Throughput of every other system over the first one's, against speed per user.

    The shaded range is the 90 % interval where bands are known. Below the slowest run of a curve
    its throughput there counts, as in the table.
    """
    from simulator.output.figure import ResultFigure

    reference = result.sides[0]
    figure = ResultFigure(width=10, height=5.2)
    axes = figure.add_axes((0.082, 0.125, 0.893, 0.68))
    dress(
        figure,
        axes,
        caption=result.caption,
        title=f"Token Throughput per Chip over {reference.name} vs. Interactivity",
        x_label=X_LABEL,
        y_label=f"Times {reference.name}",
        hint="lines end where one of the two cannot serve at the speed; below the slowest run of a "
        "system that run counts",
    )
    colours = colours_of(series_of(result.runs()))
    axes.axhline(1.0, color=colours[reference.name], linewidth=1.4, label=f"{reference.name} = 1")
    ratios = [
        _draw_ratio(axes, side, reference, colour=colours[side.name], speeds=result.at)
        for side in result.sides[1:]
    ]
    _set_limits(axes, np.concatenate([np.ones(1), *ratios]))
    _mark_speeds(axes, result.at)
    axes.legend(loc="best", framealpha=0.9, edgecolor="none", fontsize=8.5, labelcolor=INK)
    return figure


def _draw_ratio(
    axes: Axes, side: Side, reference: Side, *, colour: str, speeds: tuple[float, ...]
) -> Array:
    """Draw one system's ratio and return what should be in sight."""
    mine, other = side.curves["total"], reference.curves["total"]
    low, high = min(mine.x[0], other.x[0], *speeds), min(mine.x[-1], other.x[-1])
    if not low < high:
        axes.plot([], [], color=colour, label=f"{side.name}: no speed in common")
        return np.empty(0)
    x = np.linspace(low, high, 150)
    ratio = mine.values(np.maximum(x, mine.x[0])) / other.values(np.maximum(x, other.x[0]))
    label = f"{side.name}, simulated"
    axes.plot(x, ratio, color=colour, linewidth=1.8, linestyle=DASHES, label=label)
    found = [
        ratio_interval(side, reference, x=each, ratio=times)
        for each, times in zip(x.tolist(), ratio.tolist(), strict=True)
    ]
    edges = [band[:2] for band in found if band is not None]
    if len(edges) == len(x):
        ends = np.clip(np.array(edges), 1e-3, 1e3)
        axes.fill_between(
            x, ends[:, 0], ends[:, 1], color=colour, alpha=0.1, linewidth=0, label="90 % band"
        )
        axes.plot(x, ends, color=colour, alpha=0.45, linewidth=0.8)
        return np.concatenate([ratio, np.quantile(ends, (0.1, 0.5, 0.9), axis=0).ravel()])
    return ratio


def _set_limits(axes: Axes, ratios: Array) -> None:
    """A logarithmic axis, so that twice and half are equally far from one, around what is drawn."""
    low = max(float(ratios.min()), 1 / _MOST_RATIO)
    high = min(float(ratios.max()), _MOST_RATIO)
    room = 1.1 * max(high / low, 1.5) ** 0.06
    low, high = low / room, high * room**3  # the legend and the speeds stand above the lines
    axes.set_yscale("log")
    axes.set_ylim(low, high)
    axes.set_yticks([tick for tick in _TICKS if low <= tick <= high])
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}x")
    axes.minorticks_off()
    axes.set_xlim(left=0)


def _mark_speeds(axes: Axes, speeds: tuple[float, ...]) -> None:
    left, right = axes.get_xlim()
    for speed in speeds:
        if left <= speed <= right:
            axes.axvline(speed, color=FAINT_INK, linewidth=0.8, linestyle=":", zorder=1)
            axes.annotate(
                f"{speed:g}",
                (speed, 1.0),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                xytext=(3, -3),  # within the axes: a caption of several lines stands above
                ha="left",
                va="top",
                fontsize=8,
                color=FAINT_INK,
            )
