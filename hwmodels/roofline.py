"""Seconds of one operation on one chip: a smooth roofline with a floor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hwmodels.collectives import collective_s, network_reduce
from hwmodels.exchange_libraries import default_library, load_library
from hwmodels.exchanges import exchange_s, taken_multiprocessors
from workloads.errors import UserError

if TYPE_CHECKING:
    from hwmodels.exchange_libraries import ExchangeLibrary
    from hwmodels.sku import Sku
    from hwmodels.software import SoftwareLevel
    from workloads.ops import Op, Quantity

_RATE_OF_PRECISION: dict[str, tuple[str, ...]] = {
    # arithmetic path -> rates that can run it, best first; operands widen to the right
    "fp4": ("fp4", "fp8", "bf16"),
    "mxfp4": ("fp4", "fp8", "bf16"),
    "nvfp4": ("fp4", "fp8", "bf16"),
    "mxfp4xfp8": ("fp8", "bf16"),
    "fp8": ("fp8", "bf16"),
    "int8": ("int8", "bf16"),
    "w4a16": ("bf16",),
    "bf16": ("bf16",),
    "fp32": ("fp32", "bf16"),
}

KNEE_EXPONENT = 4.0
"""Sharpness of the roofline's knee, see `roofline_s`. [-]"""


def peak_flops_per_s(*, sku: Sku, precision: str) -> float:
    """Dense peak rate of an arithmetic path on a SKU. [FLOP/s]

    A path that the chip has no unit for runs at the next wider one: FP4 weights are expanded to
    FP8 on Hopper and CDNA3, FP8 to BF16 on Ampere. FP4 weights with FP8 activations run at the
    FP8 rate on present chips (DeepSeek-V4 technical report, arXiv 2606.19348, section on FP4).

    Raises
    ------
    UserError
        If no rate of the SKU can run the path.
    """
    for rate in _RATE_OF_PRECISION[precision]:
        value = getattr(sku, f"flops_{rate}")
        if value is not None:
            return float(value)
    raise UserError(
        f"sku {sku.key} states no peak rate for '{precision}'; give one with "
        f"--set flops_{_RATE_OF_PRECISION[precision][-1]}=..."
    )


def roofline_s(
    *,
    flops: Quantity,
    hbm_bytes: Quantity,
    peak_flops_per_s: float,
    hbm_bytes_per_s: float,
    compute_efficiency: float,
    memory_efficiency: float,
    exponent: float = KNEE_EXPONENT,
) -> Quantity:
    """Time of one kernel without its floor. [s]

    Parameters
    ----------
    flops, hbm_bytes:
        Work and HBM traffic, scalars or arrays. [FLOP], [B]
    peak_flops_per_s, hbm_bytes_per_s:
        Dense peak and memory bandwidth of the chip. [FLOP/s], [B/s]
    compute_efficiency, memory_efficiency:
        Attainable shares of the two peaks. [-]
    exponent:
        Sharpness of the knee; infinity is the classical roofline, 1 the sum. [-]

    Notes
    -----
    ``t = ((F / (e_c P))^p + (B / (e_m W))^p)^(1/p)``: a p-norm in place of the maximum, since
    near the knee neither limit is reached. The maximum is Williams, Waterman and Patterson,
    "Roofline", CACM 52(4), 2009; with p = 4 and a floor, fitted on H200 GEMMs, it predicts
    B200 and GB300 GEMMs to 8-16 % median error, the maximum without floor to 45-84 %.
    """
    compute_s = flops / (compute_efficiency * peak_flops_per_s)
    memory_s = hbm_bytes / (memory_efficiency * hbm_bytes_per_s)
    larger_s = np.maximum(compute_s, memory_s)
    smaller_s = np.minimum(compute_s, memory_s)
    # scaled by the larger term so that tiny operations do not underflow
    ratio = np.divide(
        smaller_s, larger_s, out=np.zeros_like(larger_s, dtype=float), where=larger_s > 0
    )
    seconds: Quantity = larger_s * (1.0 + ratio**exponent) ** (1.0 / exponent)
    return seconds


def op_s(*, op: Op, sku: Sku, software: SoftwareLevel) -> Quantity:
    """Time of one invocation of an operation on one rank. [s]

    ``t = t0 * kernels + roofline``, see `roofline_s`; collectives are `collective_s`. The floor
    ``t0`` and the efficiencies belong to the software level and the chip generation.
    """
    if op.kind.is_communication:
        return communication_s(op=op, sku=sku, software=software)
    fit = software.kernel(op=op)
    return fit.t0_s * op.kernels + roofline_s(
        flops=np.asarray(op.flops, dtype=float),
        hbm_bytes=np.asarray(traffic_bytes(op=op, software=software), dtype=float),
        peak_flops_per_s=peak_flops_per_s(sku=sku, precision=op.precision),
        hbm_bytes_per_s=sku.hbm_bytes_per_s,
        compute_efficiency=fit.compute_efficiency,
        memory_efficiency=fit.memory_efficiency,
    )


