"""One software level for related chips: the better of those fitted on them."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from math import log
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hwmodels.fitted import fitted_level_dates
from hwmodels.roofline import step_ops_s
from hwmodels.sku import load_sku
from hwmodels.software import load_software
from simulator.prediction.keyed_level import KeyedLevel
from simulator.serving.step_cost import eager_wait_s
from workloads.models import bind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from hwmodels.sku import Sku
    from hwmodels.software import SoftwareLevel
    from simulator.scenario.configuration import RunConfiguration
    from workloads.architectures.base import Architecture
    from workloads.execution_plan import ExecutionPlan
    from workloads.layout import Layout
    from workloads.ops import Op

    FloatArray = npt.NDArray[np.float64]

PROBED_REQUESTS = (1, 8, 64, 256)
"""Decoding requests of a rank on which levels are compared, beside one prompt. [requests]"""

_chosen: dict[tuple[str, ...], str] = {}


def shared_level(
    configuration: RunConfiguration,
    *,
    model: str,
    specification: bool,
    plan_of: Callable[[SoftwareLevel, Sku], ExecutionPlan],
) -> SoftwareLevel:
    """The better of the levels that an engine has on some SKUs, with all of its kernels.

    Parameters
    ----------
    configuration:
        Whose engine names the SKUs (`EngineLabel.software_of`).
    model, specification:
        As `hwmodels.software.load_software`.
    plan_of:
        Execution plan of the last pool under a level on a chip.

    Notes
    -----
    Levels with runs of their own come before others. The better one has the least sum of the
    logarithms of step times on the SKU whose name comes first in the alphabet: `PROBED_REQUESTS`
    that decode, and one prompt. It holds for every compared chip, kernel tables included, so that
    only the chips differ.
    """
    names = configuration.engine.software_of
    levels = {
        name: load_software(
            engine=configuration.engine.software,
            sku=load_sku(name),
            model=model,
            precision=configuration.precision,
            date=configuration.level_date,
            median=configuration.median,
            specification=specification,
            directory=configuration.calibration,
        )
        for name in names
    }
    key = configuration.step_cost_key[1:]
    if key not in _chosen:
        own = [name for name in names if levels[name].basis == "own runs"] or list(names)
        scores = {name: _score(configuration, levels[name], plan_of=plan_of) for name in own}
        _chosen[key] = min(own, key=scores.__getitem__)
    best = _chosen[key]
    note = (
        f"equal software: {configuration.engine.software} as on {load_sku(best).name}, server "
        f"settings of {load_sku(names[0]).name}; "
    ) + (
        level_evidence(
            names,
            levels={name: level.name for name, level in levels.items()},
            engine=configuration.engine.software,
            model=model,
            configuration=configuration,
        )
    )
    level = replace(levels[best], messages=(*levels[best].messages, note))
    if best == configuration.sku.key or level.basis != "own runs":
        return level
    return replace(level, basis="sibling", kind="transferred")


def _score(
    configuration: RunConfiguration,
    level: SoftwareLevel,
    *,
    plan_of: Callable[[SoftwareLevel, Sku], ExecutionPlan],
) -> float:
    """Sum of logarithms of step times under a level, on one SKU for all that are compared. [-]"""
    chip = load_sku(min(configuration.engine.software_of))
    plan = plan_of(level, chip)
    steps = _probed_steps(
        architecture=configuration.architecture,
        layout=configuration.pools[-1].layout,
        plan=replace(plan, graph_max_tokens=0, graph_prefill_max_tokens=None),
        chip=chip,
        software=KeyedLevel.of(level),
        isl=configuration.isl,
        osl=configuration.osl,
    )
    return sum(
        log(
            step.fixed_s
            + step.attention_s
            + eager_wait_s(
                plan=plan,
                software=level,
                kernels=step.kernels,
                rank_tokens=step.tokens,
                has_prefill=step.has_prefill,
                gpu_s=step.fixed_s,
            )
            + level.host_step_s
        )
        for step in steps
    )


class _ProbedStep(NamedTuple):
    """A step on which levels are compared, without what the GPU waits for the host."""

    tokens: int
    has_prefill: bool
    kernels: float
    fixed_s: float
    attention_s: float


@lru_cache(maxsize=512)
def _probed_steps(
    *,
    architecture: Architecture,
    layout: Layout,
    plan: ExecutionPlan,
    chip: Sku,
    software: KeyedLevel,
    isl: int,
    osl: int,
) -> tuple[_ProbedStep, ...]:
    """Decode steps of `PROBED_REQUESTS` a rank, and a step with one prompt."""
    model = bind(architecture=architecture, layout=layout, plan=plan)

    def seconds(ops: list[Op], count: int) -> FloatArray:
        total = step_ops_s(ops=ops, sku=chip, software=software.level)
        return np.broadcast_to(np.asarray(total, dtype=float), (count,))

    requests = np.array(PROBED_REQUESTS, dtype=float)
    tokens = np.append(requests, float(isl))
    launched = model.token_ops(rank_tokens=tokens, group_tokens=tokens * layout.attention_dp)
    head = model.head_ops(samples=np.append(requests, 1.0))
    decode = model.decode_attention_ops(
        requests=requests, queries_per_request=1, context=np.full_like(requests, isl + osl / 2)
    )
    prefill = model.prefill_attention_ops(new_tokens=float(isl), prefix_tokens=0.0)
    kernels = float(sum(op.kernels * op.layers for op in launched))
    return tuple(
        _ProbedStep(int(count), place == len(requests), kernels, float(fixed_s), float(attention_s))
        for place, (count, fixed_s, attention_s) in enumerate(
            zip(
                tokens,
                seconds(launched + head, len(tokens)),
                np.append(seconds(decode, len(requests)), seconds(prefill, 1)),
                strict=True,
            )
        )
    )


def level_evidence(
    names: Sequence[str],
    *,
    levels: dict[str, str],
    engine: str,
    model: str,
    configuration: RunConfiguration | None = None,
) -> str:
    """How many runs each SKU's level was fitted to, and of when.

    Parameters
    ----------
    levels:
        Name of each SKU's level, such as ``vllm@2026-07``.
    """
    directory = None if configuration is None else configuration.calibration
    parts = []
    for name in names:
        date = levels[name].partition("@")[2].partition(" ")[0]
        runs = fitted_level_dates(engine=engine, sku=name, model=model, directory=directory)
        count = runs.get(date, 0)
        fitted = f"was fitted to {count} runs of {date}" if count else "has no runs of its own"
        parts.append(f"{load_sku(name).name}'s level {fitted}")
    return ", ".join(parts)
