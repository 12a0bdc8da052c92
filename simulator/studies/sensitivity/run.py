"""Which numbers matter: elasticities of a run's result to chip, software and workload."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from simulator.engines.pools import PoolLayout, deployment_label
from simulator.prediction.run import simulate_run
from simulator.recipes.layouts import recipe_pools
from simulator.scenario.candidates import candidate_deployments
from simulator.scenario.configure import configure_run
from simulator.scenario.target import resolve_target
from simulator.studies.closing_of_run import closing_of_run, stands_in
from simulator.studies.explain.request import configure
from simulator.studies.sensitivity.differences import NEGLIGIBLE, Study
from simulator.studies.sensitivity.request import build_sensitivity
from simulator.version import version
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import pandas as pd
    from matplotlib.figure import Figure

    from simulator.recipes.layouts import PoolRequest
    from simulator.scenario.configuration import RunConfiguration
    from simulator.studies.sensitivity.differences import Elasticity
    from simulator.studies.sensitivity.request import SensitivityQuestion, SensitivityRequest

    Progress = Callable[[int, int, str], None]

_LARGEST_CONCURRENCY = 4096


@dataclass(frozen=True, kw_only=True)
class SensitivityResult:
    """Elasticities of one configuration.

    Parameters
    ----------
    question:
        What was asked.
    resolved:
        Every setting with its value and where it came from.
    configuration:
        What ran.
    kind, level:
        Kind of prediction and software level.
    base:
        The results at the base, by metric; throughput in tok/s/GPU, speed in tok/s, TTFT in s.
    elasticities:
        Numbers with an influence, the largest on throughput first.
    without_influence:
        Numbers that were tried and change nothing here.
    untried:
        Numbers that were not tried, and why.
    messages:
        What was assumed.
    closing:
        What the run rests on, how far off such ones were and what to measure first.
    load:
        What is served, where it is not requests of one length.
    """

    question: SensitivityQuestion
    resolved: Mapping[str, Any]
    configuration: RunConfiguration
    kind: str
    level: str
    base: Mapping[str, float]
    elasticities: tuple[Elasticity, ...]
    without_influence: tuple[str, ...]
    untried: Mapping[str, str]
    messages: tuple[str, ...]
    closing: tuple[str, ...] = ()
    load: str = ""

    def frame(self) -> pd.DataFrame:
        """One row for each number with an influence."""
        import pandas as pd

        cells = []
        for one in self.elasticities:
            row: dict[str, Any] = {
                "parameter": one.parameter,
                "owner": one.owner,
                "unit": one.unit,
                "value": one.value,
                "low": one.low,
                "high": one.high,
            }
            for name, interval in one.elasticity.items():
                row[f"elasticity_{name}"] = interval.mean
                row[f"elasticity_{name}_half_width"] = interval.half_width
                row[f"{name}_at_low"] = one.result_low.get(name, math.nan)
                row[f"{name}_at_high"] = one.result_high.get(name, math.nan)
            cells.append({**row, "note": one.note})
        return pd.DataFrame(cells).assign(version=f"forecurve {version()}, simulated")

    def tables(self) -> dict[str, pd.DataFrame]:
        """Tables by the names of their files."""
        return {"sensitivity": self.frame()}

    def summary(self) -> dict[str, Any]:
        """All of it as JSON objects."""
        from simulator.studies.sensitivity.text import summary_of

        return summary_of(self)

    @property
    def caption(self) -> str:
        """What was run, in one line."""
        from simulator.studies.sensitivity.text import sensitivity_caption

        return sensitivity_caption(self)

    def plot(self, path: Path | None = None) -> Figure:
        """The tornado plot; PNG where a path is given."""
        from simulator.output.style import save_figure
        from simulator.studies.sensitivity.plots import tornado_figure

        figure = tornado_figure(self)
        if path is not None:
            save_figure(figure, path)
        return figure


def sensitivity(
    *,
    scenario: Path | None = None,
    on_progress: Progress | None = None,
    **settings: Any,
) -> SensitivityResult:
    """Elasticities of a run's result to every number of chip, software level and workload.

    Parameters
    ----------
    scenario:
        YAML file of settings; keyword settings override it.
    on_progress:
        Called with (numbers done, numbers in all, what is under way).
    settings:
        Fields of `SensitivityQuestion` and of `simulator.scenario.settings.Scenario`, one value
        each.

    Raises
    ------
    UserError
        If a setting is unknown, out of range, or has several values.
    """
    return run_sensitivity(
        build_sensitivity(flags=settings, file=scenario), on_progress=on_progress
    )


def run_sensitivity(
    request: SensitivityRequest, *, on_progress: Progress | None = None
) -> SensitivityResult:
    """Carry out a validated request.

    Notes
    -----
    Central differences, ``(ln y(x+) - ln y(x-)) / (ln x+ - ln x-)``, with the same random
    numbers on both sides, averaged over replications with others. All else is held fixed, the
    engine's settings too, even those that a recipe derives from lengths or concurrency. At a
    fixed interactivity every value is judged on its own curve, through points from half to
    twice the concurrency that has this speed at the base, and further doublings if needed;
    there settings follow the concurrency as the recipe has it.

    Raises
    ------
    UserError
        If a name is unknown or the interactivity is out of reach.
    DoesNotFitError
        If the model does not fit.
    """
    configuration, messages = _configuration(request, concurrency=request.concurrency)
    messages = (*messages, *stands_in(request.scenario))
    speed = request.question.interactivity
    pools = tuple(
        PoolLayout(role=pool.role, workers=pool.workers, layout=pool.layout)
        for pool in configuration.pools
    )
    if speed is not None:
        configuration = _at_speed(request, pools=pools, speed=speed)
    study = Study(
        configuration,
        speed=speed,
        step=request.question.step,
        replications=request.question.replications,
        pools_at=lambda concurrency: _at(request, pools, concurrency=concurrency).pools,
    )
    return carry_out(
        study,
        question=request.question,
        resolved=request.resolved,
        messages=messages,
        on_progress=on_progress,
    )


def carry_out(
    study: Study,
    *,
    question: SensitivityQuestion,
    resolved: Mapping[str, Mapping[str, Any]],
    messages: Sequence[str],
    load: str = "",
    on_progress: Progress | None = None,
) -> SensitivityResult:
    """Elasticities of a study's results to every number that it can change.

    Parameters
    ----------
    load:
        What is served, where it is not requests of one length.

    Raises
    ------
    UserError
        If the base cannot run.
    """
    base = study.results(study.base)
    found: list[Elasticity] = []
    without: list[str] = []
    changes, untried = study.parameters()
    for position, parameter in enumerate(changes):
        if on_progress is not None:
            on_progress(position, len(changes), parameter.name)
        if not study.matters(parameter):
            without.append(parameter.name)
            continue
        try:
            one = study.elasticity(parameter, base=base)
        except UserError as error:
            untried[parameter.name] = str(error).splitlines()[0]
            continue
        if all(abs(value.mean) < NEGLIGIBLE for value in one.elasticity.values()):
            without.append(parameter.name)
        else:
            found.append(one)
    if on_progress is not None:
        on_progress(len(changes), len(changes), "done")
    software = study.base.software
    return SensitivityResult(
        question=question,
        load=load,
        resolved=resolved,
        configuration=study.base.configuration,
        kind=software.kind,
        level=software.name,
        base={name: float(np.mean(values)) for name, values in base.items()},
        elasticities=tuple(sorted(found, key=lambda one: -abs(one.elasticity["throughput"].mean))),
        without_influence=tuple(without),
        untried=untried,
        messages=tuple(dict.fromkeys((*messages, *software.messages))),
        closing=() if load else tuple(closing_of_run(study.base.configuration, software=software)),
    )


def _configuration(
    request: SensitivityRequest, *, concurrency: int
) -> tuple[RunConfiguration, tuple[str, ...]]:
    """The one deployment that is asked for at a concurrency, and what was assumed.

    As stated; without an engine and a layout as best deployed; else what the engine's recipe ran
    nearest to the concurrency, as ``simulate explain`` chooses it.

    Raises
    ------
    UserError
        If stated pools leave a choice.
    """
    scenario = request.scenario
    target = resolve_target(scenario)
    pools: Sequence[PoolRequest] | Sequence[PoolLayout]
    told: tuple[str, ...] = ()
    if request.best is not None:
        pools, told = request.best.sweep.pools, (request.best.told,)
    elif request.settings.pools.is_stated:
        found = candidate_deployments(settings=request.settings, load=scenario, target=target)
        pools = request.settings.pools.requests(scenario)
        if len(found.deployments) == 1:
            pools = found.deployments[0]
        elif not pools or not target.engine.engine.orchestrator:
            labels = ", ".join(deployment_label(pools) for pools in found.deployments)
            raise UserError(
                f"the pools leave a choice of {labels or 'nothing'}; say --tp, --ep and "
                "--dp-attention of the workers, one of each"
            )
    elif target.engine.engine.orchestrator:
        pools = recipe_pools()
    else:
        configuration, messages = configure(scenario, concurrency=concurrency)
        return replace(configuration, seed=scenario.seed), messages
    configuration, recipe = configure_run(
        scenario, target=target, pools=pools, concurrency=concurrency
    )
    return configuration, (*told, *recipe.messages)


def _at_speed(
    request: SensitivityRequest, *, pools: Sequence[PoolLayout], speed: float
) -> RunConfiguration:
    """The deployment where its users have a speed: bisection on the concurrency.

    Raises
    ------
    UserError
        If a lone user is slower, or users of the largest concurrency are faster.
    """

    def reached(concurrency: int) -> float:
        configuration = _at(request, pools, concurrency=concurrency)
        return simulate_run(configuration).metrics.interactivity

    low, high = 1, 2
    alone = reached(low)
    if alone < speed:
        raise UserError(
            f"interactivity {speed:g} is out of reach: a lone user gets {alone:.1f} tok/s"
        )
    while reached(high) >= speed:
        low, high = high, 2 * high
        if high > _LARGEST_CONCURRENCY:
            raise UserError(
                f"interactivity {speed:g} is exceeded even at concurrency {low:,}; ask for more"
            )
    while high - low > max(1, low // 32):
        middle = (low + high) // 2
        if reached(middle) >= speed:
            low = middle
        else:
            high = middle
    return _at(request, pools, concurrency=low)


def _at(
    request: SensitivityRequest, pools: Sequence[PoolLayout], *, concurrency: int
) -> RunConfiguration:
    """The deployment with its recipe's settings at a concurrency."""
    scenario = request.scenario
    return configure_run(scenario, pools=pools, concurrency=concurrency)[0]
