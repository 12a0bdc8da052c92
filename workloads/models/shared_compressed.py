"""Attention over a window and compressed rows that several layers share (CSA2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from workloads.architectures.storage import ENTRY_BYTES, index_key_bytes
from workloads.models.indexer import chunk_sum, index_ops
from workloads.models.kernels import KERNELS
from workloads.models.parts import BF16_BYTES, all_reduce, gemm, memory
from workloads.ops import Component, Op, OpKind

if TYPE_CHECKING:
    from workloads.architectures.kinds import Indexer, SharedCompressedAttention
    from workloads.execution_plan import ExecutionPlan
    from workloads.layout import Layout
    from workloads.ops import Quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedCompressedLayers:
    """``layers`` equal layers of CSA2 on one rank.

    Notes
    -----
    As in `workloads.models.deepseek_v4_attention.AttentionLayers`: query and output projections
    are divided by heads and groups, the rest is replicated. Of the layers that share rows only
    one projects and writes them; of those that share a choice only one scores. Every layer
    gathers the chosen rows for itself. The kernels take the efficiencies of DeepSeek V4's.
    """

    kind: SharedCompressedAttention
    hidden: int
    layout: Layout
    plan: ExecutionPlan
    layers: int

    def validate(self) -> None:
        """Nothing beyond the division of heads and groups, which the model checks."""

    @property
    def heads(self) -> float:
        """Query heads of this rank. [-]"""
        return self.kind.heads / self.layout.attention_tp

    @property
    def entry_bytes(self) -> float:
        """One row of keys and values. [B]"""
        return ENTRY_BYTES[self.plan.kv_storage]

    @property
    def _own_indexer(self) -> Indexer | None:
        indexer = self.kind.indexer
        return indexer if indexer is not None and indexer.own else None

    def projections(self, *, tokens: Quantity) -> list[Op]:
        """Query, row, index and grouped output projections with the writes to the cache."""
        kind, plan, ranks = self.kind, self.plan, self.layout.attention_tp
        query = self.heads * kind.head_dim
        middle = kind.o_groups * kind.o_rank / ranks
        indexer = self._own_indexer
        rows: list[tuple[str, Component, str, float, float, float | None]] = [
            (
                "csa2.q_a_kv",
                Component.DENSE,
                plan.dense_path,
                self.hidden,
                float(kind.q_rank + kind.head_dim),
                None,
            ),
            ("csa2.q_b", Component.DENSE, plan.dense_path, kind.q_rank, query, None),
            ("csa2.o_a", Component.DENSE, plan.output_a_path, query, middle, query * kind.o_rank),
            ("csa2.o_b", Component.DENSE, plan.dense_path, middle, float(self.hidden), None),
        ]
        if kind.writes and kind.indexer is not None:
            values = float(kind.head_dim * (2 if kind.ratio > 1 else 1))
            key = float(kind.indexer.head_dim)
            rows += [
                ("csa2.compressor", Component.ATTENTION, "bf16", self.hidden, values, None),
                ("csa2.index_key", Component.INDEXER, "bf16", kind.head_dim, key, None),
            ]
        if indexer is not None:
            width = float(indexer.heads * indexer.head_dim)
            weights = float(indexer.heads)
            rows += [
                ("indexer.wq_b", Component.INDEXER, plan.dense_path, kind.q_rank, width, None),
                ("indexer.weights", Component.INDEXER, "bf16", self.hidden, weights, None),
            ]
        ops = [
            gemm(
                name=name,
                component=component,
                path=path,
                tokens=tokens,
                inputs=float(inputs),
                outputs=outputs,
                parameters=parameters,
                layers=self.layers,
                scale=plan.kernels_scale,
            )
            for name, component, path, inputs, outputs, parameters in rows
        ]
        ops.append(self._insert(tokens=tokens, query=query))
        if indexer is not None:
            ops.append(self._index_query(indexer, tokens=tokens))
        return ops + all_reduce(
            name="csa2.all_reduce",
            tokens=tokens,
            hidden=self.hidden,
            ranks=ranks,
            layers=self.layers,
        )

    def row_ops(self, *, tokens: Quantity) -> list[Op]:
        """What writes the shared rows of tokens that do not pass the layer otherwise."""
        kind, plan = self.kind, self.plan
        if not kind.writes or kind.indexer is None:
            return []
        values = float(kind.head_dim * (2 if kind.ratio > 1 else 1))
        row = kind.context_bytes(kv=plan.kv_storage, index=plan.index_storage)
        ops = [
            gemm(
                name=f"csa2.rows.{name}",
                component=Component.ATTENTION,
                path="bf16",
                tokens=tokens,
                inputs=float(inputs),
                outputs=outputs,
                layers=self.layers,
                scale=plan.kernels_scale,
            )
            for name, inputs, outputs in (
                ("compressor", self.hidden, values),
                ("index_key", kind.head_dim, float(kind.indexer.head_dim)),
            )
        ]
        insert = Op(
            name="csa2.rows.insert",
            component=Component.ATTENTION,
            kind=OpKind.MEMORY,
            kv_bytes=tokens * row,
            kernels=KERNELS["compress"] * plan.kernels_scale,
            layers=self.layers,
        )
        return [*ops, insert]

    def _insert(self, *, tokens: Quantity, query: float) -> Op:
        kind = self.kind
        written = self.entry_bytes
        if kind.writes:
            written += kind.context_bytes(kv=self.plan.kv_storage, index=self.plan.index_storage)
        return Op(
            name="csa2.insert",
            component=Component.ATTENTION,
            kind=OpKind.MEMORY,
            kv_bytes=tokens * written,
            activation_bytes=tokens * ((2.0 * query + kind.head_dim) * BF16_BYTES),
            kernels=(KERNELS["window_insert"] + kind.writes * KERNELS["compress"])
            * self.plan.kernels_scale,
            layers=self.layers,
        )

    def _index_query(self, indexer: Indexer, *, tokens: Quantity) -> Op:
        key = index_key_bytes(head_dim=indexer.head_dim, index=self.plan.index_storage)
        width = indexer.heads * indexer.head_dim
        return memory(
            name="indexer.query",
            component=Component.INDEXER,
            activation_bytes=tokens * (width * (BF16_BYTES + key / indexer.head_dim)),
            kernels=KERNELS["index_query"] * self.plan.kernels_scale,
            layers=self.layers,
        )

    def _score(
        self, *, phase: str, queries: Quantity, scored: Quantity, keys: Quantity
    ) -> list[Op]:
        indexer = self._own_indexer
        if indexer is None:
            return []
        return index_ops(
            phase=phase,
            queries=queries,
            scored=scored,
            keys=keys,
            heads=indexer.heads,
            head_dim=indexer.head_dim,
            top_k=indexer.top_k,
            plan=self.plan,
            layers=self.layers,
        )

    def decode(
        self, *, requests: Quantity, queries_per_request: int, context: Quantity
    ) -> list[Op]:
        """Scores and core of decoding requests.

        Notes
        -----
        ``F = 4 h d (min(n, w) + min(n / r, k))`` per query with a window w, rows of r tokens and
        k rows chosen; scores over ``n / r`` rows, or the candidates if they are fewer.
        """
        kind = self.kind
        queries = requests * float(queries_per_request)
        attended: Quantity = np.minimum(context, kind.window)
        read: Quantity = np.minimum(context, kind.window + queries_per_request - 1.0)
        ops: list[Op] = []
        if kind.ratio and kind.indexer is not None:
            rows = context / kind.ratio
            scored = np.minimum(rows, kind.candidates) if kind.candidates else rows
            ops = self._score(
                phase="decode", queries=queries, scored=queries * scored, keys=requests * scored
            )
            top = float(kind.indexer.top_k)
            attended = attended + np.minimum(rows, top)
            read = read + np.minimum(rows, top * queries_per_request)
        core = self._core(
            phase="decode",
            queries=queries,
            attended=queries * attended,
            kv_bytes=requests * read * self.entry_bytes,
        )
        return [*ops, core]

    def prefill(self, *, new_tokens: Quantity, prefix_tokens: Quantity) -> list[Op]:
        """Scores and core of one prompt chunk; entries pass a BF16 workspace as in DeepSeek V4."""
        kind = self.kind
        attended = chunk_sum(
            new_tokens=new_tokens, prefix_tokens=prefix_tokens, limit=float(kind.window)
        )
        entries = np.minimum(prefix_tokens, kind.window) + new_tokens
        ops: list[Op] = []
        if kind.ratio and kind.indexer is not None:
            rows = (prefix_tokens + new_tokens) / kind.ratio
            attended = attended + chunk_sum(
                new_tokens=new_tokens,
                prefix_tokens=prefix_tokens,
                ratio=kind.ratio,
                limit=float(kind.indexer.top_k),
            )
            entries = entries + rows
            ops = self._score(
                phase="prefill",
                queries=new_tokens,
                scored=chunk_sum(
                    new_tokens=new_tokens,
                    prefix_tokens=prefix_tokens,
                    ratio=kind.ratio,
                    limit=float(kind.candidates) if kind.candidates else None,
                ),
                keys=rows,
            )
        copies = 0.0 if self.plan.kv_storage == "bf16" else 2.0 * kind.head_dim * BF16_BYTES
        core = self._core(
            phase="prefill",
            queries=new_tokens,
            attended=attended,
            kv_bytes=entries * (self.entry_bytes + copies),
        )
        return [*ops, core]

    def _core(self, *, phase: str, queries: Quantity, attended: Quantity, kv_bytes: Quantity) -> Op:
        width = max(self.heads, float(self.plan.attention_head_multiple)) * self.kind.head_dim
        return Op(
            name=f"csa2.{phase}",
            component=Component.ATTENTION,
            kind=OpKind.ATTENTION,
            variant=phase,
            flops=attended * (4.0 * width),
            kv_bytes=kv_bytes,
            activation_bytes=queries * (2.0 * width * BF16_BYTES),
            kernels=KERNELS[f"core.{phase}"] * self.plan.kernels_scale,
            layers=self.layers,
        )
