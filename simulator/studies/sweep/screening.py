"""Which deployments may be on the frontier, judged by single steps before anything runs.

Where everything that was ever run on a SKU competes, nine tenths of the runs would be dominated.
A deployment's bound (`simulator.prediction.bounds`) gives, at each number of clients, a speed per
user and a throughput that no schedule passes. A deployment stays if one of its points comes
within a factor of the best bound at its speed, and is among the first few by that. This assumes
that real runs lie under their bounds by like factors; nothing has tested it, so that a deployment
that would win may be left out, and each that is left out is listed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from simulator.output.processes import run_in_processes
from simulator.prediction.assembly import assemble
from simulator.prediction.bounds import deployment_bounds
from simulator.scenario.configure import configure_run
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulator.studies.sweep.points import ConcurrencySweep

KEPT_WITHIN = 0.6
"""Share of the best bound at its speed that a deployment must reach somewhere. [-]"""

MOST_KEPT = 6
"""Deployments of a SKU that are simulated at the most: those whose bounds come nearest. [-]"""

CLIENTS_PER_8_GPUS = (1, 4, 16, 64, 256, 1024)
"""Loads at which bounds are taken. [requests]"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Screened:
    """Deployments that stay, and why each other one does not.

    Parameters
    ----------
    kept:
        In their order.
    dropped:
        Those that do not, with the reason.
    """

    kept: tuple[ConcurrencySweep, ...]
    dropped: tuple[tuple[ConcurrencySweep, str], ...]


def screen(sweeps: Sequence[ConcurrencySweep], *, workers: int | None = None) -> Screened:
    """Drop deployments whose bounds stay behind those of others at every speed.

    At most `MOST_KEPT` stay. A deployment that cannot run is among those that do not.

    Parameters
    ----------
    workers:
        Processes; ``None``: one per core. The result does not depend on their number.
    """
    from joblib import cpu_count

    processes = min(workers or cpu_count(), max(1, len(sweeps) // 4))
    points = list(run_in_processes(bound_points, sweeps, processes=processes))
    known = np.array([point for each in points for point in each], dtype=float).reshape(-1, 2)
    shares = [
        max((y / known[known[:, 0] >= x, 1].max() for x, y in own), default=0.0) for own in points
    ]
    order = sorted(range(len(sweeps)), key=lambda index: (-shares[index], index))
    best = {index for index in order[:MOST_KEPT] if shares[index] >= KEPT_WITHIN}
    if not best:  # no bound could be worked out: the runs say why
        best = set(range(len(sweeps)))
    return Screened(
        kept=tuple(each for index, each in enumerate(sweeps) if index in best),
        dropped=tuple(
            (each, f"its bound reaches {100 * shares[index]:.0f} % of others' at equal speed")
            for index, each in enumerate(sweeps)
            if index not in best
        ),
    )


def bound_points(sweep: ConcurrencySweep) -> list[tuple[float, float]]:
    """Speed per user [tok/s] and tokens per second and GPU that no schedule passes, by load.

    Empty where the deployment cannot run.
    """
    gpus = sweep.gpus
    found: list[tuple[float, float]] = []
    try:
        configuration, _ = configure_run(
            sweep.load,
            target=sweep.target,
            pools=sweep.pools,
            concurrency=64 * max(1, gpus // 8),
        )
        bounds = deployment_bounds(configuration, assembly=assemble(configuration))
    except UserError:
        return []
    tokens = bounds.prompt_tokens + bounds.output_tokens
    for clients in CLIENTS_PER_8_GPUS:
        concurrency = max(1, clients * gpus // 8)
        per_worker = -(-concurrency // bounds.last.workers)
        speed = bounds.tokens_per_s_of(per_worker)
        rate = bounds.requests_per_s(concurrency=concurrency)
        found.append((speed, rate * tokens / gpus))
    return found
