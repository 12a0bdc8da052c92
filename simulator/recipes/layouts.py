"""Filling in the layout that a run was given only in part."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulator.engines.pools import PoolLayout
from workloads.errors import UserError
from workloads.layout import Layout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulator.engines.pools import Role
    from simulator.recipes.files import Level, OfferedLayout


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolRequest:
    """What is known of a pool's layout; ``None`` is to be filled from a recipe.

    ``tp`` counts the ranks of a worker, also where its attention is data parallel.
    """

    role: Role = "aggregated"
    workers: int | None = None
    tp: int | None = None
    ep: int | None = None
    dp_attention: bool | None = None
    gpus: int | None = None

    def accepts(self, pool: PoolLayout) -> bool:
        """Whether a pool agrees with all that is known."""
        return pool.role == self.role and all(
            known is None or known == offered
            for known, offered in (
                (self.workers, pool.workers),
                (self.tp, pool.layout.tp),
                (self.ep, pool.layout.ep),
                (self.dp_attention, pool.layout.dp_attention),
                (self.gpus, pool.gpus),
            )
        )

    @property
    def is_blank(self) -> bool:
        """Whether nothing is known of the pool but its role."""
        return self == PoolRequest(role=self.role)

    @property
    def blanks(self) -> list[str]:
        """Names of the fields to fill; the workers follow from ``tp`` and ``gpus``."""
        values = {"tp": self.tp, "ep": self.ep, "dp_attn": self.dp_attention}
        if self.workers is None and (self.tp is None or self.gpus is None):
            values["workers"] = None
        return [name for name, value in values.items() if value is None]


def recipe_pools() -> tuple[PoolRequest, PoolRequest]:
    """Pools of which nothing is stated: what the recipe in force ran nearest to the load."""
    return (PoolRequest(role="prefill"), PoolRequest(role="decode"))


def complete_layouts(
    pools: Sequence[PoolRequest | PoolLayout],
    *,
    level: Level,
    concurrency: int,
    context: dict[str, object],
) -> tuple[tuple[PoolLayout, ...], list[str]]:
    """Layouts of the pools, and what was filled in; complete ones stay as they are.

    Raises
    ------
    UserError
        As `fill_layouts`.
    """
    complete = tuple(pool for pool in pools if isinstance(pool, PoolLayout))
    if len(complete) == len(pools):
        return complete, []
    if complete:
        raise TypeError("pools are all complete, or all as far as they are known")
    requests = [pool for pool in pools if isinstance(pool, PoolRequest)]
    return fill_layouts(requests, level=level, concurrency=concurrency, context=context)


def fill_layouts(
    requests: Sequence[PoolRequest],
    *,
    level: Level,
    concurrency: int,
    context: dict[str, object],
) -> tuple[tuple[PoolLayout, ...], list[str]]:
    """Complete layouts of the pools, and what was filled in.

    Blanks come from the offer of the level that agrees with everything known and lies nearest
    in its conditions, then in concurrency; without one ``ep`` is 1 and attention not data
    parallel. Where nothing at all is known of a disaggregated deployment an aggregated offer may
    answer: orchestrators run such servers too.

    An offer answers for the traffic that it was run with: one without a ``scenario`` condition
    for fixed lengths. Only where the level has none of the traffic's own do the others answer,
    and a message says so.

    Raises
    ------
    UserError
        If the ranks of a worker are unknown and no offer agrees with the rest.
    """
    if not any(request.blanks for request in requests):
        return tuple(_complete(request) for request in requests), []
    traffic = str(context.get("scenario", "fixed"))
    own = [offer for offer in level.layouts if offer.serves(traffic)]
    offers = own or level.layouts
    borrowed = ""
    if not own and offers:
        borrowed = f"; recipe {level.name} has no layout run with {traffic} traffic"
    if all(request.is_blank for request in requests):
        agreeing = [offer for offer in offers if len(offer.pools) <= len(requests)]
    else:
        agreeing = [
            offer
            for offer in offers
            if len(offer.pools) == len(requests)
            and all(r.accepts(p) for r, p in zip(requests, offer.pools, strict=True))
        ]
    if agreeing:
        offer = min(agreeing, key=lambda each: _distance(each, concurrency, context))
        at = min(offer.concurrency, key=lambda each: abs(math.log(each / concurrency)))
        blanks = _names_of_blanks(requests)
        where = f"{offer.layout}, run at concurrency {at}"
        return offer.pools, [f"{blanks} from recipe {level.name}: {where}{borrowed}"]
    if any(request.tp is None for request in requests):
        raise UserError(
            f"the layout is blank and recipe {level.name} offers none that agrees with the rest; "
            "fill in tp, ep and dp_attn"
        )
    message = f"{_names_of_blanks(requests)} blank and not in recipe {level.name}: ep 1, no DP"
    if any("workers" in request.blanks for request in requests):
        message += ", one worker"
    return tuple(_complete(request) for request in requests), [message]


def _names_of_blanks(requests: Sequence[PoolRequest]) -> str:
    return ", ".join(
        name if request.role == "aggregated" else f"{request.role} {name}"
        for request in requests
        for name in request.blanks
    )


def _complete(request: PoolRequest) -> PoolLayout:
    tp = request.tp or 1
    workers = request.workers or max(1, (request.gpus or tp) // tp)
    layout = Layout(tp=tp, ep=request.ep or 1, dp_attention=bool(request.dp_attention))
    return PoolLayout(role=request.role, workers=workers, layout=layout)


def _distance(
    offer: OfferedLayout, concurrency: int, context: dict[str, object]
) -> tuple[bool, float]:
    """How far a load lies from an offer: its conditions first, then doublings outside its range."""
    low, high = min(offer.concurrency), max(offer.concurrency)
    outside = max(math.log2(low / concurrency), math.log2(concurrency / high), 0.0)
    return not offer.applies(context), outside
