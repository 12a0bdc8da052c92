"""Capacity plans: which hardware, how much of it, and at what price for given SLOs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from hwmodels.economics import load_economics
from hwmodels.sku import load_sku
from simulator.engines.pools import DoesNotFitError, deployment_label
from simulator.prediction.notes import merged
from simulator.scenario.candidates import candidate_deployments
from simulator.scenario.deployed_forms import competing, is_open
from simulator.scenario.target import resolve_target
from simulator.studies.plan.planned_sku import PlannedLoad
from simulator.studies.plan.request import build_plan
from simulator.studies.plan.result import PlanResult, Rejected
from simulator.studies.plan.sizing import CannotServeError
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from simulator.scenario.candidates import Pools
    from simulator.scenario.settings import Scenario
    from simulator.studies.plan.request import PlanRequest
    from simulator.studies.plan.result import PlanRow, Status
    from simulator.studies.plan.sizing import Sketch

    Progress = Callable[[int, int, str], None]

_NEAR_BEST, _ALIKE = 0.75, 0.95
_COST_TOLERANCE = 1.01


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


def run_plan(request: PlanRequest, *, on_progress: Progress | None = None) -> PlanResult:
    """Carry out a validated request.

    Notes
    -----
    Closed loops and bounds estimate what each deployment carries; the best of each SKU are load
    tested. A test simulates a cell of up to four replicas in an open loop under its part of the
    fleet's arrivals, each request falling to a cell at random, and finds the largest rate that
    meets the SLOs in all replications with confidence. The fleet is the smallest number of
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
    planner = _Planner(request)
    skus: dict[str, list[Scenario]] = {}
    for load in request.loads():
        skus.setdefault(load_sku(load.sku).key, []).append(load)
    for position, (name, loads) in enumerate(skus.items()):

        def show(what: str, *, done: int = position, name: str = name) -> None:
            if on_progress is not None:
                on_progress(done, len(skus), f"{name} {what}")

        planner.add(loads, show=show)
    if on_progress is not None:
        on_progress(len(skus), len(skus), "done")
    return PlanResult(
        request=request,
        rows=tuple(sorted(planner.rows, key=rank_key(request))),
        rejected=tuple(planner.rejected),
        messages=tuple(merged((*request.assumed, *planner.messages))),
        economics=next(iter(economics.values())).name,
    )


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


