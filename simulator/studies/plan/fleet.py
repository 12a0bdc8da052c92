"""Fleets in whole nodes and racks: how many chips hold some replicas, what they cost and draw."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    from hwmodels.economics import SkuEconomics, Tier
    from hwmodels.sku import Sku

Whole = Literal["racks", "nodes"]

HOURS_PER_MONTH = 730.0
"""Hours of a month in every monthly cost: 8,760 / 12. [h]"""


_FIRST_STEP, _CLOSE, _MOST_TIMES = 0.03, 0.01, 8


class CannotServeError(UserError):
    """A deployment cannot meet the objectives at any load."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """The smallest number of chips that is bought at once, and the replicas that it holds.

    Parameters
    ----------
    name:
        ``rack`` or ``node``.
    gpus, nodes:
        Chips, and servers or trays, of one unit.
    replicas:
        Replicas that one unit holds; 0 where a replica spans several. [replicas]
    span:
        Units of one replica; 1 where it fits into one.
    lost_with_node:
        Replicas that stop when one node fails. [replicas]
    """

    name: str
    gpus: int
    nodes: int
    replicas: int
    span: int
    lost_with_node: int

    @property
    def gpus_per_replica(self) -> float:
        """Chips bought for each replica of full units."""
        return self.gpus * self.span / max(self.replicas, 1)

    def holding(self, replicas: int) -> int:
        """Units that hold this many replicas."""
        return -(-replicas // self.replicas) if self.replicas else replicas * self.span

    def held_by(self, units: int) -> int:
        """Replicas that this many units hold."""
        return units * self.replicas if self.replicas else units // self.span

    def chips(self, units: int) -> tuple[int, ...]:
        """Chips of this many units, by kind."""
        return (units * self.gpus,)

    def nodes_of(self, units: int) -> int:
        """Servers or trays of this many units."""
        return units * self.nodes

    def text(self, units: int) -> str:
        """As many units, for a reader."""
        return f"{units:,} {self.name}{'' if units == 1 else 's'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitPair:
    """Units of two kinds of chips, which hold the prefill and the decode pools of replicas.

    A fleet of them is counted in replicas: each kind is bought in whole units of its own.

    Parameters
    ----------
    prefill, decode:
        What the pools are bought in.
    skus:
        Keys of the two chips.
    """

    prefill: Unit
    decode: Unit
    skus: tuple[str, str]

    @property
    def name(self) -> str:
        """What a fleet is counted in."""
        return "replica"

    @property
    def lost_with_node(self) -> int:
        """Replicas that stop when one node of either kind fails. [replicas]"""
        return max(self.prefill.lost_with_node, self.decode.lost_with_node)

    @property
    def gpus_per_replica(self) -> float:
        """Chips bought for each replica of full units."""
        return self.prefill.gpus_per_replica + self.decode.gpus_per_replica

    def holding(self, replicas: int) -> int:
        """Units that hold this many replicas."""
        return replicas

    def held_by(self, units: int) -> int:
        """Replicas that this many units hold."""
        return units

    def chips(self, units: int) -> tuple[int, ...]:
        """Chips of this many replicas: the prefill pools', and the decode pools'."""
        return tuple(each.gpus * each.holding(units) for each in (self.prefill, self.decode))

    def nodes_of(self, units: int) -> int:
        """Servers or trays of this many replicas."""
        return sum(each.nodes_of(each.holding(units)) for each in (self.prefill, self.decode))

    def text(self, units: int) -> str:
        """What this many replicas are bought in, for a reader."""
        pools = zip((self.prefill, self.decode), self.skus, strict=True)
        return ", ".join(f"{sku} {each.text(each.holding(units))}" for each, sku in pools)


def buying_unit(*, sku: Sku, replica_gpus: int, whole: Whole = "racks") -> Unit:
    """What a fleet of replicas of this size is bought in.

    Replicas share a node where they are smaller than it; a larger one takes whole nodes, and
    does not reach over the end of a rack that holds it.

    Parameters
    ----------
    whole:
        ``racks``: whole racks where the rack is the product, else whole nodes; ``nodes``:
        single nodes or trays always.

    Raises
    ------
    UserError
        If a replica has no GPU.
    """
    if replica_gpus < 1:
        raise UserError(f"replica_gpus is {replica_gpus}; a replica has at least one GPU")
    node = int(sku.node_gpus)
    per_node, nodes_each = node // replica_gpus, -(-replica_gpus // node)
    lost = max(per_node, 1)
    rack = sku.rack_gpus
    if whole == "nodes" or rack is None:
        return Unit(
            name="node", gpus=node, nodes=1, replicas=per_node, span=nodes_each, lost_with_node=lost
        )
    nodes = rack // node
    return Unit(
        name="rack",
        gpus=rack,
        nodes=nodes,
        replicas=nodes * per_node if per_node else nodes // nodes_each,
        span=-(-nodes_each // nodes),
        lost_with_node=lost,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """Whole units of chips that hold replicas.

    Parameters
    ----------
    unit:
        What it is bought in.
    units:
        How many.
    spare:
        Replicas that may fail while the others still carry the load. [replicas]
    costs:
        Price and power of a chip.
    tier:
        Which price.
    prefill_costs:
        Price and power of a chip of the prefill pools, where they are of another kind.
    """

    unit: Unit | UnitPair
    units: int
    spare: int
    costs: SkuEconomics
    tier: Tier
    prefill_costs: SkuEconomics | None = None

    @property
    def replicas(self) -> int:
        """Replicas that it holds, spare ones included."""
        return self.unit.held_by(self.units)

    @property
    def counted(self) -> int:
        """Replicas that the load may count on."""
        return max(self.replicas - self.spare, 0)

    @property
    def gpus(self) -> int:
        """Chips."""
        return sum(self.unit.chips(self.units))

    @property
    def nodes(self) -> int:
        """Servers or trays."""
        return self.unit.nodes_of(self.units)

    @property
    def racks(self) -> int | None:
        """Racks, where it is bought in racks."""
        return self.units if self.unit.name == "rack" else None

    @property
    def text(self) -> str:
        """What is bought, for a reader."""
        return self.unit.text(self.units)

    @property
    def it_mw(self) -> float | None:
        """Critical IT power; ``None`` where the economics do not state it. [MW]"""
        return self._sum(lambda costs: costs.it_kw, per=1e3)

    @property
    def utility_mw(self) -> float | None:
        """Power at the meter. [MW]"""
        return self._sum(meter_kw, per=1e3)

    @property
    def usd_per_h(self) -> float | None:
        """Price of an hour; ``None`` where the tier has none. [USD/h]"""
        return self._sum(lambda costs: costs.usd_per_gpu_hour(self.tier))

    @property
    def usd_per_month(self) -> float | None:
        """Price of 730 hours. [USD]"""
        return self._sum(lambda costs: costs.usd_per_gpu_hour(self.tier), per=1 / HOURS_PER_MONTH)

    @property
    def of_both(self) -> str:
        """Dollars and megawatts of either kind of chip in brackets; empty where there is one."""
        if self.prefill_costs is None:
            return ""
        told = []
        for chips, costs in zip(
            self.unit.chips(self.units), (self.prefill_costs, self.costs), strict=True
        ):
            usd = _total(chips, costs.usd_per_gpu_hour(self.tier))
            mw = _total(chips, meter_kw(costs), per=1e3)
            price = "no price known" if usd is None else f"${usd:,.0f}/h"
            power = "no power known" if mw is None else f"{mw:.3g} MW"
            told.append(f"{costs.sku} {price}, {power}")
        return f" ({'; '.join(told)})"

    def within(self, most: float, *, measure: Callable[[Fleet], float | None]) -> Fleet:
        """The largest fleet of whole units whose chips, dollars or watts stay within a budget."""
        low, high = 0, 1
        while (used := measure(replace(self, units=high))) is not None and used <= most:
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            used = measure(replace(self, units=middle))
            low, high = (middle, high) if used is not None and used <= most else (low, middle)
        return replace(self, units=low)

    def _sum(
        self, each: Callable[[SkuEconomics], float | None], *, per: float = 1.0
    ) -> float | None:
        """What all chips cost or draw, kind by kind; ``None`` where one is not known."""
        own = [self.costs] if self.prefill_costs is None else [self.prefill_costs, self.costs]
        found = [
            _total(chips, each(costs), per=per)
            for chips, costs in zip(self.unit.chips(self.units), own, strict=True)
        ]
        known = [value for value in found if value is not None]
        return sum(known) if len(known) == len(found) else None


def meter_kw(costs: SkuEconomics) -> float | None:
    """Power of a chip at the meter: IT power times PUE, else InferenceX's all-in figure. [kW]"""
    if costs.utility_kw is not None:
        return costs.utility_kw
    return costs.inferencex_kw


