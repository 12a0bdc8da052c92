"""A configuration bound to its SKU, software level, cost models, memory and KV pools."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from hwmodels.agentic_levels import agentic_level
from hwmodels.fitted import is_fitted, model_family
from hwmodels.software import load_software
from simulator.engines.kv_offload import host_tiers
from simulator.engines.kv_pools import size_pool
from simulator.engines.memory import plan_memory
from simulator.engines.registry import bind_engine
from simulator.prediction.bottleneck import PhaseCost
from simulator.prediction.exchange_plan import exchange_messages
from simulator.prediction.form_evidence import as_of_form
from simulator.prediction.keyed_level import KeyedLevel
from simulator.prediction.notes import beyond_compared
from simulator.prediction.pool_plan import execution_plan as execution_plan
from simulator.prediction.release_plan import release_messages
from simulator.prediction.shared_software import shared_level
from simulator.prediction.transfer_link import transfer_link
from simulator.serving.deployment import Deployment
from simulator.serving.front_end import FrontEnd
from simulator.serving.router import WorkerPool
from simulator.serving.step_cost import TabulatedStepCost
from workloads.architectures.catalog import load_architecture
from workloads.errors import UserError
from workloads.models import bind

if TYPE_CHECKING:
    from hwmodels.fitted import Basis
    from hwmodels.sku import Sku
    from hwmodels.software import SoftwareLevel
    from simulator.engines.memory import MemoryPlan
    from simulator.scenario.configuration import RunConfiguration
    from simulator.serving.kv_pool import OffloadTier
    from workloads.architectures.base import Architecture
    from workloads.costmodel import CostModel
    from workloads.execution_plan import ExecutionPlan
    from workloads.layout import Layout
    from workloads.models.expert_load import ExpertLoad


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembly:
    """A configuration bound to cost models: all that the event simulation needs.

    ``models``, ``memory`` and ``pools`` stand in the order of the configuration's pools;
    ``phases`` are what prefill and decode run on, the same where a pool does both;
    ``messages`` say what was assumed of memory behind them. ``sku`` and ``software`` are those of
    the last pool; where the prefill pool has a chip of its own, the kind and basis of the software
    are those of the weaker side, and at best those of a relation: no such pair was measured.
    """

    sku: Sku
    software: SoftwareLevel
    architecture: Architecture
    models: tuple[CostModel, ...]
    memory: tuple[MemoryPlan, ...]
    pools: tuple[WorkerPool, ...]
    phases: tuple[PhaseCost, PhaseCost]
    deployment: Deployment
    longest_context: int
    messages: tuple[str, ...] = ()

    @property
    def kv_tokens(self) -> tuple[int, ...]:
        """Tokens of a rank's KV pool as the engine's log counts them, by pool. [tokens]"""
        return tuple(
            pool.engine.pool_tokens(pool.kv_pool, longest_context=self.longest_context)
            for pool in self.pools
        )

    @property
    def kv_messages(self) -> tuple[str, ...]:
        """How many tokens of KV each pool holds, for those who read it beside a server's log."""
        return tuple(
            f"KV of {pool.layout.label}: {tokens:,} tokens a rank, {pool.engine.title}'s own count"
            for pool, tokens in zip(self.pools, self.kv_tokens, strict=True)
        )


