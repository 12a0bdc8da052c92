"""Who plans the points of each frontier of a sweep, and what is left out of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from simulator.studies.sweep.chosen import ChosenPoints, are_many, estimates_of
from simulator.studies.sweep.planner import PointPlanner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pandas as pd

    from simulator.analysis.objectives import Objectives
    from simulator.prediction.steady import SteadyState
    from simulator.studies.sweep.deployments import SweepPlan
    from simulator.studies.sweep.executors import Executor

    Progress = Callable[[int, int, str], None]
    PlannedBy = Callable[
        [SweepPlan, Sequence[dict[int, SteadyState] | str], Objectives], ChosenPoints
    ]


def planners_for(
    plans: Sequence[SweepPlan],
    *,
    limits: Sequence[Objectives],
    prunes: bool,
    executor: Executor,
    followed: Sequence[int] = (),
    planned_by: PlannedBy | None = None,
    on_progress: Progress | None = None,
) -> list[list[PointPlanner | ChosenPoints]]:
    """Who plans the points of each plan; where points are many, with estimates of all of them.

    Parameters
    ----------
    executor:
        What runs the points, estimates of them too unless it is elsewhere.
    followed:
        Concurrencies at which the best deployment is asked for, on a frontier or not: few points
        all run then. [requests]
    planned_by:
        What plans the points of all frontiers of a plan together, where they are many, from the
        plan, an estimate of each of its deployments and the limits; ``None``: each on its own.
    """
    together = [bool(planned_by and prunes and are_many(plan.sweeps)) for plan in plans]
    chosen = [
        frontier
        for plan, is_one in zip(plans, together, strict=True)
        for frontier in ([plan.sweeps] if is_one else plan.frontiers)
        if prunes and are_many(frontier)
    ]
    if chosen and on_progress is not None:
        on_progress(0, sum(map(len, chosen)), "deployments, estimates first")
    estimates = iter(
        estimates_of(
            [one for frontier in chosen for one in frontier],
            executor=None if executor.elsewhere else executor,
            on_progress=on_progress,
        )
    )
    found: list[list[PointPlanner | ChosenPoints]] = []
    for plan, limit, is_one in zip(plans, limits, together, strict=True):
        if is_one and planned_by is not None:
            found.append([planned_by(plan, [next(estimates) for _ in plan.sweeps], limit)])
            continue
        found.append(
            [
                ChosenPoints(
                    frontier,
                    estimates=[next(estimates) for _ in frontier],
                    limits=limit,
                    followed=followed,
                )
                if prunes and are_many(frontier)
                else PointPlanner(frontier, prunes=prunes and not followed, limits=limit)
                for frontier in plan.frontiers
            ]
        )
    return found


def with_left_out(plan: SweepPlan, *, planners: Sequence[PointPlanner | ChosenPoints]) -> SweepPlan:
    """A plan with what was not run, and why."""
    left_out = [
        one for each in planners if isinstance(each, ChosenPoints) for one in each.left_out()
    ]
    if not left_out:
        return plan
    rows = [
        {
            "series": f"{one.load.sku} {one.load.engine} {one.load.spec}",
            "label": one.label,
            "concurrencies": "",
            "status": status,
            "reason": reason,
        }
        for one, status, reason in left_out
    ]
    behind = sum(status == "behind" for _, status, _ in left_out)
    told = (
        f"{behind} of {len(plan.sweeps)} deployments and points behind others were not run, or not "
        "to their end: mean values of single steps, an estimate that runs correct, or three "
        "requests of each client keep them off the frontier; --all runs everything"
    )
    return replace(
        plan,
        refused=(*plan.refused, *rows),
        messages=(*plan.messages, *([told] if behind else [])),
    )


def refusals_of(rows: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Points that could not run, by deployment and reason."""
    for names, group in rows.groupby(["series", "label", "status", "reason"], sort=False):
        series, label, status, reason = names
        yield {
            "series": series,
            "label": label,
            "concurrencies": ",".join(str(c) for c in sorted(group["concurrency"].unique())),
            "status": status,
            "reason": reason,
        }
