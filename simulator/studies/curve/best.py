"""The curve of a SKU as it is best deployed: all forms that were run on it compete."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from simulator.studies.series import AS_DEPLOYED, on_frontier, series_names
from simulator.studies.sweep.run import run_sweeps
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pandas as pd

    from simulator.analysis.objectives import Objectives
    from simulator.scenario.grid import SweepSettings
    from simulator.studies.sweep.executors import Executor
    from simulator.studies.sweep.run import SweepResult


def best_curve(
    settings: SweepSettings,
    *,
    directory: Path | None = None,
    limits: Objectives | None = None,
    per_engine: bool = False,
    every: bool = False,
    workers: int | None = None,
    on_progress: Callable[[int, int, str], None] | None = None,
) -> SweepResult:
    """Sweep the forms in which a SKU was deployed; one curve of all of them.

    Parameters
    ----------
    settings:
        Of one SKU, without an engine.
    limits:
        TTFT limits and goodput of the frontier; ``None``: those of the settings.
    per_engine:
        A curve for each engine and speculation instead.
    every:
        Whether to run what cannot be on the frontier too.
    directory, workers, on_progress:
        As `simulator.studies.sweep.run.run_sweep`.

    Raises
    ------
    UserError
        If a setting has several values, is unknown or out of range.
    """
    if settings.varied:
        raise UserError(f"{settings.varied[0]} has several values; use simulate sweep")
    return best_sweep(
        settings,
        directory=directory,
        limits=limits,
        per_engine=per_engine,
        every=every,
        workers=workers,
        on_progress=on_progress,
    )


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
    """`best_curve` for settings with several values: a curve of all forms for each of them.

    Speculation that is stated has curves of its own.

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
