"""One SKU in a plan: which of its deployments are run, load tested and sized."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from simulator.engines.pools import DoesNotFitError, deployment_label
from simulator.output.kept_work import once
from simulator.scenario.candidates import candidate_deployments
from simulator.scenario.deployed_forms import competing, is_open
from simulator.scenario.target import resolve_target
from simulator.studies.plan.fleet import CannotServeError
from simulator.studies.plan.planned_sku import PlannedLoad
from simulator.studies.plan.purchase import Purchase
from simulator.studies.plan.ranking import rank_key
from simulator.studies.plan.result import Rejected
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from simulator.output.kept_work import KeptWork
    from simulator.scenario.candidates import Pools
    from simulator.scenario.settings import Scenario
    from simulator.studies.plan.replica import Hope
    from simulator.studies.plan.request import PlanRequest
    from simulator.studies.plan.result import PlanRow, Status
    from simulator.studies.plan.sizing import Sketch

T = TypeVar("T")

_NEAR_BEST, _ALIKE = 0.75, 0.95
_COST_TOLERANCE = 1.01
_HOPE_SLACK = 1.1
"""How far closed loops may pass the mean values of single steps. [-]"""
_UNTRIED, _HOLD_ENOUGH = 6, 2
"""Deployments that are load tested after those of the best closed loops did not hold, and how many
of them have to hold."""


@dataclass(slots=True)
class Found:
    """What came of a SKU so far; it goes from process to process.

    Parameters
    ----------
    sketches, rows, rejected, messages:
        Closed loops, sized fleets, what is left out, and notes.
    untried:
        Deployments that the mean values of others kept from being run, the best first.
    held:
        Whether a load test left most of what the best closed loops show.
    """

    sketches: list[Sketch] = field(default_factory=list)
    rows: list[PlanRow] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    untried: list[tuple[Scenario, Pools]] = field(default_factory=list)
    held: bool = True


class Planner:
    """Plans one SKU and keeps what came of it."""

    def __init__(
        self, request: PlanRequest, *, loads: Sequence[Scenario], kept: KeptWork | None = None
    ) -> None:
        self.request = request
        self._kept = kept
        self.loads = loads
        self.found = Found()
        self.tested = False

    def take(self, found: Found, *, tested: bool = False) -> None:
        """Go on from what a process of its own has found, load tested or not."""
        self.found, self.tested = found, tested

    @property
    def first_figure(self) -> str:
        """What is known so far, in a few words."""
        name = Purchase.of(self.loads[0], question=self.request.question).label
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

    def sketch(self) -> Found:
        """Closed loops of the deployments, the best first."""
        sketches = self._sketches()
        sketches.sort(key=lambda pair: -pair[0].estimate(pair[1]))
        self.found.sketches = [found for _, found in sketches]
        return self.found

    def test(self) -> Found:
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
            near = share >= _NEAR_BEST or self._are_stated
            if kept >= self._tested() or (kept and not near):
                reason = f"closed loop: {100 * (1 - share):.0f} % behind its best deployment"
                self._reject(one, each.label, "behind", reason)
                continue
            among = [other for other in able if other is not each]
            row = self._attempt(one, each.label, partial(self._sized, one, each, among))
            if row is None:
                able.remove(each)
                continue
            # one that loses most of its closed loop's rate under load shows nothing of the rest
            kept += self._take_row(one, each, row)
            tested[each.label] = (one.engine, one.estimate(each))
        self.found.held = kept > 0
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
            if held == _HOLD_ENOUGH:
                break
            one = PlannedLoad(request=self.request, load=load)
            label = deployment_label(pools)
            self.found.rejected = [
                each
                for each in self.found.rejected
                if (each.engine, each.label, each.status) != (one.engine, label, "behind")
            ]
            sketched = self._attempt(one, label, partial(self._loop, one, pools))
            if sketched is None:
                continue
            row = self._attempt(one, label, partial(self._sized, one, sketched, ()))
            if row is not None:
                held += self._take_row(one, sketched, row)

    def _take_row(self, one: PlannedLoad, sketched: Sketch, row: PlanRow) -> bool:
        """Keep a sized fleet and say where load took most of what closed loops show."""
        self._keep(one, row)
        self.found.messages += sketched.messages
        if one.holds(sketched, row):
            return True
        self.found.messages.append(
            f"{one.purchase.label} as {one.engine} {sketched.label}: random arrivals leave under "
            "half of the rate that closed loops show; other deployments are tested beside it"
        )
        return False

    def _sized(self, one: PlannedLoad, sketched: Sketch, among: Sequence[Sketch]) -> PlanRow:
        """The fleet of a deployment, kept as it comes."""
        return once(
            self._kept,
            f"size {one.engine} {sketched!r} among {among!r}",
            partial(one.size, sketched, among=among),
        )

    def _loop(self, one: PlannedLoad, pools: Pools) -> Sketch:
        """Closed loops of a deployment that meet the objectives, kept as they come."""
        found = once(
            self._kept,
            f"sketch {one.engine} {one.load.model_dump_json()} {pools!r}",
            partial(one.sketch, pools),
        )
        one.estimate(found)
        return found

    def _attempt(self, one: PlannedLoad, label: str, judge: Callable[[], T]) -> T | None:
        """What comes of a deployment; ``None``, and why, where it cannot serve."""
        try:
            return judge()
        except DoesNotFitError as error:
            self._reject(one, label, "does_not_fit", str(error))
        except CannotServeError as error:
            self._reject(one, label, "misses", str(error))
        except UserError as error:
            self._reject(one, label, "unsupported", str(error))
        return None

    @property
    def _are_stated(self) -> bool:
        """Whether it is said how many deployments to load test: then the best are, near or not."""
        return "layouts" in self.request.settings.origin

    def _tested(self) -> int:
        """Deployments of a SKU that are load tested.

        Where all forms compete and no number is stated, the best one.
        """
        settings = self.request.settings
        open_question = any(is_open(settings, load) for load in self.loads)
        if open_question and not self._are_stated:
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
            able = sum(one.closed_loop_score(found) != 0.0 for one, found in sketches)
            wanted = self._are_stated and able < self._tested()
            behind = min(hope.most_per_gpu, _HOPE_SLACK * hope.per_gpu) < _NEAR_BEST * best_per_gpu
            if behind and not wanted:
                reason = (
                    f"about {hope.per_gpu:.3g} req/s a chip by mean values, {best_per_gpu:.3g} "
                    "are shown by others"
                )
                self._reject(one, label, "behind", reason)
                self.found.untried.append((one.load, pools))
                continue
            found = self._attempt(one, label, partial(self._loop, one, pools))
            if found is not None:
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
        return self._attempt(one, deployment_label(pools), partial(one.hope, pools))

    def _keep(self, one: PlannedLoad, row: PlanRow) -> None:
        limit, cost = self.request.question.max_cost, row.usd_per_million_tokens
        if limit is None or (cost is not None and cost <= limit * _COST_TOLERANCE):
            self.found.rows.append(row)
            return
        price = "has no price" if cost is None else f"costs ${cost:.3f} per million tokens"
        self._reject(one, row.label, "misses", f"{price}, at most ${limit:g} are allowed")

    def _reject(self, one: PlannedLoad, label: str, status: Status, reason: str) -> None:
        self.found.rejected.append(
            Rejected(
                sku=one.purchase.label,
                engine=one.engine,
                label=label,
                status=status,
                reason=reason,
                spec=one.load.spec,
            )
        )
