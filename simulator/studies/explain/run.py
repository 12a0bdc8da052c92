"""Why a step takes as long as it does: its time, bytes and FLOPs by part, and what moves it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from simulator.prediction.assembly import assemble
from simulator.prediction.notes import binding_limits, counted_in_chips, prompt_graph_limit
from simulator.prediction.run import acceptance_of
from simulator.prediction.step_breakdown import time_step
from simulator.studies.closing_of_run import stands_in
from simulator.studies.explain.request import (
    Phase,
    Traffic,
    build_batch,
    configure,
    requests_that_fit,
)
from simulator.studies.explain.step_elasticities import step_sensitivities

if TYPE_CHECKING:
    from hwmodels.sku import Sku
    from simulator.engines.pools import PoolConfiguration
    from simulator.prediction.assembly import Assembly
    from simulator.prediction.step_breakdown import Limit, OpTime, StepTime
    from simulator.scenario.configuration import RunConfiguration
    from simulator.scenario.settings import Scenario
    from simulator.studies.explain.step_elasticities import Sensitivity
    from workloads.costmodel import StepBatch
    from workloads.ops import Op

HOST = "host"


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentTime:
    """Seconds of one component of a step, and what they are spent on.

    Parameters
    ----------
    component:
        A value of `workloads.ops.Component`, or ``host``.
    seconds:
        What the component adds to the step; the sum of the five shares. [s]
    floor_s, compute_s, memory_s, network_s, host_s:
        Kernel launches and collective latencies, arithmetic, HBM traffic, links, host. [s]
    hidden_s:
        Further work of the component that overlaps with slower work. [s]
    """

    component: str
    seconds: float
    floor_s: float = 0.0
    compute_s: float = 0.0
    memory_s: float = 0.0
    network_s: float = 0.0
    host_s: float = 0.0
    hidden_s: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """All fields by name."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """One step of one worker, taken apart.

    Parameters
    ----------
    configuration:
        What runs; its concurrency is that of the worker.
    assembly:
        The configuration bound to chip, software level and model.
    phase:
        ``decode``, ``prefill`` or ``mixed``.
    batch:
        What the slowest rank and its group compute.
    time:
        The step operation by operation.
    acceptance_length:
        Tokens that a decoding request gains per step; ``None`` where nobody published the
        acceptance of these drafts. [tokens]
    requests_that_fit:
        Requests of this context that the worker holds at a time. [requests]
    sensitivities:
        Elasticities of the step's time, the largest first; empty if not asked for.
    messages:
        What was assumed.
    position:
        Of the worker's pool among the configuration's.
    """

    configuration: RunConfiguration
    assembly: Assembly
    phase: Phase
    batch: StepBatch
    time: StepTime
    acceptance_length: float | None
    requests_that_fit: int
    sensitivities: tuple[Sensitivity, ...]
    messages: tuple[str, ...]
    position: int = -1

    @property
    def pool(self) -> PoolConfiguration:
        """The pool whose worker is explained."""
        return self.configuration.pools[self.position]

    @property
    def sku(self) -> Sku:
        """The chip of that pool."""
        return self.configuration.sku_of(self.pool.role)

    @property
    def step_s(self) -> float:
        """The step's time, as the simulator charges it. [s]"""
        return self.time.step_s

    @property
    def tokens_per_s_per_user(self) -> float | None:
        """Output speed of a decoding request in steps like this one. [tok/s]"""
        if self.acceptance_length is None or not self.batch.decode_requests:
            return None
        return self.acceptance_length / self.step_s

    @property
    def binds(self) -> Limit:
        """The limit that accounts for the largest part of the step."""
        return next(iter(self.time.by_limit))

    @property
    def weights_alone_s(self) -> float:
        """Time to read the step's weights once at the full memory bandwidth. [s]"""
        return self.bytes_by_use["weights"] / self.sku.hbm_bytes_per_s

    @property
    def components(self) -> list[ComponentTime]:
        """The step by component, largest first, the host last; they sum to the step."""
        by_name: dict[str, list[OpTime]] = {}
        for time in self.time.ops:
            by_name.setdefault(time.op.component.value, []).append(time)
        parts = [
            ComponentTime(
                component=name,
                seconds=sum(t.seconds for t in times),
                floor_s=sum(t.floor_s for t in times),
                compute_s=sum(t.compute_s for t in times),
                memory_s=sum(t.memory_s for t in times),
                network_s=sum(t.network_s for t in times),
                hidden_s=sum(t.hidden_s for t in times),
            )
            for name, times in by_name.items()
        ]
        host_s = self.time.host_step_s + self.time.eager_wait_s
        return [
            *sorted(parts, key=lambda part: -part.seconds),
            ComponentTime(component=HOST, seconds=host_s, host_s=host_s),
        ]

    @property
    def bytes_by_use(self) -> dict[str, float]:
        """Bytes of the slowest rank: HBM traffic by what is moved, and collective payloads. [B]"""
        uses = ("weights", "kv", "activations", "messages")
        fields = ("weight_bytes", "kv_bytes", "activation_bytes", "message_bytes")
        return {
            use: sum(t.op.layers * float(getattr(t.op, field)) for t in self.time.ops)
            for use, field in zip(uses, fields, strict=True)
        }

    @property
    def flops_by_precision(self) -> dict[str, float]:
        """FLOPs of the slowest rank by arithmetic path, most first. [FLOP]"""
        totals: dict[str, float] = {}
        for time in self.time.ops:
            flops = time.op.layers * float(time.op.flops)
            if flops:
                totals[time.op.precision] = totals.get(time.op.precision, 0.0) + flops
        return dict(sorted(totals.items(), key=lambda item: -item[1]))

    def to_dict(self) -> dict[str, Any]:
        """Everything in plain types, SI units in the names."""
        pool, batch, model = self.pool, self.batch, self.assembly.models[self.position]
        group_tokens, group_samples = batch.of_group(ranks=pool.layout.attention_dp)
        return {
            "model": self.configuration.model,
            "sku": self.sku.key,
            "gpus": pool.layout.gpus,
            "layout": pool.layout.label,
            "engine": self.assembly.software.name,
            "kind": self.assembly.software.kind,
            "phase": self.phase,
            "concurrency": self.configuration.concurrency,
            "requests_that_fit": self.requests_that_fit,
            "batch": {
                "decode_requests": batch.decode_requests,
                "decode_context": batch.decode_context,
                "queries_per_request": batch.queries_per_request,
                "prefill": [
                    {"new_tokens": c.new_tokens, "prefix_tokens": c.prefix_tokens}
                    for c in batch.prefill
                ],
                "rank_tokens": batch.rank_tokens,
                "group_tokens": group_tokens,
                "group_samples": group_samples,
            },
            "step_s": self.step_s,
            "acceptance_length": self.acceptance_length,
            "tokens_per_s_per_user": self.tokens_per_s_per_user,
            "weights_alone_s": self.weights_alone_s,
            "host_step_s": self.time.host_step_s,
            "eager_wait_s": self.time.eager_wait_s,
            "hidden_s": self.time.hidden_s,
            "binds": self.binds.value,
            "seconds_by_limit": {limit.value: s for limit, s in self.time.by_limit.items()},
            "components": [part.to_dict() for part in self.components],
            "bytes": self.bytes_by_use,
            "flops": self.flops_by_precision,
            "sensitivities": [
                {"parameter": s.parameter, "owner": s.owner, "elasticity": s.elasticity}
                for s in self.sensitivities
            ],
            "plan": {name: getattr(model.plan, name) for name in model.plan.__dataclass_fields__},
            "memory": [
                {"role": pool.role, "kv_tokens": tokens, **memory.to_dict()}
                for pool, tokens, memory in zip(
                    self.configuration.pools,
                    self.assembly.kv_tokens,
                    self.assembly.memory,
                    strict=True,
                )
            ],
            "messages": list(self.messages),
            "ops": [time_row(time) for time in self.time.ops],
        }


