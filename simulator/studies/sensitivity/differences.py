"""Central differences of a run's results in the numbers of chip, software and workload."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from hwmodels.sku import figure_fields, informative_fields
from hwmodels.software import PARAMETERS
from simulator.analysis.pareto import Frontier, monotone_slopes
from simulator.analysis.statistics import Interval, mean_interval
from simulator.engines.pools import DoesNotFitError
from simulator.prediction.assembly import assemble, named_software
from simulator.prediction.run import acceptance_of, simulate_run
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hwmodels.software import SoftwareLevel
    from simulator.engines.pools import PoolConfiguration
    from simulator.scenario.configuration import RunConfiguration
    from simulator.serving.router import WorkerPool

Metric: TypeAlias = Literal["throughput", "interactivity", "ttft"]
Owner: TypeAlias = Literal["sku", "software", "workload"]

METRICS: dict[Metric, str] = {
    "throughput": "tokens per second and GPU",
    "interactivity": "1 / median TPOT",
    "ttft": "median time to first token",
}

NEGLIGIBLE = 1e-4
"""Smaller elasticities count as none. [-]"""

_COUNTS = {"chips", "cores"}
_MOST_DOUBLINGS = 6
_HOST_TIMES = {"turnaround_s": "s", "client_overhead_s": "s", "tokenise_s_per_token": "s/token"}
_PROBES = ((1, 512), (8, 2048), (64, 8192), (256, 65536))


@dataclass(frozen=True, slots=True, kw_only=True)
class Elasticity:
    """How the result follows one number.

    Parameters
    ----------
    parameter, owner, unit:
        Which number, whose it is, and its SI unit.
    value, low, high:
        It, and the two values that were tried.
    result_low, result_high:
        Each result at those values over that at the base, by metric. [-]
    elasticity:
        ``d ln result / d ln parameter`` by metric, over the replications. [-]
    note:
        What to know, such as that the model does not fit at one of the values.
    """

    parameter: str
    owner: Owner
    unit: str
    value: float
    low: float
    high: float
    result_low: Mapping[str, float]
    result_high: Mapping[str, float]
    elasticity: Mapping[str, Interval]
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A configuration and the software level that it runs on."""

    configuration: RunConfiguration
    software: SoftwareLevel


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A number that can be changed.

    ``at`` gives the change to a value, and the value that is possible nearest to it.
    """

    name: str
    owner: Owner
    unit: str
    value: float
    at: Callable[[float], tuple[Change, float]]


class Study:
    """One configuration, and how its results follow its numbers.

    Parameters
    ----------
    configuration:
        The base.
    speed:
        Judge throughput where the median user has this speed; ``None``: at the concurrency.
        [tok/s]
    step:
        Relative change to either side. [-]
    replications:
        Runs with other random numbers.
    pools_at:
        Pools with the settings of a concurrency, for the points of a curve.
    """

    def __init__(
        self,
        configuration: RunConfiguration,
        *,
        speed: float | None,
        step: float,
        replications: int,
        pools_at: Callable[[int], tuple[PoolConfiguration, ...]],
    ) -> None:
        self.base = Change(configuration=configuration, software=named_software(configuration))
        self._sku = configuration.sku
        self._speed = speed
        self._step = step
        self._replications = replications
        self._pools_at = pools_at

    def results(self, change: Change) -> dict[str, list[float]]:
        """Results by metric, one for each replication.

        Raises
        ------
        UserError
            If the speed is not reached near the base's concurrency.
        DoesNotFitError
            If the model does not fit.
        """
        found: dict[str, list[float]] = {}
        for replication in range(self._replications):
            seed = change.configuration.seed + replication
            seeded = replace(change.configuration, seed=seed)
            for name, value in self._run(replace(change, configuration=seeded)).items():
                found.setdefault(name, []).append(value)
        return found

    def _run(self, change: Change) -> dict[str, float]:
        if self._speed is None:
            metrics = simulate_run(change.configuration, software=change.software).metrics
            return {
                "throughput": metrics.total_tput_per_gpu,
                "interactivity": metrics.interactivity,
                "ttft": metrics.ttft.median_s,
            }
        throughput = self._at_speed(change, speed=self._speed)
        return {"throughput": throughput}

    def _at_speed(self, change: Change, *, speed: float) -> float:
        """Throughput at a speed, on the change's own curve. [tok/s/GPU]"""
        points: list[tuple[float, float]] = []

        def add(factor: float) -> None:
            concurrency = max(1, round(factor * change.configuration.concurrency))
            at = replace(
                change.configuration, concurrency=concurrency, pools=self._pools_at(concurrency)
            )
            metrics = simulate_run(at, software=change.software).metrics
            points.append((metrics.interactivity, metrics.total_tput_per_gpu))

        for factor in (0.5, 1.0, 2.0):
            add(factor)
        for doubling in range(2, _MOST_DOUBLINGS):
            if max(points)[0] < speed:
                add(0.5**doubling)
            elif min(points)[0] > speed:
                add(2.0**doubling)
        x, first = np.unique([point[0] for point in points], return_index=True)
        y = np.array([points[index][1] for index in first])
        curve = Frontier(x=x, y=y, slope=monotone_slopes(x, y), indices=tuple(first.tolist()))
        throughput = curve.at(speed)
        if throughput is None:
            raise UserError(f"interactivity {speed:g} is out of reach of the changed number")
        return throughput

    def parameters(self) -> tuple[list[Parameter], dict[str, str]]:
        """Numbers to try, and those that cannot be tried with the reason."""
        untried: dict[str, str] = {}
        found = self._of_sku(untried) + self._of_software(untried) + self._of_workload(untried)
        return found, untried

    def _of_sku(self, untried: dict[str, str]) -> list[Parameter]:
        found: list[Parameter] = []
        for name, unit in figure_fields().items():
            figure = self._sku.figures.get(name)
            if figure is None:
                continue
            if name in informative_fields():
                untried[name] = f"changes no figure: {informative_fields()[name]}"
                continue
            if unit in _COUNTS:
                untried[name] = "a count moves in whole steps"
                continue

            def at(value: float, *, name: str = name) -> tuple[Change, float]:
                base = self.base.configuration
                changed = replace(base, sku=base.sku.override({name: value}))
                return replace(self.base, configuration=changed), value

            found.append(Parameter(name=name, owner="sku", unit=unit, value=figure.si, at=at))
        return found

    def _of_software(self, untried: dict[str, str]) -> list[Parameter]:
        found: list[Parameter] = []
        software = self.base.software
        for name, text in PARAMETERS.items():
            value = software.parameters.get(name, 1.0 if name.endswith("_scale") else 0.0)
            if value == 0.0:
                untried[name] = "it is zero at this software level"
                continue

            def at(value: float, *, name: str = name) -> tuple[Change, float]:
                return replace(self.base, software=software.with_parameters({name: value})), value

            unit = text.rpartition("[")[2].rstrip("]")
            found.append(Parameter(name=name, owner="software", unit=unit, value=value, at=at))
        return found

    def _of_workload(self, untried: dict[str, str]) -> list[Parameter]:
        base = self.base.configuration
        units = {"isl": "tokens", "osl": "tokens", "concurrency": "requests"}
        if base.drawn is not None:
            for name in ("isl", "osl"):
                del units[name]
                untried[name] = f"lengths are drawn from {base.drawn.name}"
        if self._speed is not None:
            del units["concurrency"]
            untried["concurrency"] = "it follows from the interactivity"
        found: list[Parameter] = []
        for name, unit in units.items():
            value = getattr(base, name)

            def at(wanted: float, *, name: str = name, value: int = value) -> tuple[Change, float]:
                moved = math.floor(wanted) if wanted < value else math.ceil(wanted)
                to: dict[str, Any] = {name: max(1, moved)}
                return replace(self.base, configuration=replace(base, **to)), float(to[name])

            found.append(
                Parameter(name=name, owner="workload", unit=unit, value=float(value), at=at)
            )
        for name, unit in _HOST_TIMES.items():
            value_s = getattr(base, name)
            if not value_s:
                untried[name] = "it is zero: clients and the front end take no time"
                continue

            def turn(wanted: float, *, name: str = name) -> tuple[Change, float]:
                changed: dict[str, Any] = {name: wanted}
                return replace(self.base, configuration=replace(base, **changed)), wanted

            found.append(Parameter(name=name, owner="workload", unit=unit, value=value_s, at=turn))
        if base.drafts:
            length = acceptance_of(base, software=self.base.software).acceptance_length

            def accept(wanted: float) -> tuple[Change, float]:
                possible = min(max(wanted, 1.0), base.drafts + 1.0)
                changed = replace(base, acceptance_length=possible)
                return replace(self.base, configuration=changed), possible

            found.append(
                Parameter(
                    name="acceptance_length",
                    owner="workload",
                    unit="tokens",
                    value=length,
                    at=accept,
                )
            )
        return found

    def matters(self, parameter: Parameter) -> bool:
        """Whether changing a number changes the deployment at all: its steps, pools or links.

        Numbers of the workload always may.
        """
        if parameter.owner == "workload" or parameter.name == "acceptance_scale":
            return True
        base = _signature(self.base)
        for value in self._sides(parameter):
            try:
                if _signature(parameter.at(value)[0]) != base:
                    return True
            except UserError:
                return True
        return False

    def elasticity(self, parameter: Parameter, *, base: Mapping[str, list[float]]) -> Elasticity:
        """Elasticities of all results to a number, one-sided where one side cannot run.

        Raises
        ------
        UserError
            If neither side can run.
        """
        ends: list[tuple[float, dict[str, list[float]]]] = []
        notes: list[str] = []
        for wanted in self._sides(parameter):
            try:
                change, value = parameter.at(wanted)
                ends.append((value, self.results(change)))
            except DoesNotFitError:
                notes.append(f"does not fit at {wanted:.4g}")
            except UserError as error:
                notes.append(str(error).splitlines()[0])
        if not ends:
            raise UserError("; ".join(dict.fromkeys(notes)))
        if len(ends) == 1:
            here = (parameter.value, dict(base))
            ends = sorted([ends[0], here], key=lambda end: end[0])
        (low, at_low), (high, at_high) = ends
        span = math.log(high / low)
        slopes = {
            name: [
                math.log(above / below) / span
                for below, above in zip(at_low[name], at_high[name], strict=True)
            ]
            for name in base
        }
        return Elasticity(
            parameter=parameter.name,
            owner=parameter.owner,
            unit=parameter.unit,
            value=parameter.value,
            low=low,
            high=high,
            result_low={name: _mean(at_low[name]) / _mean(base[name]) for name in base},
            result_high={name: _mean(at_high[name]) / _mean(base[name]) for name in base},
            elasticity={name: _interval(values) for name, values in slopes.items()},
            note="; ".join(dict.fromkeys(notes)),
        )

    def _sides(self, parameter: Parameter) -> tuple[float, float]:
        return parameter.value * (1.0 - self._step), parameter.value * (1.0 + self._step)


