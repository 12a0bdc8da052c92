"""The deployment of a load that names none: as the SKU is best deployed for it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from simulator.analysis.objectives import NO_LIMIT, Objectives
from simulator.studies.as_deployed import AskedLoad, with_best_deployed
from simulator.studies.load.requests import typical_tokens
from workloads.errors import UserError
from workloads.requests.arrivals import Sinusoidal, Steps
from workloads.requests.catalog import traffic_kind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from simulator.scenario.settings import Scenario
    from simulator.studies.load.request import LoadSettings
    from workloads.requests.arrivals import ArrivalProcess
    from workloads.requests.catalog import Workload

READING_SPEED = 20.0
"""Speed of users in an open loop where no TPOT is asked for: the fewest GPUs would else be chosen
at a speed that nobody reads at. As the slowest speed that a timeline follows. [tok/s/user]"""
_LAYOUT = ("engine", "gpus", "tp", "ep", "dp_attention")


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """How a deployment was chosen, and the settings that follow from it by name."""

    text: str = ""
    chosen: tuple[str, ...] = ()


def as_deployed(
    scenario: Scenario,
    settings: LoadSettings,
    *,
    flags: Mapping[str, Any],
    workload: Workload,
    process: ArrivalProcess | None,
) -> tuple[Scenario, LoadSettings, Told]:
    """A load with what its SKU is best deployed as, where it states no engine and no layout.

    A closed loop is ranked by its clients, an open one by its highest rate: that of a replica, of
    users within the stated TTFT and TPOT, else a p90 TTFT of an online service and, in an open
    loop, `READING_SPEED`. Prompts that share
    prefixes and recorded arrival times without a rate are served by the default engine.

    Parameters
    ----------
    flags:
        What is stated of the scenario, and ``disaggregated``.

    Raises
    ------
    UserError
        If nothing that was run on the SKU fits, or forms with or without pools are asked for where
        none compete.
    """
    pools = ("deployment", "prefill_workers", "decode_workers")
    stated = [name for name in pools if getattr(settings, name) is not None]
    stated += [name for name in _LAYOUT if getattr(scenario, name) is not None]
    stated += ["engine_settings"] if scenario.engine_settings else []
    rate = _highest_rate(settings, process)
    why = ""
    if traffic_kind(workload) != "fixed":
        why = "prompts share prefixes, and forms of deployment are ranked for prompts that do not"
    elif settings.concurrency is None and rate is None:
        why = "arrivals are as recorded, so that no rate to rank forms of deployment by is known"
    if stated or why:
        if flags.get("disaggregated") is not None:
            raise UserError(
                "--disaggregated and --aggregated choose among the forms in which a SKU was "
                f"deployed; leave them out here: {why or f'{stated[0]} is given'}"
            )
        text = f"the default engine serves: {why}; name one with --engine" if not stated else ""
        return scenario, settings, Told(text=text)
    asked = dict(flags)
    if settings.workload is not None:
        asked["isl"], asked["osl"] = typical_tokens(workload)
    limits = NO_LIMIT if settings.ttft_slo is None else Objectives(ttft_p90_s=settings.ttft_slo)
    clients = settings.concurrency
    best = with_best_deployed(
        asked,
        asked=AskedLoad(
            clients=None if clients is None else math.ceil(clients / settings.replicas),
            rate_per_s=None if clients is not None or rate is None else rate / settings.replicas,
            least_speed=_least_speed(settings),
        ),
        limits=limits.online()[0],
    )
    if best is None:
        return scenario, settings, Told()
    return (
        scenario.model_copy(update=best.named),
        settings.model_copy(update={"deployment": best.sweep.label}),
        Told(text=best.told, chosen=(*best.named, "deployment")),
    )


def _least_speed(settings: LoadSettings) -> float:
    """Speed that users must have: what is asked for, in an open loop that of readers else."""
    if settings.tpot_slo is not None:
        return 1.0 / settings.tpot_slo
    return READING_SPEED if settings.concurrency is None else 0.0


def _highest_rate(settings: LoadSettings, process: ArrivalProcess | None) -> float | None:
    """The most requests per second of an open loop; ``None`` where none is known. [1/s]"""
    if isinstance(process, Sinusoidal):
        return process.high_per_s
    if isinstance(process, Steps):
        return max(window.rate_per_s for window in process.windows)
    return settings.rate if process is None else process.mean_rate_per_s
