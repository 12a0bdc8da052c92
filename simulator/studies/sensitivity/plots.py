"""The tornado plot: how far each number moves the result, the widest first."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from simulator.output.style import FAINT_INK, GRID, INK
from simulator.studies.sensitivity.differences import METRICS
from simulator.studies.sensitivity.text import OWNERS, value_text
from simulator.version import version

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from simulator.studies.sensitivity.differences import Elasticity, Metric, Owner
    from simulator.studies.sensitivity.run import SensitivityResult

# Okabe and Ito's palette, told apart under all forms of colour blindness.
COLOURS: dict[Owner, str] = {"sku": "#0072b2", "software": "#e69f00", "workload": "#009e73"}
_MOST_BARS = 16
_TITLES: dict[Metric, str] = {
    "throughput": "Throughput (tok/s/GPU)",
    "interactivity": "Interactivity (tok/s/user)",
    "ttft": "Median TTFT (s)",
}


def tornado_figure(result: SensitivityResult) -> Figure:
    """Change of each result for a change of each number to either side.

    Filled bars are for more of the number, hollow ones for less; all panels have the numbers in
    the order of their influence on throughput.
    """
    from simulator.output.figure import ResultFigure

    shown = result.elasticities[:_MOST_BARS]
    metrics = [name for name in METRICS if name in result.base]
    height = 2.2 + 0.32 * max(len(shown), 4)
    figure = ResultFigure(width=11, height=height)
    left, right, gap = 0.235, 0.98, 0.025
    width = (right - left - gap * (len(metrics) - 1)) / len(metrics)
    bottom, top = 0.78 / height, 1.0 - 1.22 / height
    for position, name in enumerate(metrics):
        axes = figure.add_axes((left + position * (width + gap), bottom, width, top - bottom))
        _draw(axes, shown, name, step=result.question.step, base=result.base[name])
        if position == 0:
            labels = [f"{one.parameter}  {value_text(one)}" for one in shown]
            axes.set_yticks(range(len(shown)), labels)
        else:
            axes.set_yticks(range(len(shown)), [])
    _dress(figure, result, height=height)
    return figure


def _draw(
    axes: Axes, shown: Sequence[Elasticity], name: Metric, *, step: float, base: float
) -> None:
    positions = range(len(shown))
    for position, one in zip(positions, shown, strict=True):
        colour = COLOURS[one.owner]
        less = 100.0 * (one.result_low[name] - 1.0)
        more = 100.0 * (one.result_high[name] - 1.0)
        axes.barh(position, more, height=0.62, color=colour, edgecolor=colour, zorder=3)
        axes.barh(position, less, height=0.62, facecolor="white", edgecolor=colour, zorder=3)
    axes.axvline(0.0, color=INK, linewidth=1.0, zorder=4)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_title(
        f"{_TITLES[name]}: {base:,.3g}" if base < 1000 else f"{_TITLES[name]}: {base:,.0f}",
        fontsize=9.5,
        color=INK,
    )
    axes.set_xlabel(f"change for ±{100 * step:g} % (%)", fontsize=8.5, color=INK)
    most = max((abs(edge) for edge in axes.get_xlim()), default=1.0)
    axes.set_xlim(-most, most)
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color("#aab2bd")
    axes.tick_params(colors=FAINT_INK, labelsize=8, length=0)


def _dress(figure: Figure, result: SensitivityResult, *, height: float) -> None:
    from matplotlib.patches import Patch

    figure.text(
        0.02,
        1.0 - 0.26 / height,
        "Which Number Matters",
        fontsize=13,
        fontweight="bold",
        color=INK,
        va="center",
    )
    figure.text(
        0.02,
        1.0 - 0.45 / height,
        "\n".join(textwrap.wrap(result.caption, 150)),
        fontsize=8.5,
        color=FAINT_INK,
        va="top",
        linespacing=1.35,
    )
    figure.text(
        0.98,
        0.1 / height,
        f"simulated, forecurve {version()}",
        fontsize=8,
        color=FAINT_INK,
        ha="right",
    )
    owners = dict.fromkeys(one.owner for one in result.elasticities)
    entries = [Patch(facecolor=COLOURS[owner], label=OWNERS[owner]) for owner in owners]
    entries += [
        Patch(facecolor=FAINT_INK, edgecolor=FAINT_INK, label="filled: more of it"),
        Patch(facecolor="white", edgecolor=FAINT_INK, label="hollow: less of it"),
    ]
    figure.legend(
        handles=entries,
        loc="lower left",
        bbox_to_anchor=(0.015, 0.02 / height),
        ncols=len(entries),
        frameon=False,
        fontsize=8,
        handlelength=1.2,
        columnspacing=1.4,
    )
