"""From what a user asks of ``simulate explain`` to a configuration and the batch of its step."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

from simulator.analysis.objectives import NO_LIMIT
from simulator.engines.pools import DoesNotFitError, PoolLayout
from simulator.prediction.assembly import assemble
from simulator.recipes.choice import choose_level, find_recipe
from simulator.recipes.layouts import PoolRequest
from simulator.scenario.configure import configure_run
from simulator.scenario.target import resolve_target
from simulator.scenario.worker_layouts import candidate_layouts
from simulator.studies.as_deployed import AskedLoad, with_best_deployed
from workloads.costmodel import PrefillChunk, StepBatch
from workloads.errors import UserError, unknown_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from simulator.prediction.assembly import Assembly
    from simulator.scenario.configuration import RunConfiguration
    from simulator.scenario.settings import Scenario
    from simulator.scenario.target import Target

Phase = Literal["decode", "prefill", "mixed"]
Traffic = Literal["fixed", "agentic"]
PHASES: tuple[Phase, ...] = ("decode", "prefill", "mixed")


def parse_phase(text: str) -> Phase:
    """The phase of a name.

    Raises
    ------
    UserError
        If it is none.
    """
    for phase in PHASES:
        if text == phase:
            return phase
    raise unknown_name(field="phase", value=text, known=PHASES)


def best_for_clients(
    flags: Mapping[str, Any], *, clients: int, one_worker: bool
) -> tuple[dict[str, Any], str | None, str]:
    """Settings with what a SKU is best deployed as where they leave it open.

    Parameters
    ----------
    flags:
        Settings of a scenario by name, and ``disaggregated``.
    clients:
        Closed-loop clients, for which deployments are ranked. [requests]
    one_worker:
        Whether the explanation is about one worker, so that forms with pools are left out.

    Returns
    -------
    tuple
        The settings, of pools the label of the deployment, and how it was chosen; as given,
        ``None`` and nothing where an engine, a layout or server settings are stated or nobody is
        known to have run the model.

    Raises
    ------
    UserError
        If a name is unknown or a number out of range.
    """
    if clients < 1:
        raise UserError(f"concurrency is {clients}; it must be at least 1")
    limits, _ = NO_LIMIT.online()
    best = with_best_deployed(
        flags, asked=AskedLoad(clients=clients), limits=limits, one_pool=one_worker
    )
    if best is None:
        return dict(flags), None, ""
    if len(best.sweep.pools) > 1:
        return {**flags, **best.named}, best.sweep.label, best.told
    return {**flags, **best.named, **best.worker}, None, best.told


def configure(
    scenario: Scenario, *, concurrency: int, traffic: Traffic = "fixed"
) -> tuple[RunConfiguration, tuple[str, ...]]:
    """The configuration of one worker under this traffic, and what was assumed.

    What is stated of the layout holds; a stated ``tp`` means tensor-parallel attention unless
    ``dp_attention`` says otherwise. The rest is the recipe's. Where no recipe offers a layout
    that agrees, it is the smallest expert-parallel worker of at least a node that fits.

    Raises
    ------
    UserError
        If a name is unknown or a number out of range.
    DoesNotFitError
        If no worker of up to a scale-up domain fits.
    """
    if concurrency < 1:
        raise UserError(f"concurrency is {concurrency}; it must be at least 1")
    target = resolve_target(scenario)
    sku = target.sku
    tp, dp_attention = scenario.tp or scenario.gpus, scenario.dp_attention
    if tp is not None and dp_attention is None:
        dp_attention = False
    stated = PoolRequest(
        workers=1, tp=tp, ep=scenario.ep, dp_attention=dp_attention, gpus=scenario.gpus
    )
    if tp is not None or _recipe_offers(target, stated=stated, traffic=traffic):
        return _resolve(
            scenario, pool=stated, target=target, concurrency=concurrency, traffic=traffic
        )
    refusal = UserError(f"no layout of {sku.name} agrees with what is stated; name one with --tp")
    for layout in candidate_layouts(scenario=scenario, target=target):
        wide = layout.ep == layout.tp or scenario.ep is not None
        plain = not layout.dp_attention or scenario.dp_attention is not None
        if layout.tp < sku.node_gpus or not (wide and plain):
            continue
        configuration, messages = _resolve(
            scenario,
            pool=PoolLayout(layout=layout),
            target=target,
            concurrency=concurrency,
            traffic=traffic,
        )
        try:
            assemble(configuration)
        except DoesNotFitError as error:
            refusal = error
            continue
        note = f"no recipe offers a layout: {layout.label}, the smallest that fits"
        return configuration, (*messages, note)
    raise refusal


def _recipe_offers(target: Target, *, stated: PoolRequest, traffic: Traffic) -> bool:
    """Whether the recipe in force offers one worker that agrees with what is stated."""
    asked, sku = target.engine, target.sku
    recipe, _ = find_recipe(
        engine=asked.engine,
        sku=sku.key,
        model=target.model,
        related_skus=sku.related_skus,
        traffic=traffic,
    )
    level, _ = choose_level(recipe, date=asked.date, median=asked.median)
    return any(len(offer.pools) == 1 and stated.accepts(offer.pools[0]) for offer in level.layouts)


def _resolve(
    scenario: Scenario,
    *,
    pool: PoolRequest | PoolLayout,
    target: Target,
    concurrency: int,
    traffic: Traffic,
) -> tuple[RunConfiguration, tuple[str, ...]]:
    configuration, recipe = configure_run(
        scenario, target=target, pools=(pool,), concurrency=concurrency, traffic=traffic
    )
    return configuration, recipe.messages


def build_batch(
    configuration: RunConfiguration,
    *,
    assembly: Assembly,
    phase: Phase,
    context: int | None,
    new_tokens: int | None,
    position: int = -1,
) -> tuple[StepBatch, tuple[str, ...]]:
    """The step's batch on the fullest rank, requests spread evenly, and what to note about it.

    ``position`` is that of the pool among the configuration's.

    Raises
    ------
    UserError
        If a context or chunk is out of range.
    """
    limit = assembly.architecture.max_position_embeddings
    for name, tokens in (("context", context), ("new_tokens", new_tokens)):
        if tokens is not None and not 1 <= tokens <= limit:
            raise UserError(
                f"{name} is {tokens}; {assembly.architecture.name} takes 1 to {limit} tokens"
            )
    prompt, output = (law.mean_tokens for law in configuration.lengths)
    pool = assembly.pools[position]
    ranks, queries = pool.layout.attention_dp, configuration.drafts + 1
    group = configuration.concurrency if phase != "prefill" else 0
    requests = -(-group // ranks)
    budget = pool.engine.step_token_budget(attention_dp=ranks)
    chunks: tuple[PrefillChunk, ...] = ()
    notes: list[str] = []
    if phase == "decode":
        if new_tokens is not None:
            raise UserError(
                "new_tokens belongs to a prompt chunk; name it with --phase prefill or mixed"
            )
    else:
        new = new_tokens or max(
            1, min(round(prompt), budget - requests * queries, context or limit)
        )
        prefix = 0 if context is None else context - new
        if prefix < 0:
            raise UserError(
                f"new_tokens is {new}, more than the context of {context} that the chunk ends; "
                "raise --context or lower --new-tokens"
            )
        if new + requests * queries > budget:
            notes.append(f"the engine's step budget is {budget} tokens a rank")
        if phase == "mixed" and not pool.engine.mixes:
            notes.append(
                f"{configuration.engine.label} does not mix prefill and decode in one step"
            )
        chunks = (PrefillChunk(new_tokens=new, prefix_tokens=prefix),)
    batch = StepBatch(
        decode_requests=requests,
        decode_context=(context or round(prompt + output / 2.0)) if requests else 0.0,
        queries_per_request=queries,
        prefill=chunks,
        group_tokens=group * queries + ranks * sum(c.new_tokens for c in chunks),
        group_samples=group + ranks * len(chunks),
    )
    return batch, tuple(notes)


def requests_that_fit(*, assembly: Assembly, context: float, position: int = -1) -> int:
    """Requests of one context that a worker holds at a time: by memory and by its settings."""
    pool = assembly.pools[position]
    spec, ranks = pool.kv_pool, pool.layout.attention_dp
    room: float = spec.total_blocks // spec.blocks(context)
    if spec.request_slots is not None:
        room = min(room, spec.request_slots)
    return math.floor(ranks * min(room, pool.engine.running_cap(attention_dp=ranks)))
