"""Grouped-query attention and experts in every layer: gpt-oss, MiniMax-M2.5, Qwen3.5."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from workloads.errors import UserError
from workloads.models.delta_net import DeltaNetLayers
from workloads.models.expert_load import UNIFORM, ExpertLoad
from workloads.models.gqa_attention import GroupedQueryAttention
from workloads.models.kv_bytes import gqa_entry_bytes, linear_state_bytes
from workloads.models.moe import Moe
from workloads.models.mtp_layer import MtpLayer
from workloads.models.parts import (
    BF16_BYTES,
    as_draft,
    check_layout,
    embedding_lookup,
    language_model_head,
    layer_norms,
    pipeline_send,
    stage_layers,
    weight_bytes,
)
from workloads.ops import Component, Op

if TYPE_CHECKING:
    from workloads.architectures.catalog import MoeGqaArchitecture
    from workloads.execution_plan import ExecutionPlan
    from workloads.layout import Layout
    from workloads.ops import Quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class MoeGqa:
    """A model of GQA and experts bound to a layout and a plan; see `workloads.costmodel.CostModel`.

    Notes
    -----
    Every layer has experts. Its attention is full, of a sliding window, or linear with a constant
    state per request; the MTP block of Qwen3.5 is one more layer with full attention, whose cores
    stand in the attention operations.
    """

    architecture: MoeGqaArchitecture
    layout: Layout
    plan: ExecutionPlan
    expert_load: ExpertLoad = UNIFORM
    drafts: int = 0

    def validate(self) -> None:
        """Check that heads and experts divide over the layout, and that drafts have a module.

        Raises
        ------
        UserError
            Naming the field, its value, the limit and what to do.
        """
        arch = self.architecture
        divided = {"attention heads": arch.num_attention_heads}
        if arch.linear is not None:
            divided |= {
                "value heads of linear attention": arch.linear.linear_num_value_heads,
                "key heads of linear attention": arch.linear.linear_num_key_heads,
            }
        check_layout(
            model=arch.name,
            layout=self.layout,
            divided=divided,
            layers=arch.num_hidden_layers,
            drafts=self.drafts,
        )
        if self.drafts and not arch.mtp_num_hidden_layers:
            raise UserError(
                f"drafts is {self.drafts}, but {arch.name} is published without a draft module; "
                "leave speculation off"
            )
        self._attention(layers=1).validate()
        self._moe.validate()

    def _of_kind(self, kind: str) -> int:
        """Layers of a kind on the fullest pipeline stage."""
        layers = self.architecture.layers_of(kind)
        return stage_layers(layers=layers, layout=self.layout)

    @property
    def _full(self) -> int:
        return self._of_kind("full_attention")

    @property
    def _sliding(self) -> int:
        return self._of_kind("sliding_attention")

    @property
    def _linear(self) -> int:
        return self._of_kind("linear_attention")

    @property
    def _layers(self) -> int:
        return self._full + self._sliding + self._linear

    @property
    def _moe(self) -> Moe:
        arch = self.architecture
        return Moe(
            hidden=arch.hidden_size,
            intermediate=arch.moe_intermediate_size,
            experts=arch.num_experts,
            experts_per_token=arch.num_experts_per_tok,
            shared_experts=arch.shared_expert_intermediate_size // arch.moe_intermediate_size,
            layout=self.layout,
            plan=self.plan,
            load=self.expert_load,
        )

    def _attention(self, *, layers: int, window: int = 0) -> GroupedQueryAttention:
        arch = self.architecture
        return GroupedQueryAttention(
            architecture=arch,
            layout=self.layout,
            plan=self.plan,
            layers=layers,
            window=window,
            output_gate=arch.attn_output_gate,
            qk_norm_type=arch.qk_norm_type,
        )

    def _cores(self) -> list[GroupedQueryAttention]:
        """Attention cores of the decoder layers: of the whole context, then of a window."""
        cores = [self._attention(layers=self._full)] if self._full else []
        if self._sliding:
            window = self.architecture.sliding_window
            cores.append(self._attention(layers=self._sliding, window=window))
        return cores

    def _delta_net(self) -> list[DeltaNetLayers]:
        """The linear-attention layers, if there are any."""
        arch = self.architecture
        if arch.linear is None or not self._linear:
            return []
        return [
            DeltaNetLayers(
                linear=arch.linear,
                hidden=arch.hidden_size,
                layout=self.layout,
                plan=self.plan,
                layers=self._linear,
            )
        ]

    @property
    def _mtp(self) -> MtpLayer:
        return MtpLayer(
            hidden=self.architecture.hidden_size,
            vocabulary=self.architecture.vocab_size,
            layout=self.layout,
            plan=self.plan,
            drafts=self.drafts,
            attention=lambda layers: self._attention(layers=layers),
            moe=self._moe,
        )

    def token_ops(self, *, rank_tokens: Quantity, group_tokens: Quantity) -> list[Op]:
        """See `CostModel.token_ops`; with drafts, the first MTP pass as well."""
        arch = self.architecture
        ops = [
            embedding_lookup(
                tokens=rank_tokens, hidden=arch.hidden_size, scale=self.plan.kernels_scale
            ),
            *self._attention(layers=self._full + self._sliding).projections(tokens=rank_tokens),
        ]
        for layers in self._delta_net():
            ops += layers.projections(tokens=rank_tokens)
        ops += [
            layer_norms(
                tokens=rank_tokens,
                hidden=arch.hidden_size,
                layers=self._layers,
                scale=self.plan.kernels_scale,
            ),
            *self._moe.ops(rank_tokens=rank_tokens, group_tokens=group_tokens, layers=self._layers),
            *pipeline_send(
                tokens=rank_tokens, values_per_token=arch.hidden_size, layout=self.layout
            ),
        ]
        ops += self._mtp.first(rank_tokens=rank_tokens, group_tokens=group_tokens)
        return ops

    def decode_attention_ops(
        self, *, requests: Quantity, queries_per_request: int, context: Quantity
    ) -> list[Op]:
        """See `CostModel.decode_attention_ops`; with drafts, the MTP block's cores as well."""
        ops: list[Op] = []
        for core in self._cores():
            ops += core.decode(
                requests=requests, queries_per_request=queries_per_request, context=context
            )
        for layers in self._delta_net():
            ops += layers.decode(requests=requests, queries_per_request=queries_per_request)
        ops += self._mtp.decode_cores(
            requests=requests, queries_per_request=queries_per_request, context=context
        )
        return ops

    def prefill_attention_ops(self, *, new_tokens: Quantity, prefix_tokens: Quantity) -> list[Op]:
        """See `CostModel.prefill_attention_ops`; with drafts, the MTP block's core as well."""
        ops: list[Op] = []
        for core in self._cores():
            ops += core.prefill(new_tokens=new_tokens, prefix_tokens=prefix_tokens)
        for layers in self._delta_net():
            ops += layers.prefill(new_tokens=new_tokens)
        if self.drafts:
            draft = self._attention(layers=1).prefill(
                new_tokens=new_tokens, prefix_tokens=prefix_tokens
            )
            ops += as_draft(draft, name="draft.first")
        return ops

    def head_ops(self, *, samples: Quantity) -> list[Op]:
        """See `CostModel.head_ops`."""
        arch = self.architecture
        return language_model_head(
            name="head",
            component=Component.HEAD,
            samples=samples,
            hidden=arch.hidden_size,
            vocabulary=arch.vocab_size,
            layout=self.layout,
            passes=1,
            scale=self.plan.kernels_scale,
        )

    def draft_ops(self, *, requests: Quantity, group_requests: Quantity, drafts: int) -> list[Op]:
        """See `CostModel.draft_ops`.

        Raises
        ------
        UserError
            If the model was bound without drafts.
        """
        return self._mtp.draft_ops(requests=requests, group_requests=group_requests, drafts=drafts)

    def weight_bytes_per_rank(self, *, speculative: bool) -> dict[str, float]:
        """See `CostModel.weight_bytes_per_rank`. [B]"""
        arch, moe = self.architecture, self._moe
        attention = weight_bytes(self._attention(layers=1).projections(tokens=0.0))
        linear = sum(weight_bytes(net.projections(tokens=0.0)) for net in self._delta_net())
        table = arch.vocab_size * arch.hidden_size * BF16_BYTES / self.layout.attention_tp
        # the fullest of several pipeline stages holds one of the two tables
        tables = 1.0 if arch.tie_word_embeddings or self.layout.pp > 1 else 2.0
        parts = {
            "attention": (self._full + self._sliding) * attention + linear,
            "routed experts": self._layers * moe.expert_bytes_per_rank,
            "shared expert and router": self._layers * moe.dense_bytes_per_rank,
            "embedding and head": table * tables,
        }
        if speculative:
            parts["draft module"] = arch.mtp_num_hidden_layers * self._mtp.weight_bytes
        return parts

    def _entry_bytes(self) -> float:
        return gqa_entry_bytes(
            architecture=self.architecture,
            kv=self.plan.kv_storage,
            attention_tp=self.layout.attention_tp,
        )

    def kv_bytes_per_token(self) -> float:
        """See `CostModel.kv_bytes_per_token`. [B/token]"""
        layers = self._full + (self.architecture.mtp_num_hidden_layers if self.drafts else 0)
        return layers * self._entry_bytes()

    def state_bytes_per_request(self) -> float:
        """See `CostModel.state_bytes_per_request`: full windows and recurrent state. [B]"""
        arch = self.architecture
        windows = self._sliding * arch.sliding_window * self._entry_bytes()
        state = linear_state_bytes(architecture=arch, attention_tp=self.layout.attention_tp)
        # of equal layers, a pipeline stage keeps its own
        share = self._linear / max(arch.layers_of("linear_attention"), 1)
        return windows + state * share
