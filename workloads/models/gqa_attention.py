"""Grouped-query attention (GQA): several query heads share one head of keys and values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from workloads.architectures.storage import VALUE_BYTES, head_entry_bytes
from workloads.errors import UserError
from workloads.models.indexer import choice_ops, chunk_sum
from workloads.models.kernels import KERNELS
from workloads.models.parts import BF16_BYTES, all_reduce, gemm, memory
from workloads.ops import Component, Op, OpKind

if TYPE_CHECKING:
    from workloads.architectures.kinds import GroupedAttention
    from workloads.execution_plan import ExecutionPlan
    from workloads.layout import Layout
    from workloads.ops import Quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupedQueryAttention:
    """``layers`` equal GQA layers on one rank.

    Parameters
    ----------
    kind:
        Heads, widths, window, gate and norms of the layers.
    hidden:
        Width of the residual stream. [-]
    model:
        Name of the model, for messages.
    name:
        Beginning of the operations' names.

    Notes
    -----
    Query heads and, with them, the heads of keys and values are divided over the tensor-parallel
    ranks; ranks beyond the number of KV heads hold copies (Ainslie et al., "GQA", arXiv
    2305.13245; replication as in vLLM's ``QKVParallelLinear``). Attention sinks (gpt-oss) add one
    exponential to each row of the softmax, and biases one addition to each output: neither is
    counted. A ``per_layer`` norm is over all heads at once, whose squares the ranks must sum
    before they can scale (vLLM ``MiniMaxText01RMSNormTP``).
    """

    kind: GroupedAttention
    hidden: int
    model: str
    layout: Layout
    plan: ExecutionPlan
    layers: int
    name: str = "gqa"

    def validate(self) -> None:
        """Check that the KV heads divide over the ranks, or the ranks over the KV heads.

        Raises
        ------
        UserError
            Naming the degree, what it must divide and what to do.
        """
        heads, ranks = self.kind.kv_heads, self.layout.attention_tp
        if heads % ranks and ranks % heads:
            raise UserError(
                f"tp is {ranks}, which neither divides the {heads} KV heads of "
                f"{self.model} nor is a multiple of them; choose a divisor of {heads}"
            )

    @property
    def heads(self) -> float:
        """Query heads of this rank. [-]"""
        return self.kind.heads / self.layout.attention_tp

    @property
    def kv_heads(self) -> int:
        """Heads of keys and values that this rank holds. [-]"""
        return max(1, self.kind.kv_heads // self.layout.attention_tp)

    @property
    def entry_bytes(self) -> float:
        """Keys and values of one token in one layer on this rank. [B]"""
        return head_entry_bytes(
            kv_heads=self.kind.kv_heads,
            width=self.kind.key_dim + self.kind.value_dim,
            kv=self.plan.kv_storage,
            attention_tp=self.layout.attention_tp,
        )

    @property
    def index_key_bytes(self) -> float:
        """One index key, stored as the KV cache is; 0 without a choice of blocks. [B]"""
        chosen = self.kind.selection
        return chosen.head_dim * VALUE_BYTES[self.plan.kv_storage] if chosen else 0.0

    def projections(self, *, tokens: Quantity) -> list[Op]:
        """Fused query, key and value projection, rope, write to the KV cache, output projection.

        Norms of queries and keys, a gate on the output and an indexer, where the model has them.
        """
        kind, plan = self.kind, self.plan
        query, key = self.heads * kind.key_dim, self.kv_heads * kind.key_dim
        value, output = self.kv_heads * kind.value_dim, self.heads * kind.value_dim
        gate = {"": 0.0, "full": output, "head": self.heads}[kind.gate]
        keys_values = key if kind.value_is_key else key + value
        qkv, out = (
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
                (f"{self.name}.qkv_proj", self.hidden, query + gate + keys_values),
                (f"{self.name}.o_proj", output, self.hidden),
            )
        )
        insert = Op(
            name=f"{self.name}.insert",
            component=Component.ATTENTION,
            kind=OpKind.MEMORY,
            kv_bytes=tokens * (self.entry_bytes + self.index_key_bytes),
            # queries and keys are rotated in place, keys and values read once more
            activation_bytes=tokens * ((2.0 * query + 2.0 * (key + value)) * BF16_BYTES),
            kernels=KERNELS["rope_insert"] * plan.kernels_scale,
            layers=self.layers,
        )
        return [
            qkv,
            *self._qk_norm(tokens=tokens, width=query + key),
            insert,
            *self._gate(tokens=tokens, width=output if gate else 0.0),
            out,
            *all_reduce(
                name=f"{self.name}.all_reduce",
                tokens=tokens,
                hidden=self.hidden,
                ranks=self.layout.attention_tp,
                layers=self.layers,
            ),
            *self._index_projection(tokens=tokens),
        ]

    def _qk_norm(self, *, tokens: Quantity, width: float) -> list[Op]:
        if not self.kind.qk_norm:
            return []
        norm = memory(
            name=f"{self.name}.qk_norm",
            component=Component.ATTENTION,
            activation_bytes=tokens * (2.0 * width * BF16_BYTES),
            kernels=KERNELS["qk_norm"] * self.plan.kernels_scale,
            layers=self.layers,
        )
        if self.kind.qk_norm == "per_head":
            return [norm]
        # the sums of squares of queries and of keys, in FP32: as long as four BF16 values
        squares = all_reduce(
            name=f"{self.name}.qk_norm.all_reduce",
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
                name=f"{self.name}.output_gate",
                component=Component.ATTENTION,
                activation_bytes=tokens * (3.0 * width * BF16_BYTES),
                kernels=KERNELS["activation"] * self.plan.kernels_scale,
                layers=self.layers,
            )
        ]

    @property
    def _index_heads(self) -> float:
        """Index query heads of this rank, divided as the KV heads are. [-]"""
        chosen = self.kind.selection
        return max(1, chosen.heads // self.layout.attention_tp) if chosen else 0.0

    def _index_projection(self, *, tokens: Quantity) -> list[Op]:
        """Index queries of this rank and the one index key, whole on each."""
        chosen = self.kind.selection
        if chosen is None:
            return []
        return [
            gemm(
                name=f"{self.name}.index_proj",
                component=Component.INDEXER,
                path=self.plan.dense_path,
                tokens=tokens,
                inputs=self.hidden,
                outputs=(self._index_heads + 1.0) * chosen.head_dim,
                layers=self.layers,
                scale=self.plan.kernels_scale,
                extra_kernels=KERNELS["index_query"],
            )
        ]

    def row_ops(self, *, tokens: Quantity) -> list[Op]:
        """Nothing: its entries are written with its projections."""
        del tokens
        return []

    def decode(
        self, *, requests: Quantity, queries_per_request: int, context: Quantity
    ) -> list[Op]:
        """Attention core of decoding requests.

        Notes
        -----
        ``F = 2 h (d_k + d_v) n`` per query and ``B = n e`` per request: the queries of a request
        and the heads of a group read the keys and values once. A window bounds n; a chunk leaves
        half its size in the mean; chosen blocks bound what each query reads.
        """
        kind = self.kind
        queries = requests * float(queries_per_request)
        seen = read = context
        ops: list[Op] = []
        if kind.window:
            seen = np.minimum(context, kind.window)
            read = np.minimum(context, kind.window + queries_per_request - 1.0)
        elif kind.chunk:
            seen = read = np.where(
                np.asarray(context) > kind.chunk, (kind.chunk + 1.0) / 2.0, context
            )
        elif kind.selection:
            reach = float(kind.selection.reach)
            seen = np.minimum(context, reach)
            read = np.minimum(context, reach * queries_per_request)
            ops = self._choice(
                phase="decode", queries=queries, scored=queries * context, keys=requests * context
            )
        core = self._core(
            phase="decode", pairs=queries * seen, entries=requests * read, queries=queries
        )
        return [*ops, core]

    def prefill(self, *, new_tokens: Quantity, prefix_tokens: Quantity) -> list[Op]:
        """Attention core of one prompt chunk.

        Notes
        -----
        ``F = 2 h (d_k + d_v) (m p + m (m + 1) / 2)`` for m new tokens after p: causal, each query
        sees what stands before it, or the last ``window`` of that, or what of it lies in its
        chunk.
        """
        kind = self.kind
        ops: list[Op] = []
        prefix = prefix_tokens
        if kind.chunk:
            pairs = _within_chunks(prefix_tokens + new_tokens, kind.chunk) - _within_chunks(
                prefix_tokens, kind.chunk
            )
            prefix = np.mod(prefix_tokens, kind.chunk)
        else:
            limit = kind.window or (kind.selection.reach if kind.selection else None)
            pairs = chunk_sum(new_tokens=new_tokens, prefix_tokens=prefix_tokens, limit=limit)
        if kind.window:
            prefix = np.minimum(prefix_tokens, kind.window)
        if kind.selection:
            ops = self._choice(
                phase="prefill",
                queries=new_tokens,
                scored=chunk_sum(new_tokens=new_tokens, prefix_tokens=prefix_tokens),
                keys=prefix_tokens + new_tokens,
            )
        core = self._core(
            phase="prefill", pairs=pairs, entries=prefix + new_tokens, queries=new_tokens
        )
        return [*ops, core]

    def _choice(
        self, *, phase: str, queries: Quantity, scored: Quantity, keys: Quantity
    ) -> list[Op]:
        """Scores of all index keys, and the choice of the blocks that attention reads."""
        chosen = self.kind.selection
        if chosen is None:
            return []
        return choice_ops(
            phase=phase,
            queries=queries,
            scored=scored,
            key_bytes=keys * self.index_key_bytes,
            flops=scored * (2.0 * self._index_heads * chosen.head_dim),
            precision="bf16",
            chosen=chosen.blocks * self._index_heads,
            scale=self.plan.kernels_scale,
            layers=self.layers,
        )

    def _core(self, *, phase: str, pairs: Quantity, entries: Quantity, queries: Quantity) -> Op:
        kind = self.kind
        width = self.heads * (kind.key_dim + kind.value_dim)
        bound = "_window" if kind.window else "_chunk" if kind.chunk else ""
        return Op(
            name=f"gqa.{phase}{bound}" + ("_blocks" if kind.selection else ""),
            component=Component.ATTENTION,
            kind=OpKind.ATTENTION,
            variant=f"gqa_{phase}",
            flops=pairs * (2.0 * width),
            kv_bytes=entries * self.entry_bytes,
            activation_bytes=queries * (width * BF16_BYTES),
            kernels=KERNELS[f"core.gqa_{phase}"] * self.plan.kernels_scale,
            layers=self.layers,
        )


def _within_chunks(context: Quantity, chunk: int) -> Quantity:
    """Keys that the tokens 1..context see in all, each those of its own aligned chunk. [-]"""
    whole = np.floor_divide(context, float(chunk))
    rest = context - whole * chunk
    total: Quantity = whole * (chunk * (chunk + 1.0) / 2.0) + rest * (rest + 1.0) / 2.0
    return total
