"""Predicted against measured figures of left-out runs, as pictures."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np

from calibration.pages.markdown import percent
from calibration.validation.scores import score
from hwmodels.sku import load_sku
from simulator.output.style import FAINT_INK, GRID, INK, OTHER_SHADES, SHADES

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

QUARTER = 1.25
MARKERS = {"vllm": "o", "sglang": "s", "trtllm": "^", "atom": "D"}
_PANELS = (
    ("throughput", "tok/s/GPU", 1.0),
    ("tpot", "TPOT [ms]", 1e3),
    ("ttft", "TTFT [s]", 1.0),
)
_WIDTH, _HEIGHT, _LINE = 13.0, 5.2, 0.17
"""Inches of a figure with one line of caption, and of each further line."""
_CAPTION_CHARACTERS = 190


def accuracy_figure(predictions: pd.DataFrame, *, title: str, caption: str) -> Figure:
    """Throughput, TPOT and TTFT, predicted over measured, one point a left-out run.

    Parameters
    ----------
    predictions:
        Left-out runs of one scheme, from `calibration.validation.left_out.predict_left_out`.
    title, caption:
        What was left out, and on what data.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    lines = textwrap.wrap(caption, width=_CAPTION_CHARACTERS, break_long_words=False)
    height = _HEIGHT + _LINE * (len(lines) - 1)
    figure = Figure(figsize=(_WIDTH, height))
    FigureCanvasAgg(figure)

    def up(inches: float) -> float:
        return inches / height

    top = height - 0.15
    figure.text(0.045, up(top), title, fontsize=13, fontweight="bold", color=INK, va="top")
    figure.text(0.045, up(top - 0.32), "\n".join(lines), fontsize=8.5, color=FAINT_INK, va="top")
    colours = _colours(sorted(predictions["sku"].unique()))
    panels = [
        figure.add_axes((0.045 + 0.285 * i, up(0.57), 0.24, up(_HEIGHT - 1.4))) for i in range(3)
    ]
    for axes, (metric, label, scale) in zip(panels, _PANELS, strict=True):
        _draw(axes, predictions, metric=metric, label=label, scale=scale, colours=colours)
    _legend(figure, predictions, colours)
    return figure


def _colours(skus: list[str]) -> dict[str, str]:
    """A colour a SKU in the hue of its vendor."""
    seen: dict[str, int] = {}
    colours = {}
    for sku in skus:
        vendor = load_sku(sku).vendor
        shades = SHADES.get(vendor, OTHER_SHADES)
        colours[sku] = shades[seen.get(vendor, 0) % len(shades)]
        seen[vendor] = seen.get(vendor, 0) + 1
    return colours


def _draw(
    axes: Axes,
    predictions: pd.DataFrame,
    *,
    metric: str,
    label: str,
    scale: float,
    colours: dict[str, str],
) -> None:
    measured, predicted = (
        predictions[f"{which}_{metric}"].to_numpy(float) for which in ("measured", "predicted")
    )
    known = np.isfinite(measured) & np.isfinite(predicted)
    found = score(predicted=predicted, measured=measured)
    axes.set_title(
        "no runs"
        if found is None
        else f"median error {percent(found.median)}, {percent(found.within_quarter)} within 25 %, "
        f"{found.runs} runs",
        fontsize=9,
        color=INK,
        loc="left",
    )
    axes.set_xlabel(f"measured {label}", fontsize=9, color=INK)
    axes.set_ylabel(f"predicted {label}", fontsize=9, color=INK)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=FAINT_INK, labelsize=8, length=3)
    if found is None:
        return
    both = scale * np.exp(np.concatenate([measured[known], predicted[known]]))
    ends = np.array([both.min() / 1.3, both.max() * 1.3])
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(*ends)
    axes.set_ylim(*ends)
    axes.plot(ends, ends, color=INK, linewidth=1.0, zorder=2)
    axes.fill_between(
        ends, ends / QUARTER, ends * QUARTER, color=FAINT_INK, alpha=0.12, linewidth=0, zorder=1
    )
    for (sku, software), rows in predictions[known].groupby(["sku", "software"], sort=True):
        axes.scatter(
            scale * np.exp(rows[f"measured_{metric}"].to_numpy(float)),
            scale * np.exp(rows[f"predicted_{metric}"].to_numpy(float)),
            s=16,
            marker=MARKERS.get(str(software), "h"),
            color=colours[str(sku)],
            alpha=0.75,
            linewidths=0.3,
            edgecolors="white",
            zorder=3,
        )


def _legend(figure: Figure, predictions: pd.DataFrame, colours: dict[str, str]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    def dot(marker: str, colour: str, label: str) -> Line2D:
        return Line2D(
            [], [], linestyle="none", marker=marker, color=colour, markersize=5, label=label
        )

    entries: list[Line2D | Patch] = [
        dot("o", colour, sku.upper()) for sku, colour in colours.items()
    ]
    entries += [
        dot(MARKERS.get(name, "h"), FAINT_INK, name)
        for name in sorted(predictions["software"].unique())
    ]
    entries.append(Patch(color=FAINT_INK, alpha=0.12, linewidth=0, label="within 25 %"))
    figure.legend(
        handles=entries,
        loc="center left",
        bbox_to_anchor=(0.89, 0.48),
        frameon=False,
        fontsize=8.5,
        labelcolor=INK,
    )
