"""What ``simulate search`` is asked: a goal, what must hold, and what may be varied."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import model_validator

from simulator.analysis.objectives import Objectives
from simulator.scenario.declared import field
from simulator.scenario.question import Question, build_question
from simulator.studies.search.declared import SEARCH
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from simulator.scenario.grid import SweepSettings

Goal = Literal["throughput", "cost", "ttft"]

GOALS: dict[Goal, str] = {
    "throughput": "the most tokens per second and GPU",
    "cost": "the least dollars per million tokens",
    "ttft": "the shortest median time to first token",
}


class SearchQuestion(Question):
    """Settings of a search; a field that is ``None`` is not asked for."""

    goal: Goal = field(SEARCH["goal"])
    interactivity: float | None = field(SEARCH["interactivity"])
    interactivity_p90: float | None = field(SEARCH["interactivity_p90"])
    interactivity_p99: float | None = field(SEARCH["interactivity_p99"])
    ttft_p50: float | None = field(SEARCH["ttft_p50"])
    ttft_p90: float | None = field(SEARCH["ttft_p90"])
    ttft_p99: float | None = field(SEARCH["ttft_p99"])
    goodput: float | None = field(SEARCH["goodput"])
    no_ttft_limit: bool = field(SEARCH["no_ttft_limit"])
    min_throughput: float | None = field(SEARCH["min_throughput"])
    max_cost: float | None = field(SEARCH["max_cost"])
    tier: Literal["hyperscaler", "neocloud", "rental"] = field(SEARCH["tier"])
    vary: dict[str, tuple[Any, ...]] | None = field(SEARCH["vary"])
    margin: float = field(SEARCH["margin"])

    @model_validator(mode="after")
    def _has_a_floor(self) -> Self:
        if self.goal == "ttft" and self.min_throughput is self.max_cost is None:
            raise ValueError(
                "goal ttft alone is best with one user; say what the service must carry with "
                "--min-throughput (tok/s/GPU) or --max-cost"
            )
        return self


@dataclass(frozen=True, kw_only=True)
class SearchRequest:
    """A validated question and the scenarios that it is about.

    Parameters
    ----------
    question:
        What is asked.
    settings:
        SKUs, engines, speculation and layouts to try.
    resolved:
        Every setting with its value and where it came from.
    """

    question: SearchQuestion
    settings: SweepSettings
    resolved: Mapping[str, Mapping[str, Any]]

    @property
    def objectives(self) -> Objectives:
        """SLOs of users; a TTFT of online services where none is asked for."""
        return self._online[0]

    @property
    def assumed(self) -> tuple[str, ...]:
        """What the request left open, and what stands in for it."""
        return self._online[1]

    @property
    def _online(self) -> tuple[Objectives, tuple[str, ...]]:
        asked = self.question
        objectives = Objectives(
            interactivity=asked.interactivity,
            interactivity_p90=asked.interactivity_p90,
            interactivity_p99=asked.interactivity_p99,
            ttft_p50_s=asked.ttft_p50,
            ttft_p90_s=asked.ttft_p90,
            ttft_p99_s=asked.ttft_p99,
            goodput=asked.goodput,
        )
        if asked.no_ttft_limit:
            lifted = "no TTFT limit: the winner's users may wait for minutes"
            return objectives, () if objectives.ttft_limits else (lifted,)
        return objectives.online()


def build_search(*, flags: Mapping[str, Any], file: Path | None = None) -> SearchRequest:
    """A search's request from a YAML file with flags on top.

    Parameters
    ----------
    flags:
        Fields of `SearchQuestion` and of `simulator.scenario.settings.Scenario`, the latter one
        value or a list each.

    Raises
    ------
    UserError
        If a setting is unknown, out of range, or contradicts another.
    """
    question, settings, resolved = build_question(SearchQuestion, flags=flags, file=file)
    if any(load.prefill_sku for load in settings.loads()):
        raise UserError("search takes chips of one kind; try pairs with simulate sweep or plan")
    return SearchRequest(question=question, settings=settings, resolved=resolved)
