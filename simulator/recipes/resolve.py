"""Which server settings a run had: recorded recipes, resolved for one deployment."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from simulator.engines.labels import without_software_of
from simulator.engines.pools import PoolConfiguration, deployment_label
from simulator.engines.registry import engine_class
from simulator.recipes.cells import ActiveCells
from simulator.recipes.choice import build_day, choose_level, find_recipe
from simulator.recipes.files import Recipe, Scalar, load_recipes
from simulator.recipes.layouts import PoolRequest, complete_layouts
from simulator.recipes.limits import follow, nearest_length, reads_length, recorded_settings
from simulator.recipes.recorded_lookup import RecordedLookup
from simulator.recipes.speculation import resolve_speculation
from simulator.recipes.stated import stated_by_pool, whole_prompt_error
from workloads.errors import shown

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping, Sequence

    from simulator.engines.labels import EngineLabel
    from simulator.engines.pools import PoolLayout, SpeculationMethod
    from simulator.recipes.files import Level

EXPANDED_LABELS = ("fp8", "bf16")
"""Labels under which benchmarks also list released checkpoints whose experts have 4 bits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedRecipe:
    """A deployment with everything that the user left open filled in.

    Parameters
    ----------
    level, date:
        Level in force, such as ``vllm@v0.25.0``, and its date; engine defaults have none.
    pools:
        Layouts, settings and execution-plan overrides.
    drafts, acceptance_length, acceptance_source:
        Speculation; 0 drafts without it.
    messages:
        What was assumed.
    provenance:
        Where each setting came from, by name (``decode.max_num_seqs``; without a pool for an
        aggregated deployment).
    """

    level: str
    date: dt.date | None
    pools: tuple[PoolConfiguration, ...]
    drafts: int = 0
    acceptance_length: float | None = None
    acceptance_source: str | None = None
    messages: tuple[str, ...] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)


