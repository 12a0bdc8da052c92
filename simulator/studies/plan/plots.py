"""A capacity plan as a picture: fleets beside each other, and how each replica bends under load."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from hwmodels.sku import load_sku
from simulator.output.style import FAINT_INK, GRID, INK, OTHER_SHADES, SHADES
from simulator.output.text_tables import leading
from simulator.version import version

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from simulator.studies.plan.result import PlanResult, PlanRow

_LEAST_BARS, _MOST_BARS = 5, 10
_LONGEST_BAR = 4.0
_LONGEST_BAND = 1.6
"""Where a band is cut off, over the longest bar. [-]"""
_HIGHEST_UTILISATION = 2.5
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "h", "<", ">")


def plan_figure(result: PlanResult) -> Figure:
    """The best row of each SKU: what its fleet costs or carries, and its SLOs under load."""
    from simulator.output.figure import ResultFigure

    figure = ResultFigure(width=11, height=5.6)
    left = figure.add_axes((0.105, 0.115, 0.37, 0.72))
    right = figure.add_axes((0.57, 0.115, 0.405, 0.72))
    rows = result.best[:_MOST_BARS]
    colours = _colours(rows)
    _draw_bars(left, result, rows, colours=colours)
    _draw_utilisation(right, result, rows, colours=colours)
    figure.text(0.02, 0.955, _title(result), fontsize=13, fontweight="bold", color=INK, va="center")
    figure.text(
        0.02,
        0.925,
        "\n".join(textwrap.wrap(result.caption, 150)),
        fontsize=8.5,
        color=FAINT_INK,
        va="top",
        linespacing=1.35,
    )
    figure.text(
        0.975, 0.012, f"simulated, forecurve {version()}", fontsize=8, color=FAINT_INK, ha="right"
    )
    return figure


_SHARE_OF_A_CHARACTER = 0.0175
"""Width of a character of a bar's note, as a share of the longest bar."""


def _title(result: PlanResult) -> str:
    asked = result.request.question
    if asked.rate is not None or asked.users is not None:
        return "Fleet for a Demand"
    if asked.mw is not None or asked.fleet_gpus is not None:
        return "What a Budget Carries"
    return "Fastest Service within a Price"


def _colours(rows: Sequence[PlanRow]) -> list[str]:
    """The vendor's hue for each row, the next shade for each further SKU of a vendor."""
    seen: dict[str, int] = {}
    colours = []
    for row in rows:
        vendor = load_sku(row.load.sku).vendor
        family = vendor if vendor in SHADES else ""
        shades = SHADES.get(family, OTHER_SHADES)
        colours.append(shades[seen.get(family, 0) % len(shades)])
        seen[family] = seen.get(family, 0) + 1
    return colours


def _draw_bars(
    axes: Axes, result: PlanResult, rows: Sequence[PlanRow], *, colours: Sequence[str]
) -> None:
    asked = result.request.question
    if asked.rate is not None or asked.users is not None:
        dollars = [row.fleet.usd_per_month or 0.0 for row in rows]
        large = max(dollars, default=0.0) >= 1e6
        per, unit, letter = (1e6, "million", "M") if large else (1e3, "1,000", "k")
        values = [each / per for each in dollars]
        label = f"Cost of the fleet ({unit} $/month, {asked.tier})"
        form = ("${:,.3g} " + letter).format
    elif asked.mw is not None or asked.fleet_gpus is not None:
        values = [row.rate_per_s for row in rows]
        label = "Requests carried (req/s)"
        form = "{:,.0f} req/s".format
    else:
        values = [row.operating.interactivity for row in rows]
        label = "Interactivity (tok/s/user)"
        form = "{:.1f} tok/s".format
    positions = list(range(len(rows)))
    # one hopeless fleet must not press the others against the axis
    most = min(max(values, default=0.0), _LONGEST_BAR * (values[0] or 1.0)) or 1.0
    demand = asked.rate is not None or asked.users is not None
    bands = [_band_ends(row, value, demand=demand) for row, value in zip(rows, values, strict=True)]
    banded = _draw_bands(axes, bands, longest=_LONGEST_BAND * most)
    right = max(most, banded)
    axes.barh(positions, [min(v, most) for v in values], height=0.62, color=list(colours), zorder=3)
    for position, (row, value) in enumerate(zip(rows, values, strict=True)):
        scale = "off the scale, " if value > most else ""
        what = f"{row.fleet.gpus:,} GPUs, {row.label}"
        note = f"{scale}{form(value) if value else 'no price'}\n{what}"
        # the longer line is inside a bar that holds it, else beside it
        inside = value > max(0.42, _SHARE_OF_A_CHARACTER * len(what)) * right
        axes.text(
            min(value, most) - 0.015 * right if inside else min(value, most) + 0.015 * right,
            position,
            note,
            fontsize=8,
            va="center",
            ha="right" if inside else "left",
            color="white" if inside and _is_dark(colours[position]) else INK,
            zorder=4,
        )
    axes.set_yticks(positions, [f"{row.sku}\n{leading(row.users):,.0f} users" for row in rows])
    axes.set_ylim(max(len(rows), _LEAST_BARS) - 0.5, -0.5)
    axes.set_xlim(0, 1.06 * right)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    told = "; line: 90 % band" if banded else ""
    axes.set_xlabel(f"{label}{told}", fontsize=9.5, color=INK)
    _dress(axes, grid="x")