def work_row(op: Op) -> dict[str, Any]:
    """What an operation does per invocation. [FLOP], [B]"""
    return {
        "name": op.name,
        "component": op.component.value,
        "kind": op.kind.value,
        "precision": op.precision,
        "variant": op.variant,
        "layers": op.layers,
        "kernels": op.kernels,
        "group_size": op.group_size,
        "flops": float(op.flops),
        "weight_bytes": float(op.weight_bytes),
        "kv_bytes": float(op.kv_bytes),
        "activation_bytes": float(op.activation_bytes),
        "message_bytes": float(op.message_bytes),
    }


def time_row(time: OpTime) -> dict[str, Any]:
    """What an operation does per invocation and what it takes over its layers. [s]"""
    return work_row(time.op) | {
        "seconds": time.seconds,
        "hidden_s": time.hidden_s,
        "floor_s": time.floor_s,
        "compute_s": time.compute_s,
        "memory_s": time.memory_s,
        "network_s": time.network_s,
    }


def explain_scenario(
    scenario: Scenario,
    *,
    concurrency: int,
    phase: Phase = "decode",
    context: int | None = None,
    new_tokens: int | None = None,
    traffic: Traffic = "fixed",
    sensitivities: bool = True,
    assumed: str = "",
) -> Explanation:
    """Take one step of a scenario's worker apart.

    Parameters
    ----------
    scenario:
        What runs; see `simulator.studies.explain.request.configure` for what it leaves open.
    concurrency:
        Requests of the worker, spread evenly over its attention ranks. [requests]
    phase:
        ``decode``: all requests decode; ``prefill``: every attention rank computes one prompt
        chunk; ``mixed``: both in one step.
    context:
        Context of the decoding requests, and of a prompt at the end of its chunk; by default
        the mean prompt and half the mean output, and a chunk without a prefix. [tokens]
    new_tokens:
        Tokens of a chunk; by default the mean prompt, or the step's token budget. [tokens]
    traffic:
        Whose layouts, settings and step times: of fixed lengths or of agentic sessions.
    sensitivities:
        Whether to compute elasticities.
    assumed:
        How the deployment was chosen, where it was left open.

    Raises
    ------
    UserError
        If a name is unknown, a number out of range, or the model does not fit.
    """
    configuration, messages = configure(scenario, concurrency=concurrency, traffic=traffic)
    messages = (assumed, *messages) if assumed else messages
    messages = (*messages, *stands_in(scenario)) if traffic == "fixed" else messages
    return explain_configuration(
        configuration,
        phase=phase,
        context=context,
        new_tokens=new_tokens,
        sensitivities=sensitivities,
        messages=messages,
    )


