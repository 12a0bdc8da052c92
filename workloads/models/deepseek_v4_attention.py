"""Attention of DeepSeek V4: compressed sparse (CSA), heavily compressed (HCA), sliding window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from workloads.kvstorage import ENTRY_BYTES, INDEX_KEY_BYTES
from workloads.models.kernels import KERNELS
from workloads.models.parts import BF16_BYTES, all_reduce, gemm
from workloads.ops import Component, Op, OpKind

if TYPE_CHECKING:
    from workloads.architecture import DeepseekV4Architecture
    from workloads.layout import Layout
    from workloads.ops import Quantity
    from workloads.plan import ExecutionPlan

FP32_BYTES = 4.0
CSA_RATIO = 4
HCA_RATIO = 128
_NAMES = {CSA_RATIO: "csa", HCA_RATIO: "hca", 0: "swa"}
_INDEX_PRECISION = {"fp4": "mxfp4", "fp8": "fp8", "bf16": "bf16"}


def window_sum(*, context: Quantity, window: int) -> Quantity:
    """Entries that a sliding window gives the tokens 1..context in all. [-]

    ``sum of min(n, w) for n = 1..N``: ``N (N + 1) / 2`` up to w, then w per token.
    """
    inside = np.minimum(context, window)
    return inside * (inside + 1.0) / 2.0 + (context - inside) * window


def ramp_sum(*, context: Quantity, ratio: int, limit: float = np.inf) -> Quantity:
    """Compressed entries that the tokens 1..context attend to in all. [-]

    ``sum of min(n / m, K)``: continuous in n, the mean of the staircase ``floor(n / m)`` to
    within one entry per token.
    """
    rising = np.minimum(context, limit * ratio)
    total = rising * (rising + 1.0) / (2.0 * ratio)
    if limit == np.inf:
        return total
    return total + (context - rising) * limit


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionLayers:
    """The ``layers`` equal attention layers of one compression ratio on one rank.

    Notes
    -----
    Under tensor parallelism ``wq_b``, ``wo_a`` and ``wo_b`` are divided by heads and groups; the
    fused ``wq_a`` + ``wkv``, the compressors, the whole indexer and, with one KV head, the KV
    cache are replicated (vLLM `vllm/models/deepseek_v4/attention.py`).
    """

    architecture: DeepseekV4Architecture
    layout: Layout
    plan: ExecutionPlan
    ratio: int
    layers: int

    @property
    def name(self) -> str:
        """``csa``, ``hca`` or ``swa``."""
        return _NAMES[self.ratio]

    @property
    def heads(self) -> float:
        """Query heads of this rank. [-]"""
        return self.architecture.num_attention_heads / self.layout.attention_tp

    @property
    def core_heads(self) -> float:
        """Query heads that the core computes, padding included. [-]"""
        return max(self.heads, float(self.plan.attention_head_multiple))

    @property
    def entry_bytes(self) -> float:
        """One KV entry. [B]"""
        return ENTRY_BYTES[self.plan.kv_storage]

    @property
    def index_limit(self) -> float:
        """Compressed entries that one query attends to at the most. [-]"""
        return float(self.architecture.index_topk) if self.ratio == CSA_RATIO else np.inf

    def projections(self, *, tokens: Quantity) -> list[Op]:
        """Query, KV, compressor and indexer projections with the writes to the KV cache."""
        arch, plan = self.architecture, self.plan
        name, scale = self.name, plan.kernels_scale
        beside = bool(self.ratio) and plan.aux_stream_overlap
        stage = f"{name}.projections" if beside else ""
        stream = 1 if beside else 0
        inputs = arch.hidden_size
        query = self.heads * arch.head_dim
        main = [
            gemm(
                name=f"{name}.wq_a_wkv",
                component=Component.DENSE,
                path=plan.dense_path,
                tokens=tokens,
                inputs=inputs,
                outputs=arch.q_lora_rank + arch.head_dim,
                layers=self.layers,
                scale=scale,
                stage=stage,
            ),
            gemm(
                name=f"{name}.wq_b",
                component=Component.DENSE,
                path=plan.dense_path,
                tokens=tokens,
                inputs=arch.q_lora_rank,
                outputs=query,
                layers=self.layers,
                scale=scale,
                stage=stage,
            ),
            Op(
                name=f"{name}.window_insert",
                component=Component.ATTENTION,
                kind=OpKind.MEMORY,
                kv_bytes=tokens * self.entry_bytes,
                activation_bytes=tokens * ((2.0 * query + arch.head_dim) * BF16_BYTES),
                kernels=KERNELS["window_insert"] * scale,
                layers=self.layers,
                stage=stage,
            ),
        ]
        if not self.ratio:
            return main
        side = self._compressor(
            tokens=tokens,
            part=name,
            width=arch.head_dim,
            entry_bytes=self.entry_bytes,
            component=Component.ATTENTION,
            stage=stage,
            stream=stream,
        )
        if self.ratio == CSA_RATIO:
            side += self._indexer(tokens=tokens, stage=stage, stream=stream)
        return main + side

    def _compressor(
        self,
        *,
        tokens: Quantity,
        part: str,
        width: int,
        entry_bytes: float,
        component: Component,
        stage: str,
        stream: int,
    ) -> list[Op]:
        """Projection to key and gate of the window, and the state that pools it.

        CSA windows overlap (8 tokens every 4), so that rows are twice as wide and each is read
        twice. The online form of HCA keeps one running row (max, sum, value) per request.
        """
        arch, plan = self.architecture, self.plan
        overlap = 2.0 if self.ratio == CSA_RATIO else 1.0
        row_bytes = 2.0 * overlap * width * FP32_BYTES
        reads = overlap
        if self.ratio == HCA_RATIO and plan.online_compressor_state:
            row_bytes, reads = 3.0 * width * FP32_BYTES, 1.0
        return [
            gemm(
                name=f"{part}.compressor",
                component=component,
                path="bf16",
                tokens=tokens,
                inputs=arch.hidden_size,
                outputs=2.0 * overlap * width,
                layers=self.layers,
                scale=plan.kernels_scale,
                stage=stage,
                stream=stream,
            ),
            Op(
                name=f"{part}.compress",
                component=component,
                kind=OpKind.MEMORY,
                kv_bytes=tokens * (row_bytes * (1.0 + reads) + entry_bytes / self.ratio),
                activation_bytes=tokens * (2.0 * overlap * width * BF16_BYTES),
                kernels=KERNELS["compress"] * plan.kernels_scale,
                layers=self.layers,
                stage=stage,
                stream=stream,
            ),
        ]

    def _indexer(self, *, tokens: Quantity, stage: str, stream: int) -> list[Op]:
        """Query, head weights and key compressor of the lightning indexer."""
        arch, plan = self.architecture, self.plan
        scale = plan.kernels_scale
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
                layers=self.layers,
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
                layers=self.layers,
                scale=scale,
                stage=stage,
                stream=stream,
            ),
            Op(
                name="indexer.query",
                component=Component.INDEXER,
                kind=OpKind.MEMORY,
                activation_bytes=tokens * (query * (BF16_BYTES + key_bytes / arch.index_head_dim)),
                kernels=KERNELS["index_query"] * scale,
                layers=self.layers,
                stage=stage,
                stream=stream,
            ),
            *self._compressor(
                tokens=tokens,
                part="indexer",
                width=arch.index_head_dim,
                entry_bytes=key_bytes,
                component=Component.INDEXER,
                stage=stage,
                stream=stream,
            ),
        ]

    def core(
        self,
        *,
        queries: Quantity,
        attended: Quantity,
        window_entries: Quantity,
        compressed_entries: Quantity,
        workspace_bytes_per_entry: float,
        kernels: float,
    ) -> Op:
        """Attention over the window and the compressed entries in one softmax.

        Parameters
        ----------
        queries:
            Query tokens. [tokens]
        attended:
            Entries attended to, summed over the queries. [-]
        window_entries, compressed_entries:
            Distinct entries read from the cache. [-]
        workspace_bytes_per_entry:
            Traffic per entry of a dequantised copy. [B]

        Notes
        -----
        ``F = 4 h 512 P``: the latent is key and value at once, 512 wide, for every head.
        """
        width = self.core_heads * self.architecture.head_dim
        entries = window_entries + compressed_entries
        return Op(
            name=f"{self.name}.core",
            component=Component.ATTENTION,
            kind=OpKind.ATTENTION,
            precision="bf16",
            flops=attended * (4.0 * width),
            kv_bytes=entries * (self.entry_bytes + workspace_bytes_per_entry),
            activation_bytes=queries * (2.0 * width * BF16_BYTES),
            kernels=kernels * self.plan.kernels_scale,
            layers=self.layers,
        )

    def score(self, *, queries: Quantity, scored: Quantity, keys: Quantity) -> list[Op]:
        """Indexer scores of all keys and the selection of the best.

        Parameters
        ----------
        queries:
            Query tokens. [tokens]
        scored:
            Keys scored, summed over the queries. [-]
        keys:
            Distinct keys read. [-]
        """
        arch, plan = self.architecture, self.plan
        width = arch.index_n_heads * arch.index_head_dim
        return [
            Op(
                name="indexer.score",
                component=Component.INDEXER,
                kind=OpKind.INDEXER,
                precision=_INDEX_PRECISION[plan.index_storage],
                flops=scored * (2.0 * width),
                kv_bytes=keys * INDEX_KEY_BYTES[plan.index_storage],
                activation_bytes=scored * FP32_BYTES,
                kernels=KERNELS["index_score"] * plan.kernels_scale,
                layers=self.layers,
            ),
            Op(
                name="indexer.top_k",
                component=Component.INDEXER,
                kind=OpKind.MEMORY,
                activation_bytes=scored * FP32_BYTES + queries * (arch.index_topk * FP32_BYTES),
                kernels=KERNELS["top_k"] * plan.kernels_scale,
                layers=self.layers,
            ),
        ]

    def decode(
        self, *, requests: Quantity, queries_per_request: int, context: Quantity
    ) -> list[Op]:
        """Core and scores of requests that verify ``queries_per_request`` tokens each.

        The queries of one request share the window, the HCA entries and the indexer keys; each
        CSA query gathers its own selection.
        """
        arch = self.architecture
        queries = requests * float(queries_per_request)
        window = np.minimum(context, arch.sliding_window)
        window_read = np.minimum(context, arch.sliding_window + queries_per_request - 1.0)
        ops: list[Op] = []
        chosen: Quantity = 0.0
        read: Quantity = 0.0
        if self.ratio:
            entries = context / self.ratio
            chosen = np.minimum(entries, self.index_limit)
            read = np.minimum(entries, self.index_limit * queries_per_request)
            if self.ratio == CSA_RATIO:
                ops = self.score(queries=queries, scored=queries * entries, keys=requests * entries)
        core = self.core(
            queries=queries,
            attended=queries * (window + chosen),
            window_entries=requests * window_read,
            compressed_entries=requests * read,
            workspace_bytes_per_entry=0.0,
            kernels=KERNELS["core.decode"],
        )
        return [*ops, core]

    def prefill(self, *, new_tokens: Quantity, prefix_tokens: Quantity) -> list[Op]:
        """Core and scores of one prompt chunk.

        Notes
        -----
        Entries are first dequantised to a BF16 workspace, each written and read once (vLLM
        `nvidia/flashmla.py`); gathers of one entry by many queries are served by the cache.
        """
        arch = self.architecture
        end = prefix_tokens + new_tokens
        attended = window_sum(context=end, window=arch.sliding_window) - window_sum(
            context=prefix_tokens, window=arch.sliding_window
        )
        window_read = np.minimum(prefix_tokens, arch.sliding_window) + new_tokens
        ops: list[Op] = []
        compressed: Quantity = 0.0
        if self.ratio:
            compressed = end / self.ratio
            attended = attended + (
                ramp_sum(context=end, ratio=self.ratio, limit=self.index_limit)
                - ramp_sum(context=prefix_tokens, ratio=self.ratio, limit=self.index_limit)
            )
        if self.ratio == CSA_RATIO:
            scored = ramp_sum(context=end, ratio=self.ratio) - ramp_sum(
                context=prefix_tokens, ratio=self.ratio
            )
            ops = self.score(queries=new_tokens, scored=scored, keys=compressed)
        copies = 0.0 if self.plan.kv_storage == "bf16" else 2.0 * arch.head_dim * BF16_BYTES
        core = self.core(
            queries=new_tokens,
            attended=attended,
            window_entries=window_read,
            compressed_entries=compressed,
            workspace_bytes_per_entry=copies,
            kernels=KERNELS["core.prefill"],
        )
        return [*ops, core]


def output_projection(
    *,
    architecture: DeepseekV4Architecture,
    layout: Layout,
    plan: ExecutionPlan,
    tokens: Quantity,
    layers: int,
) -> list[Op]:
    """Grouped low-rank output projection, after the inverse rope of the attention result."""
    ranks = layout.attention_tp
    inputs = architecture.num_attention_heads * architecture.head_dim / ranks
    middle = architecture.o_groups * architecture.o_lora_rank / ranks
    ops = [
        gemm(
            name="attention.wo_a",
            component=Component.DENSE,
            path=plan.output_a_path,
            tokens=tokens,
            inputs=inputs,
            outputs=middle,
            parameters=inputs * architecture.o_lora_rank,
            layers=layers,
            scale=plan.kernels_scale,
            extra_kernels=KERNELS["quantise"] if plan.output_a_path == "bf16" else 0.0,
        ),
        gemm(
            name="attention.wo_b",
            component=Component.DENSE,
            path=plan.dense_path,
            tokens=tokens,
            inputs=middle,
            outputs=architecture.hidden_size,
            layers=layers,
            scale=plan.kernels_scale,
        ),
    ]
    if ranks > 1:
        ops.append(
            all_reduce(
                name="attention.all_reduce",
                tokens=tokens,
                hidden_size=architecture.hidden_size,
                ranks=ranks,
                layers=layers,
            )
        )
    return ops


def attention_weight_bytes(
    *, architecture: DeepseekV4Architecture, layout: Layout, plan: ExecutionPlan, ratio: int
) -> float:
    """Resident bytes of one attention layer on one rank. [B]"""
    layers = AttentionLayers(
        architecture=architecture, layout=layout, plan=plan, ratio=ratio, layers=1
    )
    ops = layers.projections(tokens=0.0) + output_projection(
        architecture=architecture, layout=layout, plan=plan, tokens=0.0, layers=1
    )
    return float(sum(op.weight_bytes for op in ops))
