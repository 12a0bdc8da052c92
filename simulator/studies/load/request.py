"""What ``simulate load`` is asked: a deployment, a workload, and when its requests arrive."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from simulator.scenario.declared import field
from simulator.scenario.drawn_lengths import without_means
from simulator.scenario.question import question_defaults
from simulator.scenario.settings import (
    Scenario,
    build_scenario,
    scenario_defaults,
)
from simulator.scenario.settings_file import edited_defaults, read_settings
from simulator.studies.load.arrivals import Arrivals, arrival_process, check_arrivals
from simulator.studies.load.chosen import as_deployed
from simulator.studies.load.declared import LOAD
from workloads.errors import UserError, shown, unknown_name
from workloads.models.expert_load import REAL_TEXT, UNIFORM, ExpertLoad
from workloads.requests.arrivals import Deterministic, Gamma, Sinusoidal, Steps
from workloads.requests.catalog import (
    DrawnLengthWorkload,
    FixedLengthWorkload,
    drawn_lengths,
    load_workload,
)
from workloads.requests.synthetic import INFERENCEX_PROMPTS_PER_CLIENT
from workloads.requests.traces import TraceOptions

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from workloads.requests.arrivals import ArrivalProcess
    from workloads.requests.catalog import Workload

OPEN_LOOP_REQUESTS = 2_000
"""Requests of a steady open loop whose length is not stated. [requests]"""

TUNED_FOR = 512
"""Requests in flight for which a server is set up in an open loop, unless stated. [requests]"""


class LoadSettings(BaseModel):
    """Settings of a load beside those of its scenario; ``None`` is resolved from the rest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    workload: str | None = field(LOAD["workload"])
    on_error: Literal["raise", "skip"] = field(LOAD["on_error"])
    time_unit: Literal["ms", "s", "us", "ns"] | None = field(LOAD["time_unit"])
    block_tokens: int | None = field(LOAD["block_tokens"])
    output_tokens: int | None = field(LOAD["output_tokens"])
    characters_per_token: float | None = field(LOAD["characters_per_token"])
    arrivals: Arrivals | None = field(LOAD["arrivals"])
    rate: float | None = field(LOAD["rate"])
    burstiness: float | None = field(LOAD["burstiness"])
    cv: float | None = field(LOAD["cv"])
    peak: float | None = field(LOAD["peak"])
    period: float | None = field(LOAD["period"])
    steps: tuple[tuple[float, float], ...] | None = field(LOAD["steps"])
    concurrency: int | None = field(LOAD["concurrency"])
    requests: int | None = field(LOAD["requests"])
    duration: float | None = field(LOAD["duration"])
    deployment: str | None = field(LOAD["deployment"])
    prefill_workers: int | None = field(LOAD["prefill_workers"])
    decode_workers: int | None = field(LOAD["decode_workers"])
    replicas: int = field(LOAD["replicas"])
    routing: Literal["round_robin", "least_loaded", "kv_aware", "session"] | None = field(
        LOAD["routing"]
    )
    tuned_for: int | None = field(LOAD["tuned_for"])
    replications: int = field(LOAD["replications"])
    ttft_slo: float | None = field(LOAD["ttft_slo"])
    tpot_slo: float | None = field(LOAD["tpot_slo"])
    expert_load: str | None = field(LOAD["expert_load"])
    redundant_experts: int | None = field(LOAD["redundant_experts"])