def _signature(change: Change) -> tuple[object, ...]:
    """What the event simulation sees of a chip and a software level, probed at some steps."""
    assembly = assemble(change.configuration, software=change.software)
    return (
        *(part for pool in assembly.pools for part in _pool_signature(pool)),
        assembly.deployment.transfer,
    )


def _pool_signature(pool: WorkerPool) -> tuple[object, ...]:
    ranks, cost = pool.layout.attention_dp, pool.cost
    probes: list[object] = [pool.kv_pool]
    for requests, context in _PROBES:
        for tokens, has_prefill in ((requests * cost.queries_per_request, False), (context, True)):
            probes.append(
                cost.fixed_s(
                    rank_tokens=tokens,
                    group_tokens=tokens * ranks,
                    rank_samples=requests,
                    group_samples=requests * ranks,
                    has_prefill=has_prefill,
                )
            )
        probes.append(
            cost.decode_attention(requests=requests, context_sum=float(requests * context))
        )
        probes.append(cost.prefill_attention_s(new_tokens=context, prefix_tokens=context))
    return tuple(probes)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _interval(values: list[float]) -> Interval:
    if len(values) < 2:
        return Interval(mean=values[0], half_width=math.nan, confidence=0.9, observations=1)
    return mean_interval(values, confidence=0.9)
