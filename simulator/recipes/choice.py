"""Which recipe and which of its levels hold for a deployment: the nearest, by stated ranks."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from hwmodels.fitted import MEDIAN_DATE
from simulator.engines.labels import engine_labels
from simulator.recipes.files import Level, Recipe, load_recipes
from workloads.errors import UserError

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

    from simulator.engines.labels import EngineLabel


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
    find = _find_recipe if recipes is None else _find_recipe.__wrapped__
    return find(
        engine=engine,
        skus=(sku, *related_skus),
        model=model,
        traffic=traffic,
        recipes=None if recipes is None else tuple(recipes),
    )


@lru_cache(maxsize=256)  # shipped recipes do not change while a process runs
def _find_recipe(
    *,
    engine: EngineLabel,
    skus: tuple[str, ...],
    model: str,
    traffic: str,
    recipes: tuple[Recipe, ...] | None,
) -> tuple[Recipe, tuple[str, ...]]:
    sku = skus[0]
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


def build_day(level: Level, *, date: dt.date | None, median: bool) -> dt.date | None:
    """Day of the engine's build, whose scheduling rules apply; ``None`` is the latest."""
    if level.date is None:
        return MEDIAN_DATE if median else date
    return level.date if date is None else min(level.date, date)


def _not_after(levels: Sequence[Level], day: dt.date) -> list[Level]:
    return [level for level in levels if level.date is not None and level.date <= day]
