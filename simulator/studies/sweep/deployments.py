"""Which deployments a sweep simulates, and what is refused before anything runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hwmodels.sku import load_sku
from simulator.engines.pools import deployment_label
from simulator.scenario.candidates import candidate_deployments, orchestrated
from simulator.scenario.configure import check_has_speed
from simulator.scenario.deployed_forms import competing, is_open
from simulator.scenario.target import resolve_target
from simulator.studies.sweep.points import ConcurrencySweep
from simulator.studies.sweep.screening import screen
from simulator.studies.sweep.store import file_name
from workloads.errors import UserError

if TYPE_CHECKING:
    from hwmodels.sku import Sku
    from simulator.scenario.grid import SweepSettings
    from simulator.scenario.settings import Scenario


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPlan:
    """The deployments of a sweep in order, and what will not run.

    Parameters
    ----------
    sweeps:
        Each deployment under its load.
    refused:
        Layouts that do not divide the chips or the model, in the columns of
        `simulator.studies.sweep.run.SweepResult.refused`.
    messages:
        What was assumed.
    """

    sweeps: tuple[ConcurrencySweep, ...]
    refused: tuple[dict[str, Any], ...]
    messages: tuple[str, ...]


def plan_sweep(
    settings: SweepSettings, *, as_deployed: bool = False, workers: int | None = None
) -> SweepPlan:
    """The deployments of a sweep; nothing runs yet.

    Parameters
    ----------
    as_deployed, workers:
        As `simulator.studies.sweep.run.run_sweep`.

    Raises
    ------
    UserError
        If not one layout divides the chips and the model, or a recipe offers no deployment.
    """
    sweeps: dict[str, ConcurrencySweep] = {}
    refused: dict[str, dict[str, Any]] = {}
    messages: list[str] = []
    for load in settings.loads():
        sku = load_sku(load.sku)
        check_has_speed(load)
        if as_deployed and is_open(settings, load):
            _compete(load, settings, sweeps, refused, messages, workers=workers)
            continue
        named, message = _with_engine(load, sku=sku, settings=settings)
        messages += [message] if message else []
        try:
            target = resolve_target(named)
        except UserError as error:
            refused[f"{sku.key} {named.engine}"] = {
                "series": f"{sku.key} {named.engine}",
                "label": "",
                "concurrencies": "",
                "status": "unsupported",
                "reason": str(error),
            }
            continue
        candidates = candidate_deployments(settings=settings, load=named, target=target)
        messages += [f"{sku.key}: {message}" for message in candidates.messages]
        priced_alike = named.model_copy(update={"economics": "latest"})
        for pools in candidates.deployments:
            one = ConcurrencySweep(load=priced_alike, target=target, pools=pools)
            sweeps[file_name(one)] = one
        for layout in candidates.refused:
            refused[f"{sku.key} {named.model} {layout.label}"] = {
                "series": f"{sku.key} {named.model}",
                "label": layout.label,
                "concurrencies": "",
                "status": "does_not_divide",
                "reason": layout.reason,
            }
    if not sweeps:
        raise UserError("no layout fits; " + "; ".join(r["reason"] for r in refused.values()))
    return SweepPlan(
        sweeps=tuple(sweeps.values()),
        refused=tuple(refused.values()),
        messages=tuple(dict.fromkeys(messages)),
    )


def _compete(
    load: Scenario,
    settings: SweepSettings,
    sweeps: dict[str, ConcurrencySweep],
    refused: dict[str, dict[str, Any]],
    messages: list[str],
    *,
    workers: int | None,
) -> None:
    """Add the deployments of all forms that may be on the frontier, and what is left out."""
    competition = competing(settings, load)
    messages.append(competition.message)
    named = [
        ConcurrencySweep(
            load=each.load.model_copy(update={"economics": "latest"}),
            target=each.target,
            pools=pools,
        )
        for each in competition.competitors
        for pools in each.candidates.deployments
    ]
    screened = screen(named, workers=workers)
    for kept in screened.kept:
        sweeps[file_name(kept)] = kept
    left_out = [(label, "", "unsupported", why) for label, why in competition.refused.items()]
    left_out += [
        (f"{one.load.engine} {one.load.spec}", deployment_label(one.pools), "behind", why)
        for one, why in screened.dropped
    ]
    for form, label, status, reason in left_out:
        refused[f"{load.sku} {form} {label}"] = {
            "series": f"{load.sku} {form}",
            "label": label,
            "concurrencies": "",
            "status": status,
            "reason": reason,
        }
    if screened.dropped:
        messages.append(
            f"{len(screened.dropped)} of {len(named)} deployments were not run: by single-step "
            "bounds, an estimate, others come nearer to the best at some speed; name --engine to "
            "run all of one"
        )


def _with_engine(load: Scenario, *, sku: Sku, settings: SweepSettings) -> tuple[Scenario, str]:
    """A load that names its engine, and why it is that one if nobody named it."""
    if load.engine is not None:
        return load, ""
    target = resolve_target(load)
    engine, reason = target.engine, target.engine_reason
    label, message = engine.engine.label, f"engine {engine.engine.label} for {sku.key}, {reason}"
    if settings.pools.is_stated:
        stack = orchestrated(engine.engine, sku=sku)
        if stack is not None:
            label = stack.label
            message += f"; its prefill and decode pools as {label}"
    return load.model_copy(update={"engine": label}), message
