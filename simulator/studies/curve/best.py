"""The curve of a SKU as it is best deployed: all forms that were run on it compete."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hwmodels.sku import load_sku
from simulator.studies.series import on_frontier
from simulator.studies.sweep.run import run_sweeps
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from simulator.scenario.grid import SweepSettings
    from simulator.studies.sweep.run import SweepResult


def best_curve(
    settings: SweepSettings,
    *,
    directory: Path | None = None,
    ttft_p90_s: float | None = None,
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
    ttft_p90_s:
        Largest 90 % quantile of the TTFT on the frontier; ``None``: any. [s]
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
        ttft_p90_s=ttft_p90_s,
        as_deployed=True,
        per_engine=per_engine,
        prunes=not every,
        on_progress=on_progress,
    )
    if per_engine or result.runs.empty:
        return result
    name = load_sku(settings.values["sku"][0]).name
    runs = result.runs.assign(series=f"{name} as best deployed")
    return replace(result, runs=runs.assign(on_frontier=on_frontier(runs)))
