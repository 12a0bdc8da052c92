"""Building blocks that all models' operation lists share."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from workloads.errors import UserError
from workloads.models.kernels import KERNELS
from workloads.models.precision import ACTIVATION_BYTES, WEIGHT_BYTES, arithmetic, quantises
from workloads.ops import Component, Op, OpKind

if TYPE_CHECKING:
    from workloads.layout import Layout
    from workloads.ops import Quantity

BF16_BYTES = 2.0
NORMS_PER_LAYER = 2
FP32_BYTES = 4.0


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
        precision=arithmetic(path),
        flops=tokens * (2.0 * weights),
        weight_bytes=weights * WEIGHT_BYTES[path],
        activation_bytes=tokens * (inputs * input_bytes + outputs * BF16_BYTES),
        kernels=launches * scale,
        layers=layers,
        stage=stage,
        stream=stream,
    )


def memory(
    *,
    name: str,
    component: Component,
    activation_bytes: Quantity,
    kernels: float,
    layers: int,
    variant: str = "",
    stage: str = "",
    stream: int = 0,
) -> Op:
    """An elementwise or gathering operation that moves ``activation_bytes``. [B]"""
    return Op(
        name=name,
        component=component,
        kind=OpKind.MEMORY,
        variant=variant,
        activation_bytes=activation_bytes,
        kernels=kernels,
        layers=layers,
        stage=stage,
        stream=stream,
    )


def gated_mlp(
    *,
    name: str,
    component: Component,
    path: str,
    tokens: Quantity,
    hidden: float,
    width: float,
    layers: int,
    scale: float,
    matrices: int = 3,
    stage: str = "",
    stream: int = 0,
) -> list[Op]:
    """Gate and up projection, SwiGLU, down projection; ``width`` is this rank's share.

    Of two ``matrices`` there is no gate.
    """
    up = gemm(
        name=f"{name}.w13",
        component=component,
        path=path,
        tokens=tokens,
        inputs=hidden,
        outputs=(matrices - 1.0) * width,
        layers=layers,
        scale=scale,
        stage=stage,
        stream=stream,
    )
    activation = memory(
        name=f"{name}.activation",
        component=component,
        activation_bytes=tokens * (float(matrices) * width * BF16_BYTES),
        kernels=KERNELS["activation"] * scale,
        layers=layers,
        stage=stage,
        stream=stream,
    )
    down = gemm(
        name=f"{name}.w2",
        component=component,
        path=path,
        tokens=tokens,
        inputs=width,
        outputs=hidden,
        layers=layers,
        scale=scale,
        stage=stage,
        stream=stream,
    )
    return [up, activation, down]


def all_reduce(*, name: str, tokens: Quantity, hidden: int, ranks: int, layers: int) -> list[Op]:
    """All-reduce of BF16 hidden states over ``ranks``; nothing on one rank."""
    if ranks == 1:
        return []
    return [
        Op(
            name=name,
            component=Component.COMMUNICATION,
            kind=OpKind.ALL_REDUCE,
            message_bytes=tokens * (hidden * BF16_BYTES),
            group_size=ranks,
            layers=layers,
        )
    ]


def pipeline_send(*, tokens: Quantity, values_per_token: float, layout: Layout) -> list[Op]:
    """Transfer of the BF16 residual stream to the next pipeline stage, if there is one."""
    if layout.pp == 1:
        return []
    return [
        Op(
            name="pipeline.send",
            component=Component.COMMUNICATION,
            kind=OpKind.POINT_TO_POINT,
            message_bytes=tokens * (values_per_token * BF16_BYTES),
            group_size=2,
        )
    ]


def language_model_head(
    *,
    name: str,
    component: Component,
    samples: Quantity,
    hidden: int,
    vocabulary: int,
    layout: Layout,
    passes: int,
    scale: float,
) -> list[Op]:
    """Logits of ``samples`` positions in BF16 and sampling from them.

    The head is divided by vocabulary over the ranks that share the attention, which then gather
    the logits; under attention data parallelism it is whole on every rank.
    """
    ranks = layout.attention_tp
    ops = [
        gemm(
            name=f"{name}.lm_head",
            component=component,
            path="bf16",
            tokens=samples,
            inputs=hidden,
            outputs=vocabulary / ranks,
            layers=passes,
            scale=scale,
        )
    ]
    if ranks > 1:
        ops.append(
            Op(
                name=f"{name}.gather",
                component=Component.COMMUNICATION,
                kind=OpKind.ALL_GATHER,
                message_bytes=samples * (vocabulary * BF16_BYTES),
                group_size=ranks,
                layers=passes,
            )
        )
    ops.append(
        memory(
            name=f"{name}.sampling",
            component=component,
            activation_bytes=samples * (vocabulary * FP32_BYTES),
            kernels=KERNELS["sampling"] * scale,
            layers=passes,
        )
    )
    return ops


def embedding_lookup(*, tokens: Quantity, hidden: int, scale: float) -> Op:
    """Rows of the embedding table read and written to the residual stream."""
    return memory(
        name="embedding",
        component=Component.OTHER,
        activation_bytes=tokens * (2.0 * hidden * BF16_BYTES),
        kernels=KERNELS["embedding"] * scale,
        layers=1,
    )


def layer_norms(*, tokens: Quantity, hidden: int, parts: int, scale: float) -> Op:
    """The norm of each sublayer, fused with the addition to the residual stream."""
    return memory(
        name="norms",
        component=Component.OTHER,
        activation_bytes=tokens * (4.0 * hidden * BF16_BYTES),
        kernels=KERNELS["add_norm"] * scale,
        layers=parts,
    )


def weight_bytes(ops: list[Op]) -> float:
    """Weights that operations read, each layer's own. [B]"""
    return float(sum(op.layers * op.weight_bytes for op in ops))


