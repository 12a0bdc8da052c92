"""Server settings that ``resolved.yaml`` reports, and whether a file still holds them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simulator.engines.pools import PoolLayout, parse_deployment
from simulator.scenario.configure import configure_run
from simulator.scenario.settings import Scenario
from simulator.scenario.target import resolve_target
from simulator.scenario.worker_layouts import candidate_layouts
from workloads.errors import UserError, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from simulator.recipes.resolve import ResolvedRecipe
    from simulator.scenario.settings_file import SettingsFile
    from simulator.scenario.target import Target

Reported = dict[str, dict[str, Any]]


def reported_settings(recipe: ResolvedRecipe) -> Reported:
    """Value and origin of every server setting of a deployment, by name.

    Of a disaggregated deployment the names begin with the pool's.
    """
    pools = {pool.role: pool for pool in recipe.pools}
    found: Reported = {}
    for name, origin in recipe.provenance.items():
        role, _, _ = name.partition(".")
        pool = pools.get(role, recipe.pools[0])  # type: ignore[call-overload]
        own = name.removeprefix(f"{role}.") if role in pools else name
        value = getattr(pool.settings, own, None)
        if value is None:
            value = pool.plan.get(own.removeprefix("plan."))
        found[name] = {"value": value, "origin": origin}
    return found


def over_concurrencies(by_concurrency: Mapping[int, Reported]) -> Reported:
    """Settings of one deployment at several concurrencies.

    A value that follows the concurrency is told for each.
    """
    found: Reported = {}
    for concurrency, settings in by_concurrency.items():
        for name, entry in settings.items():
            told = found.setdefault(name, {"value": {}, "origin": entry["origin"]})
            told["value"][concurrency] = entry["value"]
    for told in found.values():
        values = list(told["value"].values())
        if all(value == values[0] for value in values):
            told["value"] = values[0]
    return found


def check_reported(file: SettingsFile) -> None:
    """Refuse a file whose reported server settings are not those of its recipes.

    Raises
    ------
    UserError
        If one has been edited; the message says how to state it.
    """
    if not file.reported or "sku" not in file.values:
        return
    single = {
        name: value
        for name, value in file.values.items()
        if name in Scenario.model_fields and (name == "concurrency" or not isinstance(value, list))
    }
    if not isinstance(single.get("sku"), str):
        return
    scenario = Scenario(**{**single, "concurrency": None})
    target = resolve_target(scenario)
    clients = file.values.get("concurrency") or (1,)
    first = int(clients[0] if isinstance(clients, list | tuple) else clients)
    for full, value in file.reported.items():
        label, _, name = full.partition(".")
        pools = _pools_of(label, scenario=scenario, target=target)
        asked = value if isinstance(value, dict) else {first: value}
        for concurrency, told in asked.items():
            _, recipe = configure_run(
                scenario, target=target, pools=pools, concurrency=int(concurrency)
            )
            entry = reported_settings(recipe).get(name)
            if entry is None or entry["value"] != told:
                raise UserError(
                    f"settings.{full} is {shown(told)} in {file.path}, but the recipe in force "
                    f"has {'no such setting' if entry is None else shown(entry['value'])}: what "
                    "is told of the servers is not read; state a setting of your own with "
                    f"--engine-set {name}={told}, or under engine_settings"
                )


def _pools_of(label: str, *, scenario: Scenario, target: Target) -> tuple[PoolLayout, ...]:
    layouts = {one.label: one for one in candidate_layouts(scenario=scenario, target=target)}
    if label in layouts:
        return (PoolLayout(layout=layouts[label]),)
    try:
        return parse_deployment(label)
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"settings of a deployment: {error}") from None
