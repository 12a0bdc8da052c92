"""InferenceX's Pareto plot, with what is simulated told apart from what was measured.

Dashed lines and hollow markers are simulated, filled markers measured, shading is the 90 % band.
Vendors keep their hues (NVIDIA greens, AMD reds and oranges, others blues and purples) in shades
that stay apart under colour blindness; SKUs of one vendor differ in shade.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from simulator.analysis.pareto import Frontier, monotone_slopes
from simulator.output.plot_labels import Label, place_labels
from simulator.output.style import (
    DASHES,
    FAINT_INK,
    INK,
    OTHER_SHADES,
    SHADES,
    dress,
    log_throughput,
)
from simulator.studies.series import known_sku

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    Array = npt.NDArray[np.float64]
    Style = tuple[str, tuple[float, tuple[float, ...]]]
    """Colour and dashes of a curve."""

TITLE = "Token Throughput per Chip vs. Interactivity"
X_LABEL = "Interactivity (tok/s/user)"
Y_LABEL = "Token Throughput per Chip (tok/s/chip)"

# Tensor-parallel attention is round or triangular, data-parallel attention square-cornered.
MARKERS = {"TEP": "o", "TP": "^", "EP": "v", "DEP": "s", "DPATP": "D", "DPAEP": "P"}
OTHER_MARKER = "h"
# Series of one vendor beyond its shades are told apart by the dashes.
MORE_DASHES = (DASHES, (0, (1.3, 1.5)), (0, (9, 2, 1.5, 2)))
MOST_NAMED_LAYOUTS = 4
LABEL_SPACING = 0.025
"""Share of an axis by which a labelled point differs from the labelled one before it."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """Simulated points of one SKU, engine, precision and speculation: one frontier.

    Parameters
    ----------
    name:
        As in the legend: ``MI355X (SGLang, MTP)``.
    vendor:
        Decides the hue.
    interactivity, tput_per_gpu:
        The points. [tok/s/user], [tok/s/chip]
    layouts, concurrencies:
        What each point ran.
    on_frontier:
        Which points no other dominates.
    late:
        Which points miss the limits of the frontier; ``None``: there are none.
    band:
        Low and high interactivity, then low and high throughput of each point, as an array of
        shape (points, 4); not finite where no band is known.
    """

    name: str
    vendor: str
    interactivity: Array
    tput_per_gpu: Array
    layouts: Sequence[str]
    concurrencies: Sequence[int]
    on_frontier: npt.NDArray[np.bool_]
    band: Array
    late: npt.NDArray[np.bool_] | None = None


def pareto_figure(
    *,
    series: Sequence[Series],
    caption: str,
    measured: pd.DataFrame | None = None,
    log: bool = False,
) -> Figure:
    """The Pareto plot of one or more SKUs.

    Parameters
    ----------
    series:
        Simulated curves.
    caption:
        What was run: model, precision, lengths, engine and level, and so on.
    measured:
        Measured points to set beside them, in the columns ``median_tpot_s`` and
        ``total_tput_per_gpu``, with the curve each belongs to in ``series``.
    log:
        Whether throughput is on a logarithmic axis.
    """
    from simulator.output.figure import ResultFigure

    figure = ResultFigure(width=10, height=6.4)
    axes = figure.add_axes((0.082, 0.105, 0.893, 0.735))
    dress(
        figure,
        axes,
        caption=caption,
        title=TITLE,
        x_label=X_LABEL,
        y_label=Y_LABEL,
        hint="labels: layout, concurrency after c; the table names engine and speculation of each",
    )
    styles = styles_of(series)
    colours = colours_of(series)
    for one in series:
        draw_series(axes, one, style=styles[one.name])
    if measured is not None:
        _draw_measured(axes, measured, colours=colours)
    _set_limits(axes, series=series, measured=measured, log=log)
    _draw_legend(axes, series=series, styles=styles, measured=measured, log=log)
    labels = [label for one in series for label in labels_of(one, colours[one.name])]
    place_labels(axes, without_repeats(labels))
    return figure


def colours_of(series: Sequence[Series]) -> dict[str, str]:
    """A colour for each series: the vendor's hue, the next shade for each further SKU."""
    return {name: colour for name, (colour, _) in styles_of(series).items()}


def styles_of(series: Sequence[Series]) -> dict[str, Style]:
    """Colour and dashes of each series: the dashes change where a vendor's shades run out."""
    seen: Counter[str] = Counter()
    styles: dict[str, Style] = {}
    for one in series:
        family = one.vendor if one.vendor in SHADES else ""
        shades = SHADES.get(family, OTHER_SHADES)
        cycle, shade = divmod(seen[family], len(shades))
        styles[one.name] = (shades[shade], MORE_DASHES[cycle % len(MORE_DASHES)])
        seen[family] += 1
    return styles


