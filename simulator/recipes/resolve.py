"""Which server settings a run had: recorded recipes, resolved for one deployment."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, get_args

from pydantic import ValidationError

from hwmodels.fitted import MEDIAN_DATE
from simulator.engines.labels import engine_labels
from simulator.engines.pools import PoolConfiguration, deployment_label
from simulator.engines.registry import bind_engine, engine_class
from simulator.engines.rules import rule_settings
from simulator.recipes.expressions import Number, evaluate, expression_names
from simulator.recipes.files import (
    Cell,
    Level,
    Recipe,
    Scalar,
    load_recipes,
)
from simulator.recipes.layouts import PoolRequest, complete_layouts
from simulator.recipes.limits import follow, nearest_length, reads_length, recorded_settings
from simulator.recipes.recorded import RecordedLookup
from simulator.recipes.speculation import resolve_speculation
from simulator.recipes.stated import (
    GRAPH_SETTINGS,
    STATED,
    check_consistent,
    invalid_setting,
    stated_by_pool,
)
from workloads.datafiles import invalid_data
from workloads.errors import UserError, shown

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping, Sequence

    from simulator.engines.base import EngineSettings
    from simulator.engines.labels import EngineLabel
    from simulator.engines.pools import PoolLayout, SpeculationMethod

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


def find_recipe(
    *,
    engine: EngineLabel,
    sku: str,
    model: str,
    related_skus: Sequence[str] = (),
    traffic: str = "fixed",
    recipes: Sequence[Recipe] | None = None,
) -> tuple[Recipe, tuple[str, ...]]:
    """The recipe nearest to what is asked, and what it had to borrow.

    A recipe of the same label comes before one of the same scheduler, the SKU's own before its
    related SKUs' in order, and a general one last; of several alike the one that names the model,
    then the one of this ``traffic`` alone.

    Raises
    ------
    UserError
        If the scheduler has no recipe at all.
    """
    skus = [sku, *related_skus]
    ranked: list[tuple[tuple[int, int, int, bool], Recipe]] = []
    for recipe in recipes if recipes is not None else load_recipes():
        if recipe.engine != engine.engine or recipe.traffic not in ("any", traffic):
            continue
        if engine.label not in recipe.engines and engine_labels()[recipe.engines[0]].kernels:
            continue  # flags of a plug-in say nothing of a server without it
        general = not recipe.skus
        own = [skus.index(name) for name in recipe.skus if name in skus]
        if not general and not own:
            continue
        if model in recipe.models:
            model_rank = 0
        elif not recipe.models:
            model_rank = 1
        elif model in recipe.stands_in_for:
            model_rank = 2
        else:
            continue
        label_rank = 2 if general else int(engine.label not in recipe.engines)
        own_rank = 0 if general else min(own)
        ranked.append(((label_rank, own_rank, model_rank, recipe.traffic != traffic), recipe))
    if not ranked:
        raise UserError(f"engine {engine.label} has no recipe for {model} on {sku}")
    (label_rank, sku_rank, model_rank, _), recipe = min(ranked, key=lambda pair: pair[0])
    messages = []
    if label_rank == 2:
        messages.append(f"no {engine.label} recipe for {model} on {sku}: engine defaults")
    elif label_rank == 1:
        messages.append(f"no {engine.label} recipe: settings of {recipe.engines[0]}")
    if sku_rank:
        messages.append(f"no recipe on {sku}: that of {skus[sku_rank]} stands in")
    if model_rank == 2:
        messages.append(f"no recipe of {model}: that of {recipe.models[0]} stands in")
    return recipe, tuple(messages)


def choose_level(
    recipe: Recipe, *, date: dt.date | None = None, median: bool = False
) -> tuple[Level, tuple[str, ...]]:
    """The level in force at a date, and what had to be assumed.

    The last level not after the date; before the first, the first. Without a date the latest.
    The median of undated runs is its own pseudo-level where the recipe has one, else the last
    level not after 2026-07-19.
    """
    if recipe.levels[0].date is None:
        level = recipe.levels[0]
        return level, (level.assumed,) if level.assumed else ()
    dated = [level for level in recipe.levels if level.date and not level.is_median]
    messages: list[str] = []
    if median:
        wanted: dt.date | None = MEDIAN_DATE
        pseudo = [level for level in recipe.levels if level.is_median]
        before = pseudo or _not_after(dated, MEDIAN_DATE)
    else:
        wanted = date
        before = dated if date is None else _not_after(dated, date)
    level = recipe.level((before or dated)[-1 if before else 0].name)
    if median and before:
        messages.append(f"undated median of runs to {MEDIAN_DATE}: settings of {level.name}")
    elif not before:
        messages.append(
            f"no recorded settings before {wanted}: the first, {level.name} of {level.date}, "
            "stand in"
        )
    if level.assumed:
        messages.append(level.assumed)
    return level, tuple(messages)


def _build_day(level: Level, *, date: dt.date | None, median: bool) -> dt.date | None:
    """Day of the engine's build, whose scheduling rules apply; ``None`` is the latest."""
    if level.date is None:
        return MEDIAN_DATE if median else date
    return level.date if date is None else min(level.date, date)


