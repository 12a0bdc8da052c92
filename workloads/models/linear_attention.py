"""Linear attention: layers whose memory of a request is one matrix per head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from workloads.models.kernels import KERNELS
from workloads.models.parts import BF16_BYTES, FP32_BYTES, all_reduce, gemm, memory
from workloads.ops import Component, Op, OpKind

if TYPE_CHECKING:
    from workloads.architectures.kinds import LinearAttention
    from workloads.execution_plan import ExecutionPlan
    from workloads.layout import Layout
    from workloads.ops import Quantity

CHUNK = 64
"""Tokens that the chunked prefill kernel takes at a time. [tokens]"""


def recurrent_flops(*, key_dim: Quantity, value_dim: Quantity) -> Quantity:
    """FLOPs of one token in one value head, step by step. [FLOP]

    ``S <- a S``, ``S k``, ``S <- S + b (v - S k) k'``, ``S q``: one, two, two and two for each
    of the ``key_dim * value_dim`` values of the state (arXiv 2412.06464, equation 10).
    """
    return 7.0 * key_dim * value_dim


def chunked_flops(*, key_dim: Quantity, value_dim: Quantity, chunk: float = CHUNK) -> Quantity:
    """FLOPs of one token in one value head of the chunked kernel. [FLOP]

    With C tokens a chunk: ``K K'`` (2 C k), the inverse of a triangular matrix (2 C^2 / 3), W and
    U from it (2 C (k + v)), ``W S``, ``Q S`` and the update of S (6 k v), ``Q K'`` and its product
    with the values (2 C (k + v)); arXiv 2412.06464, section 3.3, on arXiv 2406.06484, section 3.
    """
    inside = chunk * (6.0 * key_dim + 4.0 * value_dim) + 2.0 * chunk**2 / 3.0
    return inside + 6.0 * key_dim * value_dim


def chunked_bytes(*, key_dim: Quantity, value_dim: Quantity, chunk: float = CHUNK) -> Quantity:
    """HBM traffic of one token in one value head of the chunked kernel, BF16. [B]

    The kernels of a chunk hand W, U, the corrected values, the inverse and the state at its start
    to each other through memory, each written and read once; values are read, outputs written
    (flash-linear-attention, ``fla/ops/gated_delta_rule/chunk.py``).
    """
    handed = key_dim + 2.0 * value_dim + chunk + key_dim * value_dim / chunk
    return (2.0 * handed + 2.0 * value_dim) * BF16_BYTES


def decayed_chunk_flops(
    *, key_dim: Quantity, value_dim: Quantity, chunk: float = CHUNK
) -> Quantity:
    """FLOPs of one token in one head of a chunked kernel without the delta rule. [FLOP]

    ``Q K'`` and its product with the values (2 C (k + v)), ``Q S`` and the update of S (4 k v):
    lightning attention (arXiv 2401.04658) and Mamba-2's state-space dual (arXiv 2405.21060,
    section 6).
    """
    return 2.0 * chunk * (key_dim + value_dim) + 4.0 * key_dim * value_dim


def decayed_chunk_bytes(
    *, key_dim: Quantity, value_dim: Quantity, chunk: float = CHUNK
) -> Quantity:
    """HBM traffic of one token in one head of such a kernel, BF16: states, values, outputs. [B]"""
    return (2.0 * key_dim * value_dim / chunk + 2.0 * value_dim) * BF16_BYTES


RULE_FLOPS: dict[str, float] = {"gdn": 7.0, "kda": 7.0, "lightning": 5.0, "mamba2": 6.0}
"""FLOPs of one token for each value of the state, step by step. [-]

