"""Builds a report from runs, or from the settings of one curve."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from simulator.output.run_directory import RunDirectory
from simulator.output.text_tables import records_of
from simulator.studies.curve.api import curve
from simulator.studies.overlay import comparable_points, labels_of_runs
from simulator.studies.pareto_plot import series_of
from simulator.studies.report.page import page
from simulator.studies.report.payload import measured_points, payload
from simulator.studies.report.sources import WRITERS, source_of, told_apart
from simulator.studies.series import known_sku
from simulator.version import version
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.figure import Figure

    from simulator.studies.agentx.result import AgentxResult
    from simulator.studies.report.sources import Reportable, Source

MOST_POINTS = 5000
"""Simulated points that a page holds; of more, dominated ones stay in the runs' own files."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """An interactive page about one or more runs.

    Parameters
    ----------
    title:
        Its heading.
    sources:
        The runs, in the order given.
    points:
        See `frame`.
    measured:
        Measured runs beside them; empty if there are none.
    notes:
        Remarks about the report as a whole.
    """

    title: str
    sources: tuple[Source, ...]
    points: pd.DataFrame
    measured: pd.DataFrame
    notes: tuple[str, ...]

    def frame(self) -> pd.DataFrame:
        """Every simulated point of the page with its ``series`` and ``source``. SI units."""
        return self.points.copy()

    def html(self) -> str:
        """The page: it needs no other file and no network."""
        corner = f"simulated, forecurve {version()}"
        return page(
            title=self.title,
            sources=self.sources,
            points=self.points,
            measured=self.measured,
            notes=self.notes,
            data=payload(
                points=self.points, measured=self.measured, speeds=self.speeds, corner=corner
            ),
            corner=corner,
        )

    @property
    def speeds(self) -> tuple[float, ...]:
        """Speeds per user at which its runs were compared. [tok/s/user]"""
        tables = [one.comparison for one in self.sources if one.comparison is not None]
        return tuple(sorted({float(x) for table in tables for x in table["interactivity"]}))

    def summary(self) -> dict[str, Any]:
        """What the page shows as one JSON object. SI units."""
        return {
            "generator": f"forecurve {version()}",
            "simulated": True,
            "title": self.title,
            "sources": [
                {"name": one.name, "caption": one.caption, "settings": dict(one.settings)}
                for one in self.sources
            ],
            "points": records_of(self.points),
            "measured": records_of(self.measured),
            "notes": list(self.notes),
        }

    def write(self, path: Path) -> None:
        """Write the page; it appears complete or not at all.

        Raises
        ------
        UserError
            If the file cannot be written.
        """
        text = self.html()
        with RunDirectory(path.parent) as directory:
            try:
                directory.stage(path.name).write_text(text, encoding="utf-8")
            except OSError as error:
                raise directory.unwritable(error) from None

    def plot(self, path: Path | None = None, *, log: bool = False) -> Figure:
        """The page's Pareto plot as a picture; written as PNG where a path is given.

        Of the measured runs it shows those that are like a curve in every filter.
        """
        from simulator.output.style import save_figure
        from simulator.studies.pareto_plot import pareto_figure

        alike = self.measured
        if not alike.empty:
            alike = alike[alike["differs"] == ""]
        figure = pareto_figure(
            series=series_of(self.points),
            caption="; ".join(source.caption for source in self.sources),
            measured=None if alike.empty else alike,
            log=log,
        )
        if path is not None:
            save_figure(figure, path)
        return figure


def report(
    *runs: Reportable,
    out: Path | str | None = None,
    overlay: pd.DataFrame | None = None,
    title: str = "",
    scenario: Path | None = None,
    on_progress: Callable[[int, int, str], None] | None = None,
    **settings: Any,
) -> Report:
    """One self-contained HTML page: an interactive Pareto plot, its tables and their provenance.

    Parameters
    ----------
    runs:
        Directories that ``simulate``, ``simulate agentx``, ``sweep``, ``compare`` or ``timeline``
        wrote, or results of those functions.
    out:
        File to write; ``None``: none.
    overlay:
        Measured runs to set beside the curves, as `calibration.measured.runs.load_measured` or
        `calibration.importers.runs.import_runs` give them.
    title:
        Heading of the page; empty: models and chips.
    scenario, on_progress, settings:
        As `simulator.studies.curve.run`: a curve that is simulated now and joins the runs; with
        ``trees`` a replay of session trees, as `simulator.studies.agentx.api.agentx`.

    Raises
    ------
    UserError
        If there is nothing to report, a directory cannot be read, a setting is unknown or out
        of range, or the file cannot be written.
    """
    path = None if out is None else checked_page(Path(out))
    _refuse_repeats(runs)
    sources = [source_of(run) for run in runs]
    if settings or scenario is not None:
        if scenario is None and "sku" not in settings:
            raise UserError("no SKU is given for the curve; name one with --sku, as in --sku b300")
        if "trees" in settings:
            sources.append(source_of(_replayed(scenario, settings, on_progress=on_progress)))
        else:
            drawn = curve(scenario=scenario, on_progress=on_progress, **settings)
            sources.append(source_of(drawn))
    if not sources:
        raise UserError(
            f"a report needs runs: name directories that {WRITERS} wrote, or a SKU with --sku"
        )
    built = build(told_apart(sources), overlay=overlay, title=title)
    if path is not None:
        built.write(path)
    return built


def _replayed(
    scenario: Path | None,
    settings: dict[str, Any],
    *,
    on_progress: Callable[[int, int, str], None] | None,
) -> AgentxResult:
    from simulator.studies.agentx.request import build_agentx
    from simulator.studies.agentx.run import run_agentx

    flags = dict(settings)
    sku = flags.pop("sku", None)
    asked = build_agentx([sku] if sku else [], flags=flags, file=scenario)
    return run_agentx(asked, on_progress=on_progress)


def _refuse_repeats(runs: Sequence[Reportable]) -> None:
    """Refuse a directory that is given twice, under whatever name."""
    seen: set[Path] = set()
    for run in runs:
        if isinstance(run, Path | str):
            if Path(run).resolve() in seen:
                raise UserError(f"{run} is given twice; name each directory once")
            seen.add(Path(run).resolve())


def checked_page(path: Path) -> Path:
    """A path that a page can have.

    Raises
    ------
    UserError
        If it is a directory or does not end as HTML files do.
    """
    if path.is_dir():
        raise UserError(f"cannot write {path}: it is a directory; name a file in it, as page.html")
    if path.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"cannot write {path}: a report is an HTML page; name it {path.stem}.html")
    return path


def build(sources: Sequence[Source], *, overlay: pd.DataFrame | None, title: str) -> Report:
    """A report of sources, see `report`."""
    points = pd.concat([source.points for source in sources], ignore_index=True)
    points, notes = _within_limit(points)
    own, told = comparable_points(overlay, curves=labels_of_runs(points))
    notes += told
    measured = pd.DataFrame() if own is None else measured_points(own, points=points)
    notes += _mismatches(points, measured)
    others = sorted({one.generator for one in sources} - {f"forecurve {version()}"})
    if others:
        notes.append(f"simulated by {', '.join(others)}; the page is of forecurve {version()}")
    return Report(
        title=title or _title(points),
        sources=tuple(sources),
        points=points,
        measured=measured,
        notes=tuple(notes),
    )


def _within_limit(points: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Points that fit a page: all on a frontier, and evenly many of the others."""
    excess = len(points) - MOST_POINTS
    if excess <= 0:
        return points, []
    dominated = points.index[~points["on_frontier"]]
    room = max(0, len(dominated) - excess)
    kept = dominated[np.linspace(0, len(dominated) - 1, room).astype(int)]
    few = points.loc[points["on_frontier"] | points.index.isin(kept)].reset_index(drop=True)
    note = (
        f"of {len(points):,} simulated points the page holds {len(few):,}: every one on a "
        "frontier and a sample of the dominated ones; the runs' own files have all"
    )
    return few, [note]


def _mismatches(points: pd.DataFrame, measured: pd.DataFrame) -> list[str]:
    """What a reader of one plot must know if its points are not alike."""
    notes = []
    for column, words in (
        ("model", "models"),
        ("lengths", "input and output lengths"),
        ("precision", "precisions"),
        ("economics", "economics files"),
    ):
        values = points[column].unique()
        if len(values) > 1:
            notes.append(f"curves of different {words} share the plot: {', '.join(values)}")
    hidden = pd.Series(False, index=measured.index)
    for column in () if measured.empty else ("precision", "speculation"):
        hidden |= ~measured[column].isin({"", *points[column]}) & measured[column].notna()
    if hidden.any():
        notes.append(
            f"{int(hidden.sum())} measured runs of a precision or speculation that no curve has "
            "are off until the filters show them"
        )
    return notes


def _title(points: pd.DataFrame) -> str:
    skus = [known_sku(str(sku)) for sku in points["sku"].unique()]
    names = [
        str(name) if sku is None else sku.name
        for name, sku in zip(points["sku"].unique(), skus, strict=True)
    ]
    return f"{', '.join(points['model'].unique())} on {', '.join(dict.fromkeys(names))}"
