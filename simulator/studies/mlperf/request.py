"""What ``simulate mlperf`` is asked: a benchmark, a scenario of it and a system."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from simulator.scenario.settings import build_scenario
from workloads.datafiles import read_yaml_mapping
from workloads.errors import UserError, unknown_name
from workloads.requests.length_laws import longest_tokens, read_lengths
from workloads.requests.mlperf import Benchmark, LatencyLimits, benchmark_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from simulator.scenario.settings import Scenario
    from workloads.requests.lengths import LengthDistribution

MlperfScenario = Literal["offline", "server", "interactive"]
SCENARIOS: tuple[MlperfScenario, ...] = ("offline", "server", "interactive")

LEAST_ARRIVALS_S = 600.0
"""Least time of scheduled arrivals that the rules ask for. [s]"""

LIVES = 3.0
"""Arrivals last this many times the longest answer, so that the run is mostly steady. [-]"""


@dataclass(frozen=True, kw_only=True)
class MlperfRequest:
    """A validated question.

    Parameters
    ----------
    benchmark, scenario:
        What is run.
    base:
        Settings of one copy: SKU, engine, layout, server settings.
    deployment:
        Label of one copy's pools; ``None``: the layouts that fit compete.
    chips:
        Chips of the system; ``None``: of one copy.
    rate_per_s:
        A stated rate to judge; ``None``: the largest that passes. [1/s]
    queries:
        Queries of an Offline run; ``None``: chosen.
    arrivals_s:
        Time of arrivals; ``None``: chosen. [s]
    prompt, output:
        Length distributions.
    notes:
        What is assumed of a submission.
    """

    benchmark: Benchmark
    scenario: MlperfScenario
    base: Scenario
    deployment: str | None
    chips: int | None
    rate_per_s: float | None
    queries: int | None
    arrivals_s: float | None
    prompt: LengthDistribution
    output: LengthDistribution
    notes: tuple[str, ...] = ()

    @property
    def limits(self) -> LatencyLimits | None:
        """Latency limits; Offline has none."""
        return None if self.scenario == "offline" else self.benchmark.limits_of(self.scenario)

    @property
    def longest(self) -> tuple[int, int]:
        """Longest prompt and answer. [tokens]"""
        return longest_tokens(self.prompt), longest_tokens(self.output)


@cache
def submissions() -> dict[str, dict[str, Any]]:
    """Settings of published submissions by name; results of none."""
    path = Path(str(resources.files("simulator.studies.mlperf") / "submissions.yaml"))
    known: dict[str, dict[str, Any]] = read_yaml_mapping(path)["submissions"]
    return known


def _with_submission(name: str, stated: dict[str, Any]) -> dict[str, Any]:
    """Arguments of `build_mlperf`: what is stated over what a submission set."""
    known = submissions()
    if name not in known:
        raise unknown_name(field="submission", value=name, known=known)
    entry = known[name]
    given = {key: value for key, value in stated.pop("flags").items() if value is not None}
    own = given.pop("engine_settings", None) or {}
    flags = {**entry["flags"], **given, "engine_settings": {**entry["engine_settings"], **own}}
    named = ("benchmark", "scenario", "chips", "deployment", "queries")
    settings = {key: entry[key] for key in named if key in entry}
    settings |= {key: value for key, value in stated.items() if value is not None}
    same = all(settings[key] == entry[key] for key in ("benchmark", "scenario", "chips"))
    if not same and stated["queries"] is None:
        settings.pop("queries", None)  # it counts for that run alone
    return {**settings, "flags": flags}


def build_mlperf(
    *,
    flags: Mapping[str, Any],
    submission: str | None = None,
    benchmark: str | None = None,
    scenario: str | None = None,
    deployment: str | None = None,
    chips: int | None = None,
    rate: float | None = None,
    queries: int | None = None,
    arrivals_s: float | None = None,
    lengths: Path | None = None,
) -> MlperfRequest:
    """A question from flags.

    Parameters
    ----------
    flags:
        Settings of a scenario; ``model`` may name the benchmark.
    submission:
        Name of a published submission whose settings hold where nothing else is stated.

    Raises
    ------
    UserError
        If a name is unknown, a number is out of range, or two settings contradict each other.
    """
    if submission is not None:
        stated: dict[str, Any] = {
            "flags": dict(flags),
            "benchmark": benchmark,
            "scenario": scenario,
            "deployment": deployment,
            "chips": chips,
            "rate": rate,
            "queries": queries,
            "arrivals_s": arrivals_s,
            "lengths": lengths,
        }
        asked = build_mlperf(**_with_submission(submission, stated))
        assumed = submissions()[submission].get("assumed")
        told = (f"{submission}: {assumed}",) if assumed else ()
        return replace(asked, notes=(*told, *asked.notes))
    scenario = scenario or "server"
    if scenario not in SCENARIOS:
        raise unknown_name(field="scenario", value=scenario, known=SCENARIOS)
    name = benchmark or flags.get("model")
    if name is None:
        raise UserError("no benchmark is given; name one with --benchmark deepseek-r1")
    chosen = benchmark_of(str(name))
    for field, value in (("rate", rate), ("queries", queries), ("arrivals", arrivals_s)):
        if value is not None and value <= 0:
            raise UserError(f"{field} is {value}; it must be positive")
    if scenario == "offline" and (rate is not None or arrivals_s is not None):
        raise UserError("rate and arrivals have no meaning offline: all queries are there at once")
    if scenario != "offline":
        chosen.limits_of(scenario)
        if queries is not None:
            raise UserError("queries is for offline; of server runs --arrivals sets the length")
    prompt, output = read_lengths(lengths) if lengths else (chosen.prompt, chosen.output)
    own = {key: value for key, value in flags.items() if value is not None}
    notes: tuple[str, ...] = ()
    allowed = chosen.speculation.get(scenario)
    if "spec" not in own and allowed is not None:
        own["spec"] = allowed
        notes = (f"drafts by {allowed}, which the rules allow here; --spec none goes without",)
    base = build_scenario(
        flags={
            **own,
            "model": own.get("model", chosen.model),
            "isl": max(1, round(prompt.mean_tokens)),
            "osl": max(2, round(output.mean_tokens)),
        }
    ).scenario
    return MlperfRequest(
        benchmark=chosen,
        scenario=scenario,
        base=base,
        deployment=deployment,
        chips=chips,
        rate_per_s=rate,
        queries=queries,
        arrivals_s=arrivals_s,
        prompt=prompt,
        output=output,
        notes=notes,
    )
