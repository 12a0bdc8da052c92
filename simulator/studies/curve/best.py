"""The curve of a SKU as it is best deployed: all forms that were run on it compete."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from simulator.studies.series import chips_of, on_frontier
from simulator.studies.sweep.run import run_sweeps
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from simulator.analysis.objectives import Objectives
    from simulator.scenario.grid import SweepSettings
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
    (result,) = run_sweeps(
        [settings],
        directory=directory,
        workers=workers,
        limits=limits,
        as_deployed=True,
        per_engine=per_engine,
        prunes=not every,
        on_progress=on_progress,
    )
    if per_engine or result.runs.empty:
        return result
    load = next(settings.loads())
    name = chips_of(load.sku, load.prefill_sku)
    runs = result.runs.assign(series=f"{name} as best deployed")
    return replace(result, runs=runs.assign(on_frontier=on_frontier(runs)))
