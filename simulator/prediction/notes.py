"""What a reader of a run should know of its memory and of limits that bind."""

from __future__ import annotations

import re
from math import ceil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from simulator.prediction.assembly import Assembly
    from simulator.scenario.configuration import RunConfiguration

COMPARED = {"prompt": (1_000, 10_000), "output": (100, 8_192)}
"""Shortest and longest of the published runs that bands are of. [tokens]"""

_KV = re.compile(r"KV of (\S+): ([\d,]+) tokens a rank, (.*)'s own count$")


def binding_limits(assembly: Assembly, configuration: RunConfiguration) -> tuple[str, ...]:
    """Limits of the server that the load passes, with the setting that lifts each."""
    pool = assembly.pools[-1]
    ranks = pool.layout.attention_dp
    requests = ceil(configuration.concurrency / (pool.workers * ranks))
    engine = configuration.pools[-1].engine
    cap = engine.running_cap(attention_dp=ranks)
    found = []
    if requests > cap:
        found.append(
            f"the running cap {engine.cap_setting} binds in {pool.layout.label} beyond "
            f"{cap:,.0f} requests a rank: raise it with --engine-set {engine.cap_setting}=N"
        )
    tokens = min(requests, cap) * (configuration.drafts + 1)
    graph = assembly.models[-1].plan.graph_max_tokens
    if not graph and tokens:
        found.append(
            f"no graphs at this software level: decode steps of {pool.layout.label} pay for every "
            f"launch; --engine-set {engine.graph_setting}=N has them captured"
        )
    elif tokens > graph:
        found.append(
            f"decode steps of {pool.layout.label} beyond {graph:,} tokens a rank run outside "
            f"graphs: raise {engine.graph_setting} with --engine-set {engine.graph_setting}=N"
        )
    return tuple(found)


def beyond_compared(configuration: RunConfiguration) -> tuple[str, ...]:
    """Lengths that no prediction was ever compared at, though its band is printed."""
    if configuration.traffic == "agentic":
        return ()
    asked = {"prompt": configuration.isl, "output": configuration.osl}
    return tuple(
        f"{what} of {tokens:,} tokens: predictions were compared with runs of {low:,} to {high:,}, "
        "so that bands and efficiencies are those of such lengths"
        for what, tokens in asked.items()
        for low, high in [COMPARED[what]]
        if not low <= tokens <= high
    )


def prompt_graph_limit(assembly: Assembly, configuration: RunConfiguration) -> tuple[str, ...]:
    """The limit of graphs that a step with prompts passes, with the setting that lifts it."""
    pool, plan = assembly.pools[-1], assembly.models[-1].plan
    engine = configuration.pools[-1].engine
    if not plan.graph_prefill:
        flag = engine.prefill_graphs_on
        found = f"steps with prompts of {pool.layout.label} run outside graphs"
        return (f"{found}: --engine-set {flag} has pieces of them captured" if flag else found,)
    size, name = plan.graph_max_tokens, engine.graph_setting
    if plan.graph_prefill_max_tokens is not None:
        size, name = plan.graph_prefill_max_tokens, engine.prefill_graph_setting
    return (
        f"steps with prompts of {pool.layout.label} beyond {size:,} tokens a rank run outside "
        f"graphs: raise {name} with --engine-set {name}=N",
    )


def counted_in_chips(configuration: RunConfiguration) -> tuple[str, ...]:
    """How engines call a layout, where they count several devices of a chip as ranks."""
    sku, tp = configuration.sku, configuration.pools[-1].layout.tp
    devices = sku.devices_per_chip
    if devices == 1:
        return ()
    return (
        f"a rank of {sku.key} is a chip of {devices} devices: TP{tp} is {tp} chips, "
        f"TP{tp * devices} where engines and InferenceX count devices",
    )


def unequal_budgets(found: Mapping[str, RunConfiguration]) -> tuple[str, ...]:
    """Step token budgets of deployments that stand side by side, if they are not all equal.

    A budget is what one rank of the pool that prefills computes in a step. [tokens]
    """
    budgets: dict[str, tuple[str, int]] = {}
    settings: dict[str, None] = {}
    for name, configuration in found.items():
        pool = configuration.pools[0]
        budget = pool.engine.step_token_budget(attention_dp=pool.layout.attention_dp)
        budgets[name] = (pool.layout.label, budget)
        settings[pool.engine.budget_setting] = None
    if len({budget for _, budget in budgets.values()}) < 2:
        return ()
    named = "; ".join(f"{name} {budget:,} ({label})" for name, (label, budget) in budgets.items())
    flags = " or ".join(f"--engine-set {setting}=N" for setting in settings)
    return (f"step token budgets of a rank differ: {named}; {flags} evens them out",)


def merged(messages: Iterable[str]) -> list[str]:
    """Each message once, and the KV tokens of all layouts in one line."""
    tokens: dict[str, dict[str, str]] = {}
    other: dict[str, None] = {}
    for message in messages:
        match = _KV.fullmatch(message)
        if match is None:
            other[message] = None
        else:
            layout, count, engine = match.groups()
            tokens.setdefault(engine, {})[layout] = count
    lines = [
        f"KV tokens a rank, {engine}'s own count: "
        + "; ".join(f"{layout} {count}" for layout, count in by_layout.items())
        for engine, by_layout in tokens.items()
    ]
    return [*other, *lines]
