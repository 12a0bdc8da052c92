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

    from calibration.scoreboard.scoring import GroupScore

BY = (("model", "model"), ("chip", "sku"), ("engine", "engine"), ("what binds", "regime"))
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

    figure = ResultFigure(width=12.0, height=4.4)
    names = {"throughput": "tok/s/GPU", "tpot": "TPOT [s]", "ttft": "TTFT [s]"}
    axes = figure.subplots(1, len(METRICS), squeeze=True)
    known = table[table["answered"]]
    for axis, metric in zip(axes, METRICS, strict=True):
        values = known[[f"measured_{metric}", f"predicted_{metric}"]].dropna()
        axis.set(xlabel=f"measured {names[metric]}", ylabel="predicted")
        if values.empty:
            axis.text(0.5, 0.5, "not measured", ha="center", transform=axis.transAxes)
            continue
        ends = [float(values.min().min()), float(values.max().max())]
        axis.plot(ends, ends, color="0.4", linewidth=0.8)
        axis.set(xscale="log", yscale="log")
        for sku, group in known.groupby("sku"):
            axis.plot(
                group[f"measured_{metric}"],
                group[f"predicted_{metric}"],
                ".",
                markersize=3,
                alpha=0.6,
                label=sku,
            )
        axis.legend(fontsize=6, ncols=2, frameon=False)
    figure.suptitle(f"{title} (forecurve {version()})", fontsize=10)
    figure.tight_layout()
    with staged(path) as stage:
        figure.savefig(stage, dpi=130)
