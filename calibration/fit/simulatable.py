"""Which observations the simulator can answer for, found before anything runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.prediction.assembly import assemble
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from calibration.fit.observations import Observation

_MEMORY = (
    *("gpu_memory_utilization", "mem_fraction_static", "kv_free_gpu_memory_fraction"),
    "redundant_experts",
)


def refusals(observations: Sequence[Observation]) -> dict[int, str]:
    """Why observations cannot be simulated, by their ``row``.

    Every configuration that shares its costs with another one is put together once: a precision
    that the model does not come in, a layout that does not divide it and weights that do not fit
    show there. What depends on the load alone shows in the responses.
    """
    problems: dict[tuple[object, ...], str] = {}
    refused: dict[int, str] = {}
    for observation in observations:
        key = _key(observation)
        if key not in problems:
            try:
                assemble(observation.configuration)
                problems[key] = ""
            except UserError as error:
                problems[key] = str(error).splitlines()[0]
        if problems[key]:
            refused[observation.row] = problems[key]
    return refused


def _key(observation: Observation) -> tuple[object, ...]:
    """What decides whether a configuration fits: all but its date, load and token budgets."""
    run = observation.configuration
    pools = tuple(
        (
            pool.role,
            pool.layout,
            str(sorted(pool.plan.items())),
            *(getattr(pool.settings, name, None) for name in _MEMORY),
        )
        for pool in run.pools
    )
    return (
        run.model,
        run.sku.key,
        run.engine.label,
        run.precision,
        run.drafts,
        run.isl + run.osl,
        *pools,
    )
