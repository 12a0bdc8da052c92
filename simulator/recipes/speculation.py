"""How many drafts a step verifies and how many are accepted: given, recorded or assumed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from simulator.recipes.files import Cell, Speculation
from workloads.speculation import acceptance_kind, acceptance_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulator.engines.pools import SpeculationMethod

# Where neither the user nor a recipe says how many drafts a step has: DeepSeek V4 shipped with
# one MTP draft in production; DSpark was trained with blocks of 5 (DSpark paper, section 5);
# InferenceX and MLPerf Inference run EAGLE-3 heads with 3.
_DRAFTS_UNRECORDED = {"mtp": 1, "dspark": 5, "eagle3": 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedSpeculation:
    """Drafts and acceptance of a deployment; 0 drafts without speculation."""

    drafts: int = 0
    acceptance_length: float | None = None
    acceptance_source: str | None = None
    messages: tuple[str, ...] = ()


def resolve_speculation(
    cells: Sequence[Cell],
    *,
    model: str,
    engine: str,
    method: SpeculationMethod,
    drafts: int | None,
    length: float | None,
) -> ResolvedSpeculation:
    """Speculation of the cells that apply, what is given before what is recorded.

    A recorded acceptance length holds for the recorded number of drafts only. Without a recorded
    distribution the nearest published one of the model answers.
    """
    if method == "none":
        return ResolvedSpeculation()
    recorded: dict[str, Any] = {}
    for cell in cells:
        if cell.speculation is not None:
            recorded |= cell.speculation.model_dump(exclude_none=True)
    spec = Speculation(**recorded)
    messages: list[str] = []
    who = f"{engine} {method}"
    used = drafts if drafts is not None else spec.drafts
    if used is None:
        used = _DRAFTS_UNRECORDED[method]
        messages.append(f"{who}: drafts per step not recorded: {used} assumed")
    elif drafts is None:
        messages.append(f"{who}: {used} drafts per step from the recipe")
    source = None
    if length is None and spec.acceptance_length is not None and used == spec.drafts:
        length = spec.acceptance_length
        messages.append(f"{who}: acceptance length {length} from the recipe")
    elif length is None:
        source = spec.acceptance_source or _nearest_acceptance(model=model, method=method)
        if source is not None:
            messages.append(f"acceptance from {source} ({acceptance_kind(source)})")
    return ResolvedSpeculation(
        drafts=used,
        acceptance_length=length,
        acceptance_source=source,
        messages=tuple(messages),
    )


def _nearest_acceptance(*, model: str, method: SpeculationMethod) -> str | None:
    """A distribution for a model without a recorded one: random tokens before text, its own first.

    What is known of any MTP block stands in for a model of which nothing is published.
    """
    known = acceptance_names()
    bases = dict.fromkeys((model, re.sub(r"-\d{4}$", "", model)))
    names = [
        f"{base}-{method}-{load}" for base in bases for load in ("random", "thinking", "serving")
    ]
    return next((name for name in (*names, f"{method}-text") if name in known), None)