def _draw_bands(
    axes: Axes, bands: Sequence[tuple[float, float] | None], *, longest: float
) -> float:
    """A line under each bar from the low to the high end of its band; how far they reach.

    Of a demand the band is that of the chips that carry it. Ends out of sight are arrows.
    """
    reach = 0.0
    for position, ends in enumerate(bands):
        if ends is None:
            continue
        low, high = max(ends[0], 0.0), min(ends[1], longest)
        at = position + 0.39
        axes.plot([low, high], [at, at], color=INK, linewidth=1.1, zorder=4)
        for end, known in ((low, ends[0] > 0), (high, ends[1] <= longest)):
            mark = "|" if known else ("<" if end == low else ">")
            axes.plot([end], [at], mark, color=INK, markersize=5, zorder=4)
        reach = max(reach, high)
    return reach


def _band_ends(row: PlanRow, value: float, *, demand: bool) -> tuple[float, float] | None:
    """Ends of a bar's band, in the bar's unit; ``None`` without a band or a bar."""
    fewest_most, ends = row.gpus_band, row.band
    if demand and fewest_most is not None:
        ends = (fewest_most[0] / row.fleet.gpus, fewest_most[1] / row.fleet.gpus)
    return (ends[0] * value, ends[1] * value) if ends is not None and value else None


def _is_dark(colour: str) -> bool:
    """Whether white text reads better on a colour than dark text."""
    from matplotlib.colors import to_rgb

    red, green, blue = to_rgb(colour)
    return 0.299 * red + 0.587 * green + 0.114 * blue < 0.55


def _draw_utilisation(
    axes: Axes, result: PlanResult, rows: Sequence[PlanRow], *, colours: Sequence[str]
) -> None:
    for row, colour, marker in zip(rows, colours, _MARKERS, strict=False):
        each = row.fleet.unit.gpus_per_replica
        by_rate = {test.rate_per_s: test for test in row.tested}
        rates = [rate / each for rate in by_rate]
        slo_use = [max(s.mean for s in test.slo_use.values()) for test in by_rate.values()]
        axes.plot(
            rates,
            slo_use,
            color=colour,
            marker=marker,
            markersize=5,
            markerfacecolor="white",
            linewidth=1.6,
            linestyle=(0, (5, 2.2)),
            label=f"{row.sku} {row.label}, {row.engine}",
            zorder=3,
        )
        now = row.operating
        axes.plot(
            [now.rate_per_s / each],
            [max(s.mean for s in now.slo_use.values())],
            color=colour,
            marker=marker,
            markersize=8,
            zorder=4,
        )
    axes.axhline(1.0, color=INK, linewidth=1.0, zorder=2)
    axes.axhspan(1.0, _HIGHEST_UTILISATION, color=GRID, alpha=0.6, linewidth=0, zorder=0)
    axes.set_ylim(0, _HIGHEST_UTILISATION)
    axes.set_xlim(left=0)
    axes.set_xlabel("Load of a replica per GPU bought (req/s/GPU)", fontsize=9.5, color=INK)
    axes.set_ylabel("Worst objective over its limit (grey: SLO missed)", fontsize=9.5, color=INK)
    # above the limits, where lines only leave the picture
    axes.legend(
        fontsize=8,
        loc="upper left",
        framealpha=0.9,
        edgecolor="none",
        title="filled: the fleet's load",
        title_fontsize=8,
        alignment="left",
    )
    _dress(axes, grid="both")


def _dress(axes: Axes, *, grid: str) -> None:
    axes.grid(axis="x" if grid == "x" else "both", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#aab2bd")
    axes.tick_params(colors=FAINT_INK, labelsize=8.5, length=3)
