"""Multi-head latent attention (MLA) of DeepSeek V3 and its kin, sparse with an indexer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from workloads.models.indexer import chunk_sum, index_ops
from workloads.models.kernels import KERNELS
from workloads.models.kv_bytes import index_key_bytes, mla_entry_bytes
from workloads.models.parts import BF16_BYTES, all_reduce, gemm, memory
from workloads.ops import Component, Op, OpKind

if TYPE_CHECKING:
    from workloads.architectures.catalog import DeepseekV3Architecture
    from workloads.execution_plan import ExecutionPlan
    from workloads.layout import Layout
    from workloads.ops import Quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentAttention:
    """``layers`` equal MLA layers on one rank.

    Notes
    -----
    Query and output projections are divided by heads; the latent projection, the indexer and,
    with one latent per token, the KV cache are replicated. The up-projection of the latent is
    either absorbed into queries and outputs (decode, and throughout with an indexer) or applied
    to the latents (prefill without one): the same work per token, booked once in `projections`.
    """

    architecture: DeepseekV3Architecture
    layout: Layout
    plan: ExecutionPlan
    layers: int

    @property
    def heads(self) -> float:
        """Query heads of this rank. [-]"""
        return self.architecture.num_attention_heads / self.layout.attention_tp

    @property
    def sparse(self) -> bool:
        """Whether an indexer chooses what attention reads."""
        return self.architecture.index_topk > 0

    @property
    def entry_bytes(self) -> float:
        """One KV entry. [B]"""
        return mla_entry_bytes(architecture=self.architecture, kv=self.plan.kv_storage)

    @property
    def _latent_width(self) -> float:
        """Values of query-key and value products in the absorbed form, per head. [-]"""
        arch = self.architecture
        return 2.0 * arch.kv_lora_rank + arch.qk_rope_head_dim

    def projections(self, *, tokens: Quantity) -> list[Op]:
        """Query, latent, up- and output projection, with the write to the KV cache."""
        arch, plan = self.architecture, self.plan
        scale, heads = plan.kernels_scale, self.heads
        head_dim = arch.qk_nope_head_dim + arch.qk_rope_head_dim
        latent = arch.kv_lora_rank + arch.qk_rope_head_dim
        up = arch.qk_nope_head_dim + arch.v_head_dim
        dense = [
            ("mla.q_a_kv_a", plan.dense_path, arch.hidden_size, arch.q_lora_rank + latent, 0.0),
            ("mla.q_b", plan.dense_path, arch.q_lora_rank, heads * head_dim, 0.0),
            ("mla.kv_b", "bf16", arch.kv_lora_rank, heads * up, KERNELS["gemm"]),
            ("mla.o_proj", plan.dense_path, heads * arch.v_head_dim, arch.hidden_size, 0.0),
        ]
        ops = [
            gemm(
                name=name,
                component=Component.DENSE,
                path=path,
                tokens=tokens,
                inputs=inputs,
                outputs=outputs,
                layers=self.layers,
                scale=scale,
                extra_kernels=extra,
            )
            for name, path, inputs, outputs, extra in dense
        ]
        ops.append(
            Op(
                name="mla.insert",
                component=Component.ATTENTION,
                kind=OpKind.MEMORY,
                kv_bytes=tokens * self.entry_bytes,
                activation_bytes=tokens * ((2.0 * heads * head_dim + latent) * BF16_BYTES),
                kernels=KERNELS["window_insert"] * scale,
                layers=self.layers,
            )
        )
        ops += all_reduce(
            name="mla.all_reduce",
            tokens=tokens,
            hidden=arch.hidden_size,
            ranks=self.layout.attention_tp,
            layers=self.layers,
        )
        return ops + (self._indexer(tokens=tokens) if self.sparse else [])

    def _indexer(self, *, tokens: Quantity) -> list[Op]:
        arch, plan = self.architecture, self.plan
        query = arch.index_n_heads * arch.index_head_dim
        key_bytes = index_key_bytes(head_dim=arch.index_head_dim, index=plan.index_storage)
        ops = [
            gemm(
                name=name,
                component=Component.INDEXER,
                path=path,
                tokens=tokens,
                inputs=inputs,
                outputs=outputs,
                layers=self.layers,
                scale=plan.kernels_scale,
            )
            for name, path, inputs, outputs in (
                ("indexer.wq_b", plan.dense_path, arch.q_lora_rank, query),
                ("indexer.wk", plan.dense_path, arch.hidden_size, arch.index_head_dim),
                ("indexer.weights", "bf16", arch.hidden_size, arch.index_n_heads),
            )
        ]
        quantise = memory(
            name="indexer.query",
            component=Component.INDEXER,
            activation_bytes=tokens
            * (query * (BF16_BYTES + key_bytes / arch.index_head_dim) + key_bytes),
            kernels=KERNELS["index_query"] * plan.kernels_scale,
            layers=self.layers,
        )
        return [*ops, quantise]

    def decode(
        self, *, requests: Quantity, queries_per_request: int, context: Quantity
    ) -> list[Op]:
        """Scores and core of decoding requests, in the absorbed form.

        Notes
        -----
        ``F = 2 h (2 c + r) P`` per query with a latent of c and r rope values (512 and 64 in V3),
        P = n, or min(n, top-k) with an indexer. Dense kernels pack the heads of all queries of a
        request before padding, sparse ones cannot.
        """
        arch = self.architecture
        queries = requests * float(queries_per_request)
        ops: list[Op] = []
        attended = read = context
        packed = float(queries_per_request)
        if self.sparse:
            packed = 1.0
            attended = np.minimum(context, arch.index_topk)
            read = np.minimum(context, arch.index_topk * float(queries_per_request))
            ops = self._score(
                phase="decode", queries=queries, scored=queries * context, keys=requests * context
            )
        heads = max(self.heads, self.plan.attention_head_multiple / packed)
        core = Op(
            name="mla.decode",
            component=Component.ATTENTION,
            kind=OpKind.ATTENTION,
            variant="decode" if self.sparse else "mla_decode",
            flops=queries * attended * (2.0 * heads * self._latent_width),
            kv_bytes=requests * read * self.entry_bytes,
            activation_bytes=queries * (heads * self._latent_width * BF16_BYTES),
            kernels=KERNELS["core.decode"] * self.plan.kernels_scale,
            layers=self.layers,
        )
        return [*ops, core]

    def prefill(self, *, new_tokens: Quantity, prefix_tokens: Quantity) -> list[Op]:
        """Scores and core of one prompt chunk.

        Notes
        -----
        Without an indexer attention is multi-head, ``F = 2 h (d_qk + d_v)`` per query and key (192
        and 128 values a head in V3), and the prefix's latents are projected up again:
        ``2 c h (d_nope + d_v)`` per prefix token. With one, it is absorbed and sparse.
        """
        arch = self.architecture
        end = prefix_tokens + new_tokens
        if self.sparse:
            heads = max(self.heads, float(self.plan.attention_head_multiple))
            attended = chunk_sum(
                new_tokens=new_tokens, prefix_tokens=prefix_tokens, limit=arch.index_topk
            )
            flops = attended * (2.0 * heads * self._latent_width)
            moved = new_tokens * (heads * self._latent_width * BF16_BYTES)
            ops = self._score(
                phase="prefill",
                queries=new_tokens,
                scored=chunk_sum(new_tokens=new_tokens, prefix_tokens=prefix_tokens),
                keys=end,
            )
        else:
            up = self.heads * (arch.qk_nope_head_dim + arch.v_head_dim)
            query = arch.qk_nope_head_dim + arch.qk_rope_head_dim
            attended = chunk_sum(new_tokens=new_tokens, prefix_tokens=prefix_tokens)
            flops = attended * (2.0 * self.heads * (query + arch.v_head_dim))
            flops = flops + prefix_tokens * (2.0 * arch.kv_lora_rank * up)
            moved = end * (2.0 * up * BF16_BYTES) + new_tokens * (
                self.heads * (query + arch.v_head_dim) * BF16_BYTES
            )
            ops = []
        core = Op(
            name="mla.prefill",
            component=Component.ATTENTION,
            kind=OpKind.ATTENTION,
            variant="prefill" if self.sparse else "mla_prefill",
            flops=flops,
            kv_bytes=end * self.entry_bytes,
            activation_bytes=moved,
            kernels=KERNELS["core.prefill"] * self.plan.kernels_scale,
            layers=self.layers,
        )
        return [*ops, core]

    def _score(
        self, *, phase: str, queries: Quantity, scored: Quantity, keys: Quantity
    ) -> list[Op]:
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