class _Planner:
    """Plans SKU after SKU and keeps what came of it."""

    def __init__(self, request: PlanRequest) -> None:
        self.request = request
        self.rows: list[PlanRow] = []
        self.rejected: list[Rejected] = []
        self.messages: list[str] = []

    def add(self, loads: Sequence[Scenario], *, show: Callable[[str], None]) -> None:
        """Plan one SKU: sketch every deployment, test the best ones, size their fleets."""
        sketches = self._sketches(loads, show=show)
        sketches.sort(key=lambda pair: -pair[0].estimate(pair[1]))
        best = sketches[0][0].estimate(sketches[0][1]) if sketches else 0.0
        kept = 0
        tested: dict[str, tuple[str, float]] = {}
        able = [found for _, found in sketches]
        for one, each in sketches:
            alike, estimate = tested.get(each.label, ("", 0.0))
            if one.estimate(each) > _ALIKE * estimate > 0:
                self._reject(one, each.label, "behind", f"predicted as under {alike}")
                continue
            share = one.estimate(each) / best
            if kept >= self._tested(loads) or (kept and share < _NEAR_BEST):
                reason = f"closed loop: {100 * (1 - share):.0f} % behind its best deployment"
                self._reject(one, each.label, "behind", reason)
                continue
            show(f"{each.label} under load")
            try:
                row = one.size(each, among=[other for other in able if other is not each])
            except CannotServeError as error:
                able.remove(each)
                self._reject(one, each.label, "misses", str(error))
            except UserError as error:
                self._reject(one, each.label, "unsupported", str(error))
            else:
                kept += 1
                tested[each.label] = (one.engine, one.estimate(each))
                self._keep(one, row)
                self.messages += each.messages

    def _tested(self, loads: Sequence[Scenario]) -> int:
        """Deployments of a SKU that are load tested.

        Where all forms compete and no number is stated, the best one.
        """
        settings = self.request.settings
        open_question = any(is_open(settings, load) for load in loads)
        if open_question and "layouts" not in settings.origin:
            return 1
        return self.request.question.layouts

    def _sketches(
        self, loads: Sequence[Scenario], *, show: Callable[[str], None]
    ) -> list[tuple[PlannedLoad, Sketch]]:
        """Closed loops of deployments, the most promising by its bound first.

        A deployment whose bound on requests per chip stays behind what another has shown by more
        than a load test is granted is not run.
        """
        bounded = [
            (bound, one, pools)
            for load in loads
            for one, deployments in self._candidates(load)
            for pools in deployments
            if (bound := self._bound(one, pools, show=show)) is not None
        ]
        bounded.sort(key=lambda each: -each[0])
        sketches: list[tuple[PlannedLoad, Sketch]] = []
        best_per_gpu = 0.0
        for bound, one, pools in bounded:
            label = deployment_label(pools)
            if bound < _NEAR_BEST * best_per_gpu:
                reason = f"at most {bound:.3g} req/s a chip, {best_per_gpu:.3g} are shown by others"
                self._reject(one, label, "behind", reason)
                continue
            show(f"{one.engine} {label} in a closed loop")
            try:
                found = one.sketch(pools)
                one.estimate(found)
            except DoesNotFitError as error:
                self._reject(one, label, "does_not_fit", str(error))
            except CannotServeError as error:
                self._reject(one, label, "misses", str(error))
            except UserError as error:
                self._reject(one, label, "unsupported", str(error))
            else:
                sketches.append((one, found))
                best_per_gpu = max(best_per_gpu, one.shown_per_gpu(found))
        return sketches

    def _candidates(self, load: Scenario) -> Iterator[tuple[PlannedLoad, tuple[Pools, ...]]]:
        """Each way to serve a load with its deployments; all that was run where none is named."""
        settings = self.request.settings
        one = PlannedLoad(request=self.request, load=load)
        try:
            if is_open(settings, load):
                field = competing(settings, load)
                self.messages.append(field.message)
                for label, reason in field.refused.items():
                    self._reject(one, label, "unsupported", reason)
                competitors = [(each.load, each.candidates) for each in field.competitors]
            else:
                target = resolve_target(load)
                found = candidate_deployments(settings=settings, load=load, target=target)
                competitors = [(load, found)]
        except UserError as error:
            self._reject(one, "", "unsupported", str(error))
            return
        for each, candidates in competitors:
            one = PlannedLoad(request=self.request, load=each)
            if any(len(pools) > 1 for pools in candidates.deployments):
                self.messages.append(
                    "prefill and decode pools are those that ran; name others with --prefill "
                    "and --decode"
                )
            for refused in candidates.refused:
                self._reject(one, refused.label, "unsupported", refused.reason)
            yield one, candidates.deployments

    def _bound(
        self, one: PlannedLoad, pools: Pools, *, show: Callable[[str], None]
    ) -> float | None:
        """Most requests per second and chip at the speed asked for; ``None``: it cannot serve."""
        label = deployment_label(pools)
        show(f"{one.engine} {label}")
        try:
            return one.bound_per_gpu(pools)
        except DoesNotFitError as error:
            self._reject(one, label, "does_not_fit", str(error))
        except CannotServeError as error:
            self._reject(one, label, "misses", str(error))
        except UserError as error:
            self._reject(one, label, "unsupported", str(error))
        return None

    def _keep(self, one: PlannedLoad, row: PlanRow) -> None:
        limit, cost = self.request.question.max_cost, row.usd_per_million_tokens
        if limit is None or (cost is not None and cost <= limit * _COST_TOLERANCE):
            self.rows.append(row)
            return
        price = "has no price" if cost is None else f"costs ${cost:.3f} per million tokens"
        self._reject(one, row.label, "misses", f"{price}, at most ${limit:g} are allowed")

    def _reject(self, one: PlannedLoad, label: str, status: Status, reason: str) -> None:
        self.rejected.append(
            Rejected(sku=one.sku.key, engine=one.engine, label=label, status=status, reason=reason)
        )
