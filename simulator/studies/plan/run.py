"""Capacity plans: which hardware, how much of it, and at what price for given SLOs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from hwmodels.economics import load_economics
from hwmodels.sku import load_sku
from simulator.engines.pools import DoesNotFitError, deployment_label
from simulator.output.kept_work import once
from simulator.prediction.notes import merged
from simulator.scenario.candidates import candidate_deployments
from simulator.scenario.deployed_forms import competing, is_open
from simulator.scenario.target import resolve_target
from simulator.studies.plan.budgets import budgets_that_differ
from simulator.studies.plan.planned_sku import PlannedLoad
from simulator.studies.plan.request import build_plan
from simulator.studies.plan.result import PlanResult, Rejected
from simulator.studies.plan.sizing import CannotServeError
from simulator.studies.processes import side_by_side
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from simulator.output.kept_work import KeptWork
    from simulator.scenario.candidates import Pools
    from simulator.scenario.settings import Scenario
    from simulator.studies.plan.request import PlanRequest
    from simulator.studies.plan.result import PlanRow, Status
    from simulator.studies.plan.sizing import Hope, Sketch

    Progress = Callable[[int, int, str], None]

_NEAR_BEST, _ALIKE = 0.75, 0.95
_COST_TOLERANCE = 1.01
_HOPE_SLACK = 1.1
"""How far closed loops may pass the mean values of single steps. [-]"""
_UNTRIED = 6
"""Deployments that are load tested after those of the best closed loops did not hold."""
WORTH_TESTING = 0.4
"""Share of the best SKU's closed loops from which another SKU of a catalogue is tested. [-]"""


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
        skus.setdefault(load_sku(load.sku).key, []).append(load)
    planners = [_Planner(request, loads=loads, kept=kept) for loads in skus.values()]
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
    tested = worth_testing(planners, request=request)
    for position, found in enumerate(
        side_by_side([each.test for each in tested], workers=workers), start=work - len(tested)
    ):
        planner = tested[position - work + len(tested)]
        planner.take(found)
        show(position + 1, planner.first_figure)
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


def worth_testing(planners: Sequence[_Planner], *, request: PlanRequest) -> list[_Planner]:
    """SKUs to load test: those that are named, else those whose closed loops come near the best."""
    able = [each for each in planners if each.found.sketches]
    if request.question.every or not request.settings.origin["sku"].startswith("default"):
        return able
    scores = [each.closed_loop_score for each in able]
    best = max((one for one in scores if one is not None), default=0.0)
    tested = []
    for each, score in zip(able, scores, strict=True):
        if score is None or score >= WORTH_TESTING * best:
            tested.append(each)
            continue
        each.leave(
            f"closed loops put it {best / score:.1f} times behind the best SKU; --all tests it"
        )
    return tested


@dataclass(slots=True)
class _Found:
    """What came of a SKU so far; it goes from process to process."""

    sketches: list[Sketch] = field(default_factory=list)
    rows: list[PlanRow] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    untried: list[tuple[Scenario, Pools]] = field(default_factory=list)