def resolve_recipe(
    *,
    engine: EngineLabel,
    sku: str,
    model: str,
    isl: int,
    osl: int,
    concurrency: int,
    date: dt.date | None = None,
    median: bool = False,
    pools: Sequence[PoolRequest | PoolLayout] = (PoolRequest(),),
    speculation: SpeculationMethod = "none",
    drafts: int | None = None,
    acceptance_length: float | None = None,
    precision: str = "fp4",
    scenario: str = "fixed",
    stated: Mapping[str, Scalar] | None = None,
    related_skus: Sequence[str] = (),
    longest_prompt: int | None = None,
    image: str | None = None,
    recipes: Sequence[Recipe] | None = None,
) -> ResolvedRecipe:
    """Settings, layout and speculation of a deployment from the recipe in force.

    Parameters
    ----------
    engine, sku, model:
        Canonical names.
    isl, osl, concurrency, scenario:
        The load; ``scenario`` is ``fixed`` lengths or ``agentic`` traces. [tokens, requests]
    date, median:
        See `choose_level`.
    pools:
        One aggregated pool, or a prefill and a decode pool: complete, or as far as they are
        known.
    speculation, drafts, acceptance_length:
        Method; drafts per step and tokens per step where known.
    precision:
        Label of the configuration, such as ``fp4``.
    stated:
        Server settings that the user states in place of the recipe's; a name that begins with
        ``prefill.`` or ``decode.`` is for that pool alone. Expressions of the recipe read them.
    related_skus:
        SKUs whose recipes may stand in, nearest first.
    longest_prompt:
        Longest prompt of the workload; ``None``: ``isl``. [tokens]
    image:
        Container image of the servers where it is known; its recorded settings come first.
    recipes:
        In place of the shipped ones; recorded settings of single builds then stay out.

    Notes
    -----
    Limits that no recipe of this very SKU and model recorded follow the load, see
    `simulator.recipes.limits.follow`. Away from the lengths at which settings were recorded
    those of the nearest one hold.

    Raises
    ------
    UserError
        If the layout is blank and no recipe offers one, a recipe's expression gives a value
        out of range, or a stated setting is not the engine's, out of range or of a pool that
        the deployment has not.
    """
    recipe, borrowed = find_recipe(
        engine=engine,
        sku=sku,
        model=model,
        related_skus=related_skus,
        traffic=scenario,
        recipes=recipes,
    )
    level, assumed = choose_level(recipe, date=date, median=median)
    messages = [*borrowed, *assumed]
    if scenario == "agentic" and not recipe.ran(scenario, level=level.name):
        level, note = _with_usual_agentic(level, engine=engine, recipes=recipes)
        messages += note
    length = nearest_length(isl, recorded=recipe.lengths)
    if length != isl and reads_length(level):
        messages.append(f"no settings recorded at isl {isl}: those of {length} hold")
    day = build_day(level, date=date, median=median)
    context: dict[str, object] = {
        "isl": length,
        "osl": osl,
        "concurrency": concurrency,
        "speculation": speculation,
        "precision": precision,
        "scenario": scenario,
    }
    layouts, filled = complete_layouts(pools, level=level, concurrency=concurrency, context=context)
    messages += filled
    own = stated_by_pool(stated or {}, engine=engine, roles=[pool.role for pool in layouts])
    if stated:
        said = ", ".join(f"{name}={shown(value)}" for name, value in sorted(stated.items()))
        messages.append(f"server settings: {said}")
    context["layout"] = deployment_label(layouts)
    if drafts is not None:
        context["drafts"] = drafts
    recorded = RecordedLookup(
        engine=engine,
        sku=sku,
        model=model,
        precision=precision,
        speculation=speculation,
        isl=isl,
        date=date,
        image=image,
        known=recipes is None,
    )
    levels = [
        recorded.level(level, pool=pool, context=_pool_context(context, pool)) for pool in layouts
    ]
    if recorded.rows:
        # what the recipe borrowed is replaced by what this server was given
        messages = [m for m in messages if m not in (*borrowed, *assumed)]
    messages += dict.fromkeys(recorded.messages)
    plain = ActiveCells(
        recipe=recipe, level=levels[-1], day=day, context=_pool_context(context, layouts[-1])
    )
    spec = resolve_speculation(
        plain.active,
        model=model,
        engine=without_software_of(engine.label),
        method=speculation,
        drafts=drafts,
        length=acceptance_length,
    )
    messages += spec.messages
    context["drafts"] = spec.drafts
    provenance: dict[str, str] = {}
    resolved: list[PoolConfiguration] = []
    for pool, base in zip(layouts, levels, strict=True):
        cells = ActiveCells(
            recipe=recipe,
            level=base,
            day=day,
            context=_pool_context(context, pool),
            stated=own[pool.role],
        )
        settings, origin = cells.settings()
        settings, raised = follow(
            settings,
            pool=pool,
            concurrency=concurrency,
            drafts=spec.drafts,
            longest_prompt=longest_prompt or isl,
            recorded=(
                recorded_settings(recipe, cells.active, sku=sku, model=model)
                - recorded.of_other_loads(pool.role)
            )
            | recorded.names(pool.role)
            | own[pool.role].keys(),
        )
        budget = engine_class(engine.engine).budget_setting
        if budget in raised and budget in own[pool.role]:
            raise whole_prompt_error(
                budget,
                value=own[pool.role][budget],
                longest_prompt=longest_prompt or isl,
                engine=engine,
            )
        elsewhere = recorded.of_other_loads(pool.role)
        followed = {
            name: "recorded for other loads only" if name in elsewhere else "none is recorded"
            for name in raised
        }
        origin |= {name: f"follows the load: {text}" for name, text in followed.items()}
        plan = cells.plan(settings=settings, drafts=spec.drafts)
        if precision in EXPANDED_LABELS and "expert_path" in plan:
            if model not in recipe.models:
                del plan["expert_path"]  # the label of another model's checkpoint
            elif plan["expert_path"] != precision:
                messages.append(
                    f"precision {precision} of {model} is the label of its released checkpoint "
                    f"here: experts run as {plan['expert_path']}"
                )
        prefix = "" if pool.role == "aggregated" else f"{pool.role}."
        provenance |= {f"{prefix}{name}": text for name, text in origin.items()}
        provenance |= {f"{prefix}plan.{name}": f"recipe {level.name}" for name in plan}
        messages += [f"{prefix}{name} follows the load: {text}" for name, text in followed.items()]
        messages += [
            f"{prefix}{name} not recorded: {why}"
            for name, why in cells.unknown().items()
            if name not in own[pool.role]
        ]
        resolved.append(
            PoolConfiguration(
                role=pool.role,
                workers=pool.workers,
                layout=pool.layout,
                settings=settings,
                plan=plan,
            )
        )
    last = recorded.rows[-1] if recorded.rows else None
    return ResolvedRecipe(
        level=f"{engine.label}@{last.image or last.first}"
        if last
        else f"{recipe.engines[0]}@{level.name}",
        date=last.first if last else level.date,
        pools=tuple(resolved),
        drafts=spec.drafts,
        acceptance_length=spec.acceptance_length,
        acceptance_source=spec.acceptance_source,
        messages=tuple(dict.fromkeys(messages)),
        provenance=provenance,
    )


def _with_usual_agentic(
    level: Level, *, engine: EngineLabel, recipes: Sequence[Recipe] | None
) -> tuple[Level, list[str]]:
    """A level that was not run with agentic traffic, with what such servers are usually given."""
    for each in recipes if recipes is not None else load_recipes():
        if each.traffic == "agentic" and not each.skus and each.engine == engine.engine:
            usual = each.level(each.levels[-1].name)
            cells = [cell for cell in usual.cells if "scenario" in cell.when]
            note = f"{level.name} was not run with agentic traffic: caps and chunks usual for it"
            return level.model_copy(update={"cells": [*level.cells, *cells]}), [note]
    return level, []


def _pool_context(context: dict[str, object], pool: PoolLayout) -> dict[str, object]:
    return context | {
        "role": pool.role,
        "tp": pool.layout.tp,
        "ep": pool.layout.ep,
        "dp": pool.layout.attention_dp,
        "dp_attention": pool.layout.dp_attention,
    }