``kda`` as ``gdn``, but each channel of the keys decays on its own (arXiv 2510.26692, equation 1);
``lightning``: decay, outer product, query; ``mamba2``: the same with the input scaled.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearLayers:
    """``layers`` equal layers of linear attention on one rank.

    Parameters
    ----------
    kind:
        Rule, heads and widths of the layers.
    hidden:
        Width of the residual stream. [-]

    Notes
    -----
    Heads of keys and of values are divided over the ranks that share the attention; queries and
    keys serve several heads of values. Activations are BF16. ``gdn``: shapes as in
    ``Qwen3NextGatedDeltaNet`` of transformers and vLLM: one projection to queries, keys, values
    and output gates, one to the two gates of each value head, a convolution over queries, keys
    and values, the delta rule, a gated norm and the output projection. ``kda``: decays of every
    key channel and output gates, each through a low rank or not, and one gate of each head.
    ``mamba2``: one projection to gates, inputs, the keys and queries of the groups, and steps.
    The kernels of all rules take the efficiencies measured for the gated delta rule.
    """

    kind: LinearAttention
    hidden: int
    layout: Layout
    plan: ExecutionPlan
    layers: int

    def validate(self) -> None:
        """Nothing beyond the division of heads, which the model checks."""

    @property
    def ranks(self) -> int:
        """Ranks over which the heads are divided. [-]"""
        return self.layout.attention_tp

    @property
    def value_heads(self) -> float:
        """Value heads of this rank. [-]"""
        return self.kind.value_heads / self.ranks

    def _inputs(self) -> list[tuple[str, str, float, float]]:
        """Input projections: name, path, inputs and outputs of this rank. [-]"""
        kind, dense = self.kind, self.plan.dense_path
        key, value = kind.key_width / self.ranks, kind.value_width / self.ranks
        hidden = float(self.hidden)
        if kind.rule == "gdn":
            return [
                ("gdn.in_proj", dense, hidden, 2.0 * key + 2.0 * value),
                ("gdn.gates", "bf16", hidden, 2.0 * self.value_heads),
            ]
        if kind.rule == "mamba2":
            width = 2.0 * key + 2.0 * value + self.value_heads
            return [("mamba2.in_proj", dense, hidden, width)]
        if kind.rule == "lightning":
            return [("lightning.in_proj", dense, hidden, 2.0 * key + 2.0 * value)]
        full = 2.0 * key + value
        low = []
        for name, rank, width in (
            ("decay", kind.decay_rank, key),
            ("gate", kind.gate_rank, value),
        ):
            if rank:
                low += [
                    (f"kda.{name}_down", dense, hidden, float(rank)),
                    (f"kda.{name}_up", dense, float(rank), width),
                ]
            else:
                full += width
        return [
            ("kda.in_proj", dense, hidden, full),
            *low,
            ("kda.gates", "bf16", hidden, self.value_heads),
        ]

    def projections(self, *, tokens: Quantity) -> list[Op]:
        """Input projections, gated norm and output projection with its all-reduce."""
        kind, plan, ranks = self.kind, self.plan, self.ranks
        rule = kind.rule
        key, value = kind.key_width / ranks, kind.value_width / ranks
        *ins, out = (
            gemm(
                name=name,
                component=Component.DENSE,
                path=path,
                tokens=tokens,
                inputs=inputs,
                outputs=outputs,
                layers=self.layers,
                scale=plan.kernels_scale,
            )
            for name, path, inputs, outputs in (
                *self._inputs(),
                (f"{rule}.out_proj", plan.dense_path, value, float(self.hidden)),
            )
        )
        split, norm = (
            memory(
                name=f"{rule}.{name}",
                component=Component.ATTENTION,
                activation_bytes=tokens * (values * BF16_BYTES),
                kernels=KERNELS[f"gdn.{name}"] * plan.kernels_scale,
                layers=self.layers,
            )
            for name, values in (
                ("split", 2.0 * (2.0 * key + 2.0 * value)),
                ("norm", 3.0 * value),
            )
        )
        reduced = all_reduce(
            name=f"{rule}.all_reduce",
            tokens=tokens,
            hidden=self.hidden,
            ranks=ranks,
            layers=self.layers,
        )
        return [*ins, split, norm, out, *reduced]

    def row_ops(self, *, tokens: Quantity) -> list[Op]:
        """Nothing: its entries are written with its projections."""
        del tokens
        return []

    def decode(
        self, *, requests: Quantity, queries_per_request: int, context: Quantity
    ) -> list[Op]:
        """Convolution and rule of decoding requests, whatever their context.

        Notes
        -----
        Each request reads its state and writes it once per token: drafts that are not accepted
        leave the state of the last accepted token (``num_speculative_blocks`` in vLLM,
        ``intermediate_ssm`` in SGLang).
        """
        del context
        tokens = requests * float(queries_per_request)
        kind = self.kind
        return self._core(
            phase="decode",
            tokens=tokens,
            states=requests * (1.0 + queries_per_request),
            flops=RULE_FLOPS[kind.rule] * kind.key_dim * kind.value_dim,
            value_head_bytes=2.0 * kind.value_dim * BF16_BYTES,
            calls=requests,
        )

    def prefill(self, *, new_tokens: Quantity, prefix_tokens: Quantity) -> list[Op]:
        """Convolution and rule of one prompt chunk, whatever stands before it."""
        del prefix_tokens
        widths = {"key_dim": float(self.kind.key_dim), "value_dim": float(self.kind.value_dim)}
        delta = self.kind.rule in ("gdn", "kda")
        return self._core(
            phase="prefill",
            tokens=new_tokens,
            states=2.0,
            flops=chunked_flops(**widths) if delta else decayed_chunk_flops(**widths),
            value_head_bytes=chunked_bytes(**widths) if delta else decayed_chunk_bytes(**widths),
            calls=1.0,
        )

    def _core(
        self,
        *,
        phase: str,
        tokens: Quantity,
        states: Quantity,
        flops: Quantity,
        value_head_bytes: Quantity,
        calls: Quantity,
    ) -> list[Op]:
        """``states``: recurrent states read or written; ``calls``: requests."""
        kind, ranks, scale = self.kind, self.ranks, self.plan.kernels_scale
        rule, taps = kind.rule, float(kind.taps)
        channels = kind.conv_width / ranks
        conv = Op(
            name=f"{rule}.{phase}_conv",
            component=Component.ATTENTION,
            kind=OpKind.MEMORY,
            variant="conv",
            flops=tokens * (2.0 * taps * channels),
            kv_bytes=calls * (2.0 * (taps - 1.0) * channels * BF16_BYTES),
            activation_bytes=tokens * (2.0 * channels * BF16_BYTES),
            kernels=KERNELS["gdn.conv"] * scale,
            layers=self.layers,
        )
        keys = 2.0 * kind.key_width / ranks * BF16_BYTES
        stored = FP32_BYTES if kind.state_dtype == "float32" else BF16_BYTES
        step = Op(
            name=f"{rule}.{phase}",
            component=Component.ATTENTION,
            kind=OpKind.ATTENTION,
            variant=f"gdn_{phase}",
            flops=tokens * (self.value_heads * flops),
            kv_bytes=states * (kind.state_values / ranks * stored),
            activation_bytes=tokens * (self.value_heads * value_head_bytes + keys),
            kernels=KERNELS[f"core.gdn_{phase}"] * scale,
            layers=self.layers,
        )
        return [conv, step] if kind.taps else [step]
