"""DeepSeek V3 and its kin (R1, V3.2, Kimi K2, GLM-5) as operations on one rank."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from workloads.errors import UserError
from workloads.models.deepseek_v3_attention import LatentAttention
from workloads.models.expert_load import UNIFORM, ExpertLoad
from workloads.models.kv_bytes import kv_bytes_per_context_token
from workloads.models.moe import Moe
from workloads.models.mtp_layer import MtpLayer
from workloads.models.parts import (
    BF16_BYTES,
    check_layout,
    embedding_lookup,
    gated_mlp,
    language_model_head,
    layer_norms,
    pipeline_send,
    stage_layers,
    weight_bytes,
)
from workloads.ops import Component, Op

if TYPE_CHECKING:
    from workloads.architectures.catalog import DeepseekV3Architecture
    from workloads.execution_plan import ExecutionPlan
    from workloads.layout import Layout
    from workloads.ops import Quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class DeepseekV3:
    """DeepSeek V3 or its kin bound to a layout and a plan; see `workloads.costmodel.CostModel`.

    Notes
    -----
    Conventions as in `workloads.models.deepseek_v4.DeepseekV4`. The MTP block attends to the
    whole context: its cores stand in the attention operations, not in `draft_ops`.
    """

    architecture: DeepseekV3Architecture
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
        check_layout(
            model=arch.name,
            layout=self.layout,
            divided={"attention heads": arch.num_attention_heads},
            layers=arch.num_hidden_layers,
            drafts=self.drafts,
        )
        if self.drafts and not arch.num_nextn_predict_layers:
            raise UserError(
                f"drafts is {self.drafts}, but {arch.name} has no draft module; "
                "leave speculation off"
            )
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

    @property
    def _dense_layers(self) -> int:
        return stage_layers(layers=self.architecture.first_k_dense_replace, layout=self.layout)

    @property
    def _moe_layers(self) -> int:
        arch = self.architecture
        layers = arch.num_hidden_layers - arch.first_k_dense_replace
        return stage_layers(layers=layers, layout=self.layout)

    def _attention(self, *, layers: int) -> LatentAttention:
        return LatentAttention(
            architecture=self.architecture, layout=self.layout, plan=self.plan, layers=layers
        )

    @property
    def _layers(self) -> int:
        return self._dense_layers + self._moe_layers

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
            *self._attention(layers=self._layers).projections(tokens=rank_tokens),
            layer_norms(
                tokens=rank_tokens,
                hidden=arch.hidden_size,
                layers=self._layers,
                scale=self.plan.kernels_scale,
            ),
            *self._dense(tokens=rank_tokens, layers=self._dense_layers),
            *self._moe.ops(
                rank_tokens=rank_tokens, group_tokens=group_tokens, layers=self._moe_layers
            ),
            *pipeline_send(
                tokens=rank_tokens, values_per_token=arch.hidden_size, layout=self.layout
            ),
        ]
        ops += self._mtp.first(rank_tokens=rank_tokens, group_tokens=group_tokens)
        return ops

    def _dense(self, *, tokens: Quantity, layers: int) -> list[Op]:
        """Feed-forward of the first layers, divided over the ranks that share the attention."""
        arch = self.architecture
        return gated_mlp(
            name="dense",
            component=Component.DENSE,
            path=self.plan.feed_forward_path or self.plan.dense_path,
            tokens=tokens,
            hidden=arch.hidden_size,
            width=arch.intermediate_size / self.layout.attention_tp,
            layers=layers,
            scale=self.plan.kernels_scale,
        )

    def decode_attention_ops(
        self, *, requests: Quantity, queries_per_request: int, context: Quantity
    ) -> list[Op]:
        """See `CostModel.decode_attention_ops`; with drafts, the MTP block's cores as well."""
        ops = self._attention(layers=self._layers).decode(
            requests=requests, queries_per_request=queries_per_request, context=context
        )
        ops += self._mtp.decode_cores(
            requests=requests, queries_per_request=queries_per_request, context=context
        )
        return ops

    def prefill_attention_ops(self, *, new_tokens: Quantity, prefix_tokens: Quantity) -> list[Op]:
        """See `CostModel.prefill_attention_ops`."""
        layers = self._layers + (1 if self.drafts else 0)
        return self._attention(layers=layers).prefill(
            new_tokens=new_tokens, prefix_tokens=prefix_tokens
        )

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
        arch = self.architecture
        moe = self._moe
        attention = weight_bytes(self._attention(layers=1).projections(tokens=0.0))
        dense = weight_bytes(self._dense(tokens=0.0, layers=1))
        table = arch.vocab_size * arch.hidden_size * BF16_BYTES / self.layout.attention_tp
        parts = {
            "attention": self._layers * attention,
            "dense layers": self._dense_layers * dense,
            "routed experts": self._moe_layers * moe.expert_bytes_per_rank,
            "shared expert and router": self._moe_layers * moe.dense_bytes_per_rank,
            # the fullest of several pipeline stages holds one of the two tables
            "embedding and head": table * (2.0 if self.layout.pp == 1 else 1.0),
        }
        if speculative:
            parts["draft module"] = arch.num_nextn_predict_layers * self._mtp.weight_bytes
        return parts

    def kv_bytes_per_token(self) -> float:
        """See `CostModel.kv_bytes_per_token`. [B/token]"""
        layers = self._layers + (self.architecture.num_nextn_predict_layers if self.drafts else 0)
        return kv_bytes_per_context_token(
            architecture=replace(self.architecture, num_hidden_layers=layers),
            kv=self.plan.kv_storage,
            index=self.plan.index_storage,
        )

    def state_bytes_per_request(self) -> float:
        """See `CostModel.state_bytes_per_request`: every byte grows with the context. [B]"""
        return 0.0
