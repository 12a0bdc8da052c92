"""Where the time of a step goes: by component, and by the limit that binds each operation."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from hwmodels.roofline import op_s, peak_flops_per_s

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hwmodels.sku import Sku
    from hwmodels.software import SoftwareLevel
    from workloads.ops import Op


class Limit(StrEnum):
    """What an operation waits for."""

    FLOOR = "kernel floor"
    COMPUTE = "compute"
    MEMORY = "HBM bandwidth"
    NETWORK = "network"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpTime:
    """Time of one operation over all its layers in one step.

    Parameters
    ----------
    op:
        The operation.
    seconds:
        Total over its layers; under overlap, the exposed share of it. [s]
    floor_s, compute_s, memory_s:
        The kernel floor and the two roofline terms, each alone. [s]
    limit:
        The largest of them; ``NETWORK`` for collectives.
    """

    op: Op
    seconds: float
    floor_s: float
    compute_s: float
    memory_s: float
    limit: Limit


def time_ops(*, ops: Iterable[Op], sku: Sku, software: SoftwareLevel) -> list[OpTime]:
    """Times of the operations of one step, overlapped stages counted once.

    Within a stage only the slowest stream counts; the operations of the others get zero
    exposed seconds, so that the list sums to the step's time.
    """
    times = [_time_op(op=op, sku=sku, software=software) for op in ops]
    streams: dict[tuple[str, int], float] = {}
    for time in times:
        if time.op.stage:
            key = (time.op.stage, time.op.stream)
            streams[key] = streams.get(key, 0.0) + time.seconds
    slowest: dict[str, int] = {}
    for (stage, stream), seconds in streams.items():
        if stage not in slowest or seconds > streams[stage, slowest[stage]]:
            slowest[stage] = stream
    return [
        time
        if not time.op.stage or slowest[time.op.stage] == time.op.stream
        else OpTime(
            op=time.op,
            seconds=0.0,
            floor_s=time.floor_s,
            compute_s=time.compute_s,
            memory_s=time.memory_s,
            limit=time.limit,
        )
        for time in times
    ]


def _time_op(*, op: Op, sku: Sku, software: SoftwareLevel) -> OpTime:
    seconds = op.layers * float(op_s(op=op, sku=sku, software=software))
    if op.kind.is_communication:
        return OpTime(
            op=op, seconds=seconds, floor_s=0.0, compute_s=0.0, memory_s=0.0, limit=Limit.NETWORK
        )
    fit = software.kernel(op=op)
    rate = peak_flops_per_s(sku=sku, precision=op.precision)
    floor_s = op.layers * fit.t0_s * op.kernels
    compute_s = op.layers * float(op.flops) / (fit.compute_efficiency * rate)
    memory_s = op.layers * float(op.hbm_bytes) / (fit.memory_efficiency * sku.hbm_bytes_per_s)
    terms = {Limit.FLOOR: floor_s, Limit.COMPUTE: compute_s, Limit.MEMORY: memory_s}
    return OpTime(
        op=op,
        seconds=seconds,
        floor_s=floor_s,
        compute_s=compute_s,
        memory_s=memory_s,
        limit=max(terms, key=lambda limit: terms[limit]),
    )


def seconds_by_component(times: Iterable[OpTime]) -> dict[str, float]:
    """Exposed seconds of each component, largest first. [s]"""
    totals: dict[str, float] = {}
    for time in times:
        totals[time.op.component.value] = totals.get(time.op.component.value, 0.0) + time.seconds
    return dict(sorted(totals.items(), key=lambda item: -item[1]))


def seconds_by_limit(times: Iterable[OpTime]) -> dict[Limit, float]:
    """Exposed seconds bound by each limit, largest first. [s]"""
    totals: dict[Limit, float] = {}
    for time in times:
        totals[time.limit] = totals.get(time.limit, 0.0) + time.seconds
    return dict(sorted(totals.items(), key=lambda item: -item[1]))
