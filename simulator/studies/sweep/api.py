"""The Python interface of sweeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simulator.analysis.objectives import stated_limits
from simulator.scenario.deployed_forms import is_all_open
from simulator.scenario.grid import build_sweep
from simulator.studies.sweep.best import best_sweep
from simulator.studies.sweep.executors import cluster_executor
from simulator.studies.sweep.run import run_sweep

if TYPE_CHECKING:
    from pathlib import Path

    from simulator.studies.sweep.executors import ExecutorName
    from simulator.studies.sweep.run import Progress, SweepResult


def sweep(
    *,
    scenario: Path | None = None,
    out: Path | None = None,
    workers: int | None = None,
    executor: ExecutorName = "local",
    address: str | None = None,
    ttft_p50_s: float | None = None,
    ttft_p90_s: float | None = None,
    ttft_p99_s: float | None = None,
    goodput: float | None = None,
    on_progress: Progress | None = None,
    **settings: Any,
) -> SweepResult:
    """Simulate every layout at every concurrency, over any settings with several values.

    Without an engine, layouts, pools and server settings all forms in which a SKU was deployed
    compete for one frontier.

    Parameters
    ----------
    scenario:
        YAML file of settings; keyword settings override it.
    out:
        Directory that keeps the runs: an interrupted sweep finds them there and goes on.
        ``None``: nothing is kept.
    workers:
        Processes; ``None``: one per core. The result does not depend on their number.
    executor, address:
        ``local``: processes of this machine; ``dask``: the workers of a cluster that runs
        already, by the address of its scheduler. They write what they find to ``out``, which
        all machines have to share.
    ttft_p50_s, ttft_p90_s, ttft_p99_s:
        Runs whose percentile of the TTFT exceeds it stay in the table but off the frontier;
        ``None``: no limit. [s]
    goodput:
        Share of the requests that must have a TTFT within the tightest of these. [-]
    on_progress:
        Called with (runs done, runs at the most, what is under way).
    settings:
        Fields of `simulator.scenario.settings.Scenario`, each a value or a list; ``overrides`` maps
        SKU fields to values or lists; ``prefill`` and ``decode`` are workers of each pool
        (``"1-4"``), ``prefill_tp``, ``prefill_ep`` and ``prefill_dp_attention`` lay out a
        prefill worker.

    Raises
    ------
    UserError
        If a setting is unknown or out of range.
    """
    asked = build_sweep(flags=settings, file=scenario)
    is_open = all(is_all_open(asked, load) for load in asked.loads())
    return (best_sweep if is_open else run_sweep)(
        asked,
        directory=out,
        workers=workers,
        executor=cluster_executor(executor=executor, address=address),
        limits=stated_limits(
            ttft_p50_s=ttft_p50_s, ttft_p90_s=ttft_p90_s, ttft_p99_s=ttft_p99_s, goodput=goodput
        ),
        on_progress=on_progress,
    )
