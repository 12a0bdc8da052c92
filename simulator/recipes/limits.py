"""Limits that a recipe did not record: they follow what is asked, and say so."""

from __future__ import annotations

from math import ceil, log
from typing import TYPE_CHECKING

from simulator.engines.registry import bind_engine
from simulator.recipes.expressions import expression_names

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from simulator.engines.base import EngineSettings
    from simulator.engines.pools import PoolLayout
    from simulator.recipes.files import Cell, Level, Recipe


def nearest_length(isl: int, *, recorded: Sequence[int]) -> int:
    """The recorded input length nearest to one, by their ratio. [tokens]"""
    return min(recorded, key=lambda length: abs(log(length / max(isl, 1))))


def reads_length(level: Level) -> bool:
    """Whether settings of a level depend on the input length."""
    return any("isl" in cell.when or _names_length(cell) for cell in level.cells)


def _names_length(cell: Cell) -> bool:
    for value in cell.settings.values():
        if isinstance(value, str):
            try:
                names = expression_names(value)
            except ValueError:
                continue
            if "isl" in names:
                return True
    return False


def recorded_settings(recipe: Recipe, cells: Sequence[Cell], *, sku: str, model: str) -> set[str]:
    """Settings that were recorded for this very SKU and model."""
    own = sku in recipe.skus and (model in recipe.models or not recipe.models)
    return {name for cell in cells for name in cell.settings} if own else set()


def follow(
    settings: EngineSettings,
    *,
    pool: PoolLayout,
    concurrency: int,
    drafts: int,
    longest_prompt: int,
    recorded: Collection[str],
) -> tuple[EngineSettings, list[str]]:
    """Settings with limits that nobody recorded raised to a load, and what was raised.

    Parameters
    ----------
    pool:
        The pool that has them.
    concurrency:
        Closed-loop clients of the deployment. [requests]
    drafts:
        Draft tokens of a request per step. [tokens]
    longest_prompt:
        Longest prompt of the workload. [tokens]
    recorded:
        Settings that stay as they are.
    """
    ranks = pool.layout.attention_dp
    requests = ceil(concurrency / (pool.workers * ranks))
    changed = settings
    if pool.role != "prefill":
        changed = bind_engine(changed).with_room_for(
            requests=requests, drafts=drafts, attention_dp=ranks, recorded=recorded
        )
    if pool.role != "decode":
        changed = bind_engine(changed).with_prompts_of(
            tokens=longest_prompt, requests=requests, drafts=drafts
        )
    raised = [
        name
        for name in type(settings).model_fields
        if getattr(changed, name) != getattr(settings, name)
    ]
    return changed, raised
