"""From a scenario, the pools of a deployment and a load to the configuration that is simulated."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from simulator.engines.default_engine import default_engine
from simulator.engines.labels import canonical_model, engine_labels, parse_engine
from simulator.engines.settings import changed_settings
from simulator.recipes.files import load_recipes
from simulator.recipes.resolve import resolve_recipe
from simulator.scenario.configuration import RunConfiguration
from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hwmodels.sku import Sku
    from simulator.engines.labels import EngineLabel, EngineRequest
    from simulator.engines.pools import SpeculationMethod
    from simulator.recipes.layouts import PoolRequest
    from simulator.recipes.resolve import ResolvedRecipe
    from simulator.scenario.settings import Scenario

MOST_DRAFTS = 16
LEAST_OUTPUT_TOKENS = 2


def engine_of(scenario: Scenario, *, sku: Sku) -> tuple[EngineRequest, str]:
    """The engine that a scenario names, or the SKU's default, and why it is the one.

    Raises
    ------
    UserError
        If the engine is unknown or its date is none, or it does not run on the SKU's chips.
    """
    engine, reason = named_engine(scenario, sku=sku)
    check_runs_on(engine.engine, sku=sku)
    return engine, reason


def check_runs_on(engine: EngineLabel, *, sku: Sku) -> None:
    """Whether an engine is written for a SKU's chips; a user's own chip takes every engine.

    Raises
    ------
    UserError
        If it is another vendor's alone; the message names engines that run on the SKU.
    """
    if not _is_foreign(engine, sku=sku):
        return
    known = [
        label for recipe in load_recipes() if sku.key in recipe.skus for label in recipe.engines
    ]
    others = [each.label for each in engine_labels().values() if not _is_foreign(each, sku=sku)]
    raise UserError(
        f"engine {engine.label} runs on {engine.vendor.upper()} chips only, not on {sku.name}; "
        f"engines for {sku.key}: {', '.join(sorted(set(known)) or others)}"
    )


def _is_foreign(engine: EngineLabel, *, sku: Sku) -> bool:
    return engine.vendor not in ("", sku.vendor) and sku.vendor != "user"


def named_engine(scenario: Scenario, *, sku: Sku) -> tuple[EngineRequest, str]:
    """As `engine_of`, whether or not it runs on the SKU's chips."""
    if scenario.engine is not None:
        return parse_engine(scenario.engine), "stated"
    text, reason = default_engine(sku=sku.key, model=canonical_model(scenario.model))
    return parse_engine(text), reason


def parse_speculation(text: str) -> tuple[SpeculationMethod, int]:
    """Method and draft tokens of ``none``, ``mtp:2`` or ``dspark:5``.

    Raises
    ------
    UserError
        If the text is none of these.
    """
    name, _, count = text.partition(":")
    if name == "none" and not count:
        return "none", 0
    if name in ("mtp", "dspark") and count.isdigit() and 1 <= int(count) <= MOST_DRAFTS:
        return ("mtp" if name == "mtp" else "dspark"), int(count)
    raise UserError(
        f"spec '{text}' is not known; write none, mtp:K or dspark:K with K from 1 to {MOST_DRAFTS}"
    )


def check_has_speed(scenario: Scenario) -> None:
    """Make sure that requests have tokens after the first, whose pace curves are drawn over.

    Raises
    ------
    UserError
        If they have not.
    """
    if scenario.osl < LEAST_OUTPUT_TOKENS:
        raise UserError(
            f"osl is {scenario.osl}; the speed of a user takes at least {LEAST_OUTPUT_TOKENS} "
            "output tokens: for prompts alone see simulate explain --phase prefill"
        )


def with_engine_settings(recipe: ResolvedRecipe, changes: Mapping[str, Any]) -> ResolvedRecipe:
    """A recipe with some settings of its servers replaced by a user's.

    Parameters
    ----------
    changes:
        Values by the engine's names; ``prefill.NAME`` and ``decode.NAME`` hold for one pool.

    Raises
    ------
    UserError
        If the engine has no such setting, a value is out of range, or the setting is recorded
        only and changes no figure.
    """
    if not changes:
        return recipe
    roles = [pool.role for pool in recipe.pools]
    stated: dict[str, dict[str, Any]] = {role: {} for role in roles}
    for name, value in changes.items():
        role, _, own = name.rpartition(".")
        if role and role not in roles:
            raise UserError(
                f"engine setting '{name}' is of a {role} pool; the deployment has "
                f"{' and '.join(roles)}"
            )
        for each in [role] if role else roles:
            stated[each][own] = value
    pools = tuple(
        replace(pool, settings=changed_settings(pool.settings, stated[pool.role]))
        for pool in recipe.pools
    )
    said = ", ".join(f"{name}={value}" for name, value in sorted(changes.items()))
    return replace(recipe, pools=pools, messages=(*recipe.messages, f"server settings: {said}"))


def configure_run(
    scenario: Scenario,
    *,
    sku: Sku,
    pools: Sequence[PoolRequest],
    concurrency: int,
    traffic: Literal["fixed", "agentic"] = "fixed",
) -> tuple[RunConfiguration, ResolvedRecipe]:
    """The configuration of a deployment under closed-loop load, and the recipe behind it.

    Parameters
    ----------
    sku:
        The scenario's SKU, before its overrides.
    pools:
        One aggregated pool, or a prefill and a decode pool, as far as they are known.
    concurrency:
        Closed-loop clients of the whole deployment. [requests]
    traffic:
        Which of the recipe's settings apply: those of fixed lengths or of agentic sessions.

    Raises
    ------
    UserError
        If a name is unknown, or the recipe cannot fill what the pools leave open.
    """
    engine, _ = engine_of(scenario, sku=sku)
    model = canonical_model(scenario.model)
    method, drafts = parse_speculation(scenario.spec)
    recipe = resolve_recipe(
        engine=engine.engine,
        sku=sku.key,
        model=model,
        isl=scenario.isl,
        osl=scenario.osl,
        concurrency=concurrency,
        date=engine.date,
        median=engine.median,
        pools=pools,
        speculation=method,
        drafts=drafts or None,
        acceptance_length=scenario.acceptance_length,
        precision=scenario.precision,
        scenario=traffic,
        kin=sku.kin,
    )
    recipe = with_engine_settings(recipe, scenario.engine_settings)
    # a user's own chip is known by its file only
    is_file = scenario.sku.lower().endswith((".yaml", ".yml"))
    configuration = RunConfiguration(
        model=model,
        sku=scenario.sku if is_file else sku.key,
        engine=engine.engine.label,
        level_date=engine.date,
        median=engine.median,
        specification=engine.specification,
        precision=scenario.precision,
        speculation=method,
        drafts=recipe.drafts,
        acceptance_length=recipe.acceptance_length,
        acceptance_source=recipe.acceptance_source,
        pools=recipe.pools,
        isl=scenario.isl,
        osl=scenario.osl,
        length_distribution=scenario.length_distribution,
        concurrency=concurrency,
        sku_overrides=scenario.overrides,
        seed=scenario.seed,
        calibration=scenario.calibration,
    )
    return configuration, recipe
