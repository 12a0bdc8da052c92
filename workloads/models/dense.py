"""Dense models (Llama 3 and its like) as operations on one rank."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from workloads.errors import UserError
from workloads.models.gqa_attention import GroupedQueryAttention
from workloads.models.kv_bytes import kv_bytes_per_context_token
from workloads.models.parts import (
    BF16_BYTES,
    NORMS_PER_LAYER,
    all_reduce,
    check_drafts,
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
    from workloads.architectures.catalog import DenseArchitecture
    from workloads.execution_plan import ExecutionPlan
    from workloads.layout import Layout
    from workloads.ops import Quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class Dense:
    """A dense model bound to a layout and a plan; see `workloads.costmodel.CostModel`.

    Notes
    -----
    Attention and feed-forward network are tensor parallel, each with an all-reduce (Shoeybi et
    al., "Megatron-LM", arXiv 1909.08053). There are no experts and no draft module.
    """

    architecture: DenseArchitecture
    layout: Layout
    plan: ExecutionPlan

    def validate(self) -> None:
        """Check that the layout has no expert or data parallelism and that heads divide over it.

        Raises
        ------
        UserError
            Naming the field, its value, the limit and what to do.
        """
        arch, layout = self.architecture, self.layout
        if layout.ep > 1:
            raise UserError(
                f"ep is {layout.ep}, but {arch.name} has no experts to divide; leave ep at 1"
            )
        if layout.attention_dp > 1:
            raise UserError(
                f"attention data parallelism over {layout.attention_dp} ranks has nothing to "
                f"share in {arch.name}, which has no experts; run more workers instead"
            )
        check_layout(
            model=arch.name,
            layout=layout,
            divided={
                "attention heads": arch.num_attention_heads,
                "feed-forward columns": arch.intermediate_size,
            },
            layers=arch.num_hidden_layers,
            drafts=0,
        )
        self._attention.validate()

    @property
    def _layers(self) -> int:
        return stage_layers(layers=self.architecture.num_hidden_layers, layout=self.layout)

    @property
    def _attention(self) -> GroupedQueryAttention:
        return GroupedQueryAttention(
            architecture=self.architecture,
            layout=self.layout,
            plan=self.plan,
            layers=self._layers,
        )

    def token_ops(self, *, rank_tokens: Quantity, group_tokens: Quantity) -> list[Op]:
        """See `CostModel.token_ops`; all ranks compute the same tokens."""
        arch, layers, scale = self.architecture, self._layers, self.plan.kernels_scale
        return [
            embedding_lookup(tokens=rank_tokens, hidden=arch.hidden_size, scale=scale),
            *self._attention.projections(tokens=rank_tokens),
            layer_norms(tokens=rank_tokens, hidden=arch.hidden_size, layers=layers, scale=scale),
            *self._feed_forward(tokens=rank_tokens),
            *pipeline_send(
                tokens=rank_tokens, values_per_token=arch.hidden_size, layout=self.layout
            ),
        ]

    def _feed_forward(self, *, tokens: Quantity) -> list[Op]:
        arch, ranks = self.architecture, self.layout.attention_tp
        return [
            *gated_mlp(
                name="mlp",
                component=Component.DENSE,
                path=self.plan.dense_path,
                tokens=tokens,
                hidden=arch.hidden_size,
                width=arch.intermediate_size / ranks,
                layers=self._layers,
                scale=self.plan.kernels_scale,
            ),
            *all_reduce(
                name="mlp.all_reduce",
                tokens=tokens,
                hidden=arch.hidden_size,
                ranks=ranks,
                layers=self._layers,
            ),
        ]

    def decode_attention_ops(
        self, *, requests: Quantity, queries_per_request: int, context: Quantity
    ) -> list[Op]:
        """See `CostModel.decode_attention_ops`."""
        return self._attention.decode(
            requests=requests, queries_per_request=queries_per_request, context=context
        )

    def prefill_attention_ops(self, *, new_tokens: Quantity, prefix_tokens: Quantity) -> list[Op]:
        """See `CostModel.prefill_attention_ops`."""
        return self._attention.prefill(new_tokens=new_tokens, prefix_tokens=prefix_tokens)

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
        """See `CostModel.draft_ops`: there is no draft module.

        Raises
        ------
        UserError
            If drafts are asked for.
        """
        check_drafts(bound=0, drafts=drafts)
        return []

    def weight_bytes_per_rank(self, *, speculative: bool) -> dict[str, float]:
        """See `CostModel.weight_bytes_per_rank`. [B]"""
        arch = self.architecture
        table = arch.vocab_size * arch.hidden_size * BF16_BYTES / self.layout.attention_tp
        # the fullest of several pipeline stages holds one of two tables
        tables = 1.0 if arch.tie_word_embeddings or self.layout.pp > 1 else 2.0
        norms = NORMS_PER_LAYER * self._layers + 1
        return {
            "attention": weight_bytes(self._attention.projections(tokens=0.0)),
            "feed-forward": weight_bytes(self._feed_forward(tokens=0.0)),
            "norms": norms * arch.hidden_size * BF16_BYTES,
            "embedding and head": table * tables,
        }

    def kv_bytes_per_token(self) -> float:
        """See `CostModel.kv_bytes_per_token`. [B/token]"""
        arch = self.architecture
        per_layer = kv_bytes_per_context_token(
            architecture=arch,
            kv=self.plan.kv_storage,
            index=self.plan.index_storage,
            attention_tp=self.layout.attention_tp,
        )
        return per_layer * self._layers / arch.num_hidden_layers

    def state_bytes_per_request(self) -> float:
        """See `CostModel.state_bytes_per_request`: every byte grows with the context. [B]"""
        return 0.0