class _Planner:
    """Plans one SKU and keeps what came of it."""

    def __init__(
        self, request: PlanRequest, *, loads: Sequence[Scenario], kept: KeptWork | None = None
    ) -> None:
        self.request = request
        self._kept = kept
        self.loads = loads
        self.found = _Found()

    def take(self, found: _Found) -> None:
        """Go on from what a process of its own has found."""
        self.found = found

    @property
    def first_figure(self) -> str:
        """What is known so far, in a few words."""
        name = load_sku(self.loads[0].sku).key
        if self.found.rows:
            row = min(self.found.rows, key=rank_key(self.request))
            return f"{name} as {row.label}: {row.fleet.gpus:,} GPUs"
        if not self.found.sketches:
            return f"{name} cannot"
        best = self.found.sketches[0]
        return f"{name} as {best.load.engine} {best.label}: {self._of(best).about(best)}"

    @property
    def closed_loop_score(self) -> float | None:
        """How good the best deployment looks, the more the better; ``None``: not to be said."""
        if not self.found.sketches:
            return 0.0
        best = self.found.sketches[0]
        return self._of(best).closed_loop_score(best)

    def leave(self, reason: str) -> None:
        """Leave the SKU out of the load tests."""
        for each in self.found.sketches:
            self._reject(self._of(each), each.label, "behind", reason)

    def _of(self, one: Sketch) -> PlannedLoad:
        return PlannedLoad(request=self.request, load=one.load)

    def sketch(self) -> _Found:
        """Closed loops of the deployments, the best first."""
        sketches = self._sketches()
        sketches.sort(key=lambda pair: -pair[0].estimate(pair[1]))
        self.found.sketches = [found for _, found in sketches]
        return self.found

    def test(self) -> _Found:
        """Load test the best deployments and size their fleets."""
        sketches = [(self._of(each), each) for each in self.found.sketches]
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
            if kept >= self._tested() or (kept and share < _NEAR_BEST):
                reason = f"closed loop: {100 * (1 - share):.0f} % behind its best deployment"
                self._reject(one, each.label, "behind", reason)
                continue
            try:
                among = [other for other in able if other is not each]
                row = once(
                    self._kept,
                    f"size {one.engine} {each!r} among {among!r}",
                    partial(one.size, each, among=among),
                )
            except CannotServeError as error:
                able.remove(each)
                self._reject(one, each.label, "misses", str(error))
            except UserError as error:
                self._reject(one, each.label, "unsupported", str(error))
            else:
                # one that loses most of its closed loop's rate under load shows nothing of the rest
                kept += one.holds(each, row)
                tested[each.label] = (one.engine, one.estimate(each))
                self._keep(one, row)
                self.found.messages += each.messages
        if not kept:
            self._test_untried()
        return self.found

    def _test_untried(self) -> None:
        """Load test what closed loops kept from being tried, until two hold.

        What stood before them lost most of its rate under load: a delayer that waits for all
        ranks, for instance, holds single prompts of a thin load back for seconds.
        """
        held = 0
        for load, pools in self.found.untried[:_UNTRIED]:
            if held == 2:
                break
            one = PlannedLoad(request=self.request, load=load)
            label = deployment_label(pools)
            self.found.rejected = [
                each
                for each in self.found.rejected
                if (each.engine, each.label, each.status) != (one.engine, label, "behind")
            ]
            try:
                each = one.sketch(pools)
                one.estimate(each)
                row = one.size(each)
            except DoesNotFitError as error:
                self._reject(one, label, "does_not_fit", str(error))
            except CannotServeError as error:
                self._reject(one, label, "misses", str(error))
            except UserError as error:
                self._reject(one, label, "unsupported", str(error))
            else:
                self._keep(one, row)
                self.found.messages += each.messages
                held += one.holds(each, row)

    def _tested(self) -> int:
        """Deployments of a SKU that are load tested.

        Where all forms compete and no number is stated, the best one.
        """
        settings = self.request.settings
        open_question = any(is_open(settings, load) for load in self.loads)
        if open_question and "layouts" not in settings.origin:
            return 1
        return self.request.question.layouts

    def _sketches(self) -> list[tuple[PlannedLoad, Sketch]]:
        """Closed loops of deployments, the most promising by its mean values first.

        A deployment whose bound on requests per chip stays behind what another has shown by more
        than a load test is granted is not run, nor is one whose mean values do.
        """
        hopes = [
            (hope, one, pools)
            for load in self.loads
            for one, deployments in self._candidates(load)
            for pools in deployments
            if (hope := self._hope(one, pools)) is not None
        ]
        hopes.sort(key=lambda each: -each[0].per_gpu)
        sketches: list[tuple[PlannedLoad, Sketch]] = []
        best_per_gpu = 0.0
        for hope, one, pools in hopes:
            label = deployment_label(pools)
            if min(hope.most_per_gpu, _HOPE_SLACK * hope.per_gpu) < _NEAR_BEST * best_per_gpu:
                reason = (
                    f"about {hope.per_gpu:.3g} req/s a chip by mean values, {best_per_gpu:.3g} "
                    "are shown by others"
                )
                self._reject(one, label, "behind", reason)
                self.found.untried.append((one.load, pools))
                continue
            try:
                found = once(
                    self._kept,
                    f"sketch {one.engine} {one.load.model_dump_json()} {pools!r}",
                    partial(one.sketch, pools),
                )
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
                self.found.messages.append(field.message)
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
                self.found.messages.append(
                    "prefill and decode pools are those that ran; name others with --prefill "
                    "and --decode"
                )
            for refused in candidates.refused:
                self._reject(one, refused.label, "unsupported", refused.reason)
            yield one, candidates.deployments

    def _hope(self, one: PlannedLoad, pools: Pools) -> Hope | None:
        """Requests per second and chip at the speed asked for; ``None``: it cannot serve."""
        label = deployment_label(pools)
        try:
            return one.hope(pools)
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
            self.found.rows.append(row)
            return
        price = "has no price" if cost is None else f"costs ${cost:.3f} per million tokens"
        self._reject(one, row.label, "misses", f"{price}, at most ${limit:g} are allowed")

    def _reject(self, one: PlannedLoad, label: str, status: Status, reason: str) -> None:
        self.found.rejected.append(
            Rejected(sku=one.sku.key, engine=one.engine, label=label, status=status, reason=reason)
        )
