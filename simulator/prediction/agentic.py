"""Session trees on a deployment: one AgentX run from its settings to its metrics."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from simulator.analysis.agentic_metrics import AgenticMetrics, agentic_metrics
from simulator.prediction.assembly import assemble
from simulator.prediction.kv_capacity import KvCapacity, kv_capacity
from simulator.prediction.run import acceptance_of
from simulator.recipes.stated import with_prefix_caches
from simulator.scenario.configure import configure_run
from simulator.serving.deployment import run_deployment
from simulator.serving.session_lanes import SessionLanes
from workloads.speculation import draw_decode_steps

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from simulator.engines.kv_offload import KvOffload
    from simulator.engines.pools import PoolLayout
    from simulator.prediction.assembly import Assembly
    from simulator.recipes.layouts import PoolRequest
    from simulator.scenario.configuration import RunConfiguration
    from simulator.scenario.settings import Scenario
    from simulator.serving.callbacks import StepRun
    from simulator.serving.deployment import Deployment
    from simulator.serving.records import Records
    from simulator.serving.router import WorkerPool
    from simulator.serving.scheduler import RankRouting
    from workloads.requests.agentx.workload import AgentxWorkload

TYPICAL_ISL, TYPICAL_OSL = 131_072, 1_024
"""Lengths by which a recipe is looked up for session trees: the means of an hour. [tokens]"""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgenticOutcome:
    """A run of session trees: what came out, from what, and what was assumed.

    Parameters
    ----------
    configuration, assembly:
        The deployment and what it was made of.
    workload:
        Trees and protocol.
    records, metrics:
        Requests of the window and their figures.
    capacity:
        What the KV pools and the tiers behind them hold.
    messages:
        What was assumed.
    """

    configuration: RunConfiguration
    assembly: Assembly
    workload: AgentxWorkload
    records: Records
    metrics: AgenticMetrics
    capacity: KvCapacity
    messages: tuple[str, ...]

    @property
    def kind(self) -> str:
        """Kind of prediction, by what is known of the software level."""
        return self.assembly.software.kind


def configure_agentic(
    scenario: Scenario,
    *,
    pools: Sequence[PoolRequest] | Sequence[PoolLayout],
    sessions: int,
    workload: AgentxWorkload,
    kv_offload: KvOffload | None = None,
) -> tuple[RunConfiguration, tuple[str, ...]]:
    """The configuration of a deployment under session trees, and what was assumed.

    Layouts and server settings are those of recipes that were run with agentic traffic.

    Raises
    ------
    UserError
        If a name is unknown, the recipe cannot fill what the pools leave open, or a recorded call
        is beyond the model's context.
    """
    configuration, recipe = configure_run(
        scenario.model_copy(update={"isl": TYPICAL_ISL, "osl": TYPICAL_OSL}),
        pools=pools,
        concurrency=sessions,
        traffic="agentic",
    )
    messages = list(recipe.messages)
    cached = with_prefix_caches(configuration.pools, stated=scenario.engine_settings)
    if cached != configuration.pools:
        messages.append("prefix caching switched on: session trees share prefixes")
    limit = configuration.architecture.max_position_embeddings
    workload.check_context(limit, model=configuration.model)
    longest = min(workload.longest_tokens, limit)
    if longest < workload.longest_tokens:
        messages.append(
            f"requests beyond the {limit} tokens of context of {configuration.model} are answered "
            "with an error"
        )
    return (
        replace(
            configuration,
            pools=cached,
            isl=longest - TYPICAL_OSL,
            osl=TYPICAL_OSL,
            kv_offload=kv_offload,
        ),
        tuple(messages),
    )


def simulate_agentic(
    configuration: RunConfiguration,
    *,
    workload: AgentxWorkload,
    messages: Sequence[str] = (),
    assembly: Assembly | None = None,
    on_step: Callable[[StepRun], None] | None = None,
) -> AgenticOutcome:
    """Replay session trees on a deployment.

    Requests of a conversation go to one place, each sub-agent being a conversation of its own.

    Raises
    ------
    UserError
        If no request returns within the window.
    DoesNotFitError
        If the model does not fit, with the byte table.
    """
    assembly = assembly or assemble(configuration)
    acceptance = acceptance_of(configuration, software=assembly.software)
    steps_rng = np.random.default_rng([configuration.seed, 1])
    load = SessionLanes(
        concurrency=configuration.concurrency,
        source=workload.source,
        protocol=workload.protocol,
        decode_steps=lambda output_tokens: draw_decode_steps(
            rng=steps_rng, output_tokens=output_tokens, acceptance=acceptance
        ),
    )
    records = run_deployment(
        deployment=by_session(assembly.deployment), requests=(), load=load, on_step=on_step
    )
    metrics = agentic_metrics(
        records,
        hit_infinite=load.counts.infinite_cache_hit,
        overflows=load.counts.overflows,
        open_at_end=load.counts.open_at_end,
        sessions=configuration.concurrency,
        gpus=configuration.gpus,
    )
    notes = [*messages, *assembly.messages, *assembly.software.messages]
    if metrics.overflows:
        share = metrics.overflows / (metrics.overflows + metrics.requests)
        verdict = "; AgentX calls a run with more than 1 % invalid" if share > 0.01 else ""
        notes.append(
            f"{metrics.overflows} requests ({100 * share:.1f} %) were too long for the KV pool or "
            f"the model and were answered with an error{verdict}"
        )
    return AgenticOutcome(
        configuration=configuration,
        assembly=assembly,
        workload=workload,
        records=records,
        metrics=metrics,
        capacity=kv_capacity(assembly),
        messages=tuple(dict.fromkeys(notes)),
    )


def by_session(deployment: Deployment) -> Deployment:
    """The deployment with every router keeping a conversation in one place.

    Between ranks the place is picked by a hash of the conversation, unless the servers' router
    balances conversations. Decode workers of a disaggregated deployment keep no prompts and are
    routed as before.
    """

    def of(pool: WorkerPool | None) -> WorkerPool | None:
        if pool is None:
            return None
        own = pool.engine.rank_routing
        ranks: RankRouting = own if own == "session_balanced" else "session"
        return replace(pool, routing="session", rank_routing=ranks)

    return replace(deployment, aggregated=of(deployment.aggregated), prefill=of(deployment.prefill))
