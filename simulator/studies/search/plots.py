"""A search as a picture: every run, the winner, and the speed of the SLO."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from simulator.analysis.pareto import frontier_indices
from simulator.output.style import INK
from simulator.studies.pareto_plot import Series, pareto_figure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure

    from simulator.studies.search.result import SearchResult, Trial


_WAITS = ("TTFT", "goodput")
"""How constraints begin that are no axis of the picture, see `Objectives.slo_use`."""


def search_figure(result: SearchResult) -> Figure:
    """The Pareto plot of all runs, with the winner circled and the speed of the SLO as a line."""
    groups: dict[str, list[Trial]] = {}
    for trial in result.trials:
        spec = "" if trial.spec == "none" else f", {trial.spec}"
        name = f"{trial.configuration.sku.name} ({trial.engine}{spec})"
        groups.setdefault(name, []).append(trial)
    figure = pareto_figure(
        series=[search_series(name, trials) for name, trials in groups.items()],
        caption=result.caption,
    )
    axes = figure.axes[0]
    speed = result.request.objectives.interactivity
    if speed is not None:
        axes.axvline(speed, color=INK, linewidth=1.0, linestyle=":", zorder=2)
    winner = result.winner
    if winner is not None:
        axes.plot(
            [winner.metrics.interactivity],
            [winner.metrics.total_tput_per_gpu],
            marker="o",
            markersize=15,
            markerfacecolor="none",
            markeredgecolor=INK,
            markeredgewidth=1.6,
            linestyle="none",
            zorder=6,
        )
    figure.text(0.59, 0.012, "circled: the winner", fontsize=8, color=INK)
    return figure


def search_series(name: str, trials: Sequence[Trial]) -> Series:
    """Runs of one chip, engine and speculation; those that miss a TTFT or goodput are crossed."""
    x = np.array([trial.metrics.interactivity for trial in trials])
    y = np.array([trial.metrics.total_tput_per_gpu for trial in trials])
    best = np.zeros(len(trials), dtype=np.bool_)
    late = np.array(
        [
            any(used > 1.0 and name.startswith(_WAITS) for name, used in trial.slo_use.items())
            for trial in trials
        ]
    )
    (allowed,) = np.nonzero(~late)
    best[allowed[frontier_indices(x[allowed], y[allowed])]] = True
    return Series(
        name=name,
        vendor=trials[0].configuration.sku.vendor,
        interactivity=x,
        tput_per_gpu=y,
        layouts=[trial.label for trial in trials],
        concurrencies=[trial.configuration.concurrency for trial in trials],
        on_frontier=best,
        band=np.array([_band(trial) for trial in trials]),
        late=late,
    )


def _band(trial: Trial) -> tuple[float, float, float, float]:
    """Low and high speed, low and high throughput; not finite where no band is known."""
    low, high = trial.bands.get("total_tput_per_gpu", (math.nan, math.nan))
    fast, slow = trial.bands.get("median_tpot_s", (math.nan, math.nan))
    return 1.0 / slow, 1.0 / fast, low, high