def assemble(configuration: RunConfiguration, *, software: SoftwareLevel | None = None) -> Assembly:
    """Bind a configuration to its SKU, software level, cost models and KV pools.

    Parameters
    ----------
    software:
        In place of the level that the configuration names.

    Raises
    ------
    UserError
        If a name is unknown, the layout does not divide the model or the lengths exceed its
        context.
    DoesNotFitError
        If the model does not fit, with the byte table.
    """
    sku, architecture = configuration.sku, configuration.architecture
    longest = configuration.longest_context
    if longest > architecture.max_position_embeddings:
        raise UserError(
            f"isl + osl is {longest}, beyond the {architecture.max_position_embeddings} tokens "
            f"of context of {architecture.name}; shorten one of them"
        )
    software = software or named_software(configuration)
    first = software
    if configuration.prefill_sku is not None:
        first = named_software(configuration.prefill_side)
        software = _of_pair(first, software, configuration=configuration)
    models: list[CostModel] = []
    memory: list[MemoryPlan] = []
    pools: list[WorkerPool] = []
    phases: list[PhaseCost] = []
    notes: list[str] = []
    for pool in configuration.pools:
        engine = bind_engine(pool.settings)
        sku = configuration.sku_of(pool.role)
        level = first if pool.role == "prefill" else software
        plan = execution_plan(
            software=level,
            pool=pool,
            precision=configuration.precision,
            sku=sku,
            architecture=architecture,
        )
        expert_load = configuration.expert_load.with_copies(engine.redundant_experts)
        model = bind(
            architecture=architecture,
            layout=pool.layout,
            plan=plan,
            expert_load=expert_load,
            drafts=configuration.drafts,
        )
        budget = plan_memory(
            model=model,
            sku=sku,
            engine=engine,
            architecture=architecture,
            drafts=configuration.drafts,
            redundant_experts=expert_load.redundant_experts,
        )
        tiers: tuple[OffloadTier, ...] = ()
        if engine.caches_prefixes and pool.role != "decode":
            tiers, note = host_tiers(
                engine=engine,
                asked=configuration.kv_offload,
                sku=sku,
                layout=pool.layout,
                pool_bytes=budget.pool_bytes,
            )
            notes += [note] if note else []
        kv_pool = size_pool(
            offload=tiers,
            memory=budget,
            architecture=architecture,
            layout=pool.layout,
            plan=plan,
            engine=engine,
            drafts=configuration.drafts,
            longest_context=longest,
            label=f"{architecture.name} on {pool.layout.gpus} x {sku.name} as {pool.layout.label}",
        )
        tokens = engine.step_token_budget(attention_dp=pool.layout.attention_dp)
        cost = _step_cost(
            architecture=architecture,
            layout=pool.layout,
            plan=replace(plan, graph_max_tokens=0, graph_prefill_max_tokens=None),
            sku=sku,
            software=KeyedLevel.of(level),
            expert_load=expert_load,
            drafts=configuration.drafts,
            max_context=_power_of_two(longest),
            max_tokens=_power_of_two(max(tokens, 4096)),
        ).with_graphs_of(plan)
        models.append(model)
        phases.append(
            PhaseCost(
                model=model,
                sku=sku,
                software=level,
                ranks=pool.workers * pool.layout.attention_dp,
            )
        )
        memory.append(budget)
        pools.append(
            WorkerPool(
                layout=pool.layout,
                engine=engine,
                kv_pool=kv_pool,
                cost=cost,
                workers=pool.workers,
            )
        )
    return Assembly(
        sku=configuration.sku,
        software=software,
        architecture=architecture,
        models=tuple(models),
        memory=tuple(memory),
        pools=tuple(pools),
        phases=(phases[0], phases[-1]),
        messages=tuple(dict.fromkeys(notes)),
        deployment=_deployment(
            configuration=configuration,
            architecture=architecture,
            software=(first, software),
            models=models,
            pools=pools,
        ),
        longest_context=longest,
    )


def _deployment(
    *,
    configuration: RunConfiguration,
    architecture: Architecture,
    software: tuple[SoftwareLevel, SoftwareLevel],
    models: list[CostModel],
    pools: list[WorkerPool],
) -> Deployment:
    front_end = FrontEnd(
        request_s=configuration.client_overhead_s, token_s=configuration.tokenise_s_per_token
    )
    if len(pools) == 1:
        return Deployment(aggregated=pools[0], front_end=front_end)
    prefill, decode = pools
    label = configuration.engine
    link = transfer_link(
        architecture=architecture,
        orchestrator=label.orchestrator,
        engine=label.engine,
        skus=(configuration.sku_of("prefill"), configuration.sku),
        software=software,
        sender=models[0],
        receiver=models[1],
        block_tokens=prefill.kv_pool.block_tokens,
        context=configuration.isl,
    )
    # engines hand the first token over with the KV entries; the decode worker streams it
    return Deployment(
        prefill=prefill,
        decode=decode,
        transfer=link,
        first_token_at="decode",
        front_end=front_end,
    )


_BASES: tuple[Basis, ...] = ("own runs", "sibling", "other kernels", "nothing")
_KINDS = ("calibrated", "transferred", "specification")


