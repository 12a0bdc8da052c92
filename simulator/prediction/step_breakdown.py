"""Where the time of a step goes: by operation, by component, and by the limit that binds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from hwmodels.roofline import (
    KNEE_EXPONENT,
    communication_s,
    lost_in_stage_s,
    op_s,
    peak_flops_per_s,
    traffic_bytes,
)
from simulator.serving.step_cost import eager_wait_s

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hwmodels.sku import Sku
    from hwmodels.software import SoftwareLevel
    from workloads.costmodel import CostModel, StepBatch
    from workloads.ops import Op


class Limit(StrEnum):
    """What the GPU waits for: launches and latencies, arithmetic, memory, links; or the host."""

    FLOOR = "kernel floor"
    COMPUTE = "compute"
    MEMORY = "HBM bandwidth"
    NETWORK = "network"
    HOST = "host"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpTime:
    """Time of one operation over all its layers in one step.

    Parameters
    ----------
    op:
        The operation.
    seconds:
        Total over its layers; zero where a slower stream hides it. [s]
    hidden_s:
        What a slower stream hides. [s]
    floor_s, compute_s, memory_s, network_s:
        Shares of ``seconds``: what launches (of a collective: its latency), arithmetic, memory
        and links account for. [s]

    Notes
    -----
    The roofline's p-norm ``R = (c^p + m^p)^(1/p)`` is of first degree in its two terms, so that
    ``R = c dR/dc + m dR/dm`` (Euler): the share of compute is ``R (c/R)^p``, of memory
    ``R (m/R)^p``. Each is the step's sensitivity to that rate, and they add up.
    """

    op: Op
    seconds: float
    hidden_s: float = 0.0
    floor_s: float = 0.0
    compute_s: float = 0.0
    memory_s: float = 0.0
    network_s: float = 0.0

    @property
    def by_limit(self) -> dict[Limit, float]:
        """Shares of ``seconds`` by limit. [s]"""
        return {
            Limit.FLOOR: self.floor_s,
            Limit.COMPUTE: self.compute_s,
            Limit.MEMORY: self.memory_s,
            Limit.NETWORK: self.network_s,
        }


def time_ops(*, ops: Iterable[Op], sku: Sku, software: SoftwareLevel) -> list[OpTime]:
    """Times of the operations of one step, overlapped stages counted once.

    Within a stage the slowest stream counts and the operations of the others are hidden; where
    the work of all streams takes longer (`hwmodels.roofline.step_ops_s`), the floors and the
    communication are hidden instead. Either way ``seconds`` sum to the step's time.
    """
    times = [_time_op(op=op, sku=sku, software=software) for op in ops]
    stages: dict[str, list[OpTime]] = {}
    for time in times:
        if time.op.stage:
            stages.setdefault(time.op.stage, []).append(time)
    shared = {
        stage: _Shared.of(members, sku=sku, software=software) for stage, members in stages.items()
    }
    return [time if not time.op.stage else shared[time.op.stage].exposed(time) for time in times]


@dataclass(frozen=True, slots=True)
class _Shared:
    """What the streams of a stage take, see `hwmodels.roofline.step_ops_s`.

    Parameters
    ----------
    streams:
        Seconds of each stream, with what exchanges of the other streams take from it. [s]
    lost:
        That part of them. [s]
    work:
        Compute and memory seconds of each stream. [s]
    """

    streams: dict[int, float]
    lost: dict[int, float]
    work: dict[int, float]
    taken_s: float

    @classmethod
    def of(cls, members: list[OpTime], *, sku: Sku, software: SoftwareLevel) -> _Shared:
        timed = [(time.op, time.seconds) for time in members]
        taken = {
            stream: float(value)
            for stream, value in lost_in_stage_s(timed, sku=sku, software=software).items()  # type: ignore[arg-type]
        }
        streams: dict[int, float] = {}
        work: dict[int, float] = {}
        for time in members:
            stream = time.op.stream
            streams[stream] = streams.get(stream, 0.0) + time.seconds
            work[stream] = work.get(stream, 0.0) + time.compute_s + time.memory_s
        lost = {
            stream: sum(value for other, value in taken.items() if other != stream)
            for stream in streams
        }
        return cls(
            streams={stream: seconds + lost[stream] for stream, seconds in streams.items()},
            lost=lost,
            work=work,
            taken_s=sum(taken.values()) if streams.keys() - taken.keys() else 0.0,
        )

    def exposed(self, time: OpTime) -> OpTime:
        """An operation of the stage with what is hidden of it and what it waits for SMs."""
        work_s = sum(self.work.values())
        slowest = max(self.streams, key=lambda stream: self.streams[stream])
        own_s = time.compute_s + time.memory_s
        if work_s + self.taken_s > self.streams[slowest]:
            return replace(
                _slower(time, extra_s=self.taken_s * own_s / work_s),
                seconds=own_s * (1.0 + self.taken_s / work_s),
                hidden_s=time.seconds - own_s,
                floor_s=0.0,
                network_s=0.0,
            )
        if time.op.stream != slowest:
            return OpTime(op=time.op, seconds=0.0, hidden_s=time.seconds)
        lost_s = self.lost[slowest]
        if not lost_s:
            return time
        stream_work_s = self.work[slowest]
        if stream_work_s:
            return _slower(time, extra_s=lost_s * own_s / stream_work_s)
        waited_s = lost_s * time.seconds / (self.streams[slowest] - lost_s)
        return replace(time, seconds=time.seconds + waited_s, floor_s=time.floor_s + waited_s)


def _slower(time: OpTime, *, extra_s: float) -> OpTime:
    """An operation whose compute and memory seconds grow alike by ``extra_s`` together."""
    own_s = time.compute_s + time.memory_s
    if not own_s:
        return time
    factor = 1.0 + extra_s / own_s
    return replace(
        time,
        seconds=time.seconds + extra_s,
        compute_s=time.compute_s * factor,
        memory_s=time.memory_s * factor,
    )


def _time_op(*, op: Op, sku: Sku, software: SoftwareLevel) -> OpTime:
    seconds = op.layers * float(op_s(op=op, sku=sku, software=software))
    if op.kind.is_communication:
        nothing = replace(
            op,
            message_bytes=0.0,
            exchange=op.exchange and replace(op.exchange, copy_bytes=0.0),
        )
        latency_s = op.layers * float(communication_s(op=nothing, sku=sku, software=software))
        return OpTime(op=op, seconds=seconds, floor_s=latency_s, network_s=seconds - latency_s)
    fit = software.kernel(op=op)
    floor_s = op.layers * fit.t0_s * op.kernels
    peak = peak_flops_per_s(sku=sku, precision=op.precision)
    compute_s = op.layers * float(op.flops) / (fit.compute_efficiency * peak)
    moved = float(traffic_bytes(op=op, software=software))
    memory_s = op.layers * moved / (fit.memory_efficiency * sku.hbm_bytes_per_s)
    roofline_s = seconds - floor_s
    larger_s = max(compute_s, memory_s)
    if larger_s > 0.0:
        weight = (compute_s / larger_s) ** KNEE_EXPONENT
        other = (memory_s / larger_s) ** KNEE_EXPONENT
        compute_s = roofline_s * weight / (weight + other)
        memory_s = roofline_s * other / (weight + other)
    return OpTime(op=op, seconds=seconds, floor_s=floor_s, compute_s=compute_s, memory_s=memory_s)


def seconds_by_limit(times: Iterable[OpTime]) -> dict[Limit, float]:
    """Exposed seconds that each limit accounts for, largest first. [s]"""
    totals: dict[Limit, float] = {}
    for time in times:
        for limit, seconds in time.by_limit.items():
            totals[limit] = totals.get(limit, 0.0) + seconds
    return dict(sorted(totals.items(), key=lambda item: -item[1]))


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTime:
    """Time of one step of a worker, in parts that sum to it.

    Parameters
    ----------
    ops:
        Operations of the slowest rank.
    eager_wait_s:
        What the GPU waits for launches where no graph is replayed. [s]
    host_step_s:
        Host time that the GPU does not hide. [s]
    """

    ops: tuple[OpTime, ...]
    eager_wait_s: float
    host_step_s: float

    @property
    def step_s(self) -> float:
        """The whole step, as the simulator charges it. [s]"""
        return sum(time.seconds for time in self.ops) + self.eager_wait_s + self.host_step_s

    @property
    def hidden_s(self) -> float:
        """Work that overlaps with slower work. [s]"""
        return sum(time.hidden_s for time in self.ops)

    @property
    def by_limit(self) -> dict[Limit, float]:
        """Seconds that each limit accounts for, largest first; they sum to the step. [s]"""
        totals = seconds_by_limit(self.ops)
        totals[Limit.HOST] = self.eager_wait_s + self.host_step_s
        return dict(sorted(totals.items(), key=lambda item: -item[1]))


def sample_ops(*, model: CostModel, batch: StepBatch) -> list[Op]:
    """Head and draft passes of a step on the slowest rank."""
    samples = float(batch.rank_samples)
    ops = model.head_ops(samples=samples)
    if batch.queries_per_request > 1:
        _, group_samples = batch.of_group(ranks=model.layout.attention_dp)
        ops += model.draft_ops(
            requests=samples,
            group_requests=float(group_samples),
            drafts=batch.queries_per_request - 1,
        )
    return ops


def attention_ops(*, model: CostModel, batch: StepBatch) -> list[Op]:
    """Attention of a step on the slowest rank: decoding requests, then one chunk after another."""
    ops: list[Op] = []
    if batch.decode_requests:
        ops += model.decode_attention_ops(
            requests=float(batch.decode_requests),
            queries_per_request=batch.queries_per_request,
            context=float(batch.decode_context),
        )
    for chunk in batch.prefill:
        ops += model.prefill_attention_ops(
            new_tokens=float(chunk.new_tokens), prefix_tokens=float(chunk.prefix_tokens)
        )
    return ops


def time_step(*, model: CostModel, sku: Sku, software: SoftwareLevel, batch: StepBatch) -> StepTime:
    """A step evaluated operation by operation: what `simulator.serving.step_cost` tabulates.

    Raises
    ------
    UserError
        If the SKU lacks a figure that an operation needs.
    """
    group_tokens, _ = batch.of_group(ranks=model.layout.attention_dp)
    launched = model.token_ops(
        rank_tokens=float(batch.rank_tokens), group_tokens=float(group_tokens)
    )
    fixed = time_ops(
        ops=launched + sample_ops(model=model, batch=batch), sku=sku, software=software
    )
    attention = time_ops(ops=attention_ops(model=model, batch=batch), sku=sku, software=software)
    return StepTime(
        ops=(*fixed, *attention),
        eager_wait_s=eager_wait_s(
            plan=model.plan,
            software=software,
            kernels=sum(op.kernels * op.layers for op in launched),
            rank_tokens=batch.rank_tokens,
            has_prefill=bool(batch.prefill),
            gpu_s=sum(time.seconds for time in fixed),
        ),
        host_step_s=software.host_step_s,
    )
