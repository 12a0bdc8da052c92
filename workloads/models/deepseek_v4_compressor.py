"""KV compressors of DeepSeek V4 and the projections of its lightning indexer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from workloads.models.kernels import KERNELS
from workloads.models.kv_bytes import CSA_RATIO, HCA_RATIO, INDEX_KEY_BYTES
from workloads.models.parts import BF16_BYTES, FP32_BYTES, gemm, memory
from workloads.ops import Component, Op, OpKind

if TYPE_CHECKING:
    from workloads.architectures.deepseek_v4 import DeepseekV4Architecture
    from workloads.execution_plan import ExecutionPlan
    from workloads.ops import Quantity


class CompressedLayers(Protocol):
    """Equal attention layers whose KV entries are compressed."""

    @property
    def architecture(self) -> DeepseekV4Architecture:
        """Widths of the layers."""
        ...

    @property
    def plan(self) -> ExecutionPlan:
        """Kernels that the engine runs."""
        ...

    @property
    def ratio(self) -> int:
        """Tokens of an entry. [tokens]"""
        ...

    @property
    def layers(self) -> int:
        """How many there are. [-]"""
        ...


def compressor(
    *,
    layers: CompressedLayers,
    tokens: Quantity,
    part: str,
    component: Component,
    width: int,
    entry_bytes: float,
    stage: str,
) -> list[Op]:
    """Projection to the value and gate of a window, and the state that pools it.

    Parameters
    ----------
    part:
        Name of what is compressed: ``csa``, ``hca`` or ``indexer``.
    width:
        Values of a compressed entry. [-]
    entry_bytes:
        Bytes that one finished entry takes in the cache. [B]
    stage:
        Overlap stage, in which the compressor is the second stream; empty without overlap.

    Notes
    -----
    Projections run in BF16 over every token, whatever the ratio; rows of FP32 value and gate are
    written once. CSA windows overlap (8 tokens every 4): rows are twice as wide and each is read
    twice. The online form of HCA updates one row (max, sum, value) per request instead.
    """
    overlap = 2.0 if layers.ratio == CSA_RATIO else 1.0
    row_bytes = 2.0 * overlap * width * FP32_BYTES
    reads = overlap
    if layers.ratio == HCA_RATIO and layers.plan.online_compressor_state:
        row_bytes, reads = 3.0 * width * FP32_BYTES, 1.0
    stream = 1 if stage else 0
    return [
        gemm(
            name=f"{part}.compressor",
            component=component,
            path="bf16",
            tokens=tokens,
            inputs=layers.architecture.hidden_size,
            outputs=2.0 * overlap * width,
            layers=layers.layers,
            scale=layers.plan.kernels_scale,
            stage=stage,
            stream=stream,
        ),
        Op(
            name=f"{part}.compress",
            component=component,
            kind=OpKind.MEMORY,
            kv_bytes=tokens * (row_bytes * (1.0 + reads) + entry_bytes / layers.ratio),
            activation_bytes=tokens * (2.0 * overlap * width * BF16_BYTES),
            kernels=KERNELS["compress"] * layers.plan.kernels_scale,
            layers=layers.layers,
            stage=stage,
            stream=stream,
        ),
    ]


def indexer_projections(*, layers: CompressedLayers, tokens: Quantity, stage: str) -> list[Op]:
    """Query, head weights and key compressor of the lightning indexer of CSA layers."""
    arch, plan = layers.architecture, layers.plan
    scale = plan.kernels_scale
    stream = 1 if stage else 0
    query = arch.index_n_heads * arch.index_head_dim
    key_bytes = INDEX_KEY_BYTES[plan.index_storage]
    return [
        gemm(
            name="indexer.wq_b",
            component=Component.INDEXER,
            path=plan.dense_path,
            tokens=tokens,
            inputs=arch.q_lora_rank,
            outputs=query,
            layers=layers.layers,
            scale=scale,
            stage=stage,
            stream=stream,
        ),
        gemm(
            name="indexer.weights",
            component=Component.INDEXER,
            path="bf16",
            tokens=tokens,
            inputs=arch.hidden_size,
            outputs=arch.index_n_heads,
            layers=layers.layers,
            scale=scale,
            stage=stage,
            stream=stream,
        ),
        memory(
            name="indexer.query",
            component=Component.INDEXER,
            activation_bytes=tokens * (query * (BF16_BYTES + key_bytes / arch.index_head_dim)),
            kernels=KERNELS["index_query"] * scale,
            layers=layers.layers,
            stage=stage,
            stream=stream,
        ),
        *compressor(
            layers=layers,
            tokens=tokens,
            part="indexer",
            component=Component.INDEXER,
            width=arch.index_head_dim,
            entry_bytes=key_bytes,
            stage=stage,
        ),
    ]
