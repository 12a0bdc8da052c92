"""What a search maximizes, what it requires, and what bounds leave of both."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hwmodels.economics import load_economics, usd_per_million_tokens
from hwmodels.sku import load_sku
from simulator.prediction.bounds import TTFT_SLACK
from simulator.prediction.run import simulate_run
from simulator.studies.search.result import Figures
from workloads.errors import UserError

if TYPE_CHECKING:
    from simulator.analysis.metrics import RunMetrics
    from simulator.prediction.bounds import DeploymentBounds
    from simulator.scenario.configuration import RunConfiguration
    from simulator.scenario.settings import Scenario
    from simulator.serving.records import Records
    from simulator.studies.search.request import SearchRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Judges runs and bounds by a request: higher scores are better."""

    request: SearchRequest

    def of(self, load: Scenario, *, tput_per_gpu: float, ttft_s: float) -> float:
        """Tok/s/GPU, tokens per dollar, or minus the median TTFT, as the goal has it.

        Raises
        ------
        UserError
            If the goal is about cost and the SKU has no price.
        """
        goal = self.request.question.goal
        if goal == "ttft":
            return -ttft_s
        if goal == "throughput":
            return tput_per_gpu
        cost = self.usd_per_million(load, tput_per_gpu)
        if cost is None:
            raise UserError(
                f"economics {load.economics} states no {self.request.question.tier} price of "
                f"{load.sku}; search for throughput, or name another --tier"
            )
        return 1e6 / cost

    def usd_per_million(self, load: Scenario, tput_per_gpu: float) -> float | None:
        """Cost of tokens; ``None`` without a price. [USD per million]"""
        costs = load_economics(load.economics).for_sku(load_sku(load.sku).key)
        price = costs.usd_per_gpu_hour(self.request.question.tier)
        if price is None:
            return None
        if tput_per_gpu <= 0:
            return math.inf
        return float(
            usd_per_million_tokens(usd_per_gpu_hour=price, tokens_per_s_per_gpu=tput_per_gpu)
        )

    def slo_use(
        self, records: Records, *, metrics: RunMetrics, cost: float | None
    ) -> dict[str, float]:
        """How much of each constraint a run uses up; above 1 it is missed. [-]"""
        asked = self.request.question
        slo_use = self.request.objectives.slo_use(records)
        if asked.min_throughput is not None:
            slo_use["throughput"] = asked.min_throughput / metrics.total_tput_per_gpu
        if asked.max_cost is not None:
            slo_use["cost"] = math.inf if cost is None else cost / asked.max_cost
        return slo_use

    def figures(self, configuration: RunConfiguration, *, load: Scenario) -> Figures:
        """A run, and what it comes to."""
        outcome = simulate_run(configuration)
        metrics = outcome.metrics
        cost = self.usd_per_million(load, metrics.total_tput_per_gpu)
        return Figures(
            metrics=metrics,
            usd_per_million_tokens=cost,
            slo_use=self.slo_use(outcome.records, metrics=metrics, cost=cost),
            score=self.of(
                load, tput_per_gpu=metrics.total_tput_per_gpu, ttft_s=metrics.ttft.median_s
            ),
            bottleneck=outcome.bottleneck,
            kind=outcome.kind,
            level=outcome.assembly.software.name,
            messages=outcome.messages,
            bands=outcome.bands,
        )

    def excluded(self, bounds: DeploymentBounds) -> str:
        """The constraint that even a lone user does not get; empty if there is none."""
        asked = self.request.objectives
        shortest = min(asked.ttft_limits.values(), default=math.inf)
        return bounds.excludes(least_speed=asked.least_speed, ttft_limit_s=shortest)

    def bound(
        self, load: Scenario, bounds: DeploymentBounds, *, gpus: int, concurrency: int
    ) -> float:
        """The best score that no schedule passes."""
        rate = bounds.requests_per_s(
            concurrency=concurrency, least_speed=self.request.objectives.least_speed
        )
        return self.of(
            load,
            tput_per_gpu=rate * (bounds.prompt_tokens + bounds.output_tokens) / gpus,
            ttft_s=bounds.alone_ttft_s / TTFT_SLACK,
        )

    def words(self, score: float) -> str:
        """A score as a user reads it."""
        goal = self.request.question.goal
        if goal == "ttft":
            return f"{-score:.3f} s"
        if goal == "cost":
            return f"${1e6 / score:.3f} per million tokens" if score > 0 else "no tokens"
        return f"{score:,.0f} tok/s/GPU"