def draft_input(*, tokens: Quantity, hidden: int, layers: int, scale: float) -> Op:
    """The projection of an MTP block from a hidden state and a token's embedding, both normed."""
    return gemm(
        name="eh_proj",
        component=Component.DRAFT,
        path="bf16",
        tokens=tokens,
        inputs=2.0 * hidden,
        outputs=hidden,
        layers=layers,
        scale=scale,
        extra_kernels=2.0 * KERNELS["draft.norm"],
    )


def as_draft(ops: list[Op], *, name: str) -> list[Op]:
    """The same operations, booked as draft work; communication stays communication."""
    return [
        replace(
            op,
            name=f"{name}.{op.name}",
            component=op.component if op.kind.is_communication else Component.DRAFT,
            stage=f"{name}.{op.stage}" if op.stage else "",
        )
        for op in ops
    ]


def stage_layers(*, layers: int, layout: Layout) -> int:
    """Of ``layers`` equal layers, those of the fullest pipeline stage."""
    return -(-layers // layout.pp)


def check_layout(
    *, model: str, layout: Layout, divided: dict[str, int], layers: int, drafts: int
) -> None:
    """Check that what attention ranks share divides over them, and the other degrees.

    Parameters
    ----------
    divided:
        Counts that the tensor parallel degree of attention must divide, by name. [-]

    Raises
    ------
    UserError
        Naming the field, its value, the limit and what to do.
    """
    ranks = layout.attention_tp
    smallest = min(divided.values())
    for what, count in divided.items():
        if count % ranks:
            raise UserError(
                f"tp is {ranks}, which does not divide the {count} {what} of {model}; "
                f"choose a divisor of {smallest}, or attention data parallelism"
            )
    if layout.pp > layers:
        raise UserError(f"pp is {layout.pp}; {model} has only {layers} layers to divide")
    if drafts < 0:
        raise UserError(f"drafts is {drafts}; it must be 0 (no speculation) or more")


def check_drafts(*, bound: int, drafts: int) -> None:
    """Refuse draft operations of a model that was bound without drafts.

    Raises
    ------
    UserError
        If drafts are asked of a model without them.
    """
    if drafts and not bound:
        raise UserError(f"drafts is {drafts} for a model bound with drafts=0; bind it with drafts")
