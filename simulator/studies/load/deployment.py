"""The deployment of a load: its pools, server settings, expert load and router."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from simulator.engines.pools import PoolLayout, named_deployment
from simulator.recipes.layouts import PoolRequest, recipe_pools
from simulator.recipes.stated import with_prefix_caches
from simulator.scenario.configure import configure_run
from simulator.scenario.target import resolve_target
from simulator.studies.load.request import TUNED_FOR
from simulator.studies.load.requests import (
    has_conversations,
    longest_tokens,
    shares_prefixes,
    typical_tokens,
)
from workloads.errors import UserError, shown
from workloads.requests.catalog import DrawnLengthWorkload, traffic_kind

if TYPE_CHECKING:
    from simulator.scenario.configuration import RunConfiguration
    from simulator.scenario.settings import Scenario
    from simulator.serving.deployment import Deployment
    from simulator.serving.router import WorkerPool
    from simulator.serving.scheduler import Routing
    from simulator.studies.load.request import LoadRequest, LoadSettings


def configure_load(asked: LoadRequest) -> tuple[RunConfiguration, tuple[str, ...]]:
    """The configuration of a load's deployment, and what was assumed for it.

    Server settings are the recipe's for one replica and its share of the clients; in an open
    loop for the stated number of requests in flight. Prefix caching is on where the workload
    says which prompts share blocks. Contexts up to the longest of the workload must fit.

    Raises
    ------
    UserError
        If the deployment is stated twice, or the recipe cannot fill what is left open.
    """
    settings = asked.settings
    messages = [asked.told] if asked.told else []
    if settings.tuned_for is not None:
        tuned_for = settings.tuned_for
    elif settings.concurrency is not None:
        tuned_for = math.ceil(settings.concurrency / settings.replicas)
    else:
        tuned_for = TUNED_FOR
        messages.append(
            f"server settings as recorded for {TUNED_FOR} requests in flight; "
            "--tuned-for names another number"
        )
    isl, osl = typical_tokens(asked.workload)
    longest_isl, longest_osl = longest_tokens(asked.workload)
    configuration, recipe = configure_run(
        asked.scenario.model_copy(update={"isl": isl, "osl": osl}),
        pools=_pools(asked.scenario, settings),
        concurrency=tuned_for,
        traffic=traffic_kind(asked.workload),
        longest_prompt=longest_isl,
    )
    messages += recipe.messages
    pools = tuple(
        replace(pool, workers=pool.workers * settings.replicas) for pool in configuration.pools
    )
    if shares_prefixes(asked.workload):
        cached = with_prefix_caches(pools, stated=asked.scenario.engine_settings)
        if cached != pools:
            pools = cached
            messages.append("prefix caching switched on: the workload shares prefixes")
    configuration = replace(
        configuration,
        pools=pools,
        isl=longest_isl,
        osl=longest_osl,
        concurrency=settings.concurrency or tuned_for * settings.replicas,
        expert_load=asked.expert_load,
        drawn=asked.workload if isinstance(asked.workload, DrawnLengthWorkload) else None,
    )
    _check_reported(asked, configuration)
    messages += _not_read(asked, configuration)
    return configuration, tuple(messages)


def _check_reported(asked: LoadRequest, configuration: RunConfiguration) -> None:
    """Refuse a ``resolved.yaml`` whose server settings are not those that follow from it.

    Raises
    ------
    UserError
        If one has been edited.
    """
    for pool in configuration.pools:
        values = pool.settings.model_dump()
        for name, told in dict(asked.reported.get(pool.role, values)).items():
            if name not in values or values[name] != told:
                has = shown(values[name]) if name in values else "no such setting"
                raise UserError(
                    f"server_settings.{pool.role}.{name} is {shown(told)} in the scenario file, "
                    f"but the recipe in force has {has}: what is told of the servers is not read; "
                    f"state a setting of your own with --engine-set {name}={told}"
                )


def _not_read(asked: LoadRequest, configuration: RunConfiguration) -> list[str]:
    """Server settings of this layout in the ``resolved.yaml`` of a curve that do not hold here."""
    pool = configuration.pools[-1]
    values = pool.settings.model_dump()
    return [
        f"settings.{full} is {shown(told)} in the scenario file, which tells of servers and is "
        f"not read: {shown(values[name])} holds; state your own with --engine-set {name}={told}"
        for full, told in asked.reported.items()
        for label, _, name in (full.partition("."),)
        if label == pool.layout.label
        and name in values
        and told != values[name]
        and not isinstance(told, dict)
    ]


def routing_of(asked: LoadRequest) -> tuple[Routing, str]:
    """The routing that is asked for, or the default of the traffic, with what was assumed.

    Servers of agentic traffic are run behind routers that keep a conversation in its place.
    """
    if asked.settings.routing is not None:
        return asked.settings.routing, ""
    if shares_prefixes(asked.workload) and has_conversations(asked.workload):
        return "session", "conversations are routed by session; --routing names another way"
    return "round_robin", ""


def routed(deployment: Deployment, routing: Routing) -> Deployment:
    """The deployment with a routing of requests over workers.

    A router that knows the KV caches also picks the attention rank, as Dynamo's does, and so does
    one that keeps a conversation in its place.
    """
    rank_routing = routing if routing in ("kv_aware", "session") else None

    def of(pool: WorkerPool | None) -> WorkerPool | None:
        return pool and replace(pool, routing=routing, rank_routing=rank_routing)

    return replace(
        deployment,
        aggregated=of(deployment.aggregated),
        prefill=of(deployment.prefill),
        decode=of(deployment.decode),
    )


def _pools(
    scenario: Scenario, settings: LoadSettings
) -> tuple[PoolRequest, ...] | tuple[PoolLayout, ...]:
    """The pools as far as they are stated."""
    layout: dict[str, Any] = {
        "tp": scenario.tp,
        "ep": scenario.ep,
        "dp_attention": scenario.dp_attention,
    }
    split = {"prefill": settings.prefill_workers, "decode": settings.decode_workers}
    if settings.deployment is not None:
        stated = {**layout, "gpus": scenario.gpus}
        stated |= {f"{role}_workers": workers for role, workers in split.items()}
        twice = [name for name, value in stated.items() if value is not None]
        if twice:
            raise UserError(
                f"deployment {settings.deployment} and {twice[0]} are given; "
                "the deployment states all layouts and workers, so keep one of them"
            )
        return named_deployment(settings.deployment)
    if any(workers is not None for workers in split.values()):
        missing = [role for role, workers in split.items() if workers is None]
        if missing:
            raise UserError(
                f"{missing[0]}_workers is missing; a disaggregated deployment has both pools, as "
                "in --prefill-workers 2 --decode-workers 1"
            )
        if scenario.gpus is not None:
            raise UserError("gpus counts the chips of one worker of an aggregated deployment")
        return (
            PoolRequest(role="prefill", workers=split["prefill"]),
            PoolRequest(role="decode", workers=split["decode"], **layout),
        )
    is_blank = scenario.gpus is None and not any(value is not None for value in layout.values())
    if is_blank and resolve_target(scenario).engine.engine.orchestrator:
        return recipe_pools()
    return (PoolRequest(workers=1, gpus=scenario.gpus, **layout),)
