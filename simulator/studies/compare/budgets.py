"""Step token budgets of compared systems: prompts take as long as the step that they are cut to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.engines.pools import parse_deployment
from simulator.prediction.notes import unequal_budgets
from simulator.scenario.configure import configure_run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulator.scenario.configuration import RunConfiguration
    from simulator.studies.compare.request import ComparedSystem
    from simulator.studies.compare.sides import Side


def budgets_that_differ(
    systems: Sequence[ComparedSystem], sides: Sequence[Side]
) -> tuple[str, ...]:
    """Budgets of each side's point of most throughput, if they are not all equal."""
    found: dict[str, RunConfiguration] = {}
    for system, side in zip(systems, sides, strict=True):
        top = side.best.sort_values("total_tput_per_gpu").iloc[-1]
        try:
            pools = parse_deployment(str(top["label"]))
        except ValueError:
            continue  # no label of this kind has a budget to compare
        load = next(system.settings.loads())
        found[system.name], _ = configure_run(
            load, pools=pools, concurrency=int(top["concurrency"])
        )
    return unequal_budgets(found)
