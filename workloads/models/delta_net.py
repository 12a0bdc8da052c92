"""Gated delta rule: linear attention whose memory of a request is one matrix per head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from workloads.models.kernels import KERNELS
from workloads.models.parts import BF16_BYTES, FP32_BYTES, all_reduce, gemm, memory
from workloads.ops import Component, Op, OpKind

if TYPE_CHECKING:
    from workloads.architectures.catalog import GatedDeltaNet
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


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltaNetLayers:
    """``layers`` equal layers of a gated delta net on one rank.

    Notes
    -----
    Heads of keys and of values are divided over the ranks that share the attention; queries and
    keys serve several heads of values. The recurrent state is FP32, activations are BF16. Shapes
    as in ``Qwen3NextGatedDeltaNet`` of transformers and vLLM: one projection to queries, keys,
    values and output gates, one to the two gates of each value head, a convolution over queries,
    keys and values, the delta rule, a gated norm and the output projection.
    """

    linear: GatedDeltaNet
    hidden: int
    layout: Layout
    plan: ExecutionPlan
    layers: int

    @property
    def ranks(self) -> int:
        """Ranks over which the heads are divided. [-]"""
        return self.layout.attention_tp

    @property
    def value_heads(self) -> float:
        """Value heads of this rank. [-]"""
        return self.linear.linear_num_value_heads / self.ranks

    def projections(self, *, tokens: Quantity) -> list[Op]:
        """Input projections, gated norm and output projection with its all-reduce."""
        linear, plan, ranks = self.linear, self.plan, self.ranks
        key, value = linear.key_width / ranks, linear.value_width / ranks
        ins, gates, out = (
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
                ("gdn.in_proj", plan.dense_path, self.hidden, 2.0 * key + 2.0 * value),
                ("gdn.gates", "bf16", self.hidden, 2.0 * self.value_heads),
                ("gdn.out_proj", plan.dense_path, value, self.hidden),
            )
        )
        split, norm = (
            memory(
                name=name,
                component=Component.ATTENTION,
                activation_bytes=tokens * (values * BF16_BYTES),
                kernels=KERNELS[name] * plan.kernels_scale,
                layers=self.layers,
            )
            for name, values in (
                ("gdn.split", 2.0 * (2.0 * key + 2.0 * value)),
                ("gdn.norm", 3.0 * value),
            )
        )
        reduced = all_reduce(
            name="gdn.all_reduce",
            tokens=tokens,
            hidden=self.hidden,
            ranks=ranks,
            layers=self.layers,
        )
        return [ins, gates, split, norm, out, *reduced]

    def decode(self, *, requests: Quantity, queries_per_request: int) -> list[Op]:
        """Convolution and delta rule of decoding requests, whatever their context.

        Notes
        -----
        Each request reads its state and writes it once per token: drafts that are not accepted
        leave the state of the last accepted token (``num_speculative_blocks`` in vLLM,
        ``intermediate_ssm`` in SGLang).
        """
        tokens = requests * float(queries_per_request)
        return self._core(
            phase="decode",
            tokens=tokens,
            states=requests * (1.0 + queries_per_request),
            flops=recurrent_flops(**self._widths),
            value_head_bytes=2.0 * self.linear.linear_value_head_dim * BF16_BYTES,
            calls=requests,
        )

    def prefill(self, *, new_tokens: Quantity) -> list[Op]:
        """Convolution and delta rule of one prompt chunk, whatever stands before it."""
        return self._core(
            phase="prefill",
            tokens=new_tokens,
            states=2.0,
            flops=chunked_flops(**self._widths),
            value_head_bytes=chunked_bytes(**self._widths),
            calls=1.0,
        )

    @property
    def _widths(self) -> dict[str, float]:
        return {
            "key_dim": float(self.linear.linear_key_head_dim),
            "value_dim": float(self.linear.linear_value_head_dim),
        }

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
        linear, ranks, scale = self.linear, self.ranks, self.plan.kernels_scale
        taps = float(linear.linear_conv_kernel_dim)
        channels = linear.conv_width / ranks
        conv = Op(
            name=f"gdn.{phase}_conv",
            component=Component.ATTENTION,
            kind=OpKind.MEMORY,
            variant="conv",
            flops=tokens * (2.0 * taps * channels),
            kv_bytes=calls * (2.0 * (taps - 1.0) * channels * BF16_BYTES),
            activation_bytes=tokens * (2.0 * channels * BF16_BYTES),
            kernels=KERNELS["gdn.conv"] * scale,
            layers=self.layers,
        )
        keys = 2.0 * linear.key_width / ranks * BF16_BYTES
        rule = Op(
            name=f"gdn.{phase}",
            component=Component.ATTENTION,
            kind=OpKind.ATTENTION,
            variant=f"gdn_{phase}",
            flops=tokens * (self.value_heads * flops),
            kv_bytes=states * (linear.state_values / ranks * FP32_BYTES),
            activation_bytes=tokens * (self.value_heads * value_head_bytes + keys),
            kernels=KERNELS[f"core.gdn_{phase}"] * scale,
            layers=self.layers,
        )
        return [conv, rule]
