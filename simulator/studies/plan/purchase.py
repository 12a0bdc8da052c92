"""What a plan buys: chips of one kind or of two, in whole units, within a budget or a price."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hwmodels.economics import load_economics
from hwmodels.sku import load_sku
from simulator.scenario.target import pair_label
from simulator.studies.plan.fleet import (
    CannotServeError,
    Fleet,
    UnitPair,
    buying_unit,
    fleet_for,
    fleet_within,
    meter_kw,
)

if TYPE_CHECKING:
    from hwmodels.economics import SkuEconomics
    from hwmodels.sku import Sku
    from simulator.scenario.candidates import Pools
    from simulator.scenario.settings import Scenario
    from simulator.studies.plan.fleet import Unit
    from simulator.studies.plan.request import PlanQuestion


@dataclass(frozen=True, kw_only=True)
class Purchase:
    """Chips that a scenario is served on, as they are bought.

    Parameters
    ----------
    sku, costs:
        The chip, or that of the decode pools, with its cost and power.
    prefill_sku, prefill_costs:
        The same of the prefill pools, where they have a chip of their own.
    question:
        What is asked.
    """

    sku: Sku
    costs: SkuEconomics
    question: PlanQuestion
    prefill_sku: Sku | None = None
    prefill_costs: SkuEconomics | None = None

    @classmethod
    def of(cls, load: Scenario, *, question: PlanQuestion) -> Purchase:
        """The chips that a scenario names."""
        prices, sku = load_economics(load.economics), load_sku(load.sku)
        first = None if load.prefill_sku is None else load_sku(load.prefill_sku)
        return cls(
            sku=sku,
            costs=prices.for_sku(sku.key),
            question=question,
            prefill_sku=first,
            prefill_costs=None if first is None else prices.for_sku(first.key),
        )

    @property
    def label(self) -> str:
        """Key of the chip; of two the prefill pools' first."""
        return pair_label(self.sku.key, None if self.prefill_sku is None else self.prefill_sku.key)

    @property
    def name(self) -> str:
        """Name of the chip, or of both."""
        if self.prefill_sku is None:
            return self.sku.name
        return f"{self.prefill_sku.name} prefill with {self.sku.name} decode"

    def unit(self, pools: Pools) -> Unit | UnitPair:
        """What a fleet of replicas is bought in."""
        whole = self.question.whole
        if self.prefill_sku is None:
            gpus = sum(pool.gpus for pool in pools)
            return buying_unit(sku=self.sku, replica_gpus=gpus, whole=whole)
        prefill, decode = pools
        return UnitPair(
            prefill=buying_unit(sku=self.prefill_sku, replica_gpus=prefill.gpus, whole=whole),
            decode=buying_unit(sku=self.sku, replica_gpus=decode.gpus, whole=whole),
            skus=(self.prefill_sku.key, self.sku.key),
        )

    def bought(self, pools: Pools) -> float:
        """Chips bought for each replica of full nodes or racks."""
        return self.unit(pools).gpus_per_replica

    def price(self, pools: Pools) -> float | None:
        """Price of the mean chip that is bought for an hour; ``None`` without one. [USD/h]"""
        tier, unit = self.question.tier, self.unit(pools)
        price = self.costs.usd_per_gpu_hour(tier)
        if not isinstance(unit, UnitPair):
            return price
        first = None if self.prefill_costs is None else self.prefill_costs.usd_per_gpu_hour(tier)
        if price is None or first is None:
            return None
        dear = first * unit.prefill.gpus_per_replica + price * unit.decode.gpus_per_replica
        return dear / unit.gpus_per_replica

    def fleet_for(self, replicas: int, *, unit: Unit | UnitPair, spare: bool = False) -> Fleet:
        """The smallest fleet that holds these replicas, and those of one more node."""
        return fleet_for(
            replicas,
            unit=unit,
            costs=self.costs,
            tier=self.question.tier,
            one_node_spare=spare,
            prefill_costs=self.prefill_costs,
        )

    def within_budget(self, unit: Unit | UnitPair) -> Fleet:
        """The largest fleet that the stated chips or megawatts hold.

        Raises
        ------
        CannotServeError
            If they hold no replica, or the power of a chip is not known.
        """
        asked = self.question
        for costs in filter(None, (self.prefill_costs, self.costs)):
            if asked.mw is not None and meter_kw(costs) is None:
                raise CannotServeError(
                    f"economics {costs.economics} states no power of {costs.sku}"
                )
        what = f"{asked.fleet_gpus} GPUs" if asked.mw is None else f"{asked.mw:g} MW"
        if isinstance(unit, UnitPair):
            one = self.fleet_for(1, unit=unit, spare=asked.spare)
            fleet = (
                one.within(float(asked.fleet_gpus or 0), measure=lambda fleet: fleet.gpus)
                if asked.mw is None
                else one.within(asked.mw, measure=lambda fleet: fleet.utility_mw)
            )
            units = "nodes or racks of both kinds"
        else:
            gpus: float = asked.fleet_gpus or 0
            if asked.mw is not None:
                gpus = 1e3 * asked.mw / (meter_kw(self.costs) or float("inf"))
            fleet = fleet_within(
                gpus, unit=unit, costs=self.costs, tier=asked.tier, one_node_spare=asked.spare
            )
            units = f"{unit.name}s of {unit.gpus} GPUs"
        if not fleet.counted:
            spare = ", one node spare" if asked.spare else ""
            raise CannotServeError(f"{what} hold no replica in whole {units}{spare}")
        return fleet

    def paying_rate(self, pools: Pools, *, tokens: float) -> float:
        """Rate at which a replica's tokens cost what they may. [1/s]

        Parameters
        ----------
        tokens:
            Of a request, prompt and output. [tokens]

        Raises
        ------
        CannotServeError
            If a chip has no price.
        """
        asked, price = self.question, self.price(pools)
        if price is None or asked.max_cost is None:
            raise CannotServeError(
                f"economics {self.costs.economics} states no {asked.tier} price of {self.label}"
            )
        return price * self.bought(pools) * 1e6 / (3600.0 * asked.max_cost * tokens)