@dataclass(frozen=True, kw_only=True)
class LoadRequest:
    """A validated load: the scenario, the settings and what follows from them.

    Parameters
    ----------
    scenario, settings:
        What was asked.
    resolved:
        Every setting with its value and where it came from.
    workload:
        The requests.
    process:
        When conversations and single requests arrive; ``None``: at the times of the trace, or
        when closed-loop clients send them.
    is_steady:
        Whether an open loop has one rate throughout, so that it has a warm-up to leave out.
    expert_load:
        How tokens fall on the experts.
    reported:
        Server settings by pool that the file of an earlier run tells.
    told:
        How the deployment was chosen, where it was left open.
    """

    scenario: Scenario
    settings: LoadSettings
    resolved: Mapping[str, Mapping[str, Any]]
    workload: Workload
    process: ArrivalProcess | None
    is_steady: bool
    expert_load: ExpertLoad
    reported: Mapping[str, Any] = dataclass_field(default_factory=dict)
    told: str = ""

    @property
    def requests(self) -> int | None:
        """Requests of a replication; ``None``: the duration or the workload ends it."""
        asked = self.settings
        endless = isinstance(self.workload, FixedLengthWorkload | DrawnLengthWorkload)
        if asked.requests is not None or asked.duration is not None or not endless:
            return asked.requests
        if asked.concurrency is not None:
            return INFERENCEX_PROMPTS_PER_CLIENT * asked.concurrency
        return OPEN_LOOP_REQUESTS if self.is_steady else None

    @property
    def duration_s(self) -> float | None:
        """Time after which nothing arrives any more; ``None``: no such limit. [s]"""
        asked = self.settings
        if asked.duration is None and asked.requests is None:
            if isinstance(self.process, Sinusoidal):
                return self.process.period_s
            if isinstance(self.process, Steps):
                return sum(window.duration_s for window in self.process.windows)
        return asked.duration

    @property
    def workload_text(self) -> str:
        """What is sent, in a few words."""
        workload = self.workload
        if not isinstance(workload, FixedLengthWorkload):
            return workload.description
        drawn = {
            "uniform_0.8": "uniform in [0.8 L, L] as InferenceX draws them",
            "uniform_0_to_cap": "uniform from 1 to L",
            "fixed": "all of length L",
        }[self.scenario.length_distribution]
        return f"L = {workload.isl}/{workload.osl} tokens in/out, {drawn}, nothing shared"

    @property
    def arrivals_text(self) -> str:
        """When requests are sent, in a few words."""
        asked = self.settings
        match self.process:
            case Gamma(burstiness=1.0):
                return f"open loop, Poisson arrivals, {self.process.rate_per_s:g} req/s"
            case Gamma():
                return (
                    f"open loop, gamma arrivals of burstiness {self.process.burstiness:g} "
                    f"(1 is Poisson), {self.process.rate_per_s:g} req/s"
                )
            case Deterministic():
                return f"open loop, equal gaps, {self.process.rate_per_s:g} req/s"
            case Sinusoidal():
                return (
                    f"open loop, sinusoidal Poisson arrivals, {self.process.low_per_s:g} to "
                    f"{self.process.high_per_s:g} req/s every {self.process.period_s:g} s"
                )
            case Steps():
                windows = ", ".join(
                    f"{w.duration_s:g} s of {w.rate_per_s:g} req/s" for w in self.process.windows
                )
                return f"open loop, Poisson arrivals in steps: {windows}"
        if asked.concurrency is not None:
            return f"closed loop, {asked.concurrency:,} clients"
        played = "" if asked.rate is None else f" played at {asked.rate:g} req/s"
        return f"open loop, arrivals as recorded{self._recorded_rate}{played}"

    @property
    def _recorded_rate(self) -> str:
        """Mean rate of a trace and its length, so that a wrong unit shows; blank of others."""
        recorded = getattr(self.workload, "recorded", ())
        times = [one.arrival_s for one in recorded if one.arrival_s is not None]
        span_s = max(times) - min(times) if times else 0.0
        if not span_s:
            return ""
        return f" ({(len(times) - 1) / span_s:.3g} req/s over {span_s:,.4g} s)"

    @property
    def expert_load_text(self) -> str:
        """How tokens fall on the experts, in a few words."""
        load = self.expert_load
        text = {
            "uniform": "uniform (random tokens)",
            "balanced": "balanced over the ranks",
            "power_law": f"power law {load.alpha:g} (real text and traces)",
        }[load.kind]
        copies = load.redundant_experts
        return f"{text}, {copies} redundant experts" if copies else text


