"""The agentic chart: throughput per GPU over what one user sees."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.analysis.agentic_metrics import X_AXES
from simulator.output.figure import ResultFigure

if TYPE_CHECKING:
    from simulator.studies.agentx.dates import AgentxTimeline
    from simulator.studies.agentx.fleet import FleetResult
    from simulator.studies.agentx.result import AgentxResult
    from simulator.studies.agentx.search import AgentSearchResult


def agentx_figure(result: AgentxResult) -> ResultFigure:
    """Total tok/s/GPU over the chosen axis, one line a system, points named by live sessions."""
    figure = ResultFigure(width=8.5, height=5.2)
    axes = figure.add_subplot()
    column, label = X_AXES[result.asked.x]
    for one in result.asked.systems:
        points = [point for point in result.points if point.system == one.name]
        x = [float(point.to_dict()[column]) for point in points]
        y = [point.metrics.total_tokens_per_s_per_gpu for point in points]
        axes.plot(x, y, marker="o", label=one.name)
        for point, left, height in zip(points, x, y, strict=True):
            axes.annotate(
                str(point.metrics.sessions),
                (left, height),
                textcoords="offset points",
                xytext=(4, 4),
                fontsize=8,
            )
    axes.set_xlabel(label)
    axes.set_ylabel("total tok/s/GPU, cached prompt tokens included")
    axes.set_ylim(bottom=0)
    axes.grid(visible=True, alpha=0.3)
    axes.legend(title="points: live sessions")
    axes.set_title(f"Coding agents, {result.asked.workload.protocol.name}; simulated", fontsize=11)
    figure.tight_layout()
    return figure


def fleet_figure(result: FleetResult) -> ResultFigure:
    """Dollars of an agent-hour by system, cheapest first, named by chips."""
    figure = ResultFigure(width=8.5, height=4.2)
    axes = figure.add_subplot()
    rows = result.rows
    prices = [row.usd_per_agent_hour for row in rows]
    bars = axes.bar([row.system for row in rows], prices)
    for bar, row in zip(bars, rows, strict=True):
        axes.annotate(
            f"{row.gpus:,} chips",
            (bar.get_x() + bar.get_width() / 2, bar.get_height()),
            ha="center",
            va="bottom",
            fontsize=8,
        )
    axes.set_ylabel("USD per agent-hour")
    axes.set_title(f"{result.agents:,} coding agents; simulated", fontsize=11)
    figure.tight_layout()
    return figure


def dates_figure(result: AgentxTimeline) -> ResultFigure:
    """Throughput against date, one line for each number of sessions; a level holds on."""
    from datetime import date

    figure = ResultFigure(width=8.5, height=4.6)
    axes = figure.add_subplot()
    for sessions in result.sessions:
        mine = [one for one in result.points if one.sessions == sessions]
        axes.plot(
            [date.fromisoformat(one.date.date) for one in mine],  # type: ignore[arg-type]
            [one.point.metrics.total_tokens_per_s_per_gpu for one in mine],
            marker="o",
            drawstyle="steps-post",
            label=f"{sessions} sessions, {mine[0].point.layout}",
        )
    axes.set_ylabel("total tok/s/GPU, cached prompt tokens included")
    axes.set_ylim(bottom=0)
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    axes.set_title(
        f"Coding agents on {result.asked.systems[0].name} by software date; simulated", fontsize=11
    )
    figure.autofmt_xdate()
    figure.tight_layout()
    return figure


def search_figure(result: AgentSearchResult) -> ResultFigure:
    """Throughput over P90 interactivity of every trial, the winner circled."""
    figure = ResultFigure(width=8.5, height=5.2)
    axes = figure.add_subplot()
    groups: dict[str, list[tuple[float, float]]] = {}
    for trial in result.trials:
        m = trial.point.metrics
        groups.setdefault(f"{trial.system.name} {trial.point.layout}", []).append(
            (m.interactivity_p90, m.total_tokens_per_s_per_gpu)
        )
    for name, points in groups.items():
        ordered = sorted(points)
        axes.plot(
            [x for x, _ in ordered], [y for _, y in ordered], marker="o", linestyle="", label=name
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
    axes.set_xlabel("P90 interactivity [tok/s/user]")
    axes.set_ylabel("total tok/s/GPU, cached prompt tokens included")
    axes.set_ylim(bottom=0)
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    axes.set_title("Coding agents: deployments that were tried; simulated", fontsize=11)
    figure.tight_layout()
    return figure