def fleet_for(
    replicas: int,
    *,
    unit: Unit | UnitPair,
    costs: SkuEconomics,
    tier: Tier,
    one_node_spare: bool = False,
    prefill_costs: SkuEconomics | None = None,
) -> Fleet:
    """The smallest fleet that holds these replicas, and those of one more node if asked for."""
    spare = unit.lost_with_node if one_node_spare else 0
    return Fleet(
        unit=unit,
        units=unit.holding(replicas + spare),
        spare=spare,
        costs=costs,
        tier=tier,
        prefill_costs=prefill_costs,
    )


def fleet_within(
    gpus: float, *, unit: Unit, costs: SkuEconomics, tier: Tier, one_node_spare: bool = False
) -> Fleet:
    """The largest fleet of whole units within a number of chips."""
    spare = unit.lost_with_node if one_node_spare else 0
    return Fleet(unit=unit, units=int(gpus // unit.gpus), spare=spare, costs=costs, tier=tier)


def smallest_that(meets: Callable[[int], bool], *, near: int, least: int = 1) -> int | None:
    """The smallest number that meets a test which larger ones meet too, to a hundredth.

    Steps of 3 % that double lead from a guess to a number that meets and one below that does not;
    bisection closes in on them. Where chance makes a number miss between others that meet, what
    counts is above it.

    Parameters
    ----------
    meets:
        The test.
    near:
        Where to begin.
    least:
        The smallest number that may be tested.

    Returns
    -------
    int or None
        ``None`` if not even several times the guess meets.
    """
    most = _MOST_TIMES * near
    good, bad = most + 1, least - 1
    number, step = max(near, least), max(1, round(_FIRST_STEP * near))
    while good - bad > max(1, _CLOSE * good):
        if meets(number):
            good = number
        else:
            bad = number
        if good > most:
            if number == most:
                return None
            number = min(number + step, most)
        else:
            number = (good + bad) // 2 if bad >= least else max(good - step, least)
        step *= 2
    return good


def _total(gpus: int, each: float | None, *, per: float = 1.0) -> float | None:
    return None if each is None else gpus * each / per
