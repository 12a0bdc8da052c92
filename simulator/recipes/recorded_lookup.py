"""Recorded settings of a deployment's pools: which limits are this load's, which are others'."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from simulator.engines.registry import engine_class
from simulator.recipes.recorded import (
    SETTING_NAMES,
    RecordedSettings,
    choose_recorded,
    layout_key,
    recorded_cell,
)
from simulator.recipes.recorded_tables import keys_of, table_of

if TYPE_CHECKING:
    import datetime as dt

    from simulator.engines.labels import EngineLabel
    from simulator.engines.pools import PoolLayout
    from simulator.recipes.files import Cell, Level

CROWDED = 1.75
"""Clients of a rank over its cap from which a recorded cap is taken for another deployment's. An
estimate: recipes that list their load leave up to 1.5 clients a place, seldom more. [-]"""

_FOLLOW_LOAD = ("max_num_batched_tokens", "max_num_seqs", "cuda_graph_max_bs")


def _of_other_loads(
    row: RecordedSettings, cell: Cell, *, scheduler: str, concurrency: int, share: int
) -> set[str]:
    """Limits of a cell that were recorded for other loads than the one asked for.

    Those of a table keyed by concurrency that does not list this one, or, where its cap leaves
    most clients of a rank, ``share``, waiting, lists it for another deployment. Where recipes
    size a server to its load, constants are of one load too.
    """
    cap = cell.settings.get(SETTING_NAMES[scheduler]["max_num_seqs"])
    crowded = isinstance(cap, int) and share > max(CROWDED * cap, cap + 1)
    sized = engine_class(scheduler).budget_holds_decode and row.role == "decode"
    others = set()
    for column in _FOLLOW_LOAD:
        text = row.cells.get(column, "")
        listed = keys_of([table_of(text)], "conc") if text.startswith("by ") else set()
        if (crowded and (listed or sized)) or (listed and concurrency not in listed):
            others.add(SETTING_NAMES[scheduler][column])
    return others


@dataclass(slots=True, kw_only=True)
class RecordedLookup:
    """Settings recorded for single builds, looked up pool by pool.

    ``rows`` and ``messages`` gather what was found on the way; ``known`` is whether to look.
    """

    engine: EngineLabel
    sku: str
    model: str
    precision: str
    speculation: str
    isl: int
    date: dt.date | None
    image: str | None
    known: bool
    rows: list[RecordedSettings] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    settings: dict[str, frozenset[str]] = field(default_factory=dict)
    others: dict[str, frozenset[str]] = field(default_factory=dict)

    def names(self, role: str) -> frozenset[str]:
        """Settings of a pool that were recorded."""
        return self.settings.get(role, frozenset())

    def of_other_loads(self, role: str) -> frozenset[str]:
        """Limits of a pool that were recorded, but for other loads than the one asked for."""
        return self.others.get(role, frozenset())

    def level(self, base: Level, *, pool: PoolLayout, context: dict[str, object]) -> Level:
        """A recipe's level with the recorded settings of a pool as its last cell."""
        if not self.known:
            return base
        row, told = choose_recorded(
            engine=self.engine.label,
            sku=self.sku,
            model=self.model,
            precision=self.precision,
            speculation=self.speculation,
            role=pool.role,
            layout=layout_key(
                tp=pool.layout.tp, ep=pool.layout.ep, dp_attention=pool.layout.dp_attention
            ),
            isl=self.isl,
            date=self.date,
            image=self.image,
            osl=_count(context.get("osl")),
            concurrency=_count(context.get("concurrency")),
        )
        self.messages += told
        if row is None:
            return base
        self.rows.append(row)
        cell = recorded_cell(row, scheduler=self.engine.engine, context=context)
        clients = _count(context.get("concurrency")) or 0
        share = math.ceil(clients / (pool.workers * pool.layout.attention_dp))
        others = _of_other_loads(
            row, cell, scheduler=self.engine.engine, concurrency=clients, share=share
        )
        self.others[pool.role] = frozenset(others)
        self.settings[pool.role] = frozenset(cell.settings) - others
        return base.model_copy(update={"cells": [*base.cells, cell]})


def _count(value: object) -> int | None:
    return int(value) if isinstance(value, int | float) and value > 0 else None
