"""Step token budgets of compared systems: prompts take as long as the step that they are cut to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.engines.pools import parse_deployment
from simulator.scenario.configure import configure_run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulator.studies.compare.request import ComparedSystem
    from simulator.studies.compare.sides import Side


def unequal_budgets(systems: Sequence[ComparedSystem], sides: Sequence[Side]) -> tuple[str, ...]:
    """Budgets of each side's point of most throughput, if they are not all equal.

    A budget is what one rank of the pool that prefills computes in a step. [tokens]
    """
    found: dict[str, tuple[str, int, str]] = {}
    for system, side in zip(systems, sides, strict=True):
        top = side.best.sort_values("total_tput_per_gpu").iloc[-1]
        try:
            pools = parse_deployment(str(top["label"]))
        except ValueError:
            continue  # no label of this kind has a budget to compare
        load = next(system.settings.loads())
        configuration, _ = configure_run(load, pools=pools, concurrency=int(top["concurrency"]))
        pool = configuration.pools[0]
        budget = pool.engine.step_token_budget(attention_dp=pool.layout.attention_dp)
        found[system.name] = (pool.layout.label, budget, pool.engine.budget_setting)
    if len({budget for _, budget, _ in found.values()}) < 2:
        return ()
    named = "; ".join(f"{name} {budget:,} ({label})" for name, (label, budget, _) in found.items())
    settings = dict.fromkeys(setting for _, _, setting in found.values())
    flags = " or ".join(f"--engine-set {setting}=N" for setting in settings)
    return (f"step token budgets of a rank differ: {named}; {flags} evens them out",)
