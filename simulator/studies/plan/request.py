"""What ``simulate plan`` is asked: SLOs, a demand or a budget, and the traffic."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import model_validator

from hwmodels.economics import load_economics
from hwmodels.sku import list_skus, load_sku
from simulator.analysis.objectives import Objectives
from simulator.scenario.declared import field
from simulator.scenario.question import Question, build_question
from simulator.scenario.settings_file import read_settings
from simulator.studies.plan.declared import PLAN
from simulator.studies.plan.traffic import RecordedTraffic, SyntheticTraffic
from workloads.errors import UserError
from workloads.requests.catalog import (
    MLPERF,
    DrawnLengthWorkload,
    FixedLengthWorkload,
    TraceWorkload,
    drawn_lengths,
    load_workload,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from simulator.scenario.grid import SweepSettings
    from simulator.scenario.settings import Scenario
    from simulator.studies.plan.traffic import Traffic

DEMANDS = ("rate", "users", "mw", "fleet_gpus")


class PlanQuestion(Question):
    """Settings of a plan; a field that is ``None`` is not asked for."""

    interactivity: float | None = field(PLAN["interactivity"])
    interactivity_p90: float | None = field(PLAN["interactivity_p90"])
    interactivity_p99: float | None = field(PLAN["interactivity_p99"])
    ttft_p50: float | None = field(PLAN["ttft_p50"])
    ttft_p90: float | None = field(PLAN["ttft_p90"])
    ttft_p99: float | None = field(PLAN["ttft_p99"])
    goodput: float | None = field(PLAN["goodput"])
    rate: float | None = field(PLAN["rate"])
    users: float | None = field(PLAN["users"])
    mw: float | None = field(PLAN["mw"])
    fleet_gpus: int | None = field(PLAN["fleet_gpus"])
    max_cost: float | None = field(PLAN["max_cost"])
    think: float = field(PLAN["think"])
    burstiness: float = field(PLAN["burstiness"])
    peak: float = field(PLAN["peak"])
    period: float = field(PLAN["period"])
    workload: str | None = field(PLAN["workload"])
    tier: Literal["hyperscaler", "neocloud", "rental"] = field(PLAN["tier"])
    whole: Literal["racks", "nodes"] = field(PLAN["whole"])
    spare: bool = field(PLAN["spare"])
    replications: int = field(PLAN["replications"])
    layouts: int = field(PLAN["layouts"])
    every: bool = field(PLAN["every"])

    @model_validator(mode="after")
    def _asks_one_thing(self) -> Self:
        given = [name for name in DEMANDS if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} are given; a plan starts from one of them")
        if not given and self.max_cost is None:
            raise ValueError(
                "no demand is given; say how much with --rate, --users, --mw or --gpus, or ask "
                "for the fastest service within a price with --max-cost"
            )
        if given and self.interactivity is self.interactivity_p90 is self.interactivity_p99 is None:
            raise ValueError(
                "no speed is asked for users; give one with --interactivity, as in "
                "--interactivity 50 (tok/s/user)"
            )
        return self


@dataclass(frozen=True, kw_only=True)
class PlanRequest:
    """A validated question and the scenarios that it is about.

    Parameters
    ----------
    question:
        What is asked.
    settings:
        SKUs, engines, models and layouts to try.
    resolved:
        Every setting with its value and where it came from.
    workload:
        The trace, if one was named.
    """

    question: PlanQuestion
    settings: SweepSettings
    resolved: Mapping[str, Mapping[str, Any]]
    workload: TraceWorkload | None = None

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
        return objectives.online()

    def loads(self) -> Iterator[Scenario]:
        """A scenario for each SKU, engine where named, and combination of other lists."""
        yield from self.settings.loads()

    def traffic(self, load: Scenario) -> Traffic:
        """The fleet's traffic in a scenario."""
        if self.workload is not None:
            return RecordedTraffic(self.workload)
        return SyntheticTraffic(
            isl=load.isl,
            osl=load.osl,
            distribution=load.length_distribution,
            burstiness=self.question.burstiness,
            peak=self.question.peak,
            period_s=self.question.period,
            drawn=None if load.lengths is None else drawn_lengths(load.lengths),
        )


def build_plan(*, flags: Mapping[str, Any], file: Path | None = None) -> PlanRequest:
    """A plan's request from a YAML file with flags on top.

    Parameters
    ----------
    flags:
        Fields of `PlanQuestion` and of `simulator.scenario.settings.Scenario`; ``sku`` may be a
        list.

    Raises
    ------
    UserError
        If a setting is unknown, out of range, or contradicts another.
    """
    limits = _workload_limits(flags, file=file)
    question, settings, resolved = build_question(
        PlanQuestion, flags={**flags, **limits}, file=file, default_skus=priced_skus
    )
    told = {"origin": f"workload {question.workload}"}
    resolved = dict(resolved) | {name: {**resolved[name], **told} for name in limits}
    if any(settings.values["lengths"]) and question.workload is not None:
        raise UserError(
            f"lengths {settings.values['lengths'][0]} and workload {question.workload} are given; "
            "lengths come from one of them"
        )
    if question.workload is None:
        return PlanRequest(question=question, settings=settings, resolved=resolved)
    workload = load_workload(question.workload)
    if isinstance(workload, DrawnLengthWorkload):
        means = dict(zip(("isl", "osl"), workload.nominal_tokens, strict=True))
        values = {name: (tokens,) for name, tokens in means.items()}
        return PlanRequest(
            question=question,
            settings=replace(
                settings, values={**settings.values, **values, "lengths": (workload.name,)}
            ),
            resolved=resolved
            | {
                name: {"value": n, "origin": f"workload {workload.name}"}
                for name, n in means.items()
            },
        )
    if isinstance(workload, FixedLengthWorkload):
        lengths = {"isl": workload.isl, "osl": workload.osl}
        values = dict(settings.values) | {name: (tokens,) for name, tokens in lengths.items()}
        origin = f"workload {workload.name}"
        return PlanRequest(
            question=question,
            settings=replace(settings, values=values),
            resolved=resolved
            | {name: {"value": n, "origin": origin} for name, n in lengths.items()},
        )
    if not isinstance(workload, TraceWorkload):
        raise UserError(
            f"workload {workload.name} has no arrival times of its own; give a trace file, or "
            "lengths with --isl and --osl"
        )
    if question.burstiness != 1 or question.peak != 1:
        raise UserError("a trace brings its own arrivals; leave --burstiness and --peak out")
    RecordedTraffic(workload)
    return PlanRequest(question=question, settings=settings, resolved=resolved, workload=workload)


def _workload_limits(flags: Mapping[str, Any], *, file: Path | None) -> dict[str, float]:
    """Objectives that a workload brings where none of their kind is stated: MLPerf's limits."""
    stated = {**read_settings(file).values, **{k: v for k, v in flags.items() if v is not None}}
    name = stated.get("workload")
    if not isinstance(name, str) or not name.startswith(MLPERF):
        return {}
    workload = drawn_lengths(name)
    found = {}
    if workload.tpot_s is not None and not any(key.startswith("interact") for key in stated):
        found["interactivity_p99"] = 1.0 / workload.tpot_s
    if workload.ttft_s is not None and not any(key.startswith("ttft") for key in stated):
        found["ttft_p99"] = workload.ttft_s
    return found


def priced_skus(economics: str) -> list[str]:
    """Shipping SKUs that a dated file has a price for, by name."""
    costs = load_economics(economics)
    return [
        key
        for key in list_skus()
        if load_sku(key).status == "shipping" and costs.for_sku(key).usd_per_gpu_hour() is not None
    ]
