"""The agentic chart: throughput per GPU over what one user sees."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from simulator.analysis.agentic_metrics import X_AXES
from simulator.analysis.pareto import frontier_indices
from simulator.output.figure import ResultFigure
from simulator.output.plot_labels import place_labels
from simulator.output.style import DASHES, INK, OTHER_SHADES, dress
from simulator.studies.pareto_plot import (
    Series,
    draw_series,
    labels_of,
    legend_sample,
    marker,
    styles_of,
    without_repeats,
)
from simulator.studies.series import known_sku

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from simulator.studies.agentx.dates import AgentxTimeline
    from simulator.studies.agentx.fleet import FleetResult
    from simulator.studies.agentx.result import AgentxPoint, AgentxResult
    from simulator.studies.agentx.search import AgentSearchResult
    from simulator.studies.pareto_plot import Style

THROUGHPUT = "Token Throughput per Chip (tok/s/chip)"


def agentx_figure(result: AgentxResult) -> ResultFigure:
    """Total tok/s/GPU over the chosen axis, as the dashboard draws it.

    A curve is one system, its layouts told by marker, with the frontier through the points that
    none beats where more of the axis is better; else points are joined in the order of the axis.
    """
    figure = ResultFigure(width=10, height=6.4)
    axes = figure.add_axes((0.082, 0.105, 0.893, 0.735))
    column, label = X_AXES[result.asked.x]
    rises = column.startswith(("interactivity", "e2e_norm"))
    what = label.partition(" [")[0]
    dress(
        figure,
        axes,
        caption=_caption(result.points, protocol=result.asked.workload.description),
        title=f"Token Throughput per Chip vs. {what[:1].upper()}{what[1:]}",
        x_label=label.replace("[", "(").replace("]", ")"),
        y_label=THROUGHPUT,
        hint="labels: layout, live sessions after c; cached prompt tokens count",
    )
    curves = [
        _curve_of(
            [point for point in result.points if point.system == one.name],
            column=column,
            rises=rises,
        )
        for one in result.asked.systems
        if any(point.system == one.name for point in result.points)
    ]
    styles = styles_of(curves)
    for one in curves:
        draw_series(axes, one, style=styles[one.name], joins=rises)
    axes.set_xlim(0, 1.08 * max(float(one.interactivity.max()) for one in curves))
    axes.set_ylim(0, 1.12 * max(float(one.tput_per_gpu.max()) for one in curves))
    _draw_legend(axes, curves, styles)
    labels = [text for one in curves for text in labels_of(one, styles[one.name][0])]
    place_labels(axes, without_repeats(labels))
    return figure


def _curve_of(points: Sequence[AgentxPoint], *, column: str, rises: bool) -> Series:
    """The points of one system as a curve."""
    x = np.array([float(point.to_dict()[column]) for point in points])
    y = np.array([point.metrics.total_tokens_per_s_per_gpu for point in points])
    front = np.zeros(len(points), dtype=np.bool_)
    front[frontier_indices(x, y) if rises else slice(None)] = True
    first = points[0]
    sku = known_sku(first.sku)
    inside = [first.engine, *([] if first.spec == "none" else [first.spec])]
    host = " + CPU KV Offloading" if any(p.capacity.host_tokens for p in points) else ""
    return Series(
        name=f"{first.sku if sku is None else sku.name} ({', '.join(inside)}){host}",
        vendor="" if sku is None else sku.vendor,
        interactivity=x,
        tput_per_gpu=y,
        layouts=[point.layout for point in points],
        concurrencies=[point.metrics.sessions for point in points],
        on_frontier=front,
        band=np.full((len(points), 4), np.nan),
    )


def _caption(points: Sequence[AgentxPoint], *, protocol: str) -> str:
    """What was run: model, precision, levels, prices, trees and client."""
    first = points[0]
    levels = ", ".join(dict.fromkeys(f"{point.level} ({point.kind})" for point in points))
    return f"{first.model} {first.precision.upper()}; {levels}; {_client(protocol)}"


def _client(description: str) -> str:
    """Sessions and client by name; the page of the protocol tells its constants."""
    return description.partition(": window")[0]


def _draw_legend(axes: Axes, curves: Sequence[Series], styles: dict[str, Style]) -> None:
    from matplotlib.lines import Line2D

    entries = []
    for one in curves:
        colour, dashes = styles[one.name]
        named = f"{one.name}, simulated"
        entries.append(Line2D([], [], color=colour, linestyle=dashes, linewidth=1.8, label=named))
    layouts = list(dict.fromkeys(layout for one in curves for layout in one.layouts))
    for shape in dict.fromkeys(marker(layout) for layout in layouts):
        names = [layout for layout in layouts if marker(layout) == shape]
        entries.append(legend_sample(marker=shape, label=", ".join(names)))
    if not all(one.on_frontier.all() for one in curves):
        entries.append(legend_sample(marker="o", label="faint: off the frontier", alpha=0.35))
    axes.legend(
        handles=entries,
        loc="best",
        framealpha=0.9,
        edgecolor="none",
        fontsize=8.5,
        labelcolor=INK,
    )


def fleet_figure(result: FleetResult) -> ResultFigure:
    """Dollars of an agent-hour by system, cheapest first, named by chips."""
    figure = ResultFigure(width=10, height=4.8)
    axes = figure.add_axes((0.082, 0.14, 0.893, 0.65))
    dress(
        figure,
        axes,
        caption=f"{result.objectives}; {_client(result.asked.workload.description)}",
        title=f"Cost of {result.agents:,} Coding Agents",
        x_label="",
        y_label="USD per agent-hour",
    )
    axes.grid(visible=False, axis="x")
    rows = result.rows
    prices = [row.usd_per_agent_hour for row in rows]
    names = [f"{row.system}\n{row.layout}, {row.sessions} sessions" for row in rows]
    bars = axes.bar(names, prices, width=0.6, color=OTHER_SHADES[0], zorder=3)
    for bar, row in zip(bars, rows, strict=True):
        axes.annotate(
            f"{row.gpus:,} chips",
            (bar.get_x() + bar.get_width() / 2, bar.get_height()),
            ha="center",
            va="bottom",
            fontsize=8,
        )
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    return figure


def dates_figure(result: AgentxTimeline) -> ResultFigure:
    """Throughput against date, one line for each number of sessions; a level holds on."""
    from datetime import date

    figure = ResultFigure(width=10, height=5.6)
    axes = figure.add_axes((0.082, 0.14, 0.893, 0.67))
    points = [one.point for one in result.points]
    dress(
        figure,
        axes,
        caption=_caption(points, protocol=result.asked.workload.description),
        title=f"Coding agents on {result.asked.systems[0].name} by the date of the software",
        x_label="",
        y_label=THROUGHPUT,
    )
    for sessions in result.sessions:
        mine = [one for one in result.points if one.sessions == sessions]
        axes.plot(
            [date.fromisoformat(one.date.date) for one in mine],  # type: ignore[arg-type]
            [one.point.metrics.total_tokens_per_s_per_gpu for one in mine],
            marker="o",
            markerfacecolor="white",
            linestyle=DASHES,
            drawstyle="steps-post",
            label=f"{sessions} sessions, {mine[0].point.layout}",
        )
    axes.set_ylim(bottom=0)
    axes.legend(framealpha=0.9, edgecolor="none", fontsize=8.5, labelcolor=INK)
    axes.tick_params(axis="x", labelrotation=20)
    return figure


def search_figure(result: AgentSearchResult) -> ResultFigure:
    """Throughput over P90 interactivity of every trial, the winner circled."""
    figure = ResultFigure(width=10, height=6.0)
    axes = figure.add_axes((0.082, 0.11, 0.893, 0.72))
    dress(
        figure,
        axes,
        caption=_caption(
            [trial.point for trial in result.trials],
            protocol=result.question.replay.workload.description,
        ),
        title="Coding agents: Deployments that were Tried",
        x_label="P90 interactivity (tok/s/user)",
        y_label=THROUGHPUT,
    )
    groups: dict[str, list[tuple[float, float]]] = {}
    for trial in result.trials:
        m = trial.point.metrics
        groups.setdefault(f"{trial.system.name} {trial.point.layout}", []).append(
            (m.interactivity_p90, m.total_tokens_per_s_per_gpu)
        )
    for name, points in groups.items():
        ordered = sorted(points)
        axes.plot(
            [x for x, _ in ordered],
            [y for _, y in ordered],
            marker="o",
            markerfacecolor="white",
            linestyle="",
            label=name,
        )
    winner = result.winner
    if winner is not None:
        m = winner.point.metrics
        axes.plot(
            [m.interactivity_p90],
            [m.total_tokens_per_s_per_gpu],
            marker="o",
            markersize=14,
            markerfacecolor="none",
            markeredgecolor="black",
            linestyle="",
            label="best",
        )
    shown = [one for points in groups.values() for one in points]
    axes.set_xlim(0, 1.1 * max(x for x, _ in shown))
    axes.set_ylim(0, 1.15 * max(y for _, y in shown))
    axes.legend(loc="lower left", framealpha=0.9, edgecolor="none", fontsize=8.5, labelcolor=INK)
    return figure
