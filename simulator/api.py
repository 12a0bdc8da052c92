"""Functions of the Python interface that are not a module's own; see the package `simulator`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from simulator.scenario import build_scenario

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Unpack

    import pandas as pd
    from matplotlib.figure import Figure

    from simulator.curve import CurvePoint, CurveResult
    from simulator.explain import Explanation
    from simulator.explain_setup import Phase
    from simulator.keywords import CurveKeywords
    from simulator.scenario import Scenario


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The Pareto curve of one SKU.

    Parameters
    ----------
    result:
        Points, refused layouts, resolved settings, assumptions and per-request records.
    """

    result: CurveResult

    @property
    def frontier(self) -> list[CurvePoint]:
        """Points that no other beats, by ascending interactivity."""
        return self.result.frontier

    @property
    def caption(self) -> str:
        """What the curve shows, in one line."""
        return self.result.caption

    def frame(self) -> pd.DataFrame:
        """Every point, dominated ones too (``on_frontier`` tells them apart). SI units."""
        from simulator.output import points_frame

        return points_frame(self.result)

    def plot(self, path: Path | None = None, *, log: bool = False) -> Figure:
        """The Pareto plot; written as PNG where a path is given."""
        from simulator.output import curve_series
        from simulator.plots import pareto_figure, save_figure

        figure = pareto_figure(series=[curve_series(self.result)], caption=self.caption, log=log)
        if path is not None:
            save_figure(figure, path)
        return figure


@dataclass(frozen=True, kw_only=True)
class ExplainedStep:
    """One step of a worker, taken apart.

    Parameters
    ----------
    explanation:
        Times, bytes, FLOPs and sensitivities.
    scenario:
        What was asked for.
    """

    explanation: Explanation
    scenario: Scenario

    def frame(self) -> pd.DataFrame:
        """The step's time by component. [s]"""
        import pandas as pd

        return pd.DataFrame([part.to_dict() for part in self.explanation.components])

    def plot(self, path: Path | None = None) -> Figure:
        """The time of decode steps against batch and against context.

        Raises
        ------
        UserError
            If the step is not a decode step.
        """
        from simulator.explain_plots import step_time_figure, sweep_steps
        from simulator.plots import save_figure

        figure = step_time_figure([sweep_steps(self.scenario, self.explanation)])
        if path is not None:
            save_figure(figure, path)
        return figure


def curve(
    *,
    scenario: Path | None = None,
    on_progress: Callable[[int, int, str], None] | None = None,
    **settings: Unpack[CurveKeywords],
) -> Curve:
    """Simulate the Pareto curve of one SKU: every layout that fits, at rising concurrency.

    Parameters
    ----------
    scenario:
        YAML file of settings; keyword settings override it.
    on_progress:
        Called with (points done, points at the most, what is under way).
    settings:
        Fields of `simulator.scenario.Scenario`.

    Raises
    ------
    UserError
        If a setting is unknown or out of range, or no layout divides the chosen GPUs.
    """
    from simulator.curve import explore_curve

    source = build_scenario(flags=settings, file=scenario)
    return Curve(result=explore_curve(source, on_progress=on_progress))


def explain(
    *,
    clients: int = 64,
    phase: Phase = "decode",
    context: int | None = None,
    new_tokens: int | None = None,
    scenario: Path | None = None,
    **settings: Unpack[CurveKeywords],
) -> ExplainedStep:
    """Take one step of a worker apart: time by component and limit, bytes, sensitivities.

    Parameters
    ----------
    clients:
        Requests of the worker. [requests]
    phase, context, new_tokens:
        See `simulator.explain.explain_scenario`.
    scenario, settings:
        As `curve`.

    Raises
    ------
    UserError
        If a setting is unknown or out of range, or the model does not fit.
    """
    from simulator.explain import explain_scenario

    asked = build_scenario(flags=settings, file=scenario).scenario
    explanation = explain_scenario(
        asked, concurrency=clients, phase=phase, context=context, new_tokens=new_tokens
    )
    return ExplainedStep(explanation=explanation, scenario=asked)


def predict(
    runs: pd.DataFrame | Path, *, calibration: Path | None = None, workers: int = 1
) -> pd.DataFrame:
    """Predict every row of a table of runs; see `simulator.predict.predict_table`.

    Raises
    ------
    UserError
        If a file cannot be read or lacks a column.
    """
    from pathlib import Path

    from simulator.predict import predict_table
    from simulator.run_table import read_run_table

    table = read_run_table(runs) if isinstance(runs, Path) else runs
    return predict_table(table, calibration=calibration, workers=workers)


def catalog(what: str = "skus") -> pd.DataFrame:
    """SKUs, models, engines, levels, recipes, workloads or economics, one a row. SI units.

    Raises
    ------
    UserError
        If there is no such kind.
    """
    from simulator.catalog_views import catalog_list

    return catalog_list(what)


def show(what: str, name: str) -> dict[str, Any]:
    """A SKU, model, engine, recipe or economics file in full, with sources.

    Raises
    ------
    UserError
        If there is no such kind or name.
    """
    from simulator.catalog_sheets import sheet_of

    return sheet_of(what, name)
