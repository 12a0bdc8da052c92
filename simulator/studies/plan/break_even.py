"""What would change a plan's ranking: prices and throughputs at which the order turns."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, get_args

from hwmodels.economics import Tier

if TYPE_CHECKING:
    from simulator.studies.plan.result import PlanResult, PlanRow


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakEven:
    """How far the best row is from the best one of another SKU.

    Parameters
    ----------
    winner, runner_up:
        The two rows.
    runner_up_factor:
        Factor on the runner-up's throughput (for a price: on its speed) from which it is as
        good. [-]
    winner_factor:
        Factor on the winner's below which it is no longer better. [-]
    price_factor:
        Factor on the runner-up's price from which it is as cheap; ``None`` where the ranking is
        not about cost. [-]
    by_scale:
        Cost of the runner-up over that of the winner in a fleet so large that whole nodes and
        racks no longer matter; ``None`` as above. [-]
    other_tiers:
        Winner at each other price tier that has prices for both and turns the order.
    is_certain:
        Whether neither factor lies inside the 90 % band of its row; ``None`` without bands.
    """

    winner: PlanRow
    runner_up: PlanRow
    runner_up_factor: float
    winner_factor: float
    price_factor: float | None = None
    by_scale: float | None = None
    other_tiers: tuple[Tier, ...] = ()
    is_certain: bool | None = None


def break_even_of(result: PlanResult) -> BreakEven | None:
    """What would make the best row of another SKU the best; ``None`` if there is none.

    Fleets of a demand change in whole nodes or racks, so that the factors are those at which
    the number of units changes. Without both prices the ranking counts chips.
    """
    best = result.best
    if len(best) < 2:
        return None
    winner, other = best[0], best[1]
    asked = result.request.question
    if asked.mw is not None or asked.fleet_gpus is not None:
        ratio = winner.rate_per_s / other.rate_per_s
        return _judged(winner, other, runner_up_factor=ratio, winner_factor=1.0 / ratio)
    if asked.rate is None and asked.users is None:
        ratio = winner.operating.interactivity / other.operating.interactivity
        return _judged(winner, other, runner_up_factor=ratio, winner_factor=1.0 / ratio)
    costs = [row.fleet.usd_per_h for row in (winner, other)]
    if costs[0] is None or costs[1] is None:
        budget = float(winner.fleet.gpus), float(other.fleet.gpus)
        prices = 1.0, 1.0
    else:
        budget = costs[0], costs[1]
        prices = _price(winner, asked.tier), _price(other, asked.tier)
    return _judged(
        winner,
        other,
        runner_up_factor=_factor_within(other, budget=budget[0], price=prices[1]),
        winner_factor=_factor_within(winner, budget=budget[1], price=prices[0]),
        price_factor=None if costs[1] is None else budget[0] / budget[1],
        by_scale=None
        if costs[1] is None
        else _cost_per_request(other, prices[1]) / _cost_per_request(winner, prices[0]),
        other_tiers=_turning_tiers(winner, other, asked.tier),
    )


def _judged(
    winner: PlanRow,
    runner_up: PlanRow,
    *,
    runner_up_factor: float,
    winner_factor: float,
    price_factor: float | None = None,
    by_scale: float | None = None,
    other_tiers: tuple[Tier, ...] = (),
) -> BreakEven:
    certain = None
    if winner.band is not None and runner_up.band is not None:
        certain = runner_up.band[1] < runner_up_factor and winner.band[0] > winner_factor
    return BreakEven(
        winner=winner,
        runner_up=runner_up,
        runner_up_factor=runner_up_factor,
        winner_factor=winner_factor,
        price_factor=price_factor,
        by_scale=by_scale,
        other_tiers=other_tiers,
        is_certain=certain,
    )


def _price(row: PlanRow, tier: Tier) -> float:
    usd_per_h = replace(row.fleet, tier=tier).usd_per_h
    assert usd_per_h is not None
    return usd_per_h / row.fleet.gpus


def _factor_within(row: PlanRow, *, budget: float, price: float) -> float:
    """Factor on a row's throughput with which a fleet within a budget carries its load."""
    fleet = row.fleet
    most = budget / price * (1 + 1e-9)
    units = fleet.within(most, measure=lambda one: one.gpus).units
    replicas = fleet.unit.held_by(units) - fleet.spare
    if replicas < 1:
        return float("inf")
    return row.rate_per_s / (replicas * row.capacity.rate_per_s)


def _cost_per_request(row: PlanRow, price: float) -> float:
    return price * row.fleet.unit.gpus_per_replica / row.capacity.rate_per_s


def _turning_tiers(winner: PlanRow, other: PlanRow, tier: Tier) -> tuple[Tier, ...]:
    """Other price tiers at which the runner-up's fleet is the cheaper one."""
    turning = []
    for each in get_args(Tier):
        first, second = (replace(row.fleet, tier=each).usd_per_h for row in (winner, other))
        if each == tier or first is None or second is None:
            continue
        if second < first:
            turning.append(each)
    return tuple(turning)
