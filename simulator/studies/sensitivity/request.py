"""What ``simulate sensitivity`` is asked: a question and the one deployment that it is about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from simulator.analysis.objectives import NO_LIMIT
from simulator.scenario.declared import field
from simulator.scenario.question import Question, build_question
from simulator.studies.as_deployed import AskedLoad, best_deployed, check_kind
from simulator.studies.sensitivity.declared import SENSITIVITY
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from simulator.scenario.grid import SweepSettings
    from simulator.scenario.settings import Scenario
    from simulator.studies.as_deployed import BestDeployed

DEFAULT_CONCURRENCY = 64


class SensitivityQuestion(Question):
    """Settings of a sensitivity study."""

    interactivity: float | None = field(SENSITIVITY["interactivity"])
    step: float = field(SENSITIVITY["step"])
    replications: int = field(SENSITIVITY["replications"])


@dataclass(frozen=True, slots=True, kw_only=True)
class SensitivityRequest:
    """A validated question and the scenario that it is about.

    Parameters
    ----------
    best:
        The deployment, where the question leaves it open; ``None``: the scenario says which.
    """

    question: SensitivityQuestion
    settings: SweepSettings
    scenario: Scenario
    concurrency: int
    resolved: Mapping[str, Mapping[str, Any]]
    best: BestDeployed | None = None


def build_sensitivity(*, flags: Mapping[str, Any], file: Path | None = None) -> SensitivityRequest:
    """A request from a YAML file with flags on top.

    Raises
    ------
    UserError
        If a setting is unknown, out of range, or has several values.
    """
    question, settings, resolved = build_question(SensitivityQuestion, flags=flags, file=file)
    scenarios = [each for load in settings.loads() for each in settings.layouts_of(load)]
    concurrencies = settings.concurrency or (DEFAULT_CONCURRENCY,)
    if len(scenarios) > 1 or len(concurrencies) > 1:
        raise UserError(
            "a setting has several values; a sensitivity study is about one configuration, so "
            "give one value each"
        )
    check_kind(settings, scenarios[0])
    best = best_deployed(
        settings,
        scenarios[0],
        asked=AskedLoad(clients=concurrencies[0]),
        limits=NO_LIMIT.online()[0],
    )
    if best is not None:
        chosen = best.named | best.layouts
        resolved.pop("disaggregated", None)  # the pools that follow say it
        resolved |= {
            name: {"value": value, "origin": "as best deployed"} for name, value in chosen.items()
        }
        scenarios = [scenarios[0].model_copy(update=best.named)]
    return SensitivityRequest(
        question=question,
        settings=settings,
        scenario=scenarios[0],
        concurrency=concurrencies[0],
        resolved=resolved,
        best=best,
    )