def marker(layout: str) -> str:
    """Marker of a layout label such as ``TEP8`` or ``DPAEP8PP2``."""
    kind = layout.rstrip("0123456789").removesuffix("PP").rstrip("0123456789")
    return MARKERS.get(kind, OTHER_MARKER)


def draw_series(axes: Axes, one: Series, *, style: Style, joins: bool = True) -> None:
    """Points, band and frontier of a series, a smooth curve where it ``joins`` them, else lines."""
    colour, dashes = style
    order = np.argsort(one.interactivity, kind="stable")
    front = order[one.on_frontier[order]]
    _draw_band(axes, one.band[front], colour=colour)
    x, y = one.interactivity[front], one.tput_per_gpu[front]
    if joins:
        x, y = _curve(x, y)
    axes.plot(x, y, color=colour, linewidth=1.8, linestyle=dashes, zorder=3)
    for layout in dict.fromkeys(one.layouts[index] for index in order):
        for shown in (False, True):
            own = [i for i in order if one.layouts[i] == layout and one.on_frontier[i] == shown]
            if not own:
                continue
            axes.plot(
                one.interactivity[own],
                one.tput_per_gpu[own],
                marker=marker(layout),
                markersize=6.5 if shown else 5,
                markerfacecolor="white" if shown else "none",
                markeredgecolor=colour,
                markeredgewidth=1.6 if shown else 1.0,
                alpha=1.0 if shown else 0.35,
                linestyle="none",
                zorder=4 if shown else 2,
            )
    if one.late is not None and one.late.any():
        x, y = one.interactivity[one.late], one.tput_per_gpu[one.late]
        axes.plot(x, y, "x", markersize=7, color=colour, alpha=0.6, zorder=2)


def _curve(x: Array, y: Array) -> tuple[Array, Array]:
    """The monotone curve through knots of ascending and distinct ``x``, finely sampled."""
    if len(x) < 2:
        return x, y
    fine = np.unique(np.concatenate([np.linspace(x[0], x[-1], 400), x]))
    knots = Frontier(x=x, y=y, slope=monotone_slopes(x, y), indices=tuple(range(len(x))))
    return fine, knots.values(fine)


def _draw_band(axes: Axes, band: Array, *, colour: str) -> None:
    """Shade from the frontier of all low ends to that of all high ends.

    In a closed loop throughput and speed err together: a slower step lowers both. The low
    corner of each point's band thus belongs to the low curve, the high corner to the high one.
    """
    known = band[np.isfinite(band).all(axis=1)]
    if len(known) < 2:
        return
    edges = []
    for end in (Frontier.of(known[:, place], known[:, place + 2]) for place in (0, 1)):
        left = (known[:, 0].min(), end.y[0])  # a lower speed gives no less
        edges.append(np.vstack([left, np.column_stack(_curve(end.x, end.y))]))
    outline = np.vstack([edges[0], edges[1][::-1]])
    axes.fill(outline[:, 0], outline[:, 1], color=colour, alpha=0.13, linewidth=0, zorder=1)


def _draw_measured(axes: Axes, measured: pd.DataFrame, *, colours: dict[str, str]) -> None:
    for name, rows in measured.groupby("series", sort=True):
        axes.plot(
            1.0 / rows["median_tpot_s"],
            rows["total_tput_per_gpu"],
            marker="o",
            markersize=6.5,
            color=colours.get(str(name), FAINT_INK),
            markeredgecolor="white",
            markeredgewidth=0.8,
            linestyle="none",
            zorder=5,
        )


def _set_limits(
    axes: Axes, *, series: Sequence[Series], measured: pd.DataFrame | None, log: bool
) -> None:
    """Both axes from zero, wide enough for every point and, up to a third more, the band."""
    xs = [one.interactivity for one in series]
    ys = [one.tput_per_gpu for one in series]
    if measured is not None:
        xs.append((1.0 / measured["median_tpot_s"]).to_numpy())
        ys.append(measured["total_tput_per_gpu"].to_numpy())
    x_points, y_points = np.concatenate(xs), np.concatenate(ys)
    bands = np.vstack([one.band[one.on_frontier] for one in series])
    bands = bands[np.isfinite(bands).all(axis=1)]
    axes.set_xlim(0, _top(x_points, bands[:, 1]))
    if log:
        log_throughput(axes)
        axes.set_ylim(y_points.min() / 1.5, y_points.max() * 1.5)
    else:
        axes.set_ylim(0, _top(y_points, bands[:, 3]))


def _top(points: Array, band_ends: Array) -> float:
    most = float(points.max())
    return 1.08 * min(max([most, *map(float, band_ends)]), 1.33 * most)


