"""Pictures of a report on a fit: residuals by slice, and parameters against physics."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from calibration.fit.observations import METRICS
from calibration.fit.physics_values import QUANTITIES
from calibration.pages.residual_slices import NOTICED, with_slices
from hwmodels.sku import load_sku
from simulator.output.style import FAINT_INK, GRID, INK

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LABELS = {"throughput": "tok/s/GPU", "tpot": "TPOT", "ttft": "TTFT"}
_VENDORS = {"nvidia": "#3f8f5f", "amd": "#c94f3c"}
_OTHER = "#6f6f8f"
_BAND = "#f3d9cf"


def slices_figure(slices: pd.DataFrame, *, runs: pd.DataFrame, fewest: int) -> Figure:
    """Median residual of each slice with its quartiles, one panel a metric."""
    figure = _figure(height=1.6 + 0.185 * len(slices), width=12.0)
    height = figure.get_size_inches()[1]
    _title(
        figure,
        "Residuals by slice",
        f"median and quartiles of predicted over measured, slices of {fewest} runs or more; "
        f"shaded: within {100 * NOTICED:.0f} %",
    )
    table = with_slices(runs)
    names = [f"{row['value']}  ({row['runs']:,})" for row in slices.to_dict("records")]
    places = _places(slices)
    for number, metric in enumerate(METRICS):
        axes = figure.add_axes((0.235 + 0.26 * number, 0.55 / height, 0.235, 1.0 - 1.5 / height))
        axes.axvspan(-100 * NOTICED, 100 * NOTICED, color=FAINT_INK, alpha=0.12, linewidth=0)
        axes.axvline(0.0, color=INK, linewidth=1.0)
        for place, row in zip(places, slices.to_dict("records"), strict=True):
            group = table[table[str(row["slice"])] == row["value"]]
            ratio = (group[f"predicted_{metric}"] - group[f"measured_{metric}"]).to_numpy(float)
            ratio = 100 * np.expm1(ratio[np.isfinite(ratio)])
            if len(ratio) < fewest:
                continue
            low, middle, high = np.percentile(ratio, [25, 50, 75])
            off = abs(middle) > 100 * NOTICED
            colour = "#c94f3c" if off else "#1f6f8b"
            axes.plot([low, high], [place, place], color=colour, linewidth=2.2, alpha=0.45)
            axes.plot([middle], [place], marker="o", markersize=4.5, color=colour)
        axes.set_yticks(places, names if number == 0 else [""] * len(names), fontsize=7.5)
        axes.set_ylim(max(places) + 1.0, -1.0)
        reach = 40.0 if metric != "ttft" else 80.0
        axes.set_xlim(-reach, reach)
        axes.set_xlabel(f"{_LABELS[metric]}: residual [%]", fontsize=8.5, color=INK)
        _plain(axes)
    first = figure.axes[0]
    for name, place in _heads(slices, places).items():
        first.annotate(
            name,
            (0.0, place),
            xycoords=("axes fraction", "data"),
            xytext=(-196, 0),
            textcoords="offset points",
            fontsize=8,
            fontweight="bold",
            color=INK,
            va="center",
        )
    return figure


def _places(slices: pd.DataFrame) -> list[float]:
    """Heights of the slices, with a gap where the kind of slice changes."""
    places: list[float] = []
    before = None
    place = -1.0
    for name in slices["slice"]:
        place += 1.0 if name == before or before is None else 1.8
        places.append(place)
        before = name
    return places or [0.0]


def _heads(slices: pd.DataFrame, places: list[float]) -> dict[str, float]:
    heads: dict[str, float] = {}
    for name, place in zip(slices["slice"], places, strict=True):
        heads.setdefault(str(name).replace("software", "engine"), place)
    return heads


def physics_figure(physics: pd.DataFrame) -> Figure:
    """Each quantity of every level with one standard deviation, against what physics allows."""
    figure = _figure(height=8.6, width=12.5)
    _title(
        figure,
        "Parameters against physics",
        "one point a level, sorted, with one standard deviation; grey: nothing fitted; shaded: not "
        "physical, points there filled; green NVIDIA, red AMD",
    )
    for number, quantity in enumerate(QUANTITIES):
        rows = physics[physics["parameter"] == quantity.parameter].sort_values("value")
        axes = figure.add_axes(
            (0.055 + 0.243 * (number % 4), 0.53 - 0.46 * (number // 4), 0.19, 0.33)
        )
        _draw_quantity(axes, rows, low=quantity.low, high=quantity.high)
        unit = "" if quantity.unit == "-" else f" [{quantity.unit}]"
        outside = int((rows["finding"] != "").sum())
        axes.set_title(f"{quantity.label}{unit}", fontsize=9, color=INK, loc="left", pad=16)
        axes.text(
            0.0,
            1.03,
            f"{outside} of {len(rows)} not physical",
            transform=axes.transAxes,
            fontsize=7.5,
            color="#c94f3c" if outside else FAINT_INK,
        )
        _plain(axes)
    return figure


def _draw_quantity(axes: Axes, rows: pd.DataFrame, *, low: float, high: float) -> None:
    values, sd = rows["value"].to_numpy(float), rows["sd"].to_numpy(float)
    places = np.arange(len(rows))
    ends = np.concatenate([values * np.exp(-sd), values * np.exp(sd), rows["prior"].to_numpy()])
    bottom, top = min(ends.min() / 1.15, low / 1.3), max(ends.max() * 1.15, high * 1.15)
    axes.set_yscale("log")
    axes.axhspan(bottom, low, color=_BAND, linewidth=0)
    axes.axhspan(high, top, color=_BAND, linewidth=0)
    axes.plot(places, rows["prior"].to_numpy(float), ".", color=FAINT_INK, markersize=2.5)
    outside = (rows["finding"] != "").to_numpy()
    vendors = [load_sku(str(name).split("/")[2]).vendor for name in rows["level"]]
    colours = [_VENDORS.get(vendor, _OTHER) for vendor in vendors]
    axes.vlines(
        places, values * np.exp(-sd), values * np.exp(sd), colors=colours, linewidth=0.8, alpha=0.4
    )
    faces = [colour if out else "white" for colour, out in zip(colours, outside, strict=True)]
    axes.scatter(places, values, s=10, c=faces, edgecolors=colours, linewidths=0.7, zorder=3)
    axes.set_ylim(bottom, top)
    axes.set_xlim(-1.5, len(rows) + 0.5)
    ticks = [
        tick
        for tick in (0.1, 0.2, 0.3, 0.5, 1, 2, 3, 5, 10, 20, 50, 100, 200, 400, 1000)
        if bottom <= tick <= top
    ]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xticks([])
    axes.set_xlabel(f"{len(rows)} levels", fontsize=8, color=FAINT_INK)


def _figure(*, height: float, width: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def _title(figure: Figure, title: str, caption: str) -> None:
    height = figure.get_size_inches()[1]
    figure.text(
        0.03, 1.0 - 0.18 / height, title, fontsize=12.5, fontweight="bold", color=INK, va="top"
    )
    figure.text(0.03, 1.0 - 0.47 / height, caption, fontsize=8.5, color=FAINT_INK, va="top")


def _plain(axes: Axes) -> None:
    axes.grid(color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=FAINT_INK, labelsize=7.5, length=3)
