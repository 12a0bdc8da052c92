"""DeepSeek V4 (Pro, Flash) as operations on one rank."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from workloads.errors import UserError
from workloads.expert_load import UNIFORM, ExpertLoad
from workloads.kvstorage import ENTRY_BYTES, INDEX_KEY_BYTES
from workloads.models.deepseek_v4_attention import (
    CSA_RATIO,
    FP32_BYTES,
    HCA_RATIO,
    AttentionLayers,
    attention_weight_bytes,
    output_projection,
)
from workloads.models.kernels import KERNELS
from workloads.models.moe import Moe
from workloads.models.parts import BF16_BYTES, gemm
from workloads.models.precision import WEIGHT_BYTES
from workloads.ops import Component, Op, OpKind

if TYPE_CHECKING:
    from workloads.architecture import DeepseekV4Architecture
    from workloads.layout import Layout
    from workloads.ops import Quantity
    from workloads.plan import ExecutionPlan

_MHC_SITES = 2  # before attention and before the experts


@dataclass(frozen=True, slots=True, kw_only=True)
class DeepseekV4:
    """DeepSeek V4 bound to a layout and an execution plan; see `workloads.costmodel.CostModel`.

    Notes
    -----
    Equal layers are one operation with ``layers`` set. With pipeline stages the operations are
    those of the fullest stage, with the transfer to the next. With ``drafts`` the first draft
    pass runs over all tokens of a step and stands in `token_ops`; `draft_ops` has the others.
    Under attention data parallelism the language-model head is whole on every rank
    (SGLang ``--enable-dp-lm-head``, vLLM data parallelism); else it is divided by vocabulary.
    """

    architecture: DeepseekV4Architecture
    layout: Layout
    plan: ExecutionPlan
    expert_load: ExpertLoad = UNIFORM
    drafts: int = 0

    def validate(self) -> None:
        """Check that heads, groups and experts divide over the layout.

        Raises
        ------
        UserError
            Naming the field, its value, the limit and what to do.
        """
        arch, layout = self.architecture, self.layout
        ranks = layout.attention_tp
        for what, count in (
            ("attention heads", arch.num_attention_heads),
            ("output groups (o_groups)", arch.o_groups),
        ):
            if count % ranks:
                raise UserError(
                    f"tp is {ranks}, which does not divide the {count} {what} of {arch.name}; "
                    f"choose a divisor of {arch.o_groups}, or attention data parallelism"
                )
        if layout.pp > arch.num_hidden_layers:
            raise UserError(
                f"pp is {layout.pp}; {arch.name} has {arch.num_hidden_layers} layers to divide"
            )
        if self.drafts < 0:
            raise UserError(f"drafts is {self.drafts}; it must be 0 (no speculation) or more")
        self._moe.validate()

    @property
    def _moe(self) -> Moe:
        arch = self.architecture
        return Moe(
            hidden=arch.hidden_size,
            intermediate=arch.moe_intermediate_size,
            experts=arch.n_routed_experts,
            experts_per_token=arch.num_experts_per_tok,
            shared_experts=arch.n_shared_experts,
            layout=self.layout,
            plan=self.plan,
            load=self.expert_load,
        )

    def _stage_layers(self, layers: int) -> int:
        """Of ``layers`` equal layers, those of the fullest pipeline stage."""
        return -(-layers // self.layout.pp)

    @property
    def _layers(self) -> int:
        return self._stage_layers(self.architecture.num_hidden_layers)

    @property
    def _attention(self) -> list[AttentionLayers]:
        """Attention layers by compression ratio, kinds that do not occur left out."""
        return [
            self._attention_layers(ratio=ratio, layers=self._stage_layers(count))
            for ratio in (CSA_RATIO, HCA_RATIO, 0)
            if (count := self.architecture.layers_of_ratio(ratio))
        ]

    def _attention_layers(self, *, ratio: int, layers: int) -> AttentionLayers:
        return AttentionLayers(
            architecture=self.architecture,
            layout=self.layout,
            plan=self.plan,
            ratio=ratio,
            layers=layers,
        )

    def token_ops(self, *, rank_tokens: Quantity, group_tokens: Quantity) -> list[Op]:
        """See `CostModel.token_ops`; with drafts, the first draft pass as well."""
        arch = self.architecture
        ops = [
            Op(
                name="embedding",
                component=Component.OTHER,
                kind=OpKind.MEMORY,
                activation_bytes=rank_tokens
                * ((1.0 + arch.hc_mult) * arch.hidden_size * BF16_BYTES),
                kernels=KERNELS["embedding"] * self.plan.kernels_scale,
            )
        ]
        for attention in self._attention:
            ops += attention.projections(tokens=rank_tokens)
        ops += self._layer_ops(
            rank_tokens=rank_tokens, group_tokens=group_tokens, layers=self._layers
        )
        if self.layout.pp > 1:
            ops.append(
                Op(
                    name="pipeline.send",
                    component=Component.COMMUNICATION,
                    kind=OpKind.POINT_TO_POINT,
                    message_bytes=rank_tokens * (arch.hc_mult * arch.hidden_size * BF16_BYTES),
                    group_size=2,
                )
            )
        if self.drafts:
            ops += self._draft_pass(
                name="draft.first", tokens=rank_tokens, group_tokens=group_tokens, passes=1
            )
        return ops

    def _layer_ops(self, *, rank_tokens: Quantity, group_tokens: Quantity, layers: int) -> list[Op]:
        """What every layer has: output projection, mHC, experts."""
        ops = output_projection(
            architecture=self.architecture,
            layout=self.layout,
            plan=self.plan,
            tokens=rank_tokens,
            layers=layers,
        )
        ops += self._mhc(tokens=rank_tokens, layers=layers)
        ops += self._moe.ops(rank_tokens=rank_tokens, group_tokens=group_tokens, layers=layers)
        return ops

    def _mhc(self, *, tokens: Quantity, layers: int) -> list[Op]:
        """Manifold-constrained hyper-connections: mixing of the four residual streams.

        Notes
        -----
        ``pre`` reads the streams twice (coefficients, mixing) and writes the layer's input:
        18 d bytes with BF16 streams. ``post`` reads streams and layer output and writes the
        streams: 18 d bytes. Two sites a layer: 72 d bytes per token and layer. The streams are
        replicated under tensor parallelism. Coefficients are computed in TF32.
        """
        arch = self.architecture
        d, m = arch.hidden_size, arch.hc_mult
        coefficients = m * (2 + m)
        return [
            Op(
                name="mhc.pre",
                component=Component.MHC,
                kind=OpKind.MEMORY,
                flops=tokens * (2.0 * coefficients * m * d + 2.0 * m * d),
                weight_bytes=coefficients * m * d * FP32_BYTES,
                activation_bytes=tokens * ((2.0 * m + 1.0) * d * BF16_BYTES),
                kernels=KERNELS["mhc.pre"] * self.plan.kernels_scale,
                layers=_MHC_SITES * layers,
            ),
            Op(
                name="mhc.post",
                component=Component.MHC,
                kind=OpKind.MEMORY,
                flops=tokens * (2.0 * (m * m + m) * d),
                activation_bytes=tokens * ((2.0 * m + 1.0) * d * BF16_BYTES),
                kernels=KERNELS["mhc.post"] * self.plan.kernels_scale,
                layers=_MHC_SITES * layers,
            ),
        ]

    def decode_attention_ops(
        self, *, requests: Quantity, queries_per_request: int, context: Quantity
    ) -> list[Op]:
        """See `CostModel.decode_attention_ops`."""
        ops: list[Op] = []
        for attention in self._attention:
            ops += attention.decode(
                requests=requests, queries_per_request=queries_per_request, context=context
            )
        return ops

    def prefill_attention_ops(self, *, new_tokens: Quantity, prefix_tokens: Quantity) -> list[Op]:
        """See `CostModel.prefill_attention_ops`."""
        ops: list[Op] = []
        for attention in self._attention:
            ops += attention.prefill(new_tokens=new_tokens, prefix_tokens=prefix_tokens)
        return ops

    def head_ops(self, *, samples: Quantity) -> list[Op]:
        """See `CostModel.head_ops`."""
        return self._head(name="head", component=Component.HEAD, samples=samples, passes=1)

    def _head(self, *, name: str, component: Component, samples: Quantity, passes: int) -> list[Op]:
        arch = self.architecture
        scale = self.plan.kernels_scale
        ranks = self.layout.attention_tp
        ops = [
            Op(
                name=f"{name}.mix",
                component=component,
                kind=OpKind.MEMORY,
                flops=samples * (2.0 * arch.hc_mult * (arch.hc_mult + 1) * arch.hidden_size),
                weight_bytes=arch.hc_mult**2 * arch.hidden_size * FP32_BYTES,
                activation_bytes=samples * ((arch.hc_mult + 1) * arch.hidden_size * BF16_BYTES),
                kernels=KERNELS["head.mix"] * scale,
                layers=passes,
            ),
            gemm(
                name=f"{name}.lm_head",
                component=component,
                path="bf16",
                tokens=samples,
                inputs=arch.hidden_size,
                outputs=arch.vocab_size / ranks,
                layers=passes,
                scale=scale,
            ),
        ]
        if ranks > 1:
            ops.append(
                Op(
                    name=f"{name}.gather",
                    component=Component.COMMUNICATION,
                    kind=OpKind.ALL_GATHER,
                    message_bytes=samples * (arch.vocab_size * BF16_BYTES),
                    group_size=ranks,
                    layers=passes,
                )
            )
        ops.append(
            Op(
                name=f"{name}.sampling",
                component=component,
                kind=OpKind.MEMORY,
                activation_bytes=samples * (arch.vocab_size * FP32_BYTES),
                kernels=KERNELS["sampling"] * scale,
                layers=passes,
            )
        )
        return ops

    def draft_ops(self, *, requests: Quantity, group_requests: Quantity, drafts: int) -> list[Op]:
        """See `CostModel.draft_ops`: passes 2..k, and the head of every pass.

        Raises
        ------
        UserError
            If the model was bound without drafts.
        """
        if not drafts:
            return []
        if not self.drafts:
            raise UserError("draft operations of a model bound with drafts=0; bind it with drafts")
        ops = self._head(
            name="draft.head", component=Component.DRAFT, samples=requests, passes=drafts
        )
        ops += self._draft_attention(requests=requests, queries=drafts + 1, passes=1)
        if drafts > 1:
            ops += self._draft_pass(
                name="draft.next",
                tokens=requests,
                group_tokens=group_requests,
                passes=drafts - 1,
            )
            ops += self._draft_attention(requests=requests, queries=1, passes=drafts - 1)
        return ops

    def _draft_pass(
        self, *, name: str, tokens: Quantity, group_tokens: Quantity, passes: int
    ) -> list[Op]:
        """``passes`` runs of the MTP block: a sliding-window layer with the full experts.

        Its input is ``e_proj`` of the next token's embedding plus ``h_proj`` of the main model's
        residual streams.
        """
        arch = self.architecture
        attention = self._attention_layers(ratio=0, layers=passes)
        projections = [
            gemm(
                name=part,
                component=Component.DRAFT,
                path=self.plan.dense_path,
                tokens=tokens * rows,
                inputs=arch.hidden_size,
                outputs=arch.hidden_size,
                layers=passes,
                scale=self.plan.kernels_scale,
                extra_kernels=KERNELS["draft.combine"] / 2.0,
            )
            for part, rows in (("e_proj", 1.0), ("h_proj", float(arch.hc_mult)))
        ]
        ops = [
            *projections,
            *attention.projections(tokens=tokens),
            *self._layer_ops(rank_tokens=tokens, group_tokens=group_tokens, layers=passes),
        ]
        return _as_draft(ops, name=name)

    def _draft_attention(self, *, requests: Quantity, queries: int, passes: int) -> list[Op]:
        attention = self._attention_layers(ratio=0, layers=passes)
        window = float(self.architecture.sliding_window)
        ops = attention.decode(requests=requests, queries_per_request=queries, context=window)
        return _as_draft(ops, name=f"draft.x{queries}")

    def weight_bytes_per_rank(self, *, speculative: bool) -> dict[str, float]:
        """See `CostModel.weight_bytes_per_rank`. [B]"""
        arch = self.architecture
        attention = sum(
            layers.layers * self._layer_attention_bytes(ratio=layers.ratio)
            for layers in self._attention
        )
        moe = self._moe
        shared = self._layer_shared_bytes()
        mhc = self._layer_mhc_bytes()
        table = arch.vocab_size * arch.hidden_size * BF16_BYTES / self.layout.attention_tp
        parts = {
            "attention": attention,
            "experts": self._layers * moe.expert_bytes_per_rank,
            "shared experts, router, mHC": self._layers * (shared + mhc),
            "embedding": table if self.layout.pp == 1 else 0.0,
            "head": table,
        }
        if speculative:
            parts["mtp"] = (
                self._layer_attention_bytes(ratio=0)
                + moe.expert_bytes_per_rank
                + shared
                + mhc
                + 2.0 * arch.hidden_size**2 * WEIGHT_BYTES[self.plan.dense_path]
            )
        return parts

    def _layer_attention_bytes(self, *, ratio: int) -> float:
        return attention_weight_bytes(
            architecture=self.architecture, layout=self.layout, plan=self.plan, ratio=ratio
        )

    def _layer_shared_bytes(self) -> float:
        ops = self._moe.ops(rank_tokens=1.0, group_tokens=1.0, layers=1)
        return float(
            sum(op.weight_bytes for op in ops if op.name.split(".")[0] in ("moe", "shared"))
        )

    def _layer_mhc_bytes(self) -> float:
        return float(sum(op.layers * op.weight_bytes for op in self._mhc(tokens=0.0, layers=1)))

    def kv_bytes_per_token(self) -> float:
        """See `CostModel.kv_bytes_per_token`. [B/token]"""
        entry = ENTRY_BYTES[self.plan.kv_storage]
        key = INDEX_KEY_BYTES[self.plan.index_storage]
        total = 0.0
        for attention in self._attention:
            if attention.ratio:
                total += attention.layers * entry / attention.ratio
            if attention.ratio == CSA_RATIO:
                total += attention.layers * key / attention.ratio
        return total

    def state_bytes_per_request(self) -> float:
        """See `CostModel.state_bytes_per_request`. [B/request]"""
        arch = self.architecture
        entry = ENTRY_BYTES[self.plan.kv_storage]
        drafts = arch.num_nextn_predict_layers if self.drafts else 0
        total = (self._layers + drafts) * arch.sliding_window * entry
        for attention in self._attention:
            if attention.ratio == CSA_RATIO:
                row = 4.0 * (arch.head_dim + arch.index_head_dim) * FP32_BYTES
                total += attention.layers * 2 * CSA_RATIO * row
            elif attention.ratio == HCA_RATIO:
                rows, values = (1, 3.0) if self.plan.online_compressor_state else (HCA_RATIO, 2.0)
                total += attention.layers * rows * values * arch.head_dim * FP32_BYTES
        return total


def _as_draft(ops: list[Op], *, name: str) -> list[Op]:
    """The same operations, booked as draft work; communication stays communication."""
    return [
        replace(
            op,
            name=f"{name}.{op.name}",
            component=op.component if op.kind.is_communication else Component.DRAFT,
            stage=f"{name}.{op.stage}" if op.stage else "",
        )
        for op in ops
    ]
