"""Building blocks that all models' operation lists share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workloads.models.kernels import KERNELS
from workloads.models.precision import ACTIVATION_BYTES, WEIGHT_BYTES, quantises
from workloads.ops import Component, Op, OpKind

if TYPE_CHECKING:
    from workloads.ops import Quantity

BF16_BYTES = 2.0


def gemm(
    *,
    name: str,
    component: Component,
    path: str,
    tokens: Quantity,
    inputs: float,
    outputs: float,
    layers: int,
    scale: float,
    parameters: float | None = None,
    extra_kernels: float = 0.0,
    stage: str = "",
    stream: int = 0,
) -> Op:
    """A weight matrix applied to ``tokens`` rows.

    Parameters
    ----------
    path:
        Arithmetic path; see `workloads.models.precision`.
    inputs, outputs:
        Values per row, of this rank's shard. [-]
    parameters:
        Weights of the shard where they are fewer than ``inputs * outputs`` (block-diagonal). [-]
    scale:
        Kernel launches relative to the reference. [-]
    extra_kernels:
        Launches beside the product and the quantisation of its input. [-]

    Notes
    -----
    ``F = 2 T w`` and ``B = w b_w + T (in (b_a + quantisation) + out 2)``: weights are read once
    whatever the number of rows; a quantising path first reads BF16 and writes the narrow copy.
    """
    weights = inputs * outputs if parameters is None else parameters
    input_bytes = ACTIVATION_BYTES[path]
    launches = KERNELS["gemm"] + extra_kernels
    if quantises(path):
        input_bytes = 2.0 * input_bytes + BF16_BYTES
        launches += KERNELS["quantise"]
    return Op(
        name=name,
        component=component,
        kind=OpKind.GEMM,
        precision=path,
        flops=tokens * (2.0 * weights),
        weight_bytes=weights * WEIGHT_BYTES[path],
        activation_bytes=tokens * (inputs * input_bytes + outputs * BF16_BYTES),
        kernels=launches * scale,
        layers=layers,
        stage=stage,
        stream=stream,
    )


def all_reduce(*, name: str, tokens: Quantity, hidden_size: int, ranks: int, layers: int) -> Op:
    """All-reduce of BF16 hidden states over ``ranks``."""
    return Op(
        name=name,
        component=Component.COMMUNICATION,
        kind=OpKind.ALL_REDUCE,
        message_bytes=tokens * (hidden_size * BF16_BYTES),
        group_size=ranks,
        layers=layers,
    )
