"""Grouped-query attention (GQA): several query heads share one head of keys and values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from workloads.errors import UserError
from workloads.models.indexer import chunk_sum
from workloads.models.kernels import KERNELS
from workloads.models.kv_bytes import gqa_entry_bytes
from workloads.models.parts import BF16_BYTES, all_reduce, gemm, memory
from workloads.ops import Component, Op, OpKind

if TYPE_CHECKING:
    from workloads.architectures.catalog import DenseArchitecture, MoeGqaArchitecture
    from workloads.execution_plan import ExecutionPlan
    from workloads.layout import Layout
    from workloads.ops import Quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupedQueryAttention:
    """``layers`` equal GQA layers on one rank.

    Parameters
    ----------
    window:
        Tokens that a query attends to, itself included; 0: all. [tokens]
    output_gate:
        Whether a gate as wide as the queries multiplies the output of the core.
    qk_norm_type:
        ``per_head``: norms of width ``head_dim``; ``per_layer``: over all heads at once, whose
        squares the ranks must sum before they can scale (vLLM ``MiniMaxText01RMSNormTP``); empty
        without.

    Notes
    -----
    Query heads and, with them, the heads of keys and values are divided over the tensor-parallel
    ranks; ranks beyond the number of KV heads hold copies (Ainslie et al., "GQA", arXiv
    2305.13245; replication as in vLLM's ``QKVParallelLinear``). Attention sinks (gpt-oss) add one
    exponential to each row of the softmax, and biases one addition to each output: neither is
    counted.
    """

    architecture: DenseArchitecture | MoeGqaArchitecture
    layout: Layout
    plan: ExecutionPlan
    layers: int
    window: int = 0
    output_gate: bool = False
    qk_norm_type: str = ""

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
        """Fused query, key and value projection, rope, write to the KV cache, output projection.

        Norms of queries and keys, and a gate on the output, where the model has them.
        """
        arch, plan = self.architecture, self.plan
        query, kv = self.heads * arch.head_dim, self.kv_heads * arch.head_dim
        gate = query if self.output_gate else 0.0
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
                ("gqa.qkv_proj", arch.hidden_size, query + gate + 2.0 * kv),
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
            *self._qk_norm(tokens=tokens, width=query + kv),
            insert,
            *self._gate(tokens=tokens, width=gate),
            output,
            *all_reduce(
                name="gqa.all_reduce",
                tokens=tokens,
                hidden=arch.hidden_size,
                ranks=self.layout.attention_tp,
                layers=self.layers,
            ),
        ]

    def _qk_norm(self, *, tokens: Quantity, width: float) -> list[Op]:
        if not self.qk_norm_type:
            return []
        norm = memory(
            name="gqa.qk_norm",
            component=Component.ATTENTION,
            activation_bytes=tokens * (2.0 * width * BF16_BYTES),
            kernels=KERNELS["qk_norm"] * self.plan.kernels_scale,
            layers=self.layers,
        )
        if self.qk_norm_type == "per_head":
            return [norm]
        # the sums of squares of queries and of keys, in FP32: as long as four BF16 values
        squares = all_reduce(
            name="gqa.qk_norm.all_reduce",
            tokens=tokens,
            hidden=4,
            ranks=self.layout.attention_tp,
            layers=self.layers,
        )
        return [norm, *squares]

    def _gate(self, *, tokens: Quantity, width: float) -> list[Op]:
        if not width:
            return []
        return [
            memory(
                name="gqa.output_gate",
                component=Component.ATTENTION,
                activation_bytes=tokens * (3.0 * width * BF16_BYTES),
                kernels=KERNELS["activation"] * self.plan.kernels_scale,
                layers=self.layers,
            )
        ]

    def decode(
        self, *, requests: Quantity, queries_per_request: int, context: Quantity
    ) -> list[Op]:
        """Attention core of decoding requests.

        Notes
        -----
        ``F = 4 h d n`` per query and ``B = n e`` per request: the queries of a request and the
        heads of a group read the keys and values once. A window bounds n.
        """
        queries = requests * float(queries_per_request)
        seen = read = context
        if self.window:
            seen = np.minimum(context, self.window)
            read = np.minimum(context, self.window + queries_per_request - 1.0)
        return [
            self._core(
                phase="decode",
                pairs=queries * seen,
                entries=requests * read,
                queries=queries,
            )
        ]

    def prefill(self, *, new_tokens: Quantity, prefix_tokens: Quantity) -> list[Op]:
        """Attention core of one prompt chunk.

        Notes
        -----
        ``F = 4 h d (m p + m (m + 1) / 2)`` for m new tokens after p: causal, each query sees
        what stands before it, or the last ``window`` of that.
        """
        pairs = chunk_sum(
            new_tokens=new_tokens, prefix_tokens=prefix_tokens, limit=self.window or None
        )
        prefix = np.minimum(prefix_tokens, self.window) if self.window else prefix_tokens
        return [
            self._core(
                phase="prefill",
                pairs=pairs,
                entries=prefix + new_tokens,
                queries=new_tokens,
            )
        ]

    def _core(self, *, phase: str, pairs: Quantity, entries: Quantity, queries: Quantity) -> Op:
        width = self.heads * self.architecture.head_dim
        return Op(
            name=f"gqa.{phase}_window" if self.window else f"gqa.{phase}",
            component=Component.ATTENTION,
            kind=OpKind.ATTENTION,
            variant=f"gqa_{phase}",
            flops=pairs * (4.0 * width),
            kv_bytes=entries * self.entry_bytes,
            activation_bytes=queries * (2.0 * width * BF16_BYTES),
            kernels=KERNELS[f"core.gqa_{phase}"] * self.plan.kernels_scale,
            layers=self.layers,
        )
