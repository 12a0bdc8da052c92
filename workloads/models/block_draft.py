"""DSpark beside a list of layers: some layers draft a block of tokens in one pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from workloads.models.kernels import KERNELS
from workloads.models.parts import (
    BF16_BYTES,
    FP32_BYTES,
    NORMS_PER_LAYER,
    as_draft,
    check_drafts,
    gemm,
    language_model_head,
    layer_norms,
    weight_bytes,
)
from workloads.ops import Component, Op, OpKind

if TYPE_CHECKING:
    from workloads.architectures.feed_kinds import BlockDraft
    from workloads.execution_plan import ExecutionPlan
    from workloads.layout import Layout
    from workloads.models.feeds import FeedLayers
    from workloads.models.mixers import MixerLayers
    from workloads.ops import Quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockDrafter:
    """A DSpark module; see `workloads.models.deepseek_v4_draft.DsparkDrafter` and arXiv 2607.05147.

    Parameters
    ----------
    block:
        Hidden states read, and rank of the token-to-token correction.
    hidden, vocabulary:
        Width of the residual stream, and tokens that the head tells apart. [-]
    drafts:
        Tokens drafted per step; 0 without speculation. [tokens]
    mixers, feeds:
        Its layers by kind.
    entry_values:
        Values that each of its layers keeps of a token, all layers together. [-]
    layers:
        How many layers it has. [-]

    Notes
    -----
    For every token of a step the hidden states of some layers are projected to one input, and each
    layer keeps its entry (`first`). A block of drafts is one pass; the language-model head covers
    its positions at once, and the Markov head corrects them one after the other.
    """

    block: BlockDraft
    hidden: int
    vocabulary: int
    layout: Layout
    plan: ExecutionPlan
    drafts: int
    mixers: list[MixerLayers]
    feeds: list[FeedLayers]
    entry_values: float
    layers: int

    def first(self, *, rank_tokens: Quantity, group_tokens: Quantity) -> list[Op]:
        """Projection of the tapped hidden states, and the entries of its layers."""
        del group_tokens
        if not self.drafts:
            return []
        entries = gemm(
            name="entries",
            component=Component.DRAFT,
            path=self.plan.dense_path,
            tokens=rank_tokens,
            inputs=self.hidden,
            outputs=self.entry_values,
            layers=1,
            scale=self.plan.kernels_scale,
            extra_kernels=self.layers * KERNELS["window_insert"],
        )
        return as_draft([self._taps(tokens=rank_tokens), entries], name="draft.context")

    def _taps(self, *, tokens: Quantity) -> Op:
        return gemm(
            name="main_proj",
            component=Component.DRAFT,
            path=self.plan.dense_path,
            tokens=tokens,
            inputs=self.block.target_layers * self.hidden,
            outputs=self.hidden,
            layers=1,
            scale=self.plan.kernels_scale,
            extra_kernels=KERNELS["draft.norm"],
        )

    def decode_cores(
        self, *, requests: Quantity, queries_per_request: int, context: Quantity
    ) -> list[Op]:
        """Attention cores of the block of drafts."""
        del queries_per_request
        if not self.drafts:
            return []
        ops: list[Op] = []
        for mixer in self.mixers:
            ops += mixer.decode(requests=requests, queries_per_request=self.drafts, context=context)
        return as_draft(ops, name="draft.block")

    def draft_ops(self, *, requests: Quantity, group_requests: Quantity, drafts: int) -> list[Op]:
        """See `CostModel.draft_ops`: the pass over the block, the heads and the corrections.

        Raises
        ------
        UserError
            If the model was bound without drafts.
        """
        check_drafts(bound=self.drafts, drafts=drafts)
        if not drafts:
            return []
        positions = requests * float(drafts)
        scale = self.plan.kernels_scale
        ops = as_draft(
            [
                *self._passes(tokens=positions, group_tokens=group_requests * float(drafts)),
                layer_norms(
                    tokens=positions,
                    hidden=self.hidden,
                    parts=NORMS_PER_LAYER * self.layers,
                    scale=scale,
                ),
            ],
            name="draft.block",
        )
        ops += language_model_head(
            name="draft.head",
            component=Component.DRAFT,
            samples=positions,
            hidden=self.hidden,
            vocabulary=self.vocabulary,
            layout=self.layout,
            passes=1,
            scale=scale,
        )
        rank = float(self.block.markov_rank)
        ops.append(
            Op(
                name="draft.markov",
                component=Component.DRAFT,
                kind=OpKind.MEMORY,
                flops=requests * (2.0 * rank * self.vocabulary),
                weight_bytes=rank * self.vocabulary * BF16_BYTES,
                activation_bytes=requests * (rank * BF16_BYTES + self.vocabulary * FP32_BYTES),
                kernels=KERNELS["markov"] * scale,
                layers=drafts,
            )
        )
        return ops

    def _passes(self, *, tokens: Quantity, group_tokens: Quantity) -> list[Op]:
        ops: list[Op] = []
        for mixer in self.mixers:
            ops += mixer.projections(tokens=tokens)
        for feed in self.feeds:
            ops += feed.ops(rank_tokens=tokens, group_tokens=group_tokens, layers=feed.layers)
        return ops

    @property
    def total_weight_bytes(self) -> float:
        """Resident bytes on one rank. [B]"""
        markov = 2.0 * self.block.markov_rank * self.vocabulary * BF16_BYTES
        total = markov + weight_bytes([self._taps(tokens=0.0)])
        for mixer in self.mixers:
            total += weight_bytes(mixer.projections(tokens=0.0))
        for feed in self.feeds:
            total += feed.layers * sum(feed.layer_bytes.values())
        return total