def _of_pair(
    prefill: SoftwareLevel, decode: SoftwareLevel, *, configuration: RunConfiguration
) -> SoftwareLevel:
    """The decode pool's level as that of a pair: what it rests on is the weaker side's."""
    weaker = max((prefill, decode), key=lambda level: _BASES.index(level.basis))
    basis: Basis = "sibling" if weaker.basis == "own runs" else weaker.basis
    kind = max(prefill.kind, decode.kind, "transferred", key=_KINDS.index)
    first, last = configuration.sku_of("prefill"), configuration.sku
    notes = (
        f"prefill pool on {first.name} at {prefill.name} ({prefill.kind}), decode pool on "
        f"{last.name} at {decode.name} ({decode.kind}); KV entries go at the rate of the slower "
        "of the two networks. No run of such a pair was fitted: bands are those of a relation",
        *(f"prefill on {first.key}: {message}" for message in prefill.messages),
    )
    return replace(decode, basis=basis, kind=kind, messages=(*decode.messages, *notes))


def named_software(configuration: RunConfiguration) -> SoftwareLevel:
    """The software level that a configuration names.

    A model of grouped-query attention takes nothing from fits to others: their factors stand for
    the kernels of latent attention, and double the error on it (docs/background/model_dense.md,
    docs/background/model_moe_gqa.md).

    Raises
    ------
    UserError
        If the model has no release of the configuration's precision.
    """
    sku, architecture = configuration.sku, configuration.architecture

    def plan_on(software: SoftwareLevel, chip: Sku) -> ExecutionPlan:
        return execution_plan(
            software=software,
            pool=configuration.pools[-1],
            precision=configuration.precision,
            sku=chip,
            architecture=architecture,
        )

    measured = architecture.fit_as
    unlike = architecture.needs_own_fit and not is_fitted(
        measured, directory=configuration.calibration
    )
    specification = configuration.specification or unlike
    if configuration.engine.software_of:
        level = shared_level(
            configuration, model=measured, specification=specification, plan_of=plan_on
        )
    else:
        level = load_software(
            engine=configuration.engine.software,
            sku=sku,
            model=measured,
            precision=configuration.precision,
            date=configuration.level_date,
            median=configuration.median,
            specification=specification,
            directory=configuration.calibration,
        )
    fixed_length = level.name
    if configuration.traffic == "agentic" and not configuration.specification:
        level = agentic_level(
            level,
            family=model_family(configuration.model),
            date=configuration.level_date,
            sku=sku.key,
        )
    release = architecture.release(configuration.precision)
    notes = [] if release is None else release_messages(release, sku=sku)
    if configuration.traffic == "agentic" and level.name == fixed_length:
        notes.append(f"step times of level {level.name}: fixed-length runs, no agentic run in it")
    if architecture.routed_experts:
        notes += exchange_messages(
            configuration.pools, plan=level.plan, engine=level.engine, sku=sku
        )
    if unlike and not configuration.specification:
        others = "a related model" if architecture.routed_experts else "another dense model"
        notes.append(f"no fit to {architecture.name} or {others}: kernel tables only")
    elif measured != architecture.name and not configuration.specification:
        notes.append(f"no runs of {architecture.name} are fitted: efficiencies of {measured}")
        level = level if _same_layers(architecture, measured) else level.lent()
    notes += architecture.unmeasured()
    level, unseen = as_of_form(level, configuration=configuration, model=measured)
    notes += [*unseen, *beyond_compared(configuration)]
    if configuration.engine.persistent:
        level = level.as_persistent()
    return replace(level, messages=(*level.messages, *notes)) if notes else level


def _same_layers(architecture: Architecture, measured: str) -> bool:
    """Whether a measured model computes what a model computes, so that its runs are of both."""
    shapes = [
        (one.layers, one.hidden_size, one.vocab_size, one.streams)
        for one in (architecture, load_architecture(measured))
    ]
    return bool(architecture.layers) and shapes[0] == shapes[1]


@lru_cache(maxsize=64)
def _step_cost(
    *,
    architecture: Architecture,
    layout: Layout,
    plan: ExecutionPlan,
    sku: Sku,
    software: KeyedLevel,
    expert_load: ExpertLoad,
    drafts: int,
    max_context: int,
    max_tokens: int,
) -> TabulatedStepCost:
    return TabulatedStepCost(
        model=bind(
            architecture=architecture,
            layout=layout,
            plan=plan,
            expert_load=expert_load,
            drafts=drafts,
        ),
        sku=sku,
        software=software.level,
        drafts=drafts,
        max_context=max_context,
        max_tokens=max_tokens,
    )


def _power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()
