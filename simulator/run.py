"""One configuration from its settings to its metrics."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from hwmodels.sku import load_sku
from hwmodels.software import load_software
from simulator.bottleneck import name_bottleneck
from simulator.client import ClosedLoop
from simulator.cluster import WorkerPool
from simulator.configuration import RunResult
from simulator.deployment import Deployment, run_deployment
from simulator.memory import plan_memory, step_token_budget
from simulator.metrics import RunMetrics, run_metrics
from simulator.names import load_engine
from simulator.pools import size_pool
from simulator.records import Records
from simulator.step_cost import TabulatedStepCost
from workloads.architecture import load_architecture
from workloads.errors import UserError
from workloads.models import bind
from workloads.speculation import (
    NO_SPECULATION,
    Acceptance,
    acceptance_of_length,
    draw_decode_steps,
    published_acceptance,
)
from workloads.synthetic import inferencex_requests

if TYPE_CHECKING:
    from collections.abc import Callable

    from hwmodels.sku import Sku
    from hwmodels.software import SoftwareLevel
    from simulator.configuration import PoolConfiguration, RunConfiguration
    from simulator.engine import StepRun
    from simulator.memory import MemoryPlan
    from workloads.architecture import Architecture
    from workloads.costmodel import CostModel
    from workloads.layout import Layout
    from workloads.plan import ExecutionPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembly:
    """A configuration bound to cost models: all that the event simulation needs.

    ``models``, ``memory`` and ``pools`` stand in the order of the configuration's pools.
    """

    sku: Sku
    software: SoftwareLevel
    architecture: Architecture
    models: tuple[CostModel, ...]
    memory: tuple[MemoryPlan, ...]
    pools: tuple[WorkerPool, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOutcome:
    """A simulated run: its records, what follows from them and what it was made of."""

    assembly: Assembly
    records: Records
    metrics: RunMetrics
    bottleneck: str
    messages: tuple[str, ...] = ()


def assemble(configuration: RunConfiguration) -> Assembly:
    """Bind a configuration to its SKU, software level, cost models and KV pools.

    Raises
    ------
    UserError
        If a name is unknown, the layout does not divide the model or the lengths exceed its
        context.
    DoesNotFitError
        If the model does not fit, with the byte table.
    """
    sku = load_sku(configuration.sku)
    if configuration.sku_overrides:
        sku = sku.override(configuration.sku_overrides)
    architecture = load_architecture(configuration.model)
    longest = configuration.isl + configuration.osl
    if longest > architecture.max_position_embeddings:
        raise UserError(
            f"isl + osl is {longest}, beyond the {architecture.max_position_embeddings} tokens "
            f"of context of {architecture.name}; shorten one of them"
        )
    software = load_software(
        engine=load_engine(configuration.engine).software,
        sku=sku,
        model=architecture.name,
        date=configuration.level_date,
        median=configuration.median,
        directory=configuration.calibration,
    )
    models: list[CostModel] = []
    memory: list[MemoryPlan] = []
    pools: list[WorkerPool] = []
    for pool in configuration.pools:
        plan = execution_plan(
            software=software, pool=pool, precision=configuration.precision, sku=sku
        )
        model = bind(
            architecture=architecture, layout=pool.layout, plan=plan, drafts=configuration.drafts
        )
        budget = plan_memory(
            model=model,
            sku=sku,
            settings=pool.settings,
            hidden_size=architecture.hidden_size,
            drafts=configuration.drafts,
        )
        kv_pool = size_pool(
            memory=budget,
            architecture=architecture,
            layout=pool.layout,
            plan=plan,
            settings=pool.settings,
            drafts=configuration.drafts,
            label=f"{architecture.name} on {pool.layout.gpus} x {sku.name} as {pool.layout.label}",
        )
        tokens = step_token_budget(settings=pool.settings, attention_dp=pool.layout.attention_dp)
        cost = _step_cost(
            architecture=architecture,
            layout=pool.layout,
            plan=plan,
            sku=sku,
            software=_Hashed(software.name, software),
            drafts=configuration.drafts,
            max_context=_power_of_two(longest),
            max_tokens=_power_of_two(max(tokens, 4096)),
        )
        models.append(model)
        memory.append(budget)
        pools.append(
            WorkerPool(
                layout=pool.layout,
                settings=pool.settings,
                kv_pool=kv_pool,
                cost=cost,
                workers=pool.workers,
            )
        )
    return Assembly(
        sku=sku,
        software=software,
        architecture=architecture,
        models=tuple(models),
        memory=tuple(memory),
        pools=tuple(pools),
    )


def execution_plan(
    *, software: SoftwareLevel, pool: PoolConfiguration, precision: str, sku: Sku
) -> ExecutionPlan:
    """The plan of the software level with the recipe's changes.

    A ``fp8`` or ``bf16`` label changes the experts only where the chip has FP4 units: elsewhere
    the label stands for the native checkpoint, whose FP4 experts the engine expands.
    """
    changes = dict(pool.plan)
    if precision in ("fp8", "bf16") and sku.flops_fp4 is not None:
        changes.setdefault("expert_path", precision)
    return replace(software.plan, **changes)


@dataclass(frozen=True, slots=True)
class _Hashed:
    """A value that caches compare by name."""

    name: str
    value: SoftwareLevel = field(compare=False)


@lru_cache(maxsize=64)
def _step_cost(
    *,
    architecture: Architecture,
    layout: Layout,
    plan: ExecutionPlan,
    sku: Sku,
    software: _Hashed,
    drafts: int,
    max_context: int,
    max_tokens: int,
) -> TabulatedStepCost:
    return TabulatedStepCost(
        model=bind(architecture=architecture, layout=layout, plan=plan, drafts=drafts),
        sku=sku,
        software=software.value,
        drafts=drafts,
        max_context=max_context,
        max_tokens=max_tokens,
    )


def _power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()


def acceptance_of(configuration: RunConfiguration) -> Acceptance:
    """Accepted drafts per step of a configuration: its length, else its published source.

    Raises
    ------
    UserError
        If it speculates and neither is given.
    """
    drafts = configuration.drafts
    if not drafts:
        return NO_SPECULATION
    if configuration.acceptance_length is not None:
        return acceptance_of_length(
            acceptance_length=configuration.acceptance_length, drafts=drafts
        )
    if configuration.acceptance_source is not None:
        return published_acceptance(name=configuration.acceptance_source, drafts=drafts)
    raise UserError(
        f"acceptance of {drafts} drafts is unknown for {configuration.model}; give the mean "
        "tokens per step with --acceptance-length"
    )


def simulate_run(
    configuration: RunConfiguration, *, on_step: Callable[[StepRun], None] | None = None
) -> RunOutcome:
    """Serve InferenceX's closed-loop load on a deployment.

    Ten requests a client are measured; InferenceX's warm-up requests end before the measured
    ones start and leave the engine empty, so they are not simulated.

    Raises
    ------
    UserError
        As `assemble`, or if a request can never be served.
    """
    assembly = assemble(configuration)
    lengths_rng, acceptance_rng = np.random.default_rng(configuration.seed).spawn(2)
    acceptance = acceptance_of(configuration)
    requests = inferencex_requests(
        isl=configuration.isl,
        osl=configuration.osl,
        count=configuration.requests_per_client * configuration.concurrency,
        rng=lengths_rng,
        distribution=configuration.length_distribution,
        decode_steps=lambda output_tokens: draw_decode_steps(
            rng=acceptance_rng, output_tokens=output_tokens, acceptance=acceptance
        ),
    )
    columns = run_deployment(
        deployment=Deployment(aggregated=assembly.pools[0]),
        requests=requests,
        load=ClosedLoop(concurrency=configuration.concurrency),
        on_step=on_step,
    )
    records = Records.from_columns({name: getattr(columns, name) for name in Records.names})
    metrics = run_metrics(
        records,
        gpus=configuration.gpus,
        prefill_gpus=sum(p.gpus for p in configuration.pools if p.role != "decode"),
        decode_gpus=sum(p.gpus for p in configuration.pools if p.role != "prefill"),
        concurrency=configuration.concurrency,
    )
    last = assembly.pools[-1]
    ranks = last.workers * last.layout.attention_dp
    return RunOutcome(
        assembly=assembly,
        records=records,
        metrics=metrics,
        bottleneck=name_bottleneck(
            model=assembly.models[-1],
            sku=assembly.sku,
            software=assembly.software,
            pool=last,
            drafts=configuration.drafts,
            requests_per_rank=configuration.concurrency / ranks,
            prompt_tokens=metrics.prompt_tokens / metrics.requests,
            output_tokens=metrics.output_tokens / metrics.requests,
        ),
        messages=assembly.software.messages,
    )


def predict_run(configuration: RunConfiguration) -> RunResult:
    """What `simulator.predict` needs of a run."""
    outcome = simulate_run(configuration)
    return RunResult(
        metrics=outcome.metrics,
        bottleneck=outcome.bottleneck,
        kind=outcome.assembly.software.kind,
        message="; ".join(outcome.messages),
    )
