"""What a search for coding agents maximizes, and what their users must get."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from simulator.analysis.objectives import Objectives
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hwmodels.economics import Tier
    from simulator.analysis.agentic_metrics import AgenticMetrics

Goal: TypeAlias = Literal["throughput", "cost", "ttft"]

GOALS: dict[Goal, str] = {
    "throughput": "the most tokens per second and GPU",
    "cost": "the least dollars per million tokens",
    "ttft": "the shortest median time to first token",
}

UNMEASURED = ("interactivity_p99", "ttft_p99")
"""Objectives that AgentX publishes no figure for."""


@dataclass(frozen=True, kw_only=True)
class AgentObjectives:
    """Goal and objectives of a search.

    Parameters
    ----------
    users:
        Percentiles of TTFT and speed, over requests.
    min_throughput:
        Least throughput, cached prompt tokens included. [tok/s/GPU]
    max_cost:
        Most dollars for a million tokens, cached ones included. [USD]
    """

    goal: Goal
    users: Objectives
    assumed: tuple[str, ...]
    min_throughput: float | None
    max_cost: float | None
    tier: Tier

    @classmethod
    def of(cls, own: Mapping[str, Any]) -> AgentObjectives:
        """Objectives from the settings of a search.

        Raises
        ------
        UserError
            If one has no counterpart in AgentX, or the goal lacks a floor.
        """
        for name in UNMEASURED:
            if own.get(name) is not None:
                raise UserError(
                    f"{name} is asked for; AgentX has percentiles up to p95: state "
                    "interactivity, interactivity_p90, ttft_p50 or ttft_p90"
                )
        goal: Goal = own.get("goal") or "throughput"
        if goal not in GOALS:
            raise UserError(f"goal is {goal!r}; it is one of {', '.join(GOALS)}")
        if goal == "ttft" and own.get("min_throughput") is own.get("max_cost") is None:
            raise UserError(
                "goal ttft alone is best with one session; say what the service must carry with "
                "--min-throughput (tok/s/GPU) or --max-cost"
            )
        users, assumed = Objectives(
            interactivity=own.get("interactivity"),
            interactivity_p90=own.get("interactivity_p90"),
            ttft_p50_s=own.get("ttft_p50"),
            ttft_p90_s=own.get("ttft_p90"),
        ).online()
        return cls(
            goal=goal,
            users=users,
            assumed=assumed,
            min_throughput=own.get("min_throughput"),
            max_cost=own.get("max_cost"),
            tier=own.get("tier") or "hyperscaler",
        )

    def score(self, metrics: AgenticMetrics, *, usd_per_million: float) -> float:
        """What is maximized: tok/s/GPU, tokens per dollar, or minus the median TTFT."""
        if self.goal == "ttft":
            return -metrics.ttft_p50_s
        rate = metrics.total_tokens_per_s_per_gpu
        return rate if self.goal == "throughput" else 1e6 / usd_per_million

    def __str__(self) -> str:
        parts = [str(self.users)]
        if self.min_throughput is not None:
            parts.append(f"at least {self.min_throughput:g} tok/s/GPU")
        if self.max_cost is not None:
            parts.append(f"at most ${self.max_cost:g} per million tokens")
        return f"{GOALS[self.goal]} with {', '.join(parts)}"


def slo_use(
    objectives: AgentObjectives, metrics: AgenticMetrics, *, usd_per_million: float
) -> dict[str, float]:
    """How much of each objective a replay uses up; above 1 it is missed. [-]"""
    users = objectives.users
    found: dict[str, float] = {}
    for name, limit_s, value_s in (
        ("TTFT p50", users.ttft_p50_s, metrics.ttft_p50_s),
        ("TTFT p90", users.ttft_p90_s, metrics.ttft_p90_s),
    ):
        if limit_s is not None:
            found[name] = value_s / limit_s
    for name, least, value in (
        ("interactivity", users.interactivity, metrics.interactivity_p50),
        ("interactivity p90", users.interactivity_p90, metrics.interactivity_p90),
    ):
        if least is not None:
            found[name] = least / value
    if objectives.min_throughput is not None:
        found["throughput"] = objectives.min_throughput / metrics.total_tokens_per_s_per_gpu
    if objectives.max_cost is not None:
        known = usd_per_million == usd_per_million
        found["cost"] = usd_per_million / objectives.max_cost if known else float("inf")
    return found
