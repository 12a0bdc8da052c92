"""DeepSeek V4 (Pro, Flash and their DSpark releases) as operations on one rank."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from workloads.errors import UserError
from workloads.models.deepseek_v4_attention import AttentionLayers, output_projection
from workloads.models.deepseek_v4_draft import DsparkDrafter, MtpDrafter
from workloads.models.expert_load import UNIFORM, ExpertLoad
from workloads.models.kernels import KERNELS
from workloads.models.kv_bytes import (
    CSA_RATIO,
    ENTRY_BYTES,
    HCA_RATIO,
    INDEX_KEY_BYTES,
    compressor_state_bytes,
)
from workloads.models.mhc import mhc_ops
from workloads.models.moe import Moe
from workloads.models.parts import (
    BF16_BYTES,
    FP32_BYTES,
    check_drafts,
    check_layout,
    language_model_head,
    memory,
    pipeline_send,
    stage_layers,
)
from workloads.ops import Component, Op, OpKind

if TYPE_CHECKING:
    from workloads.architectures.deepseek_v4 import DeepseekV4Architecture
    from workloads.execution_plan import ExecutionPlan
    from workloads.layout import Layout
    from workloads.ops import Quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class DeepseekV4:
    """DeepSeek V4 bound to a layout and an execution plan; see `workloads.costmodel.CostModel`.

    Notes
    -----
    Equal layers are one operation with ``layers`` set. With pipeline stages the operations are
    those of the fullest stage, with the transfer to the next. Under attention data parallelism
    the language-model head is whole on every rank (SGLang ``--enable-dp-lm-head``, vLLM data
    parallelism); else it is divided by vocabulary.
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
        arch = self.architecture
        check_layout(
            model=arch.name,
            layout=self.layout,
            divided={
                "attention heads": arch.num_attention_heads,
                "output groups (o_groups)": arch.o_groups,
            },
            layers=arch.num_hidden_layers,
            drafts=self.drafts,
        )
        self.moe.validate()

    @property
    def moe(self) -> Moe:
        """The mixture of experts of every layer."""
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

    @property
    def drafter(self) -> MtpDrafter | DsparkDrafter:
        """The draft module that the release carries."""
        return (DsparkDrafter if self.architecture.dspark else MtpDrafter)(model=self)

    @property
    def attention(self) -> list[AttentionLayers]:
        """Attention layers by compression ratio, kinds that do not occur left out."""
        return [
            self.attention_layers(
                ratio=ratio, layers=stage_layers(layers=count, layout=self.layout)
            )
            for ratio in (CSA_RATIO, HCA_RATIO, 0)
            if (count := self.architecture.layers_of_ratio(ratio))
        ]

    def attention_layers(self, *, ratio: int, layers: int) -> AttentionLayers:
        """``layers`` attention layers of one compression ratio on this layout."""
        return AttentionLayers(
            architecture=self.architecture,
            layout=self.layout,
            plan=self.plan,
            ratio=ratio,
            layers=layers,
        )

    @property
    def _layers(self) -> int:
        return stage_layers(layers=self.architecture.num_hidden_layers, layout=self.layout)

    def token_ops(self, *, rank_tokens: Quantity, group_tokens: Quantity) -> list[Op]:
        """See `CostModel.token_ops`; with drafts, what the draft module does for every token."""
        arch = self.architecture
        ops = [
            memory(
                name="embedding",
                component=Component.OTHER,
                activation_bytes=rank_tokens
                * ((1.0 + arch.hc_mult) * arch.hidden_size * BF16_BYTES),
                kernels=KERNELS["embedding"] * self.plan.kernels_scale,
                layers=1,
            )
        ]
        for attention in self.attention:
            ops += attention.projections(tokens=rank_tokens)
        ops += self.common_layer_ops(
            rank_tokens=rank_tokens, group_tokens=group_tokens, layers=self._layers
        )
        ops += pipeline_send(
            tokens=rank_tokens,
            values_per_token=arch.hc_mult * arch.hidden_size,
            layout=self.layout,
        )
        if self.drafts:
            ops += self.drafter.token_ops(rank_tokens=rank_tokens, group_tokens=group_tokens)
        return ops

    def common_layer_ops(
        self, *, rank_tokens: Quantity, group_tokens: Quantity, layers: int
    ) -> list[Op]:
        """What every layer has: output projection, mHC, experts."""
        return [
            *output_projection(
                architecture=self.architecture,
                layout=self.layout,
                plan=self.plan,
                tokens=rank_tokens,
                layers=layers,
            ),
            *self._mhc(tokens=rank_tokens, layers=layers),
            *self.moe.ops(rank_tokens=rank_tokens, group_tokens=group_tokens, layers=layers),
        ]

    def _mhc(self, *, tokens: Quantity, layers: int) -> list[Op]:
        """Mixing of the residual streams; see `workloads.models.mhc.mhc_ops`."""
        return mhc_ops(
            tokens=tokens,
            hidden=self.architecture.hidden_size,
            streams=self.architecture.hc_mult,
            layers=layers,
            scale=self.plan.kernels_scale,
        )

    def decode_attention_ops(
        self, *, requests: Quantity, queries_per_request: int, context: Quantity
    ) -> list[Op]:
        """See `CostModel.decode_attention_ops`."""
        ops: list[Op] = []
        for attention in self.attention:
            ops += attention.decode(
                requests=requests, queries_per_request=queries_per_request, context=context
            )
        return ops

    def prefill_attention_ops(self, *, new_tokens: Quantity, prefix_tokens: Quantity) -> list[Op]:
        """See `CostModel.prefill_attention_ops`."""
        ops: list[Op] = []
        for attention in self.attention:
            ops += attention.prefill(new_tokens=new_tokens, prefix_tokens=prefix_tokens)
        return ops

    def context_parallel_prefill_ops(
        self, *, new_tokens: Quantity, prefix_tokens: Quantity
    ) -> list[Op]:
        """A whole prefill step whose chunk is divided over the attention ranks by position.

        Every rank computes ``1 / tp`` of the chunk's tokens, as under attention data
        parallelism, and gathers the compressed entries of the others in every layer.

        Raises
        ------
        UserError
            If the layout's attention is tensor parallel.
        """
        ranks = self.layout.attention_dp
        if ranks == 1:
            raise UserError(
                f"layout {self.layout.label} has no attention ranks to divide a prompt over; "
                "set dp_attention"
            )
        ops = self.token_ops(rank_tokens=new_tokens / ranks, group_tokens=new_tokens)
        for attention in self.attention:
            ops += attention.prefill(
                new_tokens=new_tokens, prefix_tokens=prefix_tokens, context_ranks=ranks
            )
            ops += attention.context_exchange(new_tokens=new_tokens, context_ranks=ranks)
        return ops

    def head_ops(self, *, samples: Quantity) -> list[Op]:
        """See `CostModel.head_ops`."""
        return self.head(name="head", component=Component.HEAD, samples=samples, passes=1)

    def head(self, *, name: str, component: Component, samples: Quantity, passes: int) -> list[Op]:
        """Final combination of the residual streams, logits and sampling."""
        arch = self.architecture
        scale = self.plan.kernels_scale
        mix = Op(
            name=f"{name}.mix",
            component=component,
            kind=OpKind.MEMORY,
            flops=samples * (2.0 * arch.hc_mult * (arch.hc_mult + 1) * arch.hidden_size),
            weight_bytes=arch.hc_mult**2 * arch.hidden_size * FP32_BYTES,
            activation_bytes=samples * ((arch.hc_mult + 1) * arch.hidden_size * BF16_BYTES),
            kernels=KERNELS["head.mix"] * scale,
            layers=passes,
        )
        logits = language_model_head(
            name=name,
            component=component,
            samples=samples,
            hidden=arch.hidden_size,
            vocabulary=arch.vocab_size,
            layout=self.layout,
            passes=passes,
            scale=scale,
        )
        return [mix, *logits]

    def draft_ops(self, *, requests: Quantity, group_requests: Quantity, drafts: int) -> list[Op]:
        """See `CostModel.draft_ops`.

        Raises
        ------
        UserError
            If the model was bound without drafts.
        """
        check_drafts(bound=self.drafts, drafts=drafts)
        if not drafts:
            return []
        return self.drafter.draft_ops(
            requests=requests, group_requests=group_requests, drafts=drafts
        )

    def layer_weight_bytes(self, *, ratio: int) -> dict[str, float]:
        """Resident bytes of one layer on one rank by part. [B]"""
        attention = self.attention_layers(ratio=ratio, layers=1).projections(tokens=0.0)
        attention += output_projection(
            architecture=self.architecture,
            layout=self.layout,
            plan=self.plan,
            tokens=0.0,
            layers=1,
        )
        mhc = self._mhc(tokens=0.0, layers=1)
        return {
            "attention": float(sum(op.weight_bytes for op in attention)),
            "routed experts": self.moe.expert_bytes_per_rank,
            "shared expert and router": self.moe.dense_bytes_per_rank,
            "mHC": float(sum(op.layers * op.weight_bytes for op in mhc)),
        }

    def weight_bytes_per_rank(self, *, speculative: bool) -> dict[str, float]:
        """See `CostModel.weight_bytes_per_rank`. [B]"""
        arch = self.architecture
        parts: dict[str, float] = {}
        for attention in self.attention:
            for part, layer_bytes in self.layer_weight_bytes(ratio=attention.ratio).items():
                parts[part] = parts.get(part, 0.0) + attention.layers * layer_bytes
        table = arch.vocab_size * arch.hidden_size * BF16_BYTES / self.layout.attention_tp
        # the fullest of several pipeline stages holds one of the two tables
        parts["embedding and head"] = table * (2.0 if self.layout.pp == 1 else 1.0)
        if speculative:
            parts["draft module"] = self.drafter.weight_bytes()
        return parts

    def kv_bytes_per_token(self) -> float:
        """See `CostModel.kv_bytes_per_token`. [B/token]"""
        entry = ENTRY_BYTES[self.plan.kv_storage]
        key = INDEX_KEY_BYTES[self.plan.index_storage]
        return sum(
            attention.layers
            * (entry + (key if attention.ratio == CSA_RATIO else 0.0))
            / attention.ratio
            for attention in self.attention
            if attention.ratio
        )

    def state_bytes_per_request(self) -> float:
        """See `CostModel.state_bytes_per_request`. [B/request]"""
        arch = self.architecture
        windows = self._layers + (self.drafter.layers if self.drafts else 0)
        state = compressor_state_bytes(architecture=arch, online=self.plan.online_compressor_state)
        return (
            windows * arch.sliding_window * ENTRY_BYTES[self.plan.kv_storage]
            + state / self.layout.pp
        )
