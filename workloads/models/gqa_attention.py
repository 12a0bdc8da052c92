"""Grouped-query attention (GQA): several query heads share one head of keys and values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from workloads.errors import UserError
from workloads.kvstorage import gqa_entry_bytes
from workloads.models.indexer import chunk_sum
from workloads.models.kernels import KERNELS
from workloads.models.parts import BF16_BYTES, all_reduce, gemm
from workloads.ops import Component, Op, OpKind

if TYPE_CHECKING:
    from workloads.architecture import DenseArchitecture
    from workloads.layout import Layout
    from workloads.ops import Quantity
    from workloads.plan import ExecutionPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupedQueryAttention:
    """``layers`` equal GQA layers on one rank.

    Notes
    -----
    Query heads and, with them, the heads of keys and values are divided over the tensor-parallel
    ranks; ranks beyond the number of KV heads hold copies (Ainslie et al., "GQA", arXiv
    2305.13245; replication as in vLLM's ``QKVParallelLinear``).
    """

    architecture: DenseArchitecture
    layout: Layout
    plan: ExecutionPlan
    layers: int

    def validate(self) -> None:
        """Check that the KV heads divide over the ranks, or the ranks over the KV heads.

        Raises
        ------
        UserError
            Naming the degree, what it must divide and what to do.
        """
        heads, ranks = self.architecture.num_key_value_heads, self.layout.attention_tp
        if heads % ranks and ranks % heads:
            raise UserError(
                f"tp is {ranks}, which neither divides the {heads} KV heads of "
                f"{self.architecture.name} nor is a multiple of them; choose a divisor of {heads}"
            )

    @property
    def heads(self) -> float:
        """Query heads of this rank. [-]"""
        return self.architecture.num_attention_heads / self.layout.attention_tp

    @property
    def kv_heads(self) -> int:
        """Heads of keys and values that this rank holds. [-]"""
        return max(1, self.architecture.num_key_value_heads // self.layout.attention_tp)

    @property
    def entry_bytes(self) -> float:
        """Keys and values of one token in one layer on this rank. [B]"""
        return gqa_entry_bytes(
            architecture=self.architecture,
            kv=self.plan.kv_storage,
            attention_tp=self.layout.attention_tp,
        )

    def projections(self, *, tokens: Quantity) -> list[Op]:
        """Fused query, key and value projection, rope, write to the KV cache, output projection."""
        arch, plan = self.architecture, self.plan
        query, kv = self.heads * arch.head_dim, self.kv_heads * arch.head_dim
        qkv, output = (
            gemm(
                name=name,
                component=Component.DENSE,
                path=plan.dense_path,
                tokens=tokens,
                inputs=inputs,
                outputs=outputs,
                layers=self.layers,
                scale=plan.kernels_scale,
            )
            for name, inputs, outputs in (
                ("gqa.qkv_proj", arch.hidden_size, query + 2.0 * kv),
                ("gqa.o_proj", query, arch.hidden_size),
            )
        )
        insert = Op(
            name="gqa.insert",
            component=Component.ATTENTION,
            kind=OpKind.MEMORY,
            kv_bytes=tokens * self.entry_bytes,
            # queries and keys are rotated in place, keys and values read once more
            activation_bytes=tokens * ((2.0 * query + 4.0 * kv) * BF16_BYTES),
            kernels=KERNELS["rope_insert"] * plan.kernels_scale,
            layers=self.layers,
        )
        return [
            qkv,
            insert,
            output,
            *all_reduce(
                name="gqa.all_reduce",
                tokens=tokens,
                hidden=arch.hidden_size,
                ranks=self.layout.attention_tp,
                layers=self.layers,
            ),
        ]

    def decode(
        self, *, requests: Quantity, queries_per_request: int, context: Quantity
    ) -> list[Op]:
        """Attention core of decoding requests.

        Notes
        -----
        ``F = 4 h d n`` per query and ``B = n e`` per request: the queries of a request and the
        heads of a group read the keys and values once.
        """
        queries = requests * float(queries_per_request)
        return [
            self._core(
                phase="decode",
                pairs=queries * context,
                entries=requests * context,
                queries=queries,
            )
        ]

    def prefill(self, *, new_tokens: Quantity, prefix_tokens: Quantity) -> list[Op]:
        """Attention core of one prompt chunk.

        Notes
        -----
        ``F = 4 h d (m p + m (m + 1) / 2)`` for m new tokens after p: causal, each query sees
        what stands before it.
        """
        return [
            self._core(
                phase="prefill",
                pairs=chunk_sum(new_tokens=new_tokens, prefix_tokens=prefix_tokens),
                entries=prefix_tokens + new_tokens,
                queries=new_tokens,
            )
        ]

    def _core(self, *, phase: str, pairs: Quantity, entries: Quantity, queries: Quantity) -> Op:
        width = self.heads * self.architecture.head_dim
        return Op(
            name=f"gqa.{phase}",
            component=Component.ATTENTION,
            kind=OpKind.ATTENTION,
            variant=f"gqa_{phase}",
            flops=pairs * (4.0 * width),
            kv_bytes=entries * self.entry_bytes,
            activation_bytes=queries * (2.0 * width * BF16_BYTES),
            kernels=KERNELS[f"core.gqa_{phase}"] * self.plan.kernels_scale,
            layers=self.layers,
        )
