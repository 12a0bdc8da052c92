"""The curve of a SKU as it is best deployed: all forms that were run on it compete."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.studies.sweep.best import best_sweep
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
    return best_sweep(
        settings,
        directory=directory,
        limits=limits,
        per_engine=per_engine,
        every=every,
        workers=workers,
        on_progress=on_progress,
    )