def explain_configuration(
    configuration: RunConfiguration,
    *,
    phase: Phase = "decode",
    context: int | None = None,
    new_tokens: int | None = None,
    sensitivities: bool = True,
    messages: tuple[str, ...] = (),
    pool: int = -1,
) -> Explanation:
    """Take one step of a worker of a configuration's pool apart; see `explain_scenario`.

    Parameters
    ----------
    pool:
        Position of the pool; the last one by default.

    Raises
    ------
    UserError
        As `explain_scenario`.
    """
    assembly = assemble(configuration)
    batch, notes = build_batch(
        configuration,
        assembly=assembly,
        phase=phase,
        context=context,
        new_tokens=new_tokens,
        position=pool,
    )
    side = assembly.phases[pool]
    model, sku, software = side.model, side.sku, assembly.software
    if configuration.prefill_sku is not None and pool == 0:
        software = side.software
    held = max([batch.decode_context, *(c.prefix_tokens + c.new_tokens for c in batch.prefill)])
    fits = requests_that_fit(assembly=assembly, context=held, position=pool)
    asked = configuration.concurrency if batch.decode_requests else 1
    if fits < asked:
        notes += (f"only {fits} requests of {held:,.0f} tokens fit at a time: memory or its cap",)
    time = time_step(model=model, sku=sku, software=software, batch=batch)
    if batch.prefill and time.eager_wait_s > 0.0:
        notes += prompt_graph_limit(assembly, configuration)
    known = not configuration.drafts or (
        configuration.acceptance_length or configuration.acceptance_source
    )
    return Explanation(
        configuration=configuration,
        assembly=assembly,
        phase=phase,
        batch=batch,
        time=time,
        acceptance_length=acceptance_of(configuration, software=software).acceptance_length
        if known
        else None,
        requests_that_fit=fits,
        sensitivities=tuple(
            step_sensitivities(model=model, sku=sku, software=software, batch=batch)
        )
        if sensitivities
        else (),
        messages=tuple(
            dict.fromkeys(
                (
                    *messages,
                    *software.messages,
                    *binding_limits(assembly, configuration),
                    *counted_in_chips(configuration),
                    *notes,
                    *assembly.kv_messages,
                )
            )
        ),
        position=pool,
    )
