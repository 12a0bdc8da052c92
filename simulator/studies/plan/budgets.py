"""Step token budgets of planned deployments: prompts take as long as the step that holds them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.engines.pools import parse_deployment
from simulator.prediction.notes import unequal_budgets
from simulator.studies.plan.replica import configure_replica

if TYPE_CHECKING:
    from collections.abc import Iterable

    from simulator.scenario.configuration import RunConfiguration
    from simulator.studies.plan.request import PlanRequest
    from simulator.studies.plan.result import PlanRow


def budgets_that_differ(rows: Iterable[PlanRow], *, request: PlanRequest) -> tuple[str, ...]:
    """Budgets of each SKU's best deployment, if they are not all equal."""
    found: dict[str, RunConfiguration] = {}
    for row in rows:
        if row.sku in found:
            continue
        try:
            pools = parse_deployment(row.label)
        except ValueError:
            continue  # no label of this kind has a budget to compare
        running = row.operating.rate_per_s * row.operating.e2el.mean_s
        found[row.sku], _ = configure_replica(
            row.load,
            pools,
            concurrency=max(round(running), 1),
            traffic=request.traffic(row.load),
        )
    return unequal_budgets(found)
