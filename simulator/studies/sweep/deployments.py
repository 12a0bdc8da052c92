"""Which deployments a sweep simulates, and what is refused before anything runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hwmodels.sku import load_sku
from simulator.engines.labels import with_software_of
from simulator.scenario.candidates import candidate_deployments, orchestrated
from simulator.scenario.configure import check_has_speed
from simulator.scenario.deployed_forms import competing, deployed_forms, is_open
from simulator.scenario.target import resolve_target
from simulator.studies.sweep.points import ConcurrencySweep
from simulator.studies.sweep.store import file_name
from workloads.errors import UserError

if TYPE_CHECKING:
    from simulator.analysis.objectives import Objectives
    from simulator.scenario.grid import SweepSettings
    from simulator.scenario.settings import Scenario


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPlan:
    """The deployments of a sweep in order, and what will not run.

    Parameters
    ----------
    sweeps:
        Each deployment under its load.
    frontiers:
        The same by the frontier that they compete for.
    refused:
        Layouts that do not divide the chips or the model, in the columns of
        `simulator.studies.sweep.run.SweepResult.refused`.
    messages:
        What was assumed.
    """

    sweeps: tuple[ConcurrencySweep, ...]
    frontiers: tuple[tuple[ConcurrencySweep, ...], ...]
    refused: tuple[dict[str, Any], ...]
    messages: tuple[str, ...]

    def within(self, limits: Objectives) -> SweepPlan:
        """The same with the TTFT that requests must keep to count as good, where that is asked."""
        good_s = limits.goodput_ttft_s
        if good_s is None:
            return self
        return replace(
            self,
            sweeps=tuple(replace(each, good_ttft_s=good_s) for each in self.sweeps),
            frontiers=tuple(
                tuple(replace(each, good_ttft_s=good_s) for each in one) for one in self.frontiers
            ),
        )


def plan_sweep(
    settings: SweepSettings, *, as_deployed: bool = False, per_engine: bool = False
) -> SweepPlan:
    """The deployments of a sweep; nothing runs yet.

    Parameters
    ----------
    as_deployed, per_engine:
        As `simulator.studies.sweep.run.run_sweep`.

    Raises
    ------
    UserError
        If not one layout divides the chips and the model, or a recipe offers no deployment.
    """
    sweeps: dict[str, ConcurrencySweep] = {}
    refused: dict[str, dict[str, Any]] = {}
    messages: list[str] = []
    frontiers: dict[str, list[ConcurrencySweep]] = {}
    for load in settings.loads():
        sku = load_sku(load.sku)
        check_has_speed(load)
        if as_deployed and is_open(settings, load):
            found = _compete(load, settings, refused, messages)
            sweeps |= found
            for one in found.values():
                frontier = one.question if per_engine else load.model_dump_json()
                frontiers.setdefault(frontier, []).append(one)
            continue
        named, message = with_engine(load, settings=settings)
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
            if file_name(one) not in sweeps:
                frontiers.setdefault(one.question, []).append(one)
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
        frontiers=tuple(map(tuple, frontiers.values())),
        refused=tuple(refused.values()),
        messages=tuple(dict.fromkeys(messages)),
    )


def _compete(
    load: Scenario,
    settings: SweepSettings,
    refused: dict[str, dict[str, Any]],
    messages: list[str],
) -> dict[str, ConcurrencySweep]:
    """The deployments of all forms of a SKU by file; what is left out and why is added."""
    competition = competing(settings, load)
    messages.append(competition.message)
    for form, reason in competition.refused.items():
        refused[f"{load.sku} {form}"] = {
            "series": f"{load.sku} {form}",
            "label": "",
            "concurrencies": "",
            "status": "unsupported",
            "reason": reason,
        }
    found: dict[str, ConcurrencySweep] = {}
    for each in competition.competitors:
        priced_alike = each.load.model_copy(update={"economics": "latest"})
        for pools in each.candidates.deployments:
            one = ConcurrencySweep(load=priced_alike, target=each.target, pools=pools)
            found[file_name(one)] = one
    return found


def with_engine(load: Scenario, *, settings: SweepSettings) -> tuple[Scenario, str]:
    """A load that names its engine, and why it is that one if nobody named it.

    Stated pools are served by the default engine's stack that moves the KV; where nobody ran or
    recommends that on the SKU, by the stack that most runs with pools there are of.
    """
    if load.engine is not None:
        return load, ""
    target = resolve_target(load)
    label, sku = target.engine.engine.label, target.sku
    message = f"engine {label} for {sku.key}, {target.engine_reason}"
    if settings.pools.is_stated:
        stack = orchestrated(target.engine.engine, sku=sku)
        forms = deployed_forms(
            sku=sku, model=target.model, calibration=load.calibration, disaggregated=True
        )
        known = [form.engine for form in forms]
        if known and (stack is None or stack.label not in known):
            label = known[0]
            message = (
                f"engine {label} for {sku.key}: prefill and decode pools ran on it "
                f"({forms[0].evidence}), and under the default engine "
                f"{target.engine.engine.label} nobody's did"
            )
        elif stack is not None:
            label = stack.label
            message += f"; its prefill and decode pools as {label}"
        others = [name for name in dict.fromkeys(known) if name != label]
        if others:
            message += f"; pools ran under {', '.join(others)} too: --engine names one"
        drafts = {form.speculation for form in forms if form.engine == label} - {"none"}
        if drafts and "spec" not in settings.origin:
            message += f"; without speculation: --spec {' or '.join(sorted(drafts))} has it"
    engine_text = with_software_of(label, settings.software_of)
    return load.model_copy(update={"engine": engine_text}), message
