"""The picture of a timeline: throughput against the date of the software."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from hwmodels.software import parse_date
from simulator.output.style import DASHES, INK, dress, log_throughput
from simulator.studies.timeline.text import title_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    from simulator.studies.timeline.run import TimelineResult

# Distinct under the common forms of colour blindness, in this order (Okabe and Ito, 2008).
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
_LEAST_GAP = 0.04
"""Share of the time axis that a date label takes."""
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def timeline_figure(result: TimelineResult) -> Figure:
    """Throughput per chip on a logarithmic axis against date; a level holds until the next."""
    from simulator.output.figure import ResultFigure

    figure = ResultFigure(width=10, height=5.6)
    axes = figure.add_axes((0.082, 0.115, 0.893, 0.7))
    dress(
        figure,
        axes,
        caption=result.caption,
        title="Token Throughput per Chip vs. Date of the Software",
        x_label="",
        y_label="Token Throughput per Chip (tok/s/chip)",
        hint="each step holds until the next date at which the software is known to have changed",
    )
    table = result.frame()
    groups = table.groupby(["basis", "value"], sort=False, dropna=False)
    for position, (_, rows) in enumerate(groups):
        basis, value = rows["basis"].iloc[0], rows["value"].iloc[0]
        known = rows.dropna(subset=["total_tput_per_gpu"])
        axes.plot(
            days_of(known["date"]).to_numpy(),
            known["total_tput_per_gpu"].to_numpy(float),
            color=_COLOURS[position % len(_COLOURS)],
            marker=_MARKERS[position % len(_MARKERS)],
            markerfacecolor="white",
            markersize=6.5,
            linewidth=1.8,
            linestyle=DASHES,
            drawstyle="steps-post",
            label=f"{title_of(basis, value)}, simulated",
        )
    log_throughput(axes)
    rates = table["total_tput_per_gpu"].dropna().to_numpy(float)
    if rates.size:
        axes.set_ylim(rates.min() / 1.6, rates.max() * 2.2)
    days = days_of(pd.Series([one.date for one in result.dates]))
    margin = max(pd.Timedelta(days=3), (days.max() - days.min()) * 0.06)
    axes.set_xlim(days.min() - margin, days.max() + margin)  # type: ignore[arg-type]
    axes.set_xticks(days.to_numpy(), [one.date[5:] for one in result.dates])
    _spread_ticks(axes.get_xticklabels(), days=days)
    axes.set_xlabel(_years(days), fontsize=10.5, color=INK)
    axes.legend(loc="best", ncols=2, framealpha=0.9, edgecolor="none", fontsize=8.5, labelcolor=INK)
    return figure


def days_of(dates: pd.Series[str]) -> pd.Series[pd.Timestamp]:
    """Days of ISO dates; of a month the last."""
    return pd.to_datetime(dates.map(parse_date))


def _years(days: pd.Series[pd.Timestamp]) -> str:
    first, last = days.min().year, days.max().year
    return f"month-day of {first}" if first == last else f"month-day, {first} to {last}"


def _spread_ticks(labels: list[Text], *, days: pd.Series[pd.Timestamp]) -> None:
    """Hide date labels that would stand on the one before."""
    span = (days.max() - days.min()) / np.timedelta64(1, "D")
    last = -np.inf
    for label, day in zip(labels, (days - days.min()) / np.timedelta64(1, "D"), strict=True):
        if span and day - last < _LEAST_GAP * span:
            label.set_visible(False)
        else:
            last = day