def _draw_legend(
    axes: Axes,
    *,
    series: Sequence[Series],
    styles: dict[str, Style],
    measured: pd.DataFrame | None,
    log: bool,
) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    entries: list[Line2D | Patch] = []
    for one in series:
        colour, dashes = styles[one.name]
        named = f"{one.name}, simulated"
        entries.append(Line2D([], [], color=colour, linestyle=dashes, linewidth=1.8, label=named))
        if np.isfinite(one.band[one.on_frontier]).all(axis=1).sum() > 1:
            entries.append(Patch(color=colour, alpha=0.13, linewidth=0, label="90 % band"))
    kinds = {marker(layout): layout for one in series for layout in sorted(one.layouts)}
    for shape in kinds:
        names = sorted({name for one in series for name in one.layouts if marker(name) == shape})
        entries.append(legend_sample(marker=shape, label=_summary_of(names)))
    if not all(one.on_frontier.all() for one in series):
        entries.append(legend_sample(marker="o", label="faint: off the frontier", alpha=0.35))
    if any(one.late is not None and one.late.any() for one in series):
        entries.append(legend_sample(marker="x", label="crossed: beyond the TTFT limit", alpha=0.6))
    if measured is not None:
        label = f"filled: measured{_days_of(measured)}"
        entries.append(legend_sample(marker="o", label=label, filled=True))
    axes.legend(
        handles=entries,
        loc="best" if log else "upper right",
        frameon=True,
        framealpha=0.9,
        edgecolor="none",
        fontsize=8.5,
        labelcolor=INK,
    )


def _days_of(measured: pd.DataFrame) -> str:
    """Of which days measured runs are, where they are of several: software changes with them."""
    if "date" not in measured:
        return ""
    told = [str(day) if day == day and day else "" for day in measured["date"]]
    days = sorted(set(told) - {""})
    undated = " and undated" if "" in told else ""
    if not days or (len(days) == 1 and not undated):
        return ""
    span = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    return f", {span}{undated}"


def _summary_of(layouts: Sequence[str]) -> str:
    """The layouts of one marker: by name if they are few."""
    if len(layouts) <= MOST_NAMED_LAYOUTS:
        return ", ".join(layouts)
    kind = "disaggregated" if "+" in layouts[0] else layouts[0].rstrip("0123456789")
    return f"{kind}, {len(layouts)} layouts"


def legend_sample(*, marker: str, label: str, alpha: float = 1.0, filled: bool = False) -> Line2D:
    """A legend entry for a marker alone."""
    from matplotlib.lines import Line2D

    return Line2D(
        [],
        [],
        linestyle="none",
        marker=marker,
        markersize=6,
        color=FAINT_INK,
        markerfacecolor=FAINT_INK if filled else "white",
        alpha=alpha,
        label=label,
    )


def without_repeats(labels: Sequence[Label]) -> list[Label]:
    """Labels without those that say the same as another at all but the same place."""
    kept: list[Label] = []
    for label in labels:
        if not any(
            label.text == other.text
            and abs(label.x - other.x) < LABEL_SPACING * other.x
            and abs(label.y - other.y) < LABEL_SPACING * other.y
            for other in kept
        ):
            kept.append(label)
    return kept


def labels_of(one: Series, colour: str) -> list[Label]:
    """A label for each frontier point that does not all but cover the labelled one before."""
    x, y = one.interactivity, one.tput_per_gpu
    front = np.flatnonzero(one.on_frontier)
    labels: list[Label] = []
    for index in front[np.argsort(x[front])]:
        if labels:
            x_step = (x[index] - labels[-1].x) / x[front].max()
            y_step = (labels[-1].y - y[index]) / y[front].max()
            if max(x_step, y_step) < LABEL_SPACING:
                continue
        text = f"{one.layouts[index]} c{one.concurrencies[index]}"
        labels.append(Label(x=float(x[index]), y=float(y[index]), text=text, colour=colour))
    return labels


def series_of(runs: pd.DataFrame) -> list[Series]:
    """One curve for each series of a table of runs, in order of first appearance."""
    return [
        Series(
            name=str(name),
            vendor=_vendor(str(rows["sku"].iloc[0])),
            interactivity=rows["interactivity"].to_numpy(float),
            tput_per_gpu=rows["total_tput_per_gpu"].to_numpy(float),
            layouts=rows["label"].tolist(),
            concurrencies=rows["concurrency"].tolist(),
            on_frontier=rows["on_frontier"].to_numpy(np.bool_),
            late=~rows["meets_limits"].to_numpy(np.bool_),
            band=np.column_stack(
                [
                    1.0 / rows["median_tpot_s_hi"].to_numpy(float),
                    1.0 / rows["median_tpot_s_lo"].to_numpy(float),
                    rows["total_tput_per_gpu_lo"].to_numpy(float),
                    rows["total_tput_per_gpu_hi"].to_numpy(float),
                ]
            ),
        )
        for name, rows in runs.groupby("series", sort=False)
    ]


def _vendor(sku: str) -> str:
    found = known_sku(sku)
    return "" if found is None else found.vendor
