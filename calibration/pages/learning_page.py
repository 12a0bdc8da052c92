"""The error curve of own runs as a table and a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from calibration.fit.observations import METRICS
from calibration.pages.markdown import markdown_table, percent
from calibration.validation.learning import OWN_RUNS, curve_table
from simulator.output.style import FAINT_INK, GRID, INK, save_figure
from simulator.output.text_file import write_text
from workloads.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from matplotlib.figure import Figure

BEGIN = "<!-- own runs: written by simulate calibrate learning-curve -->"
END = "<!-- own runs: end -->"
PICTURE = "learning_curve.png"
LABELS = {"throughput": "tok/s/GPU", "tpot": "TPOT", "ttft": "TTFT"}
_COLOURS = {"throughput": "#1f6f8b", "tpot": "#c94f7c", "ttft": "#8a8a8a"}


def learning_text(errors: pd.DataFrame, *, source: str, picture: str) -> str:
    """Table and picture as Markdown.

    Parameters
    ----------
    errors:
        From `calibration.validation.learning.learning_curve`.
    source:
        The fit behind it.
    picture:
        Where the picture lies, seen from the page.
    """
    table = curve_table(errors)
    header = ("own runs", "cells", *LABELS.values())
    parts = []
    for enough, text in (
        (True, f"Cells with {OWN_RUNS[-1] + 2} runs of one build or more:"),
        (False, "All sampled cells:"),
    ):
        rows = [
            [
                str(row["own_runs"]),
                str(row["cells"]),
                *(percent(row[metric], digits=1) for metric in METRICS),
            ]
            for row in table[table["enough"] == enough].to_dict("records")
        ]
        if rows:
            parts += [text, markdown_table(header, rows)]
    note = (
        f"Median over cells of the median error of a cell's other runs ({source}; linearised "
        "responses)."
    )
    return "\n\n".join([*parts, note, f"![What own runs do to one's error]({picture})"])


def learning_figure(errors: pd.DataFrame) -> Figure:
    """Median error over own runs, with the quartiles over cells, one panel a metric."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    large = errors[errors["enough"]] if errors["enough"].any() else errors
    shown = [count for count in OWN_RUNS if (large["own_runs"] == count).any()]
    of_cell = large.groupby(["own_runs", "cell"])[list(METRICS)].median().reset_index()
    figure = Figure(figsize=(10.5, 3.9))
    FigureCanvasAgg(figure)
    cells = of_cell["cell"].nunique()
    figure.text(
        0.06, 0.93, "What own runs do to one's error", fontsize=12.5, fontweight="bold", color=INK
    )
    figure.text(
        0.06,
        0.865,
        f"cells (model, engine, SKU, layout) left out: median and quartiles of {cells} cells",
        fontsize=8.5,
        color=FAINT_INK,
    )
    places = np.arange(len(shown))
    for number, metric in enumerate(METRICS):
        axes = figure.add_axes((0.06 + 0.325 * number, 0.14, 0.26, 0.61))
        quartiles = np.array(
            [
                of_cell.loc[of_cell["own_runs"] == count, metric].quantile([0.25, 0.5, 0.75])
                for count in shown
            ]
        )
        axes.fill_between(
            places,
            100 * quartiles[:, 0],
            100 * quartiles[:, 2],
            color=_COLOURS[metric],
            alpha=0.18,
            linewidth=0,
        )
        axes.plot(places, 100 * quartiles[:, 1], color=_COLOURS[metric], marker="o", linewidth=1.8)
        for place, value in zip(places, 100 * quartiles[:, 1], strict=True):
            axes.annotate(
                f"{value:.1f}",
                (place, value),
                textcoords="offset points",
                xytext=(0, 6),
                ha="center",
                fontsize=8.5,
                color=INK,
            )
        axes.set_title(LABELS[metric], fontsize=9.5, color=INK, loc="left")
        axes.set_xticks(places, [str(count) for count in shown])
        axes.set_xlabel("own runs", fontsize=8.5, color=INK)
        axes.set_ylabel("error [%]" if number == 0 else "", fontsize=8.5, color=INK)
        axes.set_ylim(0.0, float(100 * np.nanmax(quartiles)) * 1.15)
        axes.set_xlim(-0.3, len(shown) - 0.7)
        axes.grid(color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(colors=FAINT_INK, labelsize=8, length=3)
    return figure


def write_learning(
    errors: pd.DataFrame, *, source: str, directory: Path, page: Path | None
) -> list[Path]:
    """Write table and picture into a directory, or into a page between its marks.

    Raises
    ------
    UserError
        If the page lacks the marks.
    """
    folder = directory if page is None else page.parent.parent / "images"
    picture = folder / PICTURE
    before = "" if page is None else page.read_text(encoding="utf-8")
    if page is not None and not (BEGIN in before and END in before.partition(BEGIN)[2]):
        raise UserError(f"{page} lacks the lines '{BEGIN}' and '{END}' around what is written")
    folder.mkdir(parents=True, exist_ok=True)
    save_figure(learning_figure(errors), picture)
    if page is None:
        target = directory / "learning_curve.md"
        write_text(target, learning_text(errors, source=source, picture=PICTURE) + "\n")
        return [target, picture]
    text = learning_text(errors, source=source, picture=f"../images/{PICTURE}")
    head, _, rest = before.partition(BEGIN)
    tail = rest.partition(END)[2]
    write_text(page, f"{head}{BEGIN}\n\n{text}\n\n{END}{tail}")
    return [page, picture]
