"""Attention of DeepSeek V4: compressed sparse (CSA), heavily compressed (HCA), sliding window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from workloads.models.deepseek_v4_compressor import compressor, indexer_projections
from workloads.models.indexer import chunk_sum, index_ops
from workloads.models.kernels import KERNELS
from workloads.models.kv_bytes import CSA_RATIO, ENTRY_BYTES, HCA_RATIO, INDEX_KEY_BYTES
from workloads.models.parts import BF16_BYTES, all_reduce, gemm
from workloads.ops import Component, Op, OpKind

if TYPE_CHECKING:
    from workloads.architectures.deepseek_v4 import DeepseekV4Architecture
    from workloads.execution_plan import ExecutionPlan
    from workloads.layout import Layout
    from workloads.ops import Quantity

_NAMES = {CSA_RATIO: "csa", HCA_RATIO: "hca", 0: "swa"}


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

    def projections(self, *, tokens: Quantity) -> list[Op]:
        """Query, KV, compressor and indexer projections with the writes to the KV cache."""
        arch, plan = self.architecture, self.plan
        name, scale = self.name, plan.kernels_scale
        beside = bool(self.ratio) and plan.aux_stream_overlap
        stage = f"{name}.projections" if beside else ""
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
        side = compressor(
            layers=self,
            tokens=tokens,
            part=name,
            component=Component.ATTENTION,
            width=arch.head_dim,
            entry_bytes=self.entry_bytes,
            stage=stage,
        )
        if self.ratio == CSA_RATIO:
            side += indexer_projections(layers=self, tokens=tokens, stage=stage)
        return main + side

    def core(
        self,
        *,
        queries: Quantity,
        attended: Quantity,
        window_entries: Quantity,
        compressed_entries: Quantity,
        workspace_bytes_per_entry: float,
        phase: str,
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
        phase:
            ``decode`` or ``prefill``; they are different kernels.

        Notes
        -----
        ``F = 4 h 512 P``: the latent is key and value at once, 512 wide, for every head.
        """
        width = self.core_heads * self.architecture.head_dim
        entries = window_entries + compressed_entries
        return Op(
            name=f"{self.name}.{phase}",
            component=Component.ATTENTION,
            kind=OpKind.ATTENTION,
            precision="bf16",
            variant=phase,
            flops=attended * (4.0 * width),
            kv_bytes=entries * (self.entry_bytes + workspace_bytes_per_entry),
            activation_bytes=queries * (2.0 * width * BF16_BYTES),
            kernels=KERNELS[f"core.{phase}"] * self.plan.kernels_scale,
            layers=self.layers,
        )

    def score(self, *, phase: str, queries: Quantity, scored: Quantity, keys: Quantity) -> list[Op]:
        """Indexer scores of a CSA layer; nothing elsewhere. See `workloads.models.indexer`."""
        if self.ratio != CSA_RATIO:
            return []
        arch = self.architecture
        return index_ops(
            phase=phase,
            queries=queries,
            scored=scored,
            keys=keys,
            heads=arch.index_n_heads,
            head_dim=arch.index_head_dim,
            top_k=arch.index_topk,
            plan=self.plan,
            layers=self.layers,
        )

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
            ops = self.score(
                phase="decode", queries=queries, scored=queries * entries, keys=requests * entries
            )
            chosen = read = entries
        if self.ratio == CSA_RATIO:
            chosen = np.minimum(entries, arch.index_topk)
            read = np.minimum(entries, arch.index_topk * float(queries_per_request))
        core = self.core(
            queries=queries,
            attended=queries * (window + chosen),
            window_entries=requests * window_read,
            compressed_entries=requests * read,
            workspace_bytes_per_entry=0.0,
            phase="decode",
        )
        return [*ops, core]

    def prefill(
        self, *, new_tokens: Quantity, prefix_tokens: Quantity, context_ranks: int = 1
    ) -> list[Op]:
        """Core and scores of one prompt chunk, of which a rank has ``1 / context_ranks``.

        Notes
        -----
        Entries are first dequantised to a BF16 workspace, each written and read once (vLLM
        `nvidia/flashmla.py`); gathers of one entry by many queries are served by the cache.
        Context-parallel ranks hold equal shares of the queries (zig-zag) and all entries.
        """
        arch = self.architecture
        queries = new_tokens / context_ranks
        attended = chunk_sum(
            new_tokens=new_tokens, prefix_tokens=prefix_tokens, limit=arch.sliding_window
        )
        window_read = np.minimum(prefix_tokens, arch.sliding_window) + queries
        ops: list[Op] = []
        compressed: Quantity = 0.0
        if self.ratio:
            compressed = (prefix_tokens + new_tokens) / self.ratio
            attended = attended + chunk_sum(
                new_tokens=new_tokens,
                prefix_tokens=prefix_tokens,
                ratio=self.ratio,
                limit=arch.index_topk if self.ratio == CSA_RATIO else None,
            )
            scored = chunk_sum(new_tokens=new_tokens, prefix_tokens=prefix_tokens, ratio=self.ratio)
            ops = self.score(
                phase="prefill", queries=queries, scored=scored / context_ranks, keys=compressed
            )
        copies = 0.0 if self.plan.kv_storage == "bf16" else 2.0 * arch.head_dim * BF16_BYTES
        core = self.core(
            queries=queries,
            attended=attended / context_ranks,
            window_entries=window_read,
            compressed_entries=compressed,
            workspace_bytes_per_entry=copies,
            phase="prefill",
        )
        return [*ops, core]

    def context_exchange(self, *, new_tokens: Quantity, context_ranks: int) -> list[Op]:
        """Gathers of context-parallel prefill: boundary windows and new compressed entries.

        Each rank needs the window before each of its two zig-zag pieces, and every rank all
        compressed entries and indexer keys (CANN `deepseek_v4_inference_guide.md`).
        """
        arch = self.architecture
        row_bytes = arch.head_dim * BF16_BYTES
        gathered: Quantity = 2.0 * context_ranks * arch.sliding_window * row_bytes
        if self.ratio:
            key = INDEX_KEY_BYTES[self.plan.index_storage] if self.ratio == CSA_RATIO else 0.0
            gathered = gathered + new_tokens * ((self.entry_bytes + key) / self.ratio)
        return [
            Op(
                name=f"{self.name}.context_gather",
                component=Component.COMMUNICATION,
                kind=OpKind.ALL_GATHER,
                message_bytes=gathered,
                group_size=context_ranks,
                layers=self.layers,
            )
        ]


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
    return ops + all_reduce(
        name="attention.all_reduce",
        tokens=tokens,
        hidden=architecture.hidden_size,
        ranks=ranks,
        layers=layers,
    )