def communication_s(*, op: Op, sku: Sku, software: SoftwareLevel) -> Quantity:
    """Time of one collective, or of one exchange by a communication library. [s]

    An exchange for which the engine has no library on the chip is the vendor's all-to-all.
    """
    fit = software.collective(kind=op.kind)
    library = _library(op=op, sku=sku, software=software)
    if op.exchange is None or library is None:
        return collective_s(
            kind=op.kind,
            message_bytes=op.message_bytes,
            group_size=op.group_size,
            sku=sku,
            fit=fit,
            reduce=network_reduce(engine=software.engine),
        )
    return exchange_s(
        exchange=op.exchange,
        ranks=op.group_size,
        sku=sku,
        library=library,
        latency_scale=software.exchange_latency_scale,
        efficiency_scale=software.exchange_efficiency_scale,
    )


def _library(*, op: Op, sku: Sku, software: SoftwareLevel) -> ExchangeLibrary | None:
    """The library that exchanges an operation's tokens; ``None``: a collective does."""
    if op.exchange is None:
        return None
    if op.exchange.library:
        return load_library(op.exchange.library)
    return default_library(engine=software.engine, sku=sku, ranks=op.group_size)


def taken_share(*, op: Op, sku: Sku, software: SoftwareLevel) -> Quantity:
    """Share of the chip's SMs or CUs that an exchange takes from what runs beside it. [-]

    Raises
    ------
    UserError
        If the library takes some and the SKU does not state how many it has.
    """
    library = _library(op=op, sku=sku, software=software)
    if op.exchange is None or library is None or op.group_size <= 1:
        return 0.0
    taken = taken_multiprocessors(exchange=op.exchange, library=library)
    if not np.any(taken):
        return 0.0
    if sku.sm_count is None:
        raise UserError(
            f"sm_count of {sku.key} is unknown, and {library.name} takes {np.max(taken):g} SMs or "
            "CUs of what runs beside its exchange; give it with --set sm_count=148"
        )
    return np.minimum(1.0, taken / sku.sm_count)


def traffic_bytes(*, op: Op, software: SoftwareLevel) -> Quantity:
    """HBM traffic of one invocation as the software level moves it. [B]"""
    return op.hbm_bytes + (software.kernel(op=op).weight_traffic - 1.0) * op.weight_bytes


def step_ops_s(*, ops: list[Op], sku: Sku, software: SoftwareLevel) -> Quantity:
    """Time of a list of operations in order, overlapped where stages say so. [s]

    Operations without a stage add up. Within a stage each stream adds up and the slowest
    stream counts, but streams of one chip share its units and its memory: a stage takes at
    least the sum of its local operations without their floors. So overlap hides floors and
    communication, not work.

    Notes
    -----
    An exchange of X seconds that takes the share f of the chip's SMs leaves ``1 - f`` of them to
    what runs beside it: W seconds of work take ``max(X, W + f X)``, see `taken_share`. A stream
    that holds the exchange itself waits for it and loses nothing.
    """
    total_s: Quantity = 0.0
    stages: dict[str, list[tuple[Op, Quantity]]] = {}
    for op in ops:
        seconds = op.layers * op_s(op=op, sku=sku, software=software)
        if op.stage:
            stages.setdefault(op.stage, []).append((op, seconds))
        else:
            total_s = total_s + seconds
    for timed in stages.values():
        lost = lost_in_stage_s(timed, sku=sku, software=software)
        streams: dict[int, Quantity] = {}
        work: Quantity = 0.0
        for op, seconds in timed:
            streams[op.stream] = streams.get(op.stream, 0.0) + seconds
            if not op.kind.is_communication:
                floor_s = op.layers * floor_of_op_s(op=op, software=software)
                work = work + seconds - floor_s
        stage_s = work + sum(lost.values()) if streams.keys() - lost.keys() else work
        for stream, seconds in streams.items():
            beside = sum(value for other, value in lost.items() if other != stream)
            stage_s = np.maximum(stage_s, seconds + beside)
        total_s = total_s + stage_s
    return total_s


def lost_in_stage_s(
    timed: list[tuple[Op, Quantity]], *, sku: Sku, software: SoftwareLevel
) -> dict[int, Quantity]:
    """What the exchanges of each stream take from the work of the other streams. [s]

    Parameters
    ----------
    timed:
        Operations of one stage with their seconds over all layers.
    """
    lost: dict[int, Quantity] = {}
    for op, seconds in timed:
        if op.exchange is not None:
            share = taken_share(op=op, sku=sku, software=software)
            if np.any(share):
                lost[op.stream] = lost.get(op.stream, 0.0) + share * seconds
    return lost


def floor_of_op_s(*, op: Op, software: SoftwareLevel) -> float:
    """Floor of one invocation of a local operation, ``t0 * kernels``. [s]"""
    return software.kernel(op=op).t0_s * op.kernels
