"""One software level for related chips: the better of those fitted on them."""

from __future__ import annotations

from dataclasses import replace
from math import log
from typing import TYPE_CHECKING

import numpy as np

from hwmodels.fitted import fitted_level_dates
from hwmodels.roofline import step_ops_s
from hwmodels.sku import load_sku
from hwmodels.software import load_software
from simulator.serving.step_cost import eager_wait_s
from workloads.models import bind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hwmodels.sku import Sku
    from hwmodels.software import SoftwareLevel
    from simulator.scenario.configuration import RunConfiguration
    from workloads.execution_plan import ExecutionPlan

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
    model = bind(
        architecture=configuration.architecture,
        layout=configuration.pools[-1].layout,
        plan=plan_of(level, chip),
    )
    requests = np.array(PROBED_REQUESTS, dtype=float)
    tokens = np.append(requests, float(configuration.isl))
    launched = model.token_ops(rank_tokens=tokens, group_tokens=tokens * model.layout.attention_dp)
    fixed_s = step_ops_s(
        ops=launched + model.head_ops(samples=np.append(requests, 1.0)), sku=chip, software=level
    )
    decode_s = step_ops_s(
        ops=model.decode_attention_ops(
            requests=requests,
            queries_per_request=1,
            context=np.full_like(requests, configuration.isl + configuration.osl / 2),
        ),
        sku=chip,
        software=level,
    )
    prefill_s = step_ops_s(
        ops=model.prefill_attention_ops(new_tokens=float(configuration.isl), prefix_tokens=0.0),
        sku=chip,
        software=level,
    )
    kernels = sum(op.kernels * op.layers for op in launched)
    attention_s = np.append(decode_s, prefill_s)
    return sum(
        log(
            float(gpu_s + beside_s)
            + eager_wait_s(
                plan=model.plan,
                software=level,
                kernels=kernels,
                rank_tokens=int(count),
                has_prefill=place == len(requests),
                gpu_s=float(gpu_s),
            )
            + level.host_step_s
        )
        for place, (count, gpu_s, beside_s) in enumerate(
            zip(tokens, np.broadcast_to(fixed_s, tokens.shape), attention_s, strict=True)
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
