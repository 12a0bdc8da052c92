"""Sweeps of SKUs as they are best deployed: all forms that were run on them compete."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from simulator.studies.series import AS_DEPLOYED, on_frontier, series_names
from simulator.studies.sweep.run import run_sweeps

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pandas as pd

    from simulator.analysis.objectives import Objectives
    from simulator.scenario.grid import SweepSettings
    from simulator.studies.sweep.executors import Executor
    from simulator.studies.sweep.run import SweepResult


def best_sweep(
    settings: SweepSettings,
    *,
    directory: Path | None = None,
    limits: Objectives | None = None,
    per_engine: bool = False,
    every: bool = False,
    workers: int | None = None,
    executor: Executor | None = None,
    on_progress: Callable[[int, int, str], None] | None = None,
) -> SweepResult:
    """Sweep all forms in which SKUs were deployed; a frontier of all of them for each question.

    Several values of stated speculation have frontiers of their own.

    Parameters
    ----------
    settings:
        Without an engine, layouts, pools and server settings.
    per_engine:
        A frontier for each engine and speculation instead.
    every:
        Whether to run what cannot be on a frontier too.
    directory, limits, workers, executor, on_progress:
        As `simulator.studies.sweep.run.run_sweep`.

    Raises
    ------
    UserError
        As `simulator.studies.sweep.run.run_sweep`.
    """
    (result,) = run_sweeps(
        [settings],
        directory=directory,
        workers=workers,
        executor=executor,
        limits=limits,
        as_deployed=True,
        per_engine=per_engine,
        prunes=not every,
        on_progress=on_progress,
    )
    if per_engine or result.runs.empty:
        return result
    runs = result.runs.assign(series=series_as_deployed(result.runs, settings))
    return replace(result, runs=runs.assign(on_frontier=on_frontier(runs)))


def series_as_deployed(runs: pd.DataFrame, settings: SweepSettings) -> list[str]:
    """A name for the series of each run: chips, and what was asked for in several values."""
    alike = runs.assign(engine=AS_DEPLOYED.strip())
    if "spec" not in settings.varied:
        alike = alike.assign(spec="none")
    names = series_names(alike)
    if len(settings.values["economics"]) > 1:
        names = [f"{name}, {dated}" for name, dated in zip(names, runs["economics"], strict=True)]
    return [name.replace(f" ({AS_DEPLOYED.strip()})", AS_DEPLOYED) for name in names]
