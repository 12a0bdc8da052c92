"""The MTP block where it is one more layer of its model: DeepSeek V3 and the like, Qwen3.5."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from workloads.models.parts import (
    NORMS_PER_LAYER,
    as_draft,
    check_drafts,
    draft_input,
    language_model_head,
    layer_norms,
    weight_bytes,
)
from workloads.ops import Component, Op

if TYPE_CHECKING:
    from collections.abc import Callable

    from workloads.execution_plan import ExecutionPlan
    from workloads.layout import Layout
    from workloads.ops import Quantity


class Attention(Protocol):
    """Some equal attention layers."""

    def projections(self, *, tokens: Quantity) -> list[Op]:
        """What is computed for each token whatever its context."""
        ...

    def decode(
        self, *, requests: Quantity, queries_per_request: int, context: Quantity
    ) -> list[Op]:
        """Attention cores of decoding requests."""
        ...


class Feed(Protocol):
    """Operations of some equal feed-forward parts."""

    def __call__(self, *, rank_tokens: Quantity, group_tokens: Quantity, layers: int) -> list[Op]:
        """Operations of ``layers`` of them."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class MtpLayer:
    """An MTP block with the attention and the experts of its model, run once a draft.

    Parameters
    ----------
    hidden, vocabulary:
        Width of the residual stream, and tokens that the head tells apart. [-]
    layout, plan:
        Of the model.
    drafts:
        Tokens drafted per step; 0 without speculation. [tokens]
    attention:
        Gives a number of equal attention layers like the block's. [-]
    count:
        Blocks that the model has. [-]
    feed:
        Gives the operations of a number of the block's feed-forward parts.
    feed_bytes:
        Weights of one of them on a rank, by part. [B]
    """

    hidden: int
    vocabulary: int
    layout: Layout
    plan: ExecutionPlan
    drafts: int
    attention: Callable[[int], Attention]
    count: int
    feed: Feed
    feed_bytes: tuple[float, ...]

    def first(self, *, rank_tokens: Quantity, group_tokens: Quantity) -> list[Op]:
        """The pass that goes with the main model's step, without its attention core."""
        if not self.drafts:
            return []
        return self._passes(
            name="draft.first", rank_tokens=rank_tokens, group_tokens=group_tokens, count=1
        )

    def _passes(
        self, *, name: str, rank_tokens: Quantity, group_tokens: Quantity, count: int
    ) -> list[Op]:
        scale = self.plan.kernels_scale
        return as_draft(
            [
                draft_input(tokens=rank_tokens, hidden=self.hidden, layers=count, scale=scale),
                *self.attention(count).projections(tokens=rank_tokens),
                layer_norms(
                    tokens=rank_tokens,
                    hidden=self.hidden,
                    parts=NORMS_PER_LAYER * count,
                    scale=scale,
                ),
                *self.feed(rank_tokens=rank_tokens, group_tokens=group_tokens, layers=count),
            ],
            name=name,
        )

    def decode_cores(
        self, *, requests: Quantity, queries_per_request: int, context: Quantity
    ) -> list[Op]:
        """Attention cores of all passes of a decode step; each attends to the whole context."""
        ops: list[Op] = []
        for name, queries, count in (
            ("draft.first", queries_per_request, 1),
            ("draft.next", 1, self.drafts - 1),
        ):
            if self.drafts and count:
                cores = self.attention(count).decode(
                    requests=requests, queries_per_request=queries, context=context
                )
                ops += as_draft(cores, name=name)
        return ops

    def draft_ops(self, *, requests: Quantity, group_requests: Quantity, drafts: int) -> list[Op]:
        """See `CostModel.draft_ops`: the heads, and the passes after the first.

        Raises
        ------
        UserError
            If the model was bound to another number of drafts.
        """
        check_drafts(bound=self.drafts, drafts=drafts)
        if not drafts:
            return []
        ops = language_model_head(
            name="draft.head",
            component=Component.DRAFT,
            samples=requests,
            hidden=self.hidden,
            vocabulary=self.vocabulary,
            layout=self.layout,
            passes=drafts,
            scale=self.plan.kernels_scale,
        )
        if drafts > 1:
            ops += self._passes(
                name="draft.next",
                rank_tokens=requests,
                group_tokens=group_requests,
                count=drafts - 1,
            )
        return ops

    @property
    def total_weight_bytes(self) -> float:
        """Weights of all blocks on a rank. [B]"""
        return self.count * self.weight_bytes

    @property
    def weight_bytes(self) -> float:
        """Weights of one block on a rank; it shares the main model's embedding and head. [B]"""
        scale = self.plan.kernels_scale
        inputs = draft_input(tokens=0.0, hidden=self.hidden, layers=1, scale=scale)
        total = weight_bytes(self.attention(1).projections(tokens=0.0))
        for part in (*self.feed_bytes, weight_bytes([inputs])):
            total += part
        return total
