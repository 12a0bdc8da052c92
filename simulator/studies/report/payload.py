"""What the chart of a report draws, as one JSON object: points, curves, axes and filters."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from simulator.output.style import FAINT_INK
from simulator.studies.pareto_plot import marker, series_of, styles_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

_DIGITS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """A metric that an axis can show.

    Parameters
    ----------
    key:
        Column of the points.
    title:
        As in the chart's title.
    unit:
        As after it on the axis.
    rises:
        Whether more is better.
    band:
        Column whose ``_lo`` and ``_hi`` are its 90 % band, or that it follows from; empty if no
        band is known.
    power:
        1 if it is proportional to ``band``, -1 if to its reciprocal; then its curve is
        interpolated by what it follows from.
    """

    key: str
    title: str
    unit: str
    rises: bool
    band: str = ""
    power: int = 1


X_AXES = (
    Axis(
        key="interactivity",
        title="Interactivity",
        unit="tok/s/user",
        rises=True,
        band="interactivity",
    ),
    Axis(
        key="median_ttft_s",
        title="Median Time to First Token",
        unit="s",
        rises=False,
        band="median_ttft_s",
    ),
    Axis(key="p90_ttft_s", title="P90 Time to First Token", unit="s", rises=False),
    Axis(key="median_e2el_s", title="Median End-to-end Latency", unit="s", rises=False),
)
AGENT_X_AXES = (
    Axis(key="interactivity_p90", title="P90 Interactivity", unit="tok/s/user", rises=True),
    Axis(
        key="e2e_norm_p90",
        title="P90 E2E-normalised Interactivity",
        unit="tok/s/user",
        rises=True,
    ),
)
"""Axes of session trees; they come first where every point has them."""
_TPUT = "total_tput_per_gpu"
Y_AXES = (
    Axis(key=_TPUT, title="Token Throughput per Chip", unit="tok/s/chip", rises=True, band=_TPUT),
    Axis(
        key="output_tput_per_gpu",
        title="Output Token Throughput per Chip",
        unit="tok/s/chip",
        rises=True,
        band=_TPUT,
    ),
    Axis(
        key="tokens_per_s_per_mw",
        title="Token Throughput per MW",
        unit="tok/s/MW",
        rises=True,
        band=_TPUT,
    ),
    Axis(
        key="usd_per_million_tokens",
        title="Cost per Million Tokens",
        unit="$",
        rises=False,
        band=_TPUT,
        power=-1,
    ),
    Axis(
        key="usd_per_million_output_tokens",
        title="Cost per Million Output Tokens",
        unit="$",
        rises=False,
        band=_TPUT,
        power=-1,
    ),
    Axis(
        key="joules_per_token",
        title="Energy per Token",
        unit="J",
        rises=False,
        band=_TPUT,
        power=-1,
    ),
)
FACETS = {
    "source": "Run or source",
    "model": "Model",
    "precision": "Precision",
    "lengths": "Input/output length",
    "sku": "Chip",
    "engine": "Engine",
    "level": "Software level",
    "speculation": "Speculation",
    "kind": "Kind of prediction",
    "layout": "Layout",
    "label": "Deployment",
    "gpus": "GPUs",
}
"""Columns by which points can be filtered, and what the page calls them."""
_LIKE_WITH_LIKE = ("precision", "speculation")
"""Facets that keep measured points off at first if no simulated point has their value."""
_MOST_VALUES = 40


def measured_points(runs: pd.DataFrame, *, points: pd.DataFrame) -> pd.DataFrame:
    """Measured runs in the columns of the simulated points, as far as they tell.

    Dollars and power per token follow from the price and power of the curve that a run is drawn
    with; a run that belongs to none has no such figures.

    Parameters
    ----------
    runs:
        As `simulator.studies.overlay.comparable_points` gives them.
    points:
        The simulated points.
    """
    from simulator.studies.report.sources import layout_kind

    found = runs.drop(columns=["kind"], errors="ignore").assign(
        interactivity=1.0 / runs["median_tpot_s"],
        label=runs["layout"].fillna("").astype(str),
        layout=[layout_kind(str(label)) for label in runs["layout"].fillna("")],
        lengths=[f"{isl:.0f}/{osl:.0f}" for isl, osl in zip(runs["isl"], runs["osl"], strict=True)],
    )
    pooled = runs["disaggregated"].eq(True)
    share = (runs["decode_gpus"] / runs["gpus"]).where(pooled, 1.0)
    found["output_tput_per_gpu"] = runs["output_tput_per_gpu"] * share
    first = points.drop_duplicates("series").set_index("series")
    tput = found[_TPUT]
    for name in ("usd_per_million_tokens", "joules_per_token"):
        constant = first[name] * first[_TPUT]
        found[name] = found["series"].map(constant) / tput
    found["tokens_per_s_per_mw"] = 1e6 / found["joules_per_token"]
    usd = found["usd_per_million_tokens"] * tput
    found["usd_per_million_output_tokens"] = usd / found["output_tput_per_gpu"]
    return found


def payload(
    *, points: pd.DataFrame, measured: pd.DataFrame, speeds: Sequence[float], corner: str
) -> dict[str, Any]:
    """Everything that the page's script reads.

    Parameters
    ----------
    points, measured:
        Simulated and measured points; the row of each in the page's tables is its position,
        measured ones after simulated ones.
    speeds:
        Compared speeds per user, drawn as lines. [tok/s/user]
    corner:
        Who simulated it.
    """
    curves = series_of(points)
    styles = styles_of(curves)
    names = [curve.name for curve in curves]
    own = [axis for axis in AGENT_X_AXES if axis.key in points]
    of_agents = bool(own) and bool(points[own[0].key].notna().all())
    across = (*own, *X_AXES) if of_agents else (*X_AXES, *own)
    axes = {"x": _known(across, points), "y": _known(Y_AXES, points)}
    cells = _Cells(points=points, measured=measured)
    return {
        "corner": corner,
        "speeds": list(speeds),
        "otherColour": FAINT_INK,
        "axes": {side: [asdict(axis) for axis in known] for side, known in axes.items()},
        "series": [
            {"name": name, "colour": styles[name][0], "dashes": list(styles[name][1][1])}
            for name in names
        ],
        "facets": _facets(cells),
        "points": _columns(cells, names=names, axes=(*axes["x"], *axes["y"])),
    }


def _known(axes: Sequence[Axis], points: pd.DataFrame) -> list[Axis]:
    return [axis for axis in axes if points[axis.key].notna().any()]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cells:
    """Simulated points and measured ones after them."""

    points: pd.DataFrame
    measured: pd.DataFrame

    def of(self, column: str) -> list[Any]:
        """A column of both; ``None`` where a table does not have it."""
        return [
            cell
            for table in (self.points, self.measured)
            for cell in (table[column].tolist() if column in table else [None] * len(table))
        ]


def _facets(both: _Cells) -> list[dict[str, Any]]:
    """Columns with several values; a point without a value has the position -1 and stays."""
    facets = []
    for column, title in FACETS.items():
        texts = [_text(cell) for cell in both.of(column)]
        values = sorted(set(filter(None, texts)), key=_order)
        if 1 < len(values) <= _MOST_VALUES:
            at = {value: position for position, value in enumerate(values)} | {"": -1}
            alike = (
                {*values} if column not in _LIKE_WITH_LIKE else {*map(_text, both.points[column])}
            )
            facets.append(
                {
                    "title": title,
                    "values": values,
                    "of": [at[text] for text in texts],
                    "off": [at[value] for value in values if value not in alike],
                }
            )
    return facets


def _text(value: Any) -> str:
    if value is None or value != value:
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _order(value: str) -> tuple[float, str]:
    return (float(value), "") if value.replace(".", "", 1).isdigit() else (math.inf, value)


def _columns(both: _Cells, *, names: Sequence[str], axes: Sequence[Axis]) -> dict[str, list[Any]]:
    at = {name: position for position, name in enumerate(names)}
    bands = dict.fromkeys(axis.band for axis in axes if axis.band)
    banded = [f"{name}_{end}" for name in bands for end in ("lo", "hi")]
    keys = dict.fromkeys([*(axis.key for axis in axes), "p90_ttft_s", *banded])
    labels = [_text(label) for label in both.of("label")]
    return {
        "series": [at.get(name, -1) for name in both.of("series")],
        "measured": [0] * len(both.points) + [1] * len(both.measured),
        "allowed": [int(flag is not False) for flag in both.of("meets_limits")],
        "shape": [marker(label) for label in labels],
        "text": [point_text(*of) for of in zip(labels, both.of("concurrency"), strict=True)],
        **{key: [_number(cell) for cell in both.of(key)] for key in keys},
    }


def point_text(label: str, concurrency: float) -> str:
    """How a picture names a point: layout, and concurrency after c."""
    return f"{label} c{concurrency:.0f}".strip() if concurrency == concurrency else label


def _number(value: Any) -> float | None:
    number = math.nan if value is None else float(value)
    return float(f"{number:.{_DIGITS}g}") if math.isfinite(number) else None
