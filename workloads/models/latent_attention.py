"""Multi-head latent attention (MLA) of DeepSeek V3 and related models, sparse with an indexer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from workloads.architectures.storage import index_key_bytes, latent_entry_bytes
from workloads.models.indexer import chunk_sum, index_ops
from workloads.models.kernels import KERNELS
from workloads.models.parts import BF16_BYTES, all_reduce, gemm, memory
from workloads.ops import Component, Op, OpKind

if TYPE_CHECKING:
    from workloads.architectures.kinds import Indexer, LatentAttention
    from workloads.execution_plan import ExecutionPlan
    from workloads.layout import Layout
    from workloads.ops import Quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentAttentionLayers:
    """``layers`` equal MLA layers on one rank.

    Parameters
    ----------
    kind:
        Heads, ranks and widths, gate and indexer of the layers.
    hidden:
        Width of the residual stream. [-]

    Notes
    -----
    Query and output projections are divided by heads; the latent projection, the indexer and,
    with one latent per token, the KV cache are replicated. The up-projection of the latent is
    either absorbed into queries and outputs (decode, and throughout with an indexer) or applied
    to the latents (prefill without one): the same work per token, booked once in `projections`.
    """

    kind: LatentAttention
    hidden: int
    layout: Layout
    plan: ExecutionPlan
    layers: int

    def validate(self) -> None:
        """Nothing beyond the division of heads, which the model checks."""

    @property
    def heads(self) -> float:
        """Query heads of this rank. [-]"""
        return self.kind.heads / self.layout.attention_tp

    @property
    def sparse(self) -> bool:
        """Whether an indexer chooses what attention reads."""
        return self.kind.indexer is not None

    @property
    def entry_bytes(self) -> float:
        """One KV entry. [B]"""
        return latent_entry_bytes(
            latent=self.kind.kv_rank, rope=self.kind.rope_dim, kv=self.plan.kv_storage
        )

    @property
    def _latent_width(self) -> float:
        """Values of query-key and value products in the absorbed form, per head. [-]"""
        return 2.0 * self.kind.kv_rank + self.kind.rope_dim

    def projections(self, *, tokens: Quantity) -> list[Op]:
        """Query, latent, up- and output projection, with the write to the KV cache."""
        kind, plan = self.kind, self.plan
        scale, heads = plan.kernels_scale, self.heads
        head_dim = kind.nope_dim + kind.rope_dim
        latent = kind.kv_rank + kind.rope_dim
        up = kind.nope_dim + kind.value_dim
        queries = [
            ("mla.q_a_kv_a", plan.dense_path, self.hidden, float(kind.q_rank + latent), 0.0),
            ("mla.q_b", plan.dense_path, kind.q_rank, heads * head_dim, 0.0),
        ]
        if not kind.q_rank:
            queries = [("mla.q_kv_a", plan.dense_path, self.hidden, heads * head_dim + latent, 0.0)]
        gate = {"": 0.0, "full": heads * kind.value_dim, "head": heads}[kind.gate]
        if gate:
            queries.append(("mla.gate", plan.dense_path, self.hidden, gate, KERNELS["activation"]))
        dense = [
            *queries,
            ("mla.kv_b", "bf16", kind.kv_rank, heads * up, KERNELS["gemm"]),
            ("mla.o_proj", plan.dense_path, heads * kind.value_dim, self.hidden, 0.0),
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
            hidden=self.hidden,
            ranks=self.layout.attention_tp,
            layers=self.layers,
        )
        indexer = kind.indexer
        if indexer is None or not indexer.own:
            return ops
        return ops + self._indexer(indexer=indexer, tokens=tokens)

    def _indexer(self, *, indexer: Indexer, tokens: Quantity) -> list[Op]:
        kind, plan = self.kind, self.plan
        query = indexer.heads * indexer.head_dim
        key_bytes = index_key_bytes(head_dim=indexer.head_dim, index=plan.index_storage)
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
                ("indexer.wq_b", plan.dense_path, kind.q_rank or self.hidden, query),
                ("indexer.wk", plan.dense_path, self.hidden, indexer.head_dim),
                ("indexer.weights", "bf16", self.hidden, indexer.heads),
            )
        ]
        quantise = memory(
            name="indexer.query",
            component=Component.INDEXER,
            activation_bytes=tokens
            * (query * (BF16_BYTES + key_bytes / indexer.head_dim) + key_bytes / indexer.pooled),
            kernels=KERNELS["index_query"] * plan.kernels_scale,
            layers=self.layers,
        )
        return [*ops, quantise]

    def row_ops(self, *, tokens: Quantity) -> list[Op]:
        """Nothing: its entries are written with its projections."""
        del tokens
        return []

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
        kind = self.kind
        queries = requests * float(queries_per_request)
        ops: list[Op] = []
        attended = read = context
        packed = float(queries_per_request)
        indexer = kind.indexer
        if indexer is not None:
            packed = 1.0
            attended = np.minimum(context, indexer.top_k)
            read = np.minimum(context, indexer.top_k * float(queries_per_request))
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
        kind = self.kind
        end = prefix_tokens + new_tokens
        indexer = kind.indexer
        if indexer is not None:
            heads = max(self.heads, float(self.plan.attention_head_multiple))
            attended = chunk_sum(
                new_tokens=new_tokens, prefix_tokens=prefix_tokens, limit=indexer.top_k
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
            up = self.heads * (kind.nope_dim + kind.value_dim)
            query = kind.nope_dim + kind.rope_dim
            attended = chunk_sum(new_tokens=new_tokens, prefix_tokens=prefix_tokens)
            flops = attended * (2.0 * self.heads * (query + kind.value_dim))
            flops = flops + prefix_tokens * (2.0 * kind.kv_rank * up)
            moved = end * (2.0 * up * BF16_BYTES) + new_tokens * (
                self.heads * (query + kind.value_dim) * BF16_BYTES
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
        indexer = self.kind.indexer
        if indexer is None or not indexer.own:
            return []
        return index_ops(
            phase=phase,
            queries=queries,
            scored=scored / indexer.pooled,
            keys=keys / indexer.pooled,
            heads=indexer.heads,
            head_dim=indexer.head_dim,
            top_k=indexer.top_k // indexer.pooled,
            plan=self.plan,
            layers=self.layers,
        )