def _not_after(levels: Sequence[Level], day: dt.date) -> list[Level]:
    return [level for level in levels if level.date is not None and level.date <= day]


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
    day = _build_day(level, date=date, median=median)
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
    plain = _Cells(
        recipe=recipe, level=levels[-1], day=day, context=_pool_context(context, layouts[-1])
    )
    spec = resolve_speculation(
        plain.active, model=model, method=speculation, drafts=drafts, length=acceptance_length
    )
    messages += spec.messages
    context["drafts"] = spec.drafts
    provenance: dict[str, str] = {}
    resolved: list[PoolConfiguration] = []
    for pool, base in zip(layouts, levels, strict=True):
        cells = _Cells(
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


class _Cells:
    """The cells of a level that apply to one pool."""

    def __init__(
        self,
        *,
        recipe: Recipe,
        level: Level,
        day: dt.date | None,
        context: dict[str, object],
        stated: Mapping[str, Scalar] | None = None,
    ) -> None:
        self.stated = dict(stated or {})
        self.recipe = recipe
        self.day = day
        self.level = level
        self.context = context
        self.active = [cell for cell in level.cells if cell.applies(context)]

    def settings(self) -> tuple[EngineSettings, dict[str, str]]:
        """Settings and where each came from."""
        raw: dict[str, Scalar] = {}
        origin: dict[str, str] = {}
        for cell in self.active:
            raw |= cell.settings
            text = _origin(cell, self.level)
            origin |= dict.fromkeys(cell.settings, text)
        raw |= self.stated
        origin |= dict.fromkeys(self.stated, STATED)
        cls: Any = engine_class(self.recipe.engine).settings_class
        rules = rule_settings(engine=self.recipe.engine, day=self.day)
        values: dict[str, Any] = {
            name: value for name, (value, _) in rules.items() if name not in raw
        }
        origin |= {name: text for name, (_, text) in rules.items() if name not in raw}
        values |= {name: self._value(name, raw, ()) for name in raw}
        try:
            settings: Any = cls(**values)
        except ValidationError as error:
            if self.stated:
                raise invalid_setting(error, engine=self.recipe.engine) from None
            raise invalid_data(source=f"recipe {self.level.name}", error=error) from None
        check_consistent(settings, stated=self.stated)
        origin |= {
            name: "engine default, not recorded"
            for name in cls.model_fields
            if name not in origin and name != "scheduler"
        }
        return settings, origin

    def _value(self, name: str, raw: dict[str, Scalar], above: tuple[str, ...]) -> Scalar:
        """A setting's value; expressions may read other settings, and their defaults."""
        if name in self.stated:
            return self.stated[name]
        field_info = engine_class(self.recipe.engine).settings_class.model_fields[name]
        value = raw.get(name, field_info.default)
        is_option = value in get_args(field_info.annotation)
        if not isinstance(value, str) or is_option or value == field_info.default:
            return value  # type: ignore[no-any-return]
        try:
            reads = expression_names(value)
        except ValueError:
            return value
        if name in above:
            raise UserError(f"recipe {self.level.name}: {name} is defined by itself")
        variables: dict[str, Number] = {
            read: self.context[read]  # type: ignore[misc]
            if read in self.context
            else self._value(read, raw, (*above, name))
            for read in reads
        }
        try:
            return evaluate(value, variables=variables)
        except ValueError as error:
            raise UserError(f"recipe {self.level.name}: {name}: {error}") from None

    def plan(self, *, settings: EngineSettings, drafts: int) -> dict[str, Scalar]:
        """Execution-plan fields; a recorded graph size becomes tokens of one rank."""
        plan: dict[str, Scalar] = {}
        graph = bind_engine(settings).graph_tokens(drafts=drafts)
        if graph is not None:
            plan["graph_max_tokens"] = graph
        for cell in self.active:
            plan |= cell.plan
        if graph is not None and GRAPH_SETTINGS & self.stated.keys():
            plan["graph_max_tokens"] = graph
        pieces = bind_engine(settings).graphs_prefill
        if pieces is not None:
            plan["graph_prefill"] = pieces
        if (largest := bind_engine(settings).prefill_graph_tokens) is not None:
            plan["graph_prefill_max_tokens"] = largest
        if bind_engine(settings).two_batches:
            plan["two_batch_overlap"] = True
        return plan

    def unknown(self) -> dict[str, str]:
        """Settings that the server was given but that were not recorded."""
        unknown: dict[str, str] = {}
        for cell in self.active:
            unknown |= cell.unknown
            for name in cell.settings:
                unknown.pop(name, None)
        return unknown


def _origin(cell: Cell, level: Level) -> str:
    note = f"; {cell.note}" if cell.note else ""
    return f"{cell.kind}, {cell.source or level.source}{note}"
