"""What a plan for coding agents is asked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hwmodels.sku import load_sku
from simulator.analysis.objectives import Objectives
from simulator.recipes.choice import find_recipe
from simulator.scenario.target import resolve_target
from simulator.studies.agentx.request import build_agentx, with_usual_speculation
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from hwmodels.economics import Tier
    from simulator.studies.agentx.request import AgentxRequest, AgentxSystem

OBJECTIVES = {
    **{name: name for name in ("interactivity", "interactivity_p90", "interactivity_p99")},
    **{name: f"{name}_s" for name in ("ttft_p50", "ttft_p90", "ttft_p99")},
    "goodput": "goodput",
}
"""Flags of a plan and the objectives that they state."""

MEANINGLESS = (
    *("rate", "users", "mw", "fleet_gpus", "max_cost", "think", "burstiness", "peak", "period"),
    *("spare", "layouts", "replications"),
)
"""Flags of other plans: agents bring their own pauses and arrivals."""


@dataclass(frozen=True, kw_only=True)
class FleetRequest:
    """A validated plan for coding agents.

    Parameters
    ----------
    replay:
        Systems, trees and protocol.
    agents:
        Session trees that are live at a time.
    objectives, assumed:
        What users must get, and what stands in for what was left open.
    tier, whole_racks:
        Whose price of a chip, and whether racks are bought whole.
    """

    replay: AgentxRequest
    agents: int
    objectives: Objectives
    assumed: tuple[str, ...]
    tier: Tier
    whole_racks: bool


def build_fleet(
    given: Mapping[str, Any],
    *,
    trees: Mapping[str, Any],
    default_skus: Callable[[str], Sequence[str]],
    file: Path | None = None,
) -> FleetRequest:
    """A plan's request from flags; without SKUs those that agentic runs of the model exist for.

    Raises
    ------
    UserError
        If agents or a speed are not stated, or a flag has no meaning for agents.
    """
    flags = {name: value for name, value in given.items() if value is not None}
    for name in MEANINGLESS:
        if name in flags:
            raise UserError(
                f"{name} has no meaning for agents, which bring their pauses and arrivals; the "
                "demand is --agents"
            )
    agents = flags.pop("agents", None)
    if agents is None:
        raise UserError("no demand is given; say how many agents are live with --agents, as 5000")
    stated = {own: flags.pop(name) for name, own in OBJECTIVES.items() if name in flags}
    if not any(name.startswith("interactivity") for name in stated):
        raise UserError(
            "no speed is asked for agents; give one with --interactivity-p90, as in "
            "--interactivity-p90 50 (tok/s)"
        )
    objectives, assumed = Objectives(**stated).online()
    tier = flags.pop("tier", "hyperscaler")
    whole_racks = flags.pop("whole", "racks") == "racks"
    for name in ("spec", "tp", "ep", "prefill", "decode"):
        if isinstance(flags.get(name), list | tuple):
            if len(flags[name]) > 1:
                raise UserError(f"{name} has several values; a plan for agents takes one")
            flags[name] = flags[name][0]
    skus = _listed(flags.pop("sku", None))
    engines = _listed(flags.pop("engine", None))
    if skus:
        names = [f"{sku}:{engine}" if engine else sku for sku in skus for engine in engines or [""]]
    else:
        names = _with_agentic_runs(default_skus(flags.get("economics", "latest")), engines, flags)
    if trees.get("protocol") is None:
        trees = {**trees, "protocol": "agentx-fast"}
        assumed = (
            *assumed,
            "20-minute windows (agentx-fast), about 6 % below an hour's throughput",
        )
    replay = build_agentx(names, flags={**flags, **trees}, file=file)
    systems = tuple(_speculating(system, "spec" in flags) for system in replay.systems)
    return FleetRequest(
        replay=replace(replay, systems=systems),
        agents=agents,
        objectives=objectives,
        assumed=assumed,
        tier=tier,
        whole_racks=whole_racks,
    )


def _speculating(system: AgentxSystem, is_stated: bool) -> AgentxSystem:
    return system if is_stated else with_usual_speculation(system)


def _listed(value: Any) -> list[str]:
    if value is None:
        return []
    return [value] if isinstance(value, str) else list(value)


def _with_agentic_runs(
    skus: Sequence[str], engines: Sequence[str], flags: Mapping[str, Any]
) -> list[str]:
    """Systems whose own recipe was run with agentic traffic."""
    names = []
    for sku in skus:
        for engine in engines or [""]:
            name = f"{sku}:{engine}" if engine else sku
            model = {"model": flags["model"]} if "model" in flags else {}
            system = build_agentx([name], flags=model).systems[0]
            target = resolve_target(system.scenario)
            try:
                recipe, _ = find_recipe(
                    engine=target.engine.engine, sku=sku, model=target.model, traffic="agentic"
                )
            except UserError:
                continue
            level = recipe.levels[-1].name
            if load_sku(sku).key in recipe.skus and recipe.ran("agentic", level=level):
                names.append(name)
    if not names:
        raise UserError("no SKU with a price was run with agentic traffic; name some with --skus")
    return names
