"""Capacity plans: which hardware, how much of it, and at what price for given SLOs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hwmodels.economics import load_economics
from simulator.prediction.notes import merged
from simulator.studies.plan.budgets import budgets_that_differ
from simulator.studies.plan.planner import Planner
from simulator.studies.plan.purchase import Purchase
from simulator.studies.plan.ranking import leave_others, rank_key, worth_testing
from simulator.studies.plan.request import build_plan
from simulator.studies.plan.result import PlanResult
from simulator.studies.processes import side_by_side
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from simulator.output.kept_work import KeptWork
    from simulator.scenario.settings import Scenario
    from simulator.studies.plan.request import PlanRequest

    Progress = Callable[[int, int, str], None]


def plan(
    *,
    scenario: Path | None = None,
    on_progress: Progress | None = None,
    **settings: Any,
) -> PlanResult:
    """Rank hardware for service-level objectives and a demand or a budget.

    Parameters
    ----------
    scenario:
        YAML file of settings; keyword settings override it.
    on_progress:
        Called with (SKUs done, SKUs in all, what is under way).
    settings:
        Fields of `simulator.studies.plan.request.PlanQuestion`, such as ``interactivity=50,
        rate=40``, and of `simulator.scenario.settings.Scenario`; ``sku`` may be a list.

    Raises
    ------
    UserError
        If a setting is unknown or out of range.
    """
    return run_plan(build_plan(flags=settings, file=scenario), on_progress=on_progress)


def run_plan(
    request: PlanRequest,
    *,
    workers: int | None = None,
    on_progress: Progress | None = None,
    kept: KeptWork | None = None,
) -> PlanResult:
    """Carry out a validated request.

    Parameters
    ----------
    workers:
        Processes, SKUs side by side; ``None``: one per core. The result does not depend on it.
    on_progress:
        As `plan`.
    kept:
        Where closed loops and sized fleets are kept as they come, and found again.

    Notes
    -----
    Mean values of single steps and closed loops estimate what each deployment carries; the best
    of each SKU are load tested. Of a catalogue nobody named, SKUs whose closed loops put them far
    behind the best one are not (`worth_testing`). A test simulates a cell of up to four replicas in
    an open loop under its part of the fleet's arrivals, each request falling to a cell at random,
    and finds about how much load meets the SLOs. The fleet is the smallest number of
    whole nodes or racks whose replicas carry the demand so, and is simulated once more at its
    load. A fleet behind one router does better than its cells, so that plans err on the safe
    side: 2 % where speed limits the load, 12 % where TTFT does
    (`tests/theory/test_plan_theory.py`).

    Raises
    ------
    UserError
        If a name is unknown.
    """
    economics = {load.economics: load_economics(load.economics) for load in request.loads()}
    if len(economics) > 1:
        raise UserError("economics has several values; a plan needs one price list")
    skus: dict[str, list[Scenario]] = {}
    for load in request.loads():
        skus.setdefault(Purchase.of(load, question=request.question).label, []).append(load)
    planners = [Planner(request, loads=loads, kept=kept) for loads in skus.values()]
    work = 2 * len(planners)

    def show(done: int, what: str) -> None:
        if on_progress is not None:
            on_progress(done, work, what)

    show(0, next(iter(skus)))
    for position, found in enumerate(
        side_by_side([each.sketch for each in planners], workers=workers), start=1
    ):
        planners[position - 1].take(found)
        show(position, planners[position - 1].first_figure)
    done = len(planners)
    # once more where a load test did not bear out what others were measured by
    while tested := worth_testing(planners, request=request):
        for planner, found in zip(
            tested, side_by_side([each.test for each in tested], workers=workers), strict=True
        ):
            planner.take(found, tested=True)
            done += 1
            show(done, planner.first_figure)
    leave_others(planners)
    if on_progress is not None:
        on_progress(work, work, "done")
    rows = sorted((row for each in planners for row in each.found.rows), key=rank_key(request))
    return PlanResult(
        request=request,
        rows=tuple(rows),
        rejected=tuple(one for each in planners for one in each.found.rejected),
        messages=tuple(
            merged(
                (
                    *request.assumed,
                    *(message for each in planners for message in each.found.messages),
                    *budgets_that_differ(rows, request=request),
                )
            )
        ),
        economics=next(iter(economics.values())).name,
    )
