"""What a plan sorts by, and which SKUs it load tests."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from simulator.studies.plan.planner import Planner
    from simulator.studies.plan.request import PlanRequest
    from simulator.studies.plan.result import PlanRow

WORTH_TESTING = 0.4
"""Share of the best SKU's closed loops from which another SKU of a catalogue is tested. [-]"""


def rank_key(request: PlanRequest) -> Callable[[PlanRow], tuple[float, ...]]:
    """What a plan sorts its rows by, the best first.

    The cheapest fleet for a demand; the most requests for a budget; the fastest service within
    a price. Fleets without a price come last, the smallest first.
    """
    asked = request.question
    if asked.mw is not None or asked.fleet_gpus is not None:
        return lambda row: (-row.rate_per_s,)
    if asked.rate is None and asked.users is None:
        return lambda row: (-row.operating.interactivity,)

    def cost(row: PlanRow) -> tuple[float, ...]:
        usd_per_h = row.fleet.usd_per_h
        return (math.inf if usd_per_h is None else usd_per_h, row.fleet.gpus)

    return cost


def worth_testing(planners: Sequence[Planner], *, request: PlanRequest) -> list[Planner]:
    """SKUs to load test next, of those that can serve.

    Those that are named, else those whose closed loops come near the best of the SKUs of which
    no load test has shown that closed loops show too much.
    """
    able = [each for each in planners if each.found.sketches and not each.tested]
    if request.question.every or not request.settings.origin["sku"].startswith("default"):
        return able
    best = _best_score(planners)
    return [
        each
        for each in able
        if (score := each.closed_loop_score) is None or score >= WORTH_TESTING * best
    ]


def leave_others(planners: Sequence[Planner]) -> None:
    """Say of SKUs that were not load tested how far their closed loops put them behind."""
    best = _best_score(planners)
    for each in planners:
        if each.found.sketches and not each.tested and (score := each.closed_loop_score):
            each.leave(
                f"closed loops put it {best / score:.1f} times behind the best SKU; --all tests it"
            )


def _best_score(planners: Sequence[Planner]) -> float:
    """Score of the best SKU whose closed loops are believed. [-]"""
    believed = [each for each in planners if each.found.sketches and each.found.held]
    return max((each.closed_loop_score or 0.0 for each in believed), default=0.0)
