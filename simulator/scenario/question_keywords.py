"""Keyword settings of `plan`, `search` and `sensitivity`, for type checkers and editors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from simulator.scenario.keywords import SweepKeywords

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Tier: TypeAlias = Literal["hyperscaler", "neocloud", "rental"]


class ObjectiveKeywords(SweepKeywords, total=False):
    """Settings of a scenario, and what users are promised.

    `simulator.analysis.objectives.Objectives`.
    """

    interactivity: float
    interactivity_p90: float
    interactivity_p99: float
    ttft_p50: float
    ttft_p90: float
    ttft_p99: float
    max_cost: float
    tier: Tier


class PlanKeywords(ObjectiveKeywords, total=False):
    """Settings of a plan: `simulator.studies.plan.request.PlanQuestion` has their meanings."""

    goodput: float
    rate: float
    users: float
    mw: float
    fleet_gpus: int
    think: float
    burstiness: float
    peak: float
    period: float
    workload: str
    whole: Literal["racks", "nodes"]
    spare: bool
    replications: int
    layouts: int


class SearchKeywords(ObjectiveKeywords, total=False):
    """Settings of a search.

    `simulator.studies.search.request.SearchQuestion` has their meanings.
    """

    goal: Literal["throughput", "cost", "ttft"]
    min_throughput: float
    vary: Mapping[str, Sequence[Any]]
    margin: float


class SensitivityKeywords(SweepKeywords, total=False):
    """Settings of a sensitivity study, one value each: `simulator.studies.sensitivity.run`."""

    interactivity: float
    step: float
    replications: int
