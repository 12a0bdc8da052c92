"""One page of scores with pictures, from a table of measured and predicted runs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from calibration.pages.markdown import markdown_table
from calibration.scoreboard.scoring import METRICS, score_groups
from simulator.output.text_file import staged, write_text
from simulator.version import version

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from matplotlib.axes import Axes

    from calibration.scoreboard.scoring import GroupScore

MANY_POINTS = 60
"""Points beyond which they are drawn small."""
_AXES = {"throughput": ("tok/s/GPU", 1.0), "tpot": ("TPOT [ms]", 1e3), "ttft": ("TTFT [ms]", 1e3)}
BY = (
    *(("model", "model"), ("chip", "sku"), ("engine", "engine"), ("what binds", "regime")),
    ("scenario", "scenario"),
)
_HEADS = (
    "runs",
    "answered",
    "tok/s/GPU median / mean",
    "TPOT median / mean",
    "TTFT median / mean",
    "shape tok/s/GPU, TPOT",
    "frontier",
    "ranking",
    "in band, interval score",
)


def write_score_page(table: pd.DataFrame, *, folder: Path, title: str) -> Path:
    """Write ``SCORE.md`` and ``score.png``; returns the page.

    Parameters
    ----------
    table:
        From `calibration.scoreboard.scoring.beside`.
    folder:
        Where to; made where it does not exist.
    title:
        What was scored.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _picture(table, folder / "score.png", title=title)
    page = folder / "SCORE.md"
    write_text(page, score_text(table, title=title))
    return page


def score_text(table: pd.DataFrame, *, title: str) -> str:
    """The page as Markdown."""
    parts = [
        f"# {title}",
        f"forecurve {version()}. Errors are relative, of predicted against measured; definitions: "
        "`calibration/scoreboard/scoring.py`. Mean absolute errors of TPOT and TTFT and the shape "
        "error are what AISimulate and BLIS publish under those names.",
        _table("", score_groups(table)),
        "![predicted against measured](score.png)",
    ]
    parts += [
        f"## By {name}\n\n{_table(name, score_groups(table, by=column))}"
        for name, column in BY
        if column in table and table[column].astype(bool).any()
    ]
    return "\n\n".join(parts) + "\n"


def _table(name: str, groups: list[GroupScore]) -> str:
    return markdown_table([name, *_HEADS], [_row(group) for group in groups])


def _row(group: GroupScore) -> list[str]:
    def both(metric: str) -> str:
        score = group.metrics.get(metric)
        return "–" if score is None else f"{_percent(score.median)} / {_percent(score.mean)}"

    shapes = [group.metrics[m].shape for m in METRICS[:2] if m in group.metrics]
    through = group.metrics.get("throughput")
    return [
        group.name,
        f"{group.selected:,}",
        f"{100 * group.answered_share:.0f} %",
        both("throughput"),
        both("tpot"),
        both("ttft"),
        ", ".join(_percent(shape) for shape in shapes) or "–",
        _percent(group.frontier),
        f"{group.right} of {group.pairs}" if group.pairs else "–",
        "–"
        if through is None or math.isnan(through.coverage)
        else f"{100 * through.coverage:.0f} %, {through.interval:.2f}",
    ]


def _percent(value: float) -> str:
    return "–" if math.isnan(value) else f"{100 * value:.1f} %"


def _picture(table: pd.DataFrame, path: Path, *, title: str) -> None:
    from simulator.output.figure import ResultFigure

    known = table[table["answered"]]
    pairs = {
        metric: known[["sku", f"measured_{metric}", f"predicted_{metric}"]].dropna()
        for metric in METRICS
    }
    drawn = [metric for metric in METRICS if len(pairs[metric])]
    figure = ResultFigure(width=4.2 * max(len(drawn), 1), height=4.4)
    for position, metric in enumerate(drawn):
        axis = figure.add_subplot(1, len(drawn), position + 1)
        name, scale = _AXES[metric]
        values = pairs[metric].set_index("sku") * scale
        values.columns = ["measured", "predicted"]
        low, high = float(values.min().min()) / 1.15, float(values.max().max()) * 1.15
        for factor, style in ((1.0, "-"), (0.8, ":"), (1.25, ":")):
            axis.plot([low, high], [factor * low, factor * high], style, color="0.4", linewidth=0.8)
        for sku, group in values.groupby(level="sku"):
            axis.plot(
                group["measured"],
                group["predicted"],
                "o",
                markersize=6 if len(values) < MANY_POINTS else 2.5,
                markeredgewidth=0,
                alpha=0.7,
                label=sku,
            )
        axis.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high))
        axis.set(xlabel=f"measured {name}", ylabel=f"predicted {name}", aspect="equal")
        _plain_ticks(axis, decades=math.log10(high / low))
        axis.legend(fontsize=6, ncols=2, frameon=False)
    figure.suptitle(f"{title} (forecurve {version()}); dotted: 25 % off", fontsize=10)
    figure.tight_layout()
    with staged(path) as stage:
        figure.savefig(stage, dpi=130)


def _plain_ticks(axis: Axes, *, decades: float) -> None:
    """Ticks of a logarithmic axis as plain numbers, few enough to be read."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    subs = (
        (1.0,) if decades > 2.5 else (1.0, 3.0) if decades > 1.2 else (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
    )
    for side in (axis.xaxis, axis.yaxis):
        side.set_major_locator(LogLocator(subs=subs))
        side.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
        side.set_minor_formatter(NullFormatter())
