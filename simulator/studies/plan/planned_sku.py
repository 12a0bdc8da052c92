"""One SKU in a capacity plan: how its deployments are judged, load tested and sized."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypedDict

from simulator.scenario.candidates import stack_of
from simulator.studies.plan.fleet import CannotServeError, smallest_that
from simulator.studies.plan.loadtest import SEARCH_REPLICATIONS
from simulator.studies.plan.purchase import Purchase
from simulator.studies.plan.replica import Hope, hope
from simulator.studies.plan.result import PlanRow
from simulator.studies.plan.sizing import SKETCH_CONCURRENCIES, cell_size, load_test, sketch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulator.scenario.candidates import Pools
    from simulator.scenario.settings import Scenario
    from simulator.studies.plan.fleet import Fleet, Unit, UnitPair
    from simulator.studies.plan.loadtest import LoadResult, LoadTest
    from simulator.studies.plan.request import PlanRequest
    from simulator.studies.plan.sizing import ClosedPoint, Sketch
    from simulator.studies.plan.traffic import Traffic

_GUESS = 0.9
_TIE = 1e-3
_SETTLE = 3
_HELD = 0.5  # share of a closed loop's rate that a load test must leave
_CURVE = (0.4, 0.75)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sized:
    """A fleet, the replica at its limit and at its load, and the test that says so."""

    fleet: Fleet
    capacity: LoadResult
    operating: LoadResult
    test: LoadTest


class _Asked(TypedDict):
    least_speed: float
    ttft_limit_s: float
    least_rate_per_s: float


class PlannedLoad:
    """One SKU under one set of settings: how its deployments are judged and sized."""

    def __init__(self, *, request: PlanRequest, load: Scenario) -> None:
        self.request = request
        self.load = load
        self.purchase = Purchase.of(load, question=request.question)
        self.engine = stack_of(load, sku=self.purchase.sku, pooled=request.settings.pools.is_stated)
        self.traffic: Traffic = request.traffic(load)
        self.objectives = request.objectives

    @property
    def _seeks_speed(self) -> bool:
        """Whether the fastest service within a price is asked for."""
        asked = self.request.question
        return asked.rate is asked.users is asked.mw is asked.fleet_gpus is None

    def sketch(self, pools: Pools) -> Sketch:
        """Closed loops of one deployment."""
        return sketch(
            self.load,
            pools,
            traffic=self.traffic,
            **self._asked_of(pools),
            concurrencies=self._concurrencies,
        )

    def hope(self, pools: Pools) -> Hope:
        """What single steps say of a deployment.

        Infinite where the fastest service within a price is asked for: there speed counts.

        Raises
        ------
        CannotServeError
            If bounds exclude the objectives.
        DoesNotFitError
            If the model does not fit.
        """
        found = hope(
            self.load,
            pools,
            traffic=self.traffic,
            **self._asked_of(pools),
            concurrencies=self._concurrencies,
        )
        if self._seeks_speed:
            return Hope(per_gpu=math.inf, most_per_gpu=math.inf)
        return found.over(sum(pool.gpus for pool in pools) / self.purchase.bought(pools))

    def closed_loop_score(self, one: Sketch) -> float | None:
        """How good a SKU looks beside others by its closed loops, the more the better.

        Requests of a budget, speed within a price, or a demand over the price of its fleet;
        ``None`` where the fleet has no price.

        Raises
        ------
        CannotServeError
            As `estimate`.
        """
        estimate = self.estimate(one)
        asked = self.request.question
        if self._seeks_speed:
            return estimate
        if asked.mw is not None or asked.fleet_gpus is not None:
            try:
                fleet = self.purchase.within_budget(self.purchase.unit(one.pools))
            except CannotServeError:
                return 0.0
            return estimate * fleet.gpus
        price = self.purchase.price(one.pools)
        return None if price is None else estimate / price

    def about(self, one: Sketch) -> str:
        """A first figure of a deployment, by closed loops, in a few words."""
        estimate = self.estimate(one)
        asked = self.request.question
        if self._seeks_speed:
            return f"about {estimate:.0f} tok/s/user"
        if asked.mw is not None or asked.fleet_gpus is not None:
            return f"about {estimate:.3g} req/s a chip"
        near = one.fastest_with(self.objectives.least_speed)
        assert near is not None
        return f"about {self._demand(near) / estimate:,.0f} GPUs"

    def shown_per_gpu(self, one: Sketch) -> float:
        """Requests per second and chip bought that a sketch shows at the speed asked for. [1/s]"""
        if self._seeks_speed:
            return 0.0
        return one.rate_at(self.objectives.least_speed) / self.purchase.bought(one.pools)

    @property
    def _concurrencies(self) -> tuple[int, ...]:
        return self.load.concurrency or SKETCH_CONCURRENCIES

    def _asked_of(self, pools: Pools) -> _Asked:
        """What every user, and the price, ask of a deployment."""
        return {
            "least_speed": self.objectives.least_speed,
            "ttft_limit_s": min(self.objectives.ttft_limits.values(), default=math.inf),
            "least_rate_per_s": 0.0
            if self.request.question.max_cost is None
            else self._paying_rate(pools),
        }

    def estimate(self, one: Sketch) -> float:
        """How good a deployment looks: rate per chip that is bought, or speed within a price.

        For a demand chips are counted in whole units; of equals the one with more room leads.

        Raises
        ------
        CannotServeError
            If no closed loop meets the objectives.
        """
        if self._seeks_speed:
            needed = self._paying_rate(one.pools)
            point = one.first_carrying(needed)
            if point is None:
                most = max(each.requests_per_s for each in one.points)
                raise CannotServeError(
                    f"it carries {most:.3g} req/s, {needed:.3g} are needed to reach the price"
                )
            return point.interactivity
        point = one.fastest_with(self.objectives.least_speed)
        if point is None:
            fastest = max(each.interactivity for each in one.points)
            raise CannotServeError(
                f"a lone user gets {fastest:.1f} tok/s, "
                f"{self.objectives.least_speed:g} are asked for"
            )
        # between the last closed loop that keeps the speed and the next
        rate = max(point.requests_per_s, one.rate_at(self.objectives.least_speed))
        asked, unit = self.request.question, self.purchase.unit(one.pools)
        per_gpu = rate / unit.gpus_per_replica
        if asked.mw is not None or asked.fleet_gpus is not None:
            return per_gpu
        # a small demand is met best by what wastes least of its last node or rack
        wanted = self._demand(point)
        whole = self.purchase.fleet_for(math.ceil(wanted / (_GUESS * rate)), unit=unit)
        return wanted / whole.gpus * (1.0 + _TIE * min(1.0, per_gpu))

    def size(self, one: Sketch, *, among: Sequence[Sketch] = ()) -> PlanRow:
        """Load test a deployment and size its fleet.

        Parameters
        ----------
        among:
            Other deployments of the SKU, see `simulator.studies.plan.sizing.Sketch.capacity_band`.

        Raises
        ------
        CannotServeError
            If the SLOs cannot be met under load, or the budget buys no replica.
        """
        near = (
            one.first_carrying(self._paying_rate(one.pools))
            if self._seeks_speed
            else one.fastest_with(self.objectives.least_speed)
        )
        assert near is not None
        cell = cell_size(near)
        while True:
            sized = self._size(one, near=near, cell=cell)
            if sized.fleet.counted >= cell:
                break
            # fewer replicas than were simulated behind one router: judge that many
            cell = sized.fleet.counted
        asked = self.request.question
        return PlanRow(
            sku=self.purchase.label,
            sku_name=self.purchase.name,
            engine=self.engine,
            load=self.load,
            label=one.label,
            level=one.level,
            kind=one.kind,
            replica_gpus=one.gpus,
            fleet=sized.fleet,
            capacity=sized.capacity,
            operating=sized.operating,
            tested=tuple(sorted(sized.test.history, key=lambda result: result.rate_per_s)),
            cell=cell,
            think_s=asked.think,
            band=one.speed_band(sized.capacity.rate_per_s)
            if self._seeks_speed
            else one.capacity_band(self.objectives.least_speed or near.interactivity, among=among),
        )

    def holds(self, one: Sketch, row: PlanRow) -> bool:
        """Whether a load test leaves most of the rate that closed loops show at the speed."""
        near = one.fastest_with(self.objectives.least_speed)
        if self._seeks_speed or near is None:
            return True
        return row.capacity.rate_per_s >= _HELD * near.requests_per_s

    def _size(self, one: Sketch, *, near: ClosedPoint, cell: int) -> _Sized:
        """The fleet, judged on cells of some replicas."""
        unit, asked = self.purchase.unit(one.pools), self.request.question
        test = load_test(
            one,
            near=near,
            traffic=self.traffic,
            objectives=self.objectives,
            replications=asked.replications,
            replicas=cell,
        )
        fleet = None
        if self._seeks_speed:
            fleet = self.purchase.fleet_for(cell, unit=unit)
            capacity = test.at(self._paying_rate(one.pools), share=1.0 / fleet.counted)
        elif asked.mw is not None or asked.fleet_gpus is not None:
            fleet = self.purchase.within_budget(unit)
            share = 1.0 / fleet.counted
            capacity = test.largest_rate(
                guess_per_s=_GUESS * near.requests_per_s, share_of=lambda _: share
            )
        else:
            demand = self._demand(near)
            capacity = test.about(
                guess_per_s=_GUESS * near.requests_per_s,
                share_of=lambda rate: min(1.0, rate / demand),
            )
        is_judged = fleet is not None
        if not (capacity.met if is_judged else capacity.met_on_average):
            missed = capacity.slo_use[capacity.binding].mean
            raise CannotServeError(
                f"under load it misses {capacity.binding}: {missed:.2f} times the limit at "
                f"{capacity.rate_per_s:.3g} req/s a replica"
            )
        for part in _CURVE:
            rate = part * capacity.rate_per_s
            share = 1.0 / fleet.counted if fleet else min(1.0, rate / self._demand(near))
            test.at(rate, share=share, replications=SEARCH_REPLICATIONS)
        operating = capacity
        if fleet is None:
            fleet, capacity, operating = self._fleet_for(unit, test=test, capacity=capacity)
        return _Sized(fleet=fleet, capacity=capacity, operating=operating, test=test)

    def _demand(self, near: ClosedPoint) -> float:
        """Requests of the fleet; of users, at the latency that a closed loop has. [1/s]"""
        asked = self.request.question
        if asked.rate is not None:
            return asked.rate
        assert asked.users is not None
        return asked.users / (near.latency_s + asked.think)

    def _fleet_for(
        self, unit: Unit | UnitPair, *, test: LoadTest, capacity: LoadResult
    ) -> tuple[Fleet, LoadResult, LoadResult]:
        """The smallest fleet that carries a demand, a replica at its limit and at its load.

        Bisection over whole units around what the capacity of a replica asks for, each fleet
        tested at its own load under the same random numbers.

        Raises
        ------
        CannotServeError
            If no fleet near that carries it.
        """
        asked = self.request.question
        wanted = self._wanted(capacity)
        fleet = self.purchase.fleet_for(
            math.ceil(wanted / capacity.rate_per_s * (1 - 1e-9)), unit=unit, spare=asked.spare
        )
        results: dict[int, LoadResult] = {}

        def meets(units: int) -> bool:
            whole = replace(fleet, units=units)
            results[units] = self._at_its_load(whole, test=test, start=capacity)
            return results[units].met

        units = smallest_that(meets, near=fleet.units, least=unit.holding(1 + fleet.spare))
        if units is None:
            result = results[max(results)]
            raise CannotServeError(
                f"{max(results):,} {unit.name}s still miss {result.binding} under load"
            )
        operating = results[units]
        missed = [result.rate_per_s for result in results.values() if not result.met]
        # a load counts as carried if no smaller one that was tested misses a limit
        if not operating.rate_per_s <= capacity.rate_per_s < min(missed, default=math.inf):
            capacity = operating
        return replace(fleet, units=units), capacity, operating

    def _at_its_load(self, fleet: Fleet, *, test: LoadTest, start: LoadResult) -> LoadResult:
        """A replica of a fleet at the load that the demand puts on it."""
        result, share = start, 1.0 / fleet.counted
        for _ in range(1 if self.request.question.users is None else _SETTLE):
            result = test.at(self._wanted(result) * share, share=share)
        return result

    def _wanted(self, result: LoadResult) -> float:
        """Requests of the demand; of users, at the latency that they see. [1/s]"""
        asked = self.request.question
        if asked.rate is not None:
            return asked.rate
        assert asked.users is not None
        return asked.users / (result.e2el.mean_s + asked.think)

    def _paying_rate(self, pools: Pools) -> float:
        """Rate at which a replica's tokens cost what they may. [1/s]"""
        tokens = self.traffic.prompt_tokens + self.traffic.output_tokens
        return self.purchase.paying_rate(pools, tokens=tokens)
