"""The picture of a load: requests waiting and decoding, and latencies, over the time of the run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from simulator.output.style import GRID, INK, dress

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from simulator.studies.load.result import LoadRun

    Array = npt.NDArray[np.float64]

_WAITING, _DECODING = "#d55e00", "#0072b2"
_WINDOWS = 60
_SAMPLES = 600


def load_figure(run: LoadRun) -> Figure:
    """First replication: requests in the system above, TTFT and TPOT by time of arrival below."""
    from simulator.output.figure import ResultFigure

    figure = ResultFigure(width=10, height=6.6)
    upper = figure.add_axes((0.082, 0.49, 0.84, 0.36))
    lower = figure.add_axes((0.082, 0.105, 0.84, 0.325), sharex=upper)
    dress(
        figure,
        upper,
        caption=run.caption,
        title="Requests in the System and Latencies",
        x_label="",
        y_label="Requests",
        hint="below: median and p90 of the requests that arrive in a sixtieth of the run",
    )
    _draw_requests(upper, run)
    _draw_latencies(lower, run)
    return figure


def _draw_requests(axes: Axes, run: LoadRun) -> None:
    records = run.replications[0].records
    times_s = np.linspace(0.0, float(records.finish_s.max()), _SAMPLES)

    def passed(moments_s: Array) -> Array:
        return np.searchsorted(np.sort(moments_s), times_s, side="right").astype(np.float64)

    sent, started, ended = map(passed, (records.arrival_s, records.first_token_s, records.finish_s))
    axes.stackplot(
        times_s,
        started - ended,
        sent - started,
        colors=(_DECODING, _WAITING),
        alpha=0.75,
        labels=("decoding", "before the first token"),
    )
    axes.set_ylim(bottom=0)
    axes.set_xlim(0.0, times_s[-1])
    axes.legend(loc="upper right", framealpha=0.9, edgecolor="none", fontsize=8.5, labelcolor=INK)


def _draw_latencies(axes: Axes, run: LoadRun) -> None:
    records = run.replications[0].records
    arrival_s = records.arrival_s
    edges_s = np.linspace(0.0, float(arrival_s.max()) or 1.0, _WINDOWS + 1)
    window = np.clip(np.searchsorted(edges_s, arrival_s, side="right") - 1, 0, _WINDOWS - 1)
    right = axes.twinx()
    for panel, values_s, colour, name in (
        (axes, records.ttft_s, _WAITING, "TTFT (s)"),
        (right, records.tpot_s, _DECODING, "TPOT (s)"),
    ):
        drawn = [
            (float(edges_s[i] + edges_s[i + 1]) / 2, *np.percentile(mine, (50, 90)).tolist())
            for i in range(_WINDOWS)
            if (mine := values_s[(window == i) & np.isfinite(values_s)]).size
        ]
        if drawn:
            middle_s, median_s, p90_s = np.array(drawn).T
            panel.plot(middle_s, median_s, color=colour, linewidth=1.8)
            panel.plot(middle_s, p90_s, color=colour, linewidth=1.0, linestyle=":")
        panel.set_ylabel(f"{name}: median, p90 dotted", color=colour, fontsize=8.5)
        panel.set_ylim(bottom=0)
        panel.tick_params(colors=INK, labelsize=8.5)
        panel.spines[["top"]].set_visible(False)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel("Time of the run; below: of arrival (s)", color=INK, fontsize=9)