def build_load(*, flags: Mapping[str, Any], file: Path | None = None) -> LoadRequest:
    """A load from a YAML file with flags on top.

    Parameters
    ----------
    flags:
        Settings by name, those of a scenario and those of `LoadSettings`; ``None``: not given.
        ``disaggregated``: whether forms with pools, or those without, compete alone where no
        engine and no deployment is stated.
    file:
        YAML file of settings of both kinds.

    Raises
    ------
    UserError
        If the file or the workload cannot be read, a setting is unknown or out of range, or two
        contradict each other.
    """
    own: dict[str, Any] = {}
    others: dict[str, Any] = {}
    origin: dict[str, str] = {}
    read = read_settings(file)
    known = [*LoadSettings.model_fields, *Scenario.model_fields]
    kind = flags.get("disaggregated")
    flags = {name: value for name, value in flags.items() if name != "disaggregated"}
    edited = edited_defaults(
        read, found=scenario_defaults(read.values) | question_defaults(LoadSettings)
    )
    for where, values in (("", read.values), (f"file {file}", edited), ("flag", flags)):
        for name, value in values.items():
            if value is None:
                continue
            if name not in known:
                raise unknown_name(field="setting", value=name, known=known)
            origin[name] = where or read.origin[name]
            (own if name in LoadSettings.model_fields else others)[name] = value
    others = without_means(others, origin=origin, flags=flags)
    built = build_scenario(flags=others)
    scenario = built.scenario
    if scenario.lengths is not None:
        origin |= {name: built.origin[name] for name in ("isl", "osl")}
    try:
        settings = LoadSettings(**own)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise UserError(
            f"{field} is {shown(first['input'])}: {first['msg'][0].lower()}{first['msg'][1:]}"
        ) from None
    workload = _workload(scenario, settings, stated=others)
    if isinstance(workload, DrawnLengthWorkload):
        for name, limit_s in (("ttft_slo", workload.ttft_s), ("tpot_slo", workload.tpot_s)):
            if getattr(settings, name) is None and limit_s is not None:
                settings = settings.model_copy(update={name: limit_s})
                origin[name] = f"workload {workload.name}"
    check_arrivals(settings, workload)
    _check_copies(settings, scenario)
    process = arrival_process(settings, workload)
    scenario, settings, told = as_deployed(
        scenario,
        settings,
        flags={**others, "disaggregated": kind},
        workload=workload,
        process=process,
    )
    if told.chosen:
        origin |= dict.fromkeys(told.chosen, "as best deployed")
    values = scenario.model_dump(mode="json") | settings.model_dump(mode="json")
    return LoadRequest(
        scenario=scenario,
        settings=settings,
        resolved={
            name: {"value": value, "origin": origin.get(name, "default")}
            for name, value in values.items()
        },
        workload=workload,
        process=process,
        is_steady=isinstance(process, Gamma | Deterministic),
        expert_load=_expert_load(settings, workload),
        reported=read.reported,
        told=told.text,
    )


def _workload(scenario: Scenario, settings: LoadSettings, *, stated: Mapping[str, Any]) -> Workload:
    if scenario.lengths is not None:
        if settings.workload is not None:
            raise UserError(
                f"lengths {scenario.lengths} and workload are given; lengths come from one of them"
            )
        return drawn_lengths(scenario.lengths)
    if settings.workload is None:
        return FixedLengthWorkload(
            name=f"{scenario.isl}/{scenario.osl}", isl=scenario.isl, osl=scenario.osl
        )
    for name in ("isl", "osl"):
        if name in stated:
            raise UserError(
                f"workload {settings.workload} and {name} are given; lengths come from one of them"
            )
    return load_workload(
        settings.workload,
        options=TraceOptions(
            on_error=settings.on_error,
            time_unit=settings.time_unit,
            block_tokens=settings.block_tokens,
            characters_per_token=settings.characters_per_token,
            default_output_tokens=settings.output_tokens,
        ),
    )


def _check_copies(settings: LoadSettings, scenario: Scenario) -> None:
    """Refuse copies of experts that are stated twice with different numbers."""
    stated = settings.redundant_experts
    for name, value in scenario.engine_settings.items():
        if name.rpartition(".")[2] != "redundant_experts" or stated in (None, value):
            continue
        raise UserError(
            f"redundant_experts is {stated}, but --engine-set {name}={value}; keep one of them"
        )


def _expert_load(settings: LoadSettings, workload: Workload) -> ExpertLoad:
    copies = settings.redundant_experts or 0
    text = settings.expert_load
    if text is None:
        default = UNIFORM if isinstance(workload, FixedLengthWorkload) else REAL_TEXT
        return ExpertLoad(kind=default.kind, alpha=default.alpha, redundant_experts=copies)
    name, _, number = text.partition(":")
    kind: Any = name.replace("-", "_")
    if not number:
        return ExpertLoad(kind=kind, redundant_experts=copies)
    try:
        alpha = float(number)
    except ValueError:
        alpha = float("nan")
    if kind != "power_law" or alpha != alpha:
        raise UserError(
            f"expert_load '{text}' is not known; write uniform, balanced or power_law:1.01"
        )
    return ExpertLoad(kind=kind, alpha=alpha, redundant_experts=copies)
